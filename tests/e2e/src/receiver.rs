//! Small receivers of logs: sockets of every kind that keep what they get.

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConnection, StreamOwned};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A socket that keeps what it gets until it is dropped.
pub struct Receiver {
    /// Its address, `HOST:PORT` or a path.
    pub address: String,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
}

/// How often a thread looks whether it is over.
const TICK: Duration = Duration::from_millis(20);

impl Receiver {
    /// Datagrams, on a port of the loopback.
    pub fn udp() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("udp: {e}"));
        let address = socket.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let _ = socket.set_read_timeout(Some(TICK));
        Self::reading(address, move |block| socket.recv(block))
    }

    /// Datagrams, on a path.
    pub fn unix_datagrams(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let _ = socket.set_read_timeout(Some(TICK));
        Self::reading(path.display().to_string(), move |block| socket.recv(block))
    }

    /// Streams, on a port of the loopback.
    pub fn tcp() -> Self {
        Self::tcp_at("127.0.0.1:0")
    }

    /// Streams, on this address.
    pub fn tcp_at(address: &str) -> Self {
        let listener =
            crate::command::until(&format!("{address} is free"), || TcpListener::bind(address).ok());
        let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let _ = listener.set_nonblocking(true);
        Self::accepting(address, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(TICK))?;
            Ok(stream)
        })
    }

    /// Streams, on a path.
    pub fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let _ = listener.set_nonblocking(true);
        Self::accepting(path.display().to_string(), move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(TICK))?;
            Ok(stream)
        })
    }

    /// Streams with TLS, on a port of the loopback; the certificate is one of `localhost`, and in `file`.
    pub fn tls(file: &Path) -> Self {
        let key = rcgen::KeyPair::generate().unwrap_or_else(|e| panic!("key: {e}"));
        let signed =
            rcgen::CertificateParams::new(vec!["localhost".into()]).and_then(|own| own.self_signed(&key));
        let signed = signed.unwrap_or_else(|e| panic!("certificate: {e}"));
        std::fs::write(file, signed.pem()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let own = PrivateKeyDer::try_from(key.serialize_der()).unwrap_or_else(|e| panic!("key: {e}"));
        let config =
            builder.and_then(|b| b.with_no_client_auth().with_single_cert(vec![signed.der().clone()], own));
        let config = Arc::new(config.unwrap_or_else(|e| panic!("tls: {e}")));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("tcp: {e}"));
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        let _ = listener.set_nonblocking(true);
        Self::accepting(format!("localhost:{port}"), move || {
            let (stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(TICK))?;
            let session = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
            Ok(StreamOwned::new(session, stream))
        })
    }

    fn new(address: String) -> Self {
        Self { address, got: Arc::default(), over: Arc::default() }
    }

    fn reading(
        address: String,
        mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize> + Send + 'static,
    ) -> Self {
        let receiver = Self::new(address);
        let (got, over) = (Arc::clone(&receiver.got), Arc::clone(&receiver.over));
        std::thread::spawn(move || keep(&got, &over, &mut read));
        receiver
    }

    fn accepting<S: Read + Send + 'static>(
        address: String,
        accept: impl Fn() -> std::io::Result<S> + Send + 'static,
    ) -> Self {
        let receiver = Self::new(address);
        let (got, over) = (Arc::clone(&receiver.got), Arc::clone(&receiver.over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok(mut stream) = accept() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                let (got, over) = (Arc::clone(&got), Arc::clone(&over));
                std::thread::spawn(move || {
                    keep(&got, &over, &mut |block| match stream.read(block) {
                        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                        other => other,
                    });
                });
            }
        });
        receiver
    }

    /// What came, datagram by datagram.
    pub fn packets(&self) -> Vec<Vec<u8>> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came, all in one.
    pub fn bytes(&self) -> Vec<u8> {
        self.packets().concat()
    }

    /// What came, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Waits until what came, as text, holds `wanted`; all of it.
    pub fn until(&self, wanted: &str) -> String {
        crate::command::until(&format!("{} gets {wanted:?}: {}", self.address, self.text()), || {
            Some(self.text()).filter(|text| text.contains(wanted))
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn keep(
    got: &Mutex<Vec<Vec<u8>>>,
    over: &AtomicBool,
    read: &mut dyn FnMut(&mut [u8]) -> std::io::Result<usize>,
) {
    let mut block = vec![0; 1 << 17];
    while !over.load(Ordering::Relaxed) {
        match read(&mut block) {
            Ok(n) => {
                let packet = block.get(..n).unwrap_or_default().to_vec();
                got.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
