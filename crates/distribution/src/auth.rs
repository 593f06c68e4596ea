//! Authorisation: Basic, and Bearer tokens from the service that the registry names (distribution's token
//! specification). Tokens are kept for the life of the repository handle.

use crate::body;
use crate::host::{Host, Security, split_port};
use crate::transport::{Request, Transport, resolve};
use crate::{Access, Error};
use base64::Engine as _;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use proa_oci::Reference;
use std::sync::{Mutex, PoisonError};

/// What a user gave at `login`.
#[derive(Clone)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// User name.
        user: String,
        /// Password or access token.
        secret: String,
    },
    /// A token of the registry's identity service.
    IdentityToken(String),
    /// A ready bearer token.
    RegistryToken(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Adds the right header to requests of one repository, and asks for tokens when told to.
pub(crate) struct Authorizer {
    name: String,
    scope: String,
    credentials: Option<Credentials>,
    /// The header that each host accepted last.
    headers: Mutex<Vec<(String, String)>>,
}

/// What `WWW-Authenticate` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Authorizer {
    pub(crate) fn new(reference: &Reference, access: Access, credentials: Option<Credentials>) -> Self {
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        let scope = match reference.path.as_str() {
            "" => String::new(),
            path => format!("repository:{path}:{actions}"),
        };
        Self { name: reference.familiar_name(), scope, credentials, headers: Mutex::default() }
    }

    /// Sends a request with the header it needs, asking for a token once if the registry wants one.
    pub(crate) async fn send(
        &self,
        transport: &Transport,
        host: &Host,
        request: Request,
    ) -> Result<Response<Incoming>, Error> {
        let response = transport.send(host, self.sign(host, request.clone())).await?;
        if response.status().as_u16() != 401 {
            return Ok(response);
        }
        let Some(challenge) = challenge(&response) else { return Ok(response) };
        let Some(header) = self.answer(transport, host, challenge).await? else { return Ok(response) };
        self.remember(host, header);
        transport.send(host, self.sign(host, request)).await
    }

    fn remember(&self, host: &Host, header: String) {
        let mut headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        headers.retain(|(known, _)| *known != host.authority);
        headers.push((host.authority.clone(), header));
    }

    /// The request with the header that the host accepted last.
    pub(crate) fn sign(&self, host: &Host, request: Request) -> Request {
        let headers = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        match headers.iter().find(|(known, _)| *known == host.authority) {
            Some((_, header)) => request.header(AUTHORIZATION, header),
            None => request,
        }
    }

    async fn answer(
        &self,
        transport: &Transport,
        host: &Host,
        asked: Challenge,
    ) -> Result<Option<String>, Error> {
        match (asked, &self.credentials) {
            (Challenge::Basic, Some(Credentials::Password { user, secret })) => Ok(Some(basic(user, secret))),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { .. }, Some(Credentials::RegistryToken(token))) => {
                Ok(Some(format!("Bearer {token}")))
            }
            (Challenge::Bearer { realm, service, scope }, _) => {
                self.token(transport, host, &realm, &service, &scope).await.map(Some)
            }
        }
    }

    async fn token(
        &self,
        transport: &Transport,
        host: &Host,
        realm: &str,
        service: &str,
        asked: &str,
    ) -> Result<String, Error> {
        let refused = || Error::Realm { host: host.authority.clone(), realm: realm.to_owned() };
        let (to, path) = resolve(host, realm).ok_or_else(refused)?;
        let own = split_port(&to.authority).0 == split_port(&host.authority).0;
        if self.credentials.is_some() && to.security != Security::Tls && !own {
            return Err(refused());
        }
        let scope = if self.scope.is_empty() { asked } else { &self.scope };
        let mut query = format!("service={}", encode(service));
        if !scope.is_empty() {
            query = format!("{query}&scope={}", encode(scope));
        }
        let request = match &self.credentials {
            Some(Credentials::IdentityToken(token)) => {
                let form = format!(
                    "grant_type=refresh_token&client_id=proa&{query}&refresh_token={}",
                    encode(token)
                );
                let mut request = Request::new(hyper::Method::POST, &path);
                request.body = form.into();
                request.header(hyper::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            }
            Some(Credentials::Password { user, secret }) => {
                Request::get(join(&path, &format!("{query}&account={}", encode(user))))
                    .header(AUTHORIZATION, &basic(user, secret))
            }
            Some(Credentials::RegistryToken(_)) | None => Request::get(join(&path, &query)),
        };
        let response = transport.send(&to, request).await?;
        let (status, url) = (response.status().as_u16(), to.url(&path));
        if status != 200 {
            let detail = body::complaint(response.into_body(), &url).await;
            return match status {
                // Only at a login is it the password that is asked about: clients would ask for one otherwise.
                401 | 403 if self.scope.is_empty() => {
                    Err(Error::Unauthorized { name: self.name.clone(), detail })
                }
                401 | 403 => Err(Error::Denied { name: self.name.clone(), detail }),
                _ => Err(Error::Status { url, status, detail }),
            };
        }
        let bytes = body::collect(response.into_body(), &url, 1 << 20).await?;
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let token = json["token"].as_str().or_else(|| json["access_token"].as_str());
        let token =
            token.ok_or_else(|| Error::Document { name: url, detail: "the answer has no token".into() })?;
        Ok(format!("Bearer {token}"))
    }
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}")))
}

fn join(path: &str, query: &str) -> String {
    format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' })
}

/// Percent-encoding of everything that is not unreserved (RFC 3986).
pub(crate) fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn challenge(response: &Response<Incoming>) -> Option<Challenge> {
    let headers = response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
    let mut found: Vec<Challenge> = headers.filter_map(parse_challenge).collect();
    let bearer = found.iter().position(|c| matches!(c, Challenge::Bearer { .. })).unwrap_or(0);
    (!found.is_empty()).then(|| found.swap_remove(bearer))
}

/// One challenge (RFC 9110, section 11.6.1): a scheme and `name="value"` pairs.
fn parse_challenge(text: &str) -> Option<Challenge> {
    let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, String::new(), String::new());
    for (name, value) in pairs(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = value,
            "scope" => scope = value,
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

fn pairs(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim().trim_start_matches(',').trim().to_owned();
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        found.push((name, value.trim().to_owned()));
        text = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_challenge() {
        let seeds: [&[u8]; 2] = [
            br#"Bearer realm="https://a.example/token",service="r.example",scope="repository:x:pull,push""#,
            b"Basic realm=x",
        ];
        proa_fuzz::run("challenge", &seeds, |bytes| {
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            if let Some(Challenge::Bearer { realm, .. }) = parse_challenge(text) {
                let host = Host { authority: "r.example".into(), security: Security::Tls };
                let _ = resolve(&host, &realm);
            }
            assert!(encode(text).is_ascii());
        });
    }

    #[test]
    fn challenges_are_read() {
        let text =
            r#"Bearer realm="https://a.example/token",service="r.example",scope="repository:x:pull,push""#;
        let wanted = Challenge::Bearer {
            realm: "https://a.example/token".into(),
            service: "r.example".into(),
            scope: "repository:x:pull,push".into(),
        };
        assert_eq!(parse_challenge(text), Some(wanted));
        assert_eq!(parse_challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        for odd in ["", "Bearer", "Bearer realm", "Digest x=y", "Bearer =,=,="] {
            assert_eq!(parse_challenge(odd), None, "{odd}");
        }
        assert_eq!(encode("a:b c"), "a%3Ab%20c");
    }
}
