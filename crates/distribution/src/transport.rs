//! Connections and single requests: TCP or TLS, HTTP/1.1, kept open between requests.

use crate::body::{self, Outgoing};
use crate::host::{Host, Security, split_port};
use crate::{Error, dns, tls};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Response, Uri};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long connecting may take, for each address.
const CONNECT: Duration = Duration::from_secs(10);
/// Idle connections kept for each host.
const IDLE: usize = 8;

/// A request that can be sent again: its body, if any, is bytes in memory.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, or a whole URL.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn new(method: Method, target: impl AsRef<str>) -> Self {
        Self { method, target: target.as_ref().to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn get(target: impl AsRef<str>) -> Self {
        Self::new(Method::GET, target)
    }

    /// The same with one more header; a value that cannot be one is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }
}

/// How a host was reached the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

type Idle = HashMap<(Scheme, String), Vec<SendRequest<Outgoing>>>;

/// Connections to all hosts.
pub(crate) struct Transport {
    certificate_dirs: Vec<PathBuf>,
    idle: Mutex<Idle>,
    /// Which scheme a lax host answers.
    schemes: Mutex<HashMap<String, Scheme>>,
    tls: Mutex<HashMap<(String, bool), Arc<rustls::ClientConfig>>>,
}

impl Transport {
    pub(crate) fn new(certificate_dirs: Vec<PathBuf>) -> Self {
        Self { certificate_dirs, idle: Mutex::default(), schemes: Mutex::default(), tls: Mutex::default() }
    }

    /// Sends a request to a host and returns the head of its answer, whatever its status.
    pub(crate) async fn send(&self, host: &Host, request: Request) -> Result<Response<Incoming>, Error> {
        let body = body::full(request.body.clone());
        self.send_with(host, request, body).await
    }

    /// The same with a body that can be sent once.
    pub(crate) async fn send_with(
        &self,
        host: &Host,
        request: Request,
        body: Outgoing,
    ) -> Result<Response<Incoming>, Error> {
        let (scheme, mut connection) = self.connection(host, &request.target).await?;
        let url = format!("{}://{}{}", scheme.name(), host.authority, request.target);
        let failed = |detail: String| Error::Http { url: url.clone(), detail };
        let uri: Uri = request.target.parse().map_err(|_| failed("the path is not a path".into()))?;
        let mut message = hyper::Request::new(body);
        *message.method_mut() = request.method;
        *message.uri_mut() = uri;
        *message.headers_mut() = request.headers;
        let authority = HeaderValue::from_str(&host.authority).map_err(|_| failed("bad host".into()))?;
        message.headers_mut().insert(HOST, authority);
        message.headers_mut().insert(USER_AGENT, HeaderValue::from_static("proa"));
        let response = connection.send_request(message).await.map_err(|e| failed(e.to_string()))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.entry((scheme, host.authority.clone())).or_default();
        kept.retain(|connection| !connection.is_closed());
        if kept.len() < IDLE {
            kept.push(connection);
        }
        Ok(response)
    }

    /// Follows redirects of a GET or HEAD; another host does not see the credentials.
    pub(crate) async fn follow(
        &self,
        host: &Host,
        request: &Request,
        mut response: Response<Incoming>,
    ) -> Result<Response<Incoming>, Error> {
        let mut from = host.clone();
        for _ in 0..5 {
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location =
                response.headers().get("location").and_then(|v| v.to_str().ok()).unwrap_or_default();
            let (to, target) = resolve(&from, location).ok_or_else(|| Error::Http {
                url: from.url(&request.target),
                detail: format!("redirect to {location:?}"),
            })?;
            let mut next = Request { target, ..request.clone() };
            if to != *host {
                next.headers.remove(AUTHORIZATION);
            }
            response = self.send(&to, next).await?;
            from = to;
        }
        Err(Error::Http { url: from.url(&request.target), detail: "too many redirects".into() })
    }

    async fn connection(&self, host: &Host, target: &str) -> Result<(Scheme, SendRequest<Outgoing>), Error> {
        for scheme in self.schemes(host) {
            if let Some(connection) = self.idle(scheme, &host.authority) {
                return Ok((scheme, connection));
            }
            let opened = match scheme {
                Scheme::Http => self.open_plain(host, target).await,
                Scheme::Https => self.open_tls(host, target).await,
            };
            match opened {
                // A lax host that does not speak TLS is tried without.
                Err(Error::Tls { .. } | Error::Http { .. })
                    if host.security == Security::Lax && scheme == Scheme::Https => {}
                Err(error) => return Err(error),
                Ok(connection) => {
                    let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
                    schemes.insert(host.authority.clone(), scheme);
                    return Ok((scheme, connection));
                }
            }
        }
        Err(Error::Http { url: host.url(target), detail: "speaks neither TLS nor HTTP".into() })
    }

    /// The URL of a path as it is asked for, for messages: a lax host has the scheme that it answered to.
    pub(crate) fn url(&self, host: &Host, target: &str) -> String {
        let scheme = self.schemes(host).first().map_or("https", |scheme| scheme.name());
        format!("{scheme}://{}{target}", host.authority)
    }

    fn schemes(&self, host: &Host) -> Vec<Scheme> {
        let known = self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(&host.authority).copied();
        match (host.security, known) {
            (Security::Tls, _) => vec![Scheme::Https],
            (Security::Plain, _) | (Security::Lax, Some(Scheme::Http)) => vec![Scheme::Http, Scheme::Https],
            (Security::Lax, _) => vec![Scheme::Https, Scheme::Http],
        }
    }

    fn idle(&self, scheme: Scheme, authority: &str) -> Option<SendRequest<Outgoing>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(&(scheme, authority.to_owned()))?;
        kept.retain(|connection| !connection.is_closed());
        let at = kept.iter().position(SendRequest::is_ready)?;
        Some(kept.swap_remove(at))
    }

    async fn open_plain(&self, host: &Host, target: &str) -> Result<SendRequest<Outgoing>, Error> {
        let url = format!("http://{}{target}", host.authority);
        let stream = dial(host, &url, 80).await?;
        handshake(TokioIo::new(stream), &url).await
    }

    async fn open_tls(&self, host: &Host, target: &str) -> Result<SendRequest<Outgoing>, Error> {
        let url = format!("https://{}{target}", host.authority);
        let config = self.tls_config(host)?;
        let stream = dial(host, &url, 443).await?;
        let name = split_port(&host.authority).0.trim_matches(['[', ']']).to_owned();
        let failed = |detail: String| Error::Tls { url: url.clone(), host: host.authority.clone(), detail };
        let server = rustls::pki_types::ServerName::try_from(name).map_err(|e| failed(e.to_string()))?;
        let connecting = tokio_rustls::TlsConnector::from(config).connect(server, stream);
        let stream = tokio::time::timeout(CONNECT, connecting).await;
        let stream = stream.map_err(|_| failed("handshake timed out".into()))?;
        let stream = stream.map_err(|e| match e.to_string() {
            // docker's words; what rustls says of it helps nobody.
            text if text.contains("InvalidContentType") => {
                failed("server gave HTTP response to HTTPS client".into())
            }
            text => failed(text),
        })?;
        handshake(TokioIo::new(stream), &url).await
    }

    fn tls_config(&self, host: &Host) -> Result<Arc<rustls::ClientConfig>, Error> {
        let verify = host.security == Security::Tls;
        let key = (host.authority.clone(), verify);
        let mut cached = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = cached.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = tls::config(&host.authority, &self.certificate_dirs, verify)?;
        cached.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

async fn dial(host: &Host, url: &str, default_port: u16) -> Result<TcpStream, Error> {
    let (name, port) = split_port(&host.authority);
    let addresses = dns::lookup(name).await;
    let addresses =
        addresses.map_err(|detail| Error::Lookup { url: url.into(), host: name.to_owned(), detail })?;
    let mut trouble = (String::new(), std::io::Error::from(std::io::ErrorKind::AddrNotAvailable));
    for address in addresses {
        let address = SocketAddr::new(address, port.unwrap_or(default_port));
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // The first address's trouble is the one to tell.
            Ok(Err(error)) if trouble.0.is_empty() => trouble = (address.to_string(), error),
            Err(_) if trouble.0.is_empty() => {
                trouble = (address.to_string(), std::io::ErrorKind::TimedOut.into())
            }
            _ => {}
        }
    }
    let (address, source) = trouble;
    Err(Error::Connect { url: url.into(), address, source: plain(source) })
}

/// The kernel's words without "(os error N)".
fn plain(error: std::io::Error) -> std::io::Error {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => std::io::Error::new(error.kind(), "connection refused"),
        std::io::ErrorKind::TimedOut => std::io::Error::new(error.kind(), "i/o timeout"),
        _ => error,
    }
}

async fn handshake<T>(io: T, url: &str) -> Result<SendRequest<Outgoing>, Error>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(io).await;
    let (sender, connection) = shaken.map_err(|e| Error::Http { url: url.into(), detail: e.to_string() })?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The host and path a Location header means, seen from `from`.
pub(crate) fn resolve(from: &Host, location: &str) -> Option<(Host, String)> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some((from.clone(), location.to_owned()));
    }
    let uri: Uri = location.parse().ok()?;
    let authority = uri.authority()?.as_str().to_owned();
    let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let security = match uri.scheme_str()? {
        "https" if authority == from.authority => from.security,
        "https" if from.security == Security::Lax => Security::Lax,
        "https" => Security::Tls,
        // Never from TLS down to plain HTTP.
        "http" if from.security == Security::Tls => return None,
        "http" if authority == from.authority => from.security,
        "http" => Security::Plain,
        _ => return None,
    };
    Some((Host { authority, security }, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_safe() {
        let host = |authority: &str, security| Host { authority: authority.into(), security };
        let from = host("r.example", Security::Tls);
        assert_eq!(resolve(&from, "/v2/x?a=b"), Some((from.clone(), "/v2/x?a=b".into())));
        assert_eq!(
            resolve(&from, "https://cdn.example/b"),
            Some((host("cdn.example", Security::Tls), "/b".into()))
        );
        assert_eq!(resolve(&from, "http://cdn.example/b"), None);
        assert_eq!(resolve(&from, "ftp://x/y"), None);
        assert_eq!(resolve(&from, "//cdn.example/b"), None);
    }
}
