//! Authorisation plugins: every request, and every answer, is shown to each of them before it has its effect.
//!
//! What always holds: a plugin sees the bytes that the handler reads, and no others. The body is collected once, and
//! the handler is given what was collected; how the client framed it (chunked, with a length of nothing, with another
//! media type) makes no difference (CVE-2024-41110). One too large to be shown is refused. Left out are the archives
//! of [`STREAMED`] routes, which the engine itself takes apart as they come, and the password of a login. A plugin that
//! fails denies.

mod certificate;
mod plugin;

use crate::body::{Answer, Sent, full};
use crate::error::Failure;
use crate::route::Route;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, Request, StatusCode};
use plugin::Plugin;
use proa_docker_api::{AuthorizationRequest, AuthorizationResponse};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Largest body that is shown to plugins.
const SHOWN: usize = 1 << 20;
/// How long the rest of a body that is refused is taken, so that the client hears why.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a plugin may take to come up after the daemon.
const STARTING: Duration = Duration::from_secs(5);

/// Routes whose bodies are archives: method and pattern.
const STREAMED: [(&str, &str); 7] = [
    ("POST", "/build"),
    ("POST", "/images/create"),
    ("POST", "/images/load"),
    ("PUT", "/containers/{id}/archive"),
    ("POST", "/plugins/create"),
    ("POST", "/session"),
    ("POST", "/grpc"),
];

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Certificates (DER) that were verified, the client's own first.
    pub certificates: Vec<Vec<u8>>,
}

/// The plugins that requests are shown to, in their order.
#[derive(Debug, Default)]
pub struct Authorization(RwLock<Arc<Vec<Plugin>>>);

/// Plugins that took part in a request, and what they were shown.
pub(crate) struct Asked {
    plugins: Arc<Vec<Plugin>>,
    shown: AuthorizationRequest,
}

impl Authorization {
    /// Finds the plugins and makes sure that each is one for authorisation.
    ///
    /// # Errors
    /// In words, with the plugin's name.
    pub async fn load(&self, names: &[String]) -> Result<(), String> {
        let mut plugins: Vec<Plugin> = Vec::new();
        let end = Instant::now() + STARTING;
        for name in names {
            if plugins.iter().any(|plugin| plugin.name() == name) {
                continue;
            }
            let plugin = loop {
                match Plugin::activate(name).await {
                    Ok(plugin) => break plugin,
                    Err(error) if Instant::now() > end => {
                        return Err(format!("Error validating authorization plugin: {name}: {error}"));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            };
            plugins.push(plugin);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plugins);
        Ok(())
    }

    /// Names, for `info`.
    pub(crate) fn names(&self) -> Vec<String> {
        self.plugins().iter().map(|plugin| plugin.name().to_owned()).collect()
    }

    fn plugins(&self) -> Arc<Vec<Plugin>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows a request to all plugins, if there are any.
    ///
    /// # Errors
    /// 403 when one denies, 500 when one fails.
    pub(crate) async fn ask(
        &self,
        request: Request<Incoming>,
        route: &Route,
        peer: &Peer,
    ) -> Result<(Request<Sent>, Option<Asked>), Failure> {
        let plugins = self.plugins();
        if plugins.is_empty() {
            return Ok((request.map(Either::Left), None));
        }
        let user = peer.certificates.first().and_then(|der| certificate::common_name(der));
        let mut shown = AuthorizationRequest {
            user_authn_method: if user.is_some() { "TLS".into() } else { String::new() },
            user: user.unwrap_or_default(),
            request_method: request.method().to_string(),
            request_uri: request.uri().to_string(),
            request_headers: headers(request.headers()),
            request_peer_certificates: peer.certificates.iter().map(|der| certificate::pem(der)).collect(),
            ..AuthorizationRequest::default()
        };
        let streamed = STREAMED.iter().any(|(method, pattern)| route.is(method, pattern));
        let request = if streamed {
            request.map(Either::Left)
        } else {
            let (head, body) = request.into_parts();
            let bytes = collect(body).await?;
            if !route.is("POST", "/auth") {
                shown.request_body = encode(&bytes);
            }
            Request::from_parts(head, Either::Right(Full::new(bytes)))
        };
        for plugin in plugins.iter() {
            judge(plugin, plugin.ask("AuthZPlugin.AuthZReq", &shown).await)?;
        }
        Ok((request, Some(Asked { plugins, shown })))
    }
}

impl Asked {
    /// Shows the answer to all plugins. Of one that is written as it is made they see the head.
    ///
    /// # Errors
    /// 403 when one denies, 500 when one fails.
    pub(crate) async fn confirm(mut self, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        let mut answer = answer.unwrap_or_else(|failure| failure.answer());
        self.shown.response_status_code = answer.status().as_u16();
        self.shown.response_headers = headers(answer.headers());
        if answer.body().size_hint().exact().is_some() {
            let (head, body) = answer.into_parts();
            let bytes = body.collect().await.map(http_body_util::Collected::to_bytes);
            let bytes = bytes.map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
            self.shown.response_body = encode(&bytes);
            answer = Answer::from_parts(head, full(bytes));
        }
        for plugin in self.plugins.iter() {
            judge(plugin, plugin.ask("AuthZPlugin.AuthZRes", &self.shown).await)?;
        }
        Ok(answer)
    }
}

/// What a plugin says counts only if it says that it allows.
fn judge(plugin: &Plugin, said: Result<AuthorizationResponse, String>) -> Result<(), Failure> {
    let name = plugin.name();
    let failed = |error: String| {
        let message = format!("plugin {name} failed with error: {error}");
        Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message))
    };
    match said {
        Err(error) => failed(error),
        Ok(said) if !said.err.is_empty() => failed(said.err),
        Ok(said) if !said.allow => {
            let message = format!("authorization denied by plugin {name}: {}", said.msg);
            Err(Failure::new(StatusCode::FORBIDDEN, message))
        }
        Ok(_) => Ok(()),
    }
}

/// The whole body, of whatever framing.
async fn collect(mut body: Incoming) -> Result<Bytes, Failure> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failure::bad(format!("the request body broke: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > SHOWN {
            let rest = async { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
            let _ = tokio::time::timeout(PATIENCE, rest).await;
            let message = format!(
                "authorization denied: the request body is larger than the {} MiB that authorization plugins are shown",
                SHOWN >> 20
            );
            return Err(Failure::new(StatusCode::FORBIDDEN, message));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Headers as Go writes them, without those that carry credentials of registries.
fn headers(map: &HeaderMap) -> BTreeMap<String, String> {
    let secret = |name: &str| matches!(name, "x-registry-auth" | "x-registry-config");
    let shown = map.iter().filter(|(name, _)| !secret(name.as_str()));
    shown
        .map(|(name, value)| {
            (canonical(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// `content-type` is `Content-Type`.
fn canonical(name: &str) -> String {
    let mut start = true;
    let upper = |c: char| {
        let upper = if start { c.to_ascii_uppercase() } else { c };
        start = c == '-';
        upper
    };
    name.chars().map(upper).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn headers_are_written_as_go_does() {
        let mut map = hyper::HeaderMap::new();
        for (name, value) in [("content-type", "a"), ("x-registry-auth", "secret"), ("host", "docker")] {
            map.insert(name, value.parse().unwrap());
        }
        let shown = super::headers(&map);
        let keys: Vec<&str> = shown.keys().map(String::as_str).collect();
        assert_eq!(keys, ["Content-Type", "Host"]);
    }
}
