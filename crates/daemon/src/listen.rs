//! Sockets the daemon listens on: unix, tcp with or without TLS, and those that systemd opened.
//!
//! A socket file that nothing answers is stale and replaced; a live one is never touched. At the end only files that
//! are still ours are removed.

use crate::config::{Config, Tls};
use crate::error::Error;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The default socket of the daemon with the default roots.
pub(crate) const OWN_SOCKET: &str = "/run/proa/proa.sock";
/// Where stock clients look.
pub(crate) const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// Longest a client may take for its TLS handshake.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// An open socket.
pub(crate) struct Listener {
    /// As a user writes it: `unix:///run/proa/proa.sock`.
    pub(crate) address: String,
    socket: Socket,
    /// Removed with the listener.
    _file: Option<SocketFile>,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
}

/// A socket file that we made.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A connection of any kind.
pub(crate) enum Stream {
    /// A unix socket.
    Unix(UnixStream),
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that was accepted; with TLS, the handshake is still to come.
pub(crate) enum Incoming {
    /// Ready.
    Ready(Stream),
    /// TLS over this.
    Tls(TcpStream, TlsAcceptor),
}

impl Incoming {
    /// The stream, after the handshake. To be awaited in the connection's own task: a silent client holds up nobody.
    pub(crate) async fn stream(self) -> std::io::Result<Stream> {
        match self {
            Self::Ready(stream) => Ok(stream),
            Self::Tls(stream, acceptor) => {
                let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
                Ok(Stream::Tls(Box::new(shaken.await.map_err(|_| std::io::ErrorKind::TimedOut)??)))
            }
        }
    }
}

impl Stream {
    /// The verified certificates of the client (DER), its own first.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        let Self::Tls(stream) = self else { return Vec::new() };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        chain.iter().map(|certificate| certificate.to_vec()).collect()
    }
}

impl Listener {
    /// The next connection.
    pub(crate) async fn accept(&self) -> std::io::Result<Incoming> {
        match &self.socket {
            Socket::Unix(socket) => Ok(Incoming::Ready(Stream::Unix(socket.accept().await?.0))),
            Socket::Tcp(socket) => Ok(Incoming::Ready(Stream::Tcp(tcp(socket).await?))),
            Socket::Tls(socket, acceptor) => Ok(Incoming::Tls(tcp(socket).await?, acceptor.clone())),
        }
    }
}

async fn tcp(socket: &TcpListener) -> std::io::Result<TcpStream> {
    let stream = socket.accept().await?.0;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens every socket of the configuration.
pub(crate) fn open(config: &Config) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    if config.hosts.is_empty() {
        return defaults(config);
    }
    for host in &config.hosts {
        match host.split_once("://") {
            Some(("unix", path)) => listeners.push(unix(Path::new(path), config)?),
            Some(("tcp", address)) => listeners.push(tcp_socket(address, config)?),
            Some(("fd", _)) => listeners.extend(activated(config)?),
            None if host.starts_with('/') => listeners.push(unix(Path::new(host), config)?),
            _ => {
                let detail = "invalid address: write unix://PATH, tcp://ADDRESS:PORT or fd://".into();
                return Err(Error::Listen { address: host.clone(), detail });
            }
        }
    }
    Ok(listeners)
}

/// Our own socket, and docker's where nothing answers and this is the host's main daemon.
fn defaults(config: &Config) -> Result<Vec<Listener>, Error> {
    if !config.has_default_roots() {
        return Ok(vec![unix(&config.exec_root.join("proa.sock"), config)?]);
    }
    let mut listeners = vec![unix(Path::new(OWN_SOCKET), config)?];
    match unix(Path::new(DOCKER_SOCKET), config) {
        Ok(listener) => listeners.push(listener),
        Err(error) => tracing::info!("not listening for stock clients: {error}"),
    }
    Ok(listeners)
}

fn unix(path: &Path, config: &Config) -> Result<Listener, Error> {
    let address = format!("unix://{}", path.display());
    let failed = |detail: String| Error::Listen { address: address.clone(), detail };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    clear_stale(path).map_err(failed)?;
    let socket = UnixListener::bind(path).map_err(|e| failed(e.to_string()))?;
    let meta = std::fs::symlink_metadata(path).map_err(Error::io(path))?;
    let file = SocketFile { path: path.into(), inode: meta.ino() };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(Error::io(path))?;
    if let Some(gid) = group(config)? {
        std::os::unix::fs::chown(path, None, Some(gid)).map_err(Error::io(path))?;
    }
    Ok(Listener { address, socket: Socket::Unix(socket), _file: Some(file) })
}

/// Removes a socket that nothing answers.
fn clear_stale(path: &Path) -> Result<(), String> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err("there is a file of that name that is not a socket".into());
    }
    // What a killed daemon was starting holds its sockets for a moment, until it execs.
    for _ in 0..60 {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
            // Anything else may be a daemon that is only busy.
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => {
                return Err(error.to_string());
            }
            Err(_) => return std::fs::remove_file(path).map_err(|e| e.to_string()),
        }
    }
    Err("another daemon answers there".into())
}

/// The group that may use the socket: the one asked for, else `proa`, else `docker`.
fn group(config: &Config) -> Result<Option<u32>, Error> {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let Some(name) = &config.group else {
        return Ok(find_group(&text, "proa").or_else(|| find_group(&text, "docker")));
    };
    let found = name.parse().ok().or_else(|| find_group(&text, name));
    let missing =
        || Error::Value { option: "group", detail: format!("there is no group {name:?}: groupadd {name}") };
    found.ok_or_else(missing).map(Some)
}

fn find_group(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn tcp_socket(address: &str, config: &Config) -> Result<Listener, Error> {
    let shown = format!("tcp://{address}");
    let failed = |detail: String| Error::Listen { address: shown.clone(), detail };
    let default_port = if config.tls.is_some() { 2376 } else { 2375 };
    let full = match address.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            format!("{}:{}", if host.is_empty() { "127.0.0.1" } else { host }, port)
        }
        _ => format!("{address}:{default_port}"),
    };
    let at: std::net::SocketAddr = full
        .replace("localhost", "127.0.0.1")
        .parse()
        .map_err(|_| failed("write an IP address and a port, as tcp://127.0.0.1:2376".into()))?;
    if config.tls.is_none() && !at.ip().is_loopback() {
        let why = "without --tlsverify everyone who reaches this address is root on this host: use TLS, or listen on 127.0.0.1";
        return Err(failed(why.into()));
    }
    let socket = std::net::TcpListener::bind(at).map_err(|e| failed(e.to_string()))?;
    socket.set_nonblocking(true).map_err(|e| failed(e.to_string()))?;
    let socket = TcpListener::from_std(socket).map_err(|e| failed(e.to_string()))?;
    let socket = match &config.tls {
        Some(tls) => Socket::Tls(socket, acceptor(tls)?),
        None => Socket::Tcp(socket),
    };
    Ok(Listener { address: shown, socket, _file: None })
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |e: String| Error::Part { part: "TLS", detail: format!("{}: {e}", path.display()) }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| bad(&tls.certificate)(e.to_string()))?;
    let builder = match &tls.authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(path)(e.to_string()))? {
                let certificate = certificate.map_err(|e| bad(path)(e.to_string()))?;
                roots.add(certificate).map_err(|e| bad(path)(e.to_string()))?;
            }
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build();
            builder.with_client_cert_verifier(verifier.map_err(|e| bad(path)(e.to_string()))?)
        }
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|e| bad(&tls.certificate)(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|e| bad(&tls.key)(e.to_string()))?;
    let config = builder.with_single_cert(chain, key).map_err(|e| bad(&tls.certificate)(e.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The sockets that systemd opened for us (sd_listen_fds(3)): from descriptor 3 on.
fn activated(config: &Config) -> Result<Vec<Listener>, Error> {
    let failed = |detail: &str| Error::Listen { address: "fd://".into(), detail: detail.into() };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let count = number("LISTEN_FDS").filter(|count| (1..64).contains(count));
    let ours = number("LISTEN_PID").is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()));
    let count = count.filter(|_| ours).ok_or_else(|| {
        failed("no socket was passed: start the daemon by its systemd socket unit, or use unix:// instead")
    })?;
    let mut listeners = Vec::new();
    for raw in 3..3 + count {
        let fd =
            proa_sys::inherited::descriptor(raw).ok_or_else(|| failed("a passed descriptor is not open"))?;
        listeners.push(adopt(fd, config).map_err(|e| failed(&e.to_string()))?);
    }
    Ok(listeners)
}

fn adopt(fd: OwnedFd, config: &Config) -> std::io::Result<Listener> {
    let unix = rustix::net::getsockname(&fd)?.address_family() == rustix::net::AddressFamily::UNIX;
    if unix {
        let socket = std::os::unix::net::UnixListener::from(fd);
        socket.set_nonblocking(true)?;
        let socket = Socket::Unix(UnixListener::from_std(socket)?);
        return Ok(Listener { address: "fd:// (unix)".into(), socket, _file: None });
    }
    let socket = std::net::TcpListener::from(fd);
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    let socket = match &config.tls {
        Some(tls) => Socket::Tls(socket, acceptor(tls).map_err(std::io::Error::other)?),
        None => Socket::Tcp(socket),
    };
    Ok(Listener { address: "fd:// (tcp)".into(), socket, _file: None })
}

/// Reads and writes go to whatever is inside.
macro_rules! inner {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Unix($stream) => $call,
            Stream::Tcp($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        inner!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        inner!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
