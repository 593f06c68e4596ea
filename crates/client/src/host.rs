//! Where the engine listens, and connections to it.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Result};
use crate::ssh::{Remote, SshStream};

/// A daemon's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// `name:port`.
    Tcp(String),
    /// Behind ssh.
    Ssh(Remote),
}

impl Host {
    /// Reads `unix:///path`, `tcp://host[:port]`, `ssh://[user@]host[:port][/path]`, `/path` or
    /// `host:port`.
    ///
    /// # Errors
    /// [`Error::Host`] for other schemes, [`Error::SshHost`].
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::Host(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            Some(split) => split,
            None if text.starts_with('/') => ("unix", text),
            None if text.contains(':') => ("tcp", text),
            None => return Err(bad()),
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix("/var/run/docker.sock".into())),
            "unix" => Ok(Self::Unix(rest.into())),
            "ssh" => Remote::parse(rest).map(Self::Ssh),
            "tcp" | "http" | "https" => {
                let rest = rest.trim_end_matches('/');
                let rest = if rest.is_empty() { "localhost" } else { rest };
                let bare = rest.rsplit_once(']').map_or(rest, |(_, tail)| tail);
                if bare.contains(':') {
                    Ok(Self::Tcp(rest.to_owned()))
                } else {
                    Ok(Self::Tcp(format!("{rest}:2375")))
                }
            }
            _ => Err(bad()),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix://{}", path.display()),
            Self::Tcp(address) => write!(out, "tcp://{address}"),
            Self::Ssh(remote) => remote.fmt(out),
        }
    }
}

/// A connected stream.
#[derive(Debug)]
#[allow(missing_docs, reason = "named by their variants")]
pub enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Ssh(SshStream),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Denied`] or [`Error::Tls`].
    pub async fn open(host: &Host, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Self> {
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::PermissionDenied => Error::Denied { host: host.to_string() },
            _ => Error::Connect { host: host.to_string(), cause },
        };
        match host {
            Host::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await.map_err(failed)?)),
            Host::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                stream.set_nodelay(true)?;
                let Some(config) = tls else {
                    return Ok(Self::Tcp(stream));
                };
                let name = address.rsplit_once(':').map_or(address.as_str(), |(name, _)| name);
                let name = name.trim_matches(['[', ']']).to_owned();
                let name = rustls::pki_types::ServerName::try_from(name)
                    .map_err(|cause| Error::Tls(cause.to_string()))?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                let stream =
                    connector.connect(name, stream).await.map_err(|cause| Error::Tls(cause.to_string()))?;
                Ok(Self::Tls(Box::new(stream)))
            }
            Host::Ssh(remote) => Ok(Self::Ssh(crate::ssh::open(remote, crate::ssh::PROGRAMS[0])?.0)),
        }
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self.get_mut() {
            Connection::Unix($stream) => $body,
            Connection::Tcp($stream) => $body,
            Connection::Tls($stream) => $body,
            Connection::Ssh($stream) => $body,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_must_be_read_as_docker_reads_them() {
        assert_eq!(Host::parse("unix:///x").unwrap(), Host::Unix("/x".into()));
        assert_eq!(Host::parse("tcp://h").unwrap(), Host::Tcp("h:2375".into()));
        assert_eq!(Host::parse("tcp://[::1]:80/").unwrap(), Host::Tcp("[::1]:80".into()));
        assert_eq!(Host::parse("h:1").unwrap(), Host::Tcp("h:1".into()));
        assert!(Host::parse("bogus").is_err());
        assert!(Host::parse("ftp://h").is_err());
    }
}
