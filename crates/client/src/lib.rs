//! A client of the Docker Engine API: one reused connection for plain requests, one more for
//! every hijacked or long stream. It knows HTTP and the versions, not the commands.

mod error;
mod host;
mod ssh;
mod stream;
mod tls;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{Error, Result};
pub use host::{Connection, Host};
pub use hyper::Method as Verb;
pub use rustls;
pub use ssh::{Remote, SshStream};
pub use stream::{BodyStream, Hijacked, Lines, file_body, made_body};
pub use tls::TlsOptions;

/// A request body.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// A whole body in memory.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A client of one engine. Not shared among threads.
pub struct Client {
    host: Host,
    tls: Option<Arc<rustls::ClientConfig>>,
    version: RefCell<String>,
    idle: RefCell<Option<SendRequest<Body>>>,
    pinged: Cell<bool>,
    headers: RefCell<Vec<(String, String)>>,
    /// Which program answers behind ssh, and the end of the last ssh.
    program: Cell<usize>,
    ended: RefCell<Option<ssh::End>>,
}

/// What a `_ping` tells.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "named by their fields")]
pub struct Ping {
    pub api_version: String,
    pub os_type: String,
}

impl Client {
    /// A client of `host`; nothing is connected yet.
    #[must_use]
    pub fn new(host: Host, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self {
            host,
            tls,
            version: RefCell::new(proa_docker_api::API_VERSION.to_owned()),
            idle: RefCell::new(None),
            pinged: Cell::new(false),
            headers: RefCell::new(Vec::new()),
            program: Cell::new(0),
            ended: RefCell::new(None),
        }
    }

    /// The engine's address.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The API version requests are made with.
    #[must_use]
    pub fn version(&self) -> String {
        self.version.borrow().clone()
    }

    /// Uses another version (`DOCKER_API_VERSION`).
    pub fn set_version(&self, version: &str) {
        version.trim_start_matches('v').clone_into(&mut self.version.borrow_mut());
        self.pinged.set(true);
    }

    /// Sends these headers with every request too (`HttpHeaders` of the client's configuration).
    pub fn set_headers(&self, headers: Vec<(String, String)>) {
        self.headers.replace(headers);
    }

    /// Lowers the version to what the daemon speaks.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn negotiate(&self) -> Result<Ping> {
        let response = match self.send_raw(Method::GET, "/_ping", &[], full("")).await {
            Err(cause) => self.ask_next(cause).await?,
            response => response?,
        };
        let header = |name: &str| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        let ping = Ping { api_version: header("api-version"), os_type: header("ostype") };
        let _ = response.into_body().collect().await;
        if !self.pinged.replace(true)
            && !ping.api_version.is_empty()
            && number(&ping.api_version) < number(&self.version())
        {
            self.version.replace(ping.api_version.clone());
        }
        Ok(ping)
    }

    /// Pings again where the machine behind ssh lacks the program that was asked for.
    async fn ask_next(&self, cause: Error) -> Result<Response<Incoming>> {
        let next = self.program.get() + 1;
        let Error::Ssh { status, .. } = &cause else { return Err(cause) };
        if !status.ends_with(ssh::NOT_FOUND) || next >= ssh::PROGRAMS.len() {
            return Err(cause);
        }
        self.program.set(next);
        // the first complaint says what the other machine has not
        self.send_raw(Method::GET, "/_ping", &[], full("")).await.map_err(|_| cause)
    }

    /// Opens a bare connection.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn open(&self) -> Result<Connection> {
        let Host::Ssh(remote) = &self.host else {
            return Connection::open(&self.host, self.tls.as_ref()).await;
        };
        let program = ssh::PROGRAMS.get(self.program.get()).unwrap_or(&ssh::PROGRAMS[0]);
        let (stream, end) = ssh::open(remote, program)?;
        self.ended.replace(Some(end));
        Ok(Connection::Ssh(stream))
    }

    /// Why a request failed: where ssh ended, it knows better.
    async fn cause(&self, cause: hyper::Error) -> Error {
        let end = self.ended.take();
        let ended = match end {
            Some(end) => end.soon().await,
            None => None,
        };
        ended.map_or(Error::Http(cause), ssh::Ended::error)
    }

    async fn connect(&self) -> Result<SendRequest<Body>> {
        let connection = self.open().await?;
        let (sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(driver.with_upgrades());
        Ok(sender)
    }

    /// Connects now, so that a failure is told before anything is done.
    ///
    /// # Errors
    /// Nothing answers.
    pub async fn probe(&self) -> Result<()> {
        let sender = self.connect().await?;
        self.idle.replace(Some(sender));
        Ok(())
    }

    async fn sender(&self) -> Result<SendRequest<Body>> {
        let idle = self.idle.take();
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.connect().await
    }

    async fn send_raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Response<Incoming>> {
        let mut sender = self.sender().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "docker")
            .header("User-Agent", "Proa-Client");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in self.headers.borrow().iter() {
            request = request.header(name, value);
        }
        let response = match sender.send_request(request.body(body)?).await {
            Ok(response) => response,
            Err(cause) => return Err(self.cause(cause).await),
        };
        if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
            self.idle.replace(Some(sender));
        }
        Ok(response)
    }

    /// Sends a request; `path` begins behind the version. An error answer becomes [`Error::Daemon`].
    ///
    /// # Errors
    /// The daemon's, or the connection's.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Response<Incoming>> {
        let path = format!("/v{}{path}", self.version.borrow());
        let response = self.send_raw(method, &path, headers, body).await?;
        let status = response.status();
        if status.as_u16() < 400 {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await?.to_bytes();
        let message = match serde_json::from_slice::<proa_docker_api::ErrorResponse>(&bytes) {
            Ok(error) if !error.message.is_empty() => error.message,
            _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
        };
        let message =
            if message.is_empty() { format!("request returned {status} for {path}") } else { message };
        Err(Error::Daemon { status: status.as_u16(), message })
    }

    /// The whole answer of a request as bytes; `json` is the body, empty for none.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn bytes(&self, method: Method, path: &str, json: Vec<u8>) -> Result<Bytes> {
        let headers: &[(&str, &str)] =
            if json.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
        let response = self.send(method, path, headers, full(json)).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// A document.
    ///
    /// # Errors
    /// As [`Client::send`], or the answer is another document.
    pub async fn fetch<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        Ok(serde_json::from_slice(&self.bytes(Method::GET, path, Vec::new()).await?)?)
    }

    /// Posts without a body and drops the answer.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn post(&self, path: &str) -> Result<()> {
        self.bytes(Method::POST, path, Vec::new()).await.map(drop)
    }

    /// Posts a document and reads one.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub async fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        Ok(serde_json::from_slice(&self.bytes(Method::POST, path, serde_json::to_vec(body)?).await?)?)
    }

    /// Deletes.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn delete(&self, path: &str) -> Result<Bytes> {
        self.bytes(Method::DELETE, path, Vec::new()).await
    }

    /// A header of the answer to `HEAD`; none if it has none.
    ///
    /// # Errors
    /// As [`Client::send`]; the answer to `HEAD` has no text of its own.
    pub async fn head(&self, path: &str, header: &str) -> Result<Option<String>> {
        let response = self.send(Method::HEAD, path, &[], full("")).await?;
        let value = response.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let _ = response.into_body().collect().await;
        Ok(value)
    }

    /// A streamed answer with one of its headers, on a connection of its own.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn stream_with(&self, path: &str, header: &str) -> Result<(Option<String>, BodyStream)> {
        let response = self.send(Method::GET, path, &[], full("")).await?;
        drop(self.idle.take());
        let value = response.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((value, BodyStream::new(response.into_body())))
    }

    /// A streamed answer, on a connection of its own.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn stream(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<BodyStream> {
        let response = self.send(method, path, headers, body).await?;
        drop(self.idle.take());
        Ok(BodyStream::new(response.into_body()))
    }

    /// Takes over the connection as a raw stream in both directions.
    ///
    /// # Errors
    /// As [`Client::send`]; a daemon that does not switch is an error too.
    pub async fn hijack(&self, path: &str, json: Vec<u8>) -> Result<Hijacked> {
        let kept = self.idle.take();
        let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Type", "application/json")];
        let response = self.send(Method::POST, path, &headers, full(json)).await;
        drop(self.idle.take());
        self.idle.replace(kept);
        Hijacked::take(response?).await
    }
}

fn number(version: &str) -> (u32, u32) {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

/// Escapes text for a query's value or one part of a path.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_must_compare_as_numbers_and_text_be_escaped() {
        assert!(super::number("1.9") < super::number("1.41"));
        assert_eq!(super::escape("a b/c"), "a%20b%2Fc");
    }
}
