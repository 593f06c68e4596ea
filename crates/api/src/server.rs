//! Connections and requests: versions, headers, the route table.

use crate::authorization::{Authorization, Peer};
use crate::body::{Answer, Body, Sent, drain};
use crate::error::Failure;
use crate::hijack::Taker;
use crate::query::Query;
use crate::route;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use proa_docker_api::{API_VERSION, MIN_API_VERSION};
use proa_engine::Engine;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// What the handlers need.
pub struct Api {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The product's version.
    pub version: &'static str,
    /// Who is asked whether a request is allowed.
    pub authorization: Authorization,
}

/// A version of the API, as `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// A request on its way to its handler.
pub(crate) struct Call {
    pub(crate) api: Arc<Api>,
    pub(crate) version: Version,
    /// What the pattern's names stand for, decoded.
    pub(crate) names: Vec<String>,
    pub(crate) query: Query,
    pub(crate) request: Request<Sent>,
}

impl Call {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.api.engine
    }

    /// What the first name of the pattern stands for.
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn since(&self, major: u32, minor: u32) -> bool {
        self.version >= Version(major, minor)
    }
}

/// Serves one connection, of this peer, until it ends.
///
/// # Errors
/// What broke it.
pub async fn serve<T>(api: Arc<Api>, stream: T, peer: Peer) -> Result<(), hyper::Error>
where
    T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let peer = Arc::new(peer);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (api, peer) = (Arc::clone(&api), Arc::clone(&peer));
        request.extensions_mut().insert(Taker::of::<T>());
        async move { Ok::<_, std::convert::Infallible>(answer(api, &peer, request).await) }
    });
    // Clients close their sending side after a request and still read the answer.
    let mut server = hyper::server::conn::http1::Builder::new();
    server.half_close(true).max_buf_size(256 << 10);
    server.serve_connection(TokioIo::new(stream), service).with_upgrades().await
}

async fn answer(api: Arc<Api>, peer: &Peer, request: Request<Incoming>) -> Answer {
    let head = request.method() == Method::HEAD;
    let mut answer = match dispatch(api, peer, request).await {
        Ok(answer) => answer,
        Err(failure) => failure.answer(),
    };
    let headers = answer.headers_mut();
    headers.insert("api-version", HeaderValue::from_static(API_VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "server",
        HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux) Proa")),
    );
    if head {
        *answer.body_mut() = Body::default();
    }
    answer
}

async fn dispatch(api: Arc<Api>, peer: &Peer, request: Request<Incoming>) -> Result<Answer, Failure> {
    let path = request.uri().path().to_owned();
    let (version, rest) = version_of(&path)?;
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    tracing::debug!(method = %request.method(), path, "request");
    let found = route::find(&method, rest);
    match found {
        route::Found::Route(route, names) => {
            let (request, asked) = api.authorization.ask(request, route, peer).await?;
            let answer = (route.handler)(Call { api, version, names, query, request }).await;
            match asked {
                None => answer,
                Some(asked) => asked.confirm(answer).await,
            }
        }
        // A body that is not read would cost the client the answer.
        _ => {
            drain(Sent::Left(request.into_body())).await;
            Err(nowhere(&found, &method, rest))
        }
    }
}

/// Why a path leads nowhere.
fn nowhere(found: &route::Found, method: &Method, path: &str) -> Failure {
    match found {
        route::Found::OtherMethod => {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("method {method} is not allowed for {path}"))
        }
        _ => Failure::new(StatusCode::NOT_FOUND, "page not found"),
    }
}

/// The version of a path and the rest: `/v1.41/info` is 1.41 and `/info`.
fn version_of(path: &str) -> Result<(Version, &str), Failure> {
    let newest = Version::parse(API_VERSION).unwrap_or(Version(1, 54));
    let prefixed = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        let (text, rest) = rest.split_at(end);
        Some((text, Version::parse(text)?, rest))
    });
    let Some((text, version, rest)) = prefixed else { return Ok((newest, path)) };
    let oldest = Version::parse(MIN_API_VERSION).unwrap_or(Version(1, 24));
    if version > newest {
        return Err(Failure::bad(format!(
            "client version {text} is too new. Maximum supported API version is {API_VERSION}"
        )));
    }
    if version < oldest {
        return Err(Failure::bad(format!(
            "client version {text} is too old. Minimum supported API version is {MIN_API_VERSION}, please upgrade your client to a newer version"
        )));
    }
    Ok((version, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_negotiated() {
        assert_eq!(version_of("/v1.41/info").unwrap(), (Version(1, 41), "/info"));
        assert_eq!(version_of("/info").unwrap().1, "/info");
        assert_eq!(version_of("/volumes/x").unwrap().1, "/volumes/x");
        assert!(version_of("/v1.99/info").unwrap_err().message.contains("too new"));
        assert!(version_of("/v1.12/info").unwrap_err().message.contains("too old"));
    }
}
