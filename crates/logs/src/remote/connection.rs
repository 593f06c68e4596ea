//! A connection to a receiver. Its socket waits for a second at most, so that whoever sends can look around.

use super::address::Address;
use super::{Packets, msgpack};
use crate::Error;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustls::{ClientConnection, StreamOwned};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Time after which a call of the kernel's returns, whatever the receiver does.
const TICK: Duration = Duration::from_secs(1);
/// Where a machine's syslog daemon may listen.
const LOCAL_SYSLOG: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Where the journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// A connection to a receiver.
pub(crate) struct Connection(Link);

enum Link {
    Udp(UdpSocket),
    Datagram(UnixDatagram),
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Peer`], in the words of docker's.
    pub(crate) fn open(address: &Address) -> Result<Self, Error> {
        Ok(Self(match address {
            Address::Udp(host) => Link::Udp(udp(host)?),
            Address::Tcp(host) => Link::Tcp(tcp(host)?),
            Address::Tls(host, files) => {
                let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                let mut stream = StreamOwned::new(files.connection(name)?, tcp(host)?);
                let end = Instant::now() + CONNECT;
                while stream.conn.is_handshaking() {
                    match stream.conn.complete_io(&mut stream.sock) {
                        Ok(_) => {}
                        Err(error) if waits(&error) && Instant::now() < end => {}
                        Err(error) => return Err(peer(format!("dial tcp {host}"))(error)),
                    }
                }
                Link::Tls(Box::new(stream))
            }
            Address::Unix(path) => Link::Unix(unix(path)?),
            Address::UnixDatagram(path) => Link::Datagram(datagram(path)?),
            Address::LocalSyslog => local_syslog()?,
            Address::Journal => Link::Datagram(
                datagram(Path::new(JOURNAL))
                    .map_err(|_| Error::value("journald is not enabled on this host"))?,
            ),
        }))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Link::Udp(socket) => socket.as_fd(),
            Link::Datagram(socket) => socket.as_fd(),
            Link::Tcp(socket) => socket.as_fd(),
            Link::Unix(socket) => socket.as_fd(),
            Link::Tls(stream) => stream.sock.as_fd(),
        }
    }

    /// Whether the receiver has closed it, so that what is written now would be lost.
    pub(crate) fn is_closed(&self) -> bool {
        if matches!(self.0, Link::Udp(_) | Link::Datagram(_)) {
            return false;
        }
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Sends packets, the first `sent` of which have been, and counts in it those that are on their way. `go_on` is
    /// asked whenever the receiver lets this side wait.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) fn send(
        &mut self,
        packets: &Packets,
        sent: &mut usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> io::Result<()> {
        for packet in packets.from(*sent).collect::<Vec<_>>().chunks(64) {
            match &mut self.0 {
                Link::Udp(socket) => each(packet, sent, go_on, &mut |bytes| socket.send(bytes))?,
                Link::Datagram(socket) => each(packet, sent, go_on, &mut |bytes| match socket.send(bytes) {
                    Err(error) if too_long(&error) => in_a_file(socket.as_fd(), bytes),
                    other => other,
                })?,
                Link::Tcp(stream) => whole(stream, packet, sent, go_on)?,
                Link::Unix(stream) => whole(stream, packet, sent, go_on)?,
                Link::Tls(stream) => whole(stream, packet, sent, go_on)?,
            }
        }
        Ok(())
    }

    /// Waits until the receiver has acknowledged every token.
    ///
    /// # Errors
    /// It has not, in time.
    pub(crate) fn await_answers(&mut self, tokens: &[String], within: Duration) -> io::Result<()> {
        let end = Instant::now() + within;
        let mut open: BTreeSet<&str> = tokens.iter().map(String::as_str).collect();
        let (mut held, mut block) = (Vec::new(), [0; 4096]);
        while !open.is_empty() {
            while let Some((token, length)) = msgpack::value_of(&held, "ack") {
                held.drain(..length);
                open.remove(token.as_str());
            }
            if open.is_empty() {
                break;
            }
            let read = match &mut self.0 {
                Link::Tcp(stream) => stream.read(&mut block),
                Link::Unix(stream) => stream.read(&mut block),
                Link::Tls(stream) => stream.read(&mut block),
                Link::Udp(_) | Link::Datagram(_) => return Ok(()),
            };
            match read {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => held.extend_from_slice(block.get(..n).unwrap_or_default()),
                Err(error) if waits(&error) && Instant::now() < end => {}
                Err(error) => return Err(error),
            }
            if held.len() > 1 << 16 {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn too_long(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MSGSIZE | Errno::NOBUFS))
}

/// Sends datagrams one by one. One that no datagram has room for is passed over.
fn each(
    packets: &[&[u8]],
    sent: &mut usize,
    go_on: &mut dyn FnMut() -> bool,
    send: &mut dyn FnMut(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    for packet in packets {
        loop {
            match send(packet) {
                Ok(_) => break,
                Err(error) if too_long(&error) => break,
                Err(error) if waits(&error) && go_on() => {}
                Err(error) => return Err(error),
            }
        }
        *sent += 1;
    }
    Ok(())
}

/// Writes packets to a stream, as one run of bytes.
fn whole(
    stream: &mut dyn Write,
    packets: &[&[u8]],
    sent: &mut usize,
    go_on: &mut dyn FnMut() -> bool,
) -> io::Result<()> {
    let all = packets.concat();
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if waits(&error) && go_on() => {}
            Err(error) => return Err(error),
        }
    }
    loop {
        match stream.flush() {
            Ok(()) => break,
            Err(error) if waits(&error) && go_on() => {}
            Err(error) => return Err(error),
        }
    }
    *sent += packets.len();
    Ok(())
}

/// Sends what no datagram has room for in a sealed file beside an empty one, as the journal takes it.
fn in_a_file(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file = rustix::fs::memfd_create("journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [file.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(bytes.len())
}

/// An error as Go tells it.
fn peer(call: String) -> impl Fn(io::Error) -> Error {
    move |source| {
        let text = source.to_string();
        let text = text.split(" (os error").next().unwrap_or(&text);
        let mut chars = text.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        let text: String = first.into_iter().chain(chars).collect();
        let text = if waits(&source) { "i/o timeout".to_owned() } else { text };
        Error::Peer { peer: call.clone(), source: io::Error::new(source.kind(), text) }
    }
}

fn resolve(network: &str, host: &str) -> Result<Vec<SocketAddr>, Error> {
    let all =
        host.to_socket_addrs().map_err(peer(format!("dial {network}: lookup {host}")))?.collect::<Vec<_>>();
    if all.is_empty() {
        Err(peer(format!("dial {network} {host}"))(ErrorKind::NotFound.into()))
    } else {
        Ok(all)
    }
}

fn udp(host: &str) -> Result<UdpSocket, Error> {
    let mut failed = None;
    for address in resolve("udp", host)? {
        let own: SocketAddr = if address.is_ipv4() {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let opened = UdpSocket::bind(own).and_then(|socket| {
            socket.connect(address)?;
            socket.set_write_timeout(Some(TICK))?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = Some(peer(format!("dial udp {address}: connect"))(error)),
        }
    }
    Err(failed.unwrap_or(Error::NotReadable))
}

fn tcp(host: &str) -> Result<TcpStream, Error> {
    let mut failed = None;
    for address in resolve("tcp", host)? {
        let opened = TcpStream::connect_timeout(&address, CONNECT).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(TICK))?;
            stream.set_read_timeout(Some(TICK))?;
            // A receiver that has gone without a word is noticed within some minutes.
            rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(peer(format!("dial tcp {address}: connect"))(error)),
        }
    }
    Err(failed.unwrap_or(Error::NotReadable))
}

fn unix(path: &Path) -> Result<UnixStream, Error> {
    let opened = UnixStream::connect(path).and_then(|stream| {
        stream.set_write_timeout(Some(TICK))?;
        stream.set_read_timeout(Some(TICK))?;
        Ok(stream)
    });
    opened.map_err(peer(format!("dial unix {}: connect", path.display())))
}

fn datagram(path: &Path) -> Result<UnixDatagram, Error> {
    let opened = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        socket.set_write_timeout(Some(TICK))?;
        Ok(socket)
    });
    opened.map_err(peer(format!("dial unixgram {}: connect", path.display())))
}

fn local_syslog() -> Result<Link, Error> {
    for path in LOCAL_SYSLOG.map(Path::new) {
        if let Ok(socket) = datagram(path) {
            return Ok(Link::Datagram(socket));
        }
        if let Ok(socket) = unix(path) {
            return Ok(Link::Unix(socket));
        }
    }
    Err(Error::value("Unix syslog delivery error"))
}
