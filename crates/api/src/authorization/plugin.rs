//! A plugin of docker's protocol: where it is found, and how it is asked (JSON over HTTP on its socket).

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use proa_docker_api::{AuthorizationRequest, AuthorizationResponse, PluginManifest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Where sockets are, and where files are that name an address.
const SOCKETS: &str = "/run/docker/plugins";
const SPECS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// Longest that a plugin may think.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer of a plugin.
const ANSWER: usize = 1 << 20;
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// A plugin.
#[derive(Debug)]
pub(super) struct Plugin {
    name: String,
    address: Address,
}

#[derive(Debug, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// A file that names a plugin's address, the longer kind.
#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct SpecFile {
    addr: String,
    #[serde(rename = "TLSConfig")]
    tls: Option<serde_json::Value>,
}

impl Plugin {
    /// Finds a plugin and asks it whether it is one for authorisation.
    pub(super) async fn activate(name: &str) -> Result<Self, String> {
        let plugin = Self { name: name.to_owned(), address: find(name)? };
        let manifest: PluginManifest = plugin.call("Plugin.Activate", None::<&()>).await?;
        if !manifest.implements.iter().any(|kind| kind == "authz") {
            return Err("plugin does not implement authz".into());
        }
        Ok(plugin)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Shows it a request or an answer.
    pub(super) async fn ask(
        &self,
        method: &str,
        shown: &AuthorizationRequest,
    ) -> Result<AuthorizationResponse, String> {
        self.call(method, Some(shown)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, String> {
        let called = async {
            match &self.address {
                Address::Unix(path) => {
                    let stream = tokio::net::UnixStream::connect(path).await;
                    exchange(stream.map_err(|e| format!("{}: {e}", path.display()))?, method, body).await
                }
                Address::Tcp(address) => {
                    let stream = tokio::net::TcpStream::connect(address).await;
                    exchange(stream.map_err(|e| format!("{address}: {e}"))?, method, body).await
                }
            }
        };
        let answered = tokio::time::timeout(TIMEOUT, called).await;
        answered.map_err(|_| format!("{method}: no answer within {} seconds", TIMEOUT.as_secs()))?
    }
}

/// One request on a connection of its own.
async fn exchange<S, T>(stream: S, method: &str, body: Option<&impl Serialize>) -> Result<T, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T: DeserializeOwned,
{
    let told = |e: &dyn std::fmt::Display| format!("{method}: {e}");
    let body = body.map(serde_json::to_vec).transpose().map_err(|e| told(&e))?.unwrap_or_default();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| told(&e))?;
    tokio::spawn(connection);
    let request = Request::post(format!("/{method}"))
        .header(HOST, "plugin")
        .header(ACCEPT, MEDIA_TYPE)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .body(Full::new(Bytes::from(body)));
    let answer = sender.send_request(request.map_err(|e| told(&e))?).await.map_err(|e| told(&e))?;
    let status = answer.status();
    let bytes = Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|e| told(&e))?.to_bytes();
    if !status.is_success() {
        return Err(format!("{method}: {status}: {}", String::from_utf8_lossy(&bytes).trim()));
    }
    serde_json::from_slice(&bytes).map_err(|e| told(&e))
}

/// The address of a plugin.
fn find(name: &str) -> Result<Address, String> {
    // It becomes a part of paths.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err("plugin not found".into());
    }
    for path in [format!("{SOCKETS}/{name}.sock"), format!("{SOCKETS}/{name}/{name}.sock")] {
        if Path::new(&path).exists() {
            return Ok(Address::Unix(path.into()));
        }
    }
    for dir in SPECS {
        for base in [format!("{dir}/{name}"), format!("{dir}/{name}/{name}")] {
            if let Ok(text) = std::fs::read_to_string(format!("{base}.spec")) {
                return address(text.trim());
            }
            if let Ok(text) = std::fs::read_to_string(format!("{base}.json")) {
                return described(&text);
            }
        }
    }
    Err(format!("plugin not found: there is no {SOCKETS}/{name}.sock, and no file that names its address"))
}

fn described(text: &str) -> Result<Address, String> {
    let file: SpecFile = serde_json::from_str(text).map_err(|e| format!("invalid plugin file: {e}"))?;
    if file.tls.is_some_and(|tls| tls.as_object().is_some_and(|fields| !fields.is_empty())) {
        return Err("TLSConfig of plugins is not supported by this version of Proa: use a unix socket".into());
    }
    address(&file.addr)
}

fn address(text: &str) -> Result<Address, String> {
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
        Some(("tcp" | "http", address)) if !address.is_empty() => {
            Ok(Address::Tcp(address.trim_end_matches('/').to_owned()))
        }
        _ => Err(format!("invalid plugin address {text:?}: write unix:///PATH or tcp://HOST:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("unix:///a/b.sock"), Ok(Address::Unix("/a/b.sock".into())));
        assert_eq!(address("tcp://127.0.0.1:5/"), Ok(Address::Tcp("127.0.0.1:5".into())));
        for text in ["", "unix://a", "file:///x", "/a"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(described(r#"{"Name":"a","Addr":"unix:///a"}"#), Ok(Address::Unix("/a".into())));
        assert!(described(r#"{"Addr":"unix:///a","TLSConfig":{"CAFile":"x"}}"#).is_err());
    }

    #[test]
    fn names_are_no_paths() {
        for name in ["", "..", "../x", "a/b", ".hidden"] {
            assert!(find(name).is_err(), "{name}");
        }
    }
}
