//! Published ports: what reaches a listening socket of this host is passed on to the container.
//!
//! Most packets never come here, they are translated in the kernel. What comes is the loopback, IPv6, and the like.

use super::Source;
use crate::protocol::Forward;
use proa_types::PortProtocol;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Most connections at once for one container.
const MOST: usize = 4096;
/// Bytes under way in one direction.
const BLOCK: usize = 32 << 10;
/// How long a datagram flow may be silent.
const IDLE: Duration = Duration::from_secs(90);

/// What in the forwarder a descriptor is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    Listener(usize),
    /// A connection, and which of its ends.
    Link(u64, usize),
    Flow(u64),
}

/// All published ports of a container.
#[derive(Default)]
pub(super) struct Forwarder {
    ports: Vec<(OwnedFd, Forward)>,
    links: Vec<Link>,
    flows: Vec<Flow>,
    next: u64,
}

/// A TCP connection on its way through.
struct Link {
    key: u64,
    /// The client's end and the container's.
    ends: [OwnedFd; 2],
    /// Bytes read from an end and not yet written to the other.
    held: [Vec<u8>; 2],
    /// An end that sends no more.
    ended: [bool; 2],
    connected: bool,
    over: bool,
}

/// Datagrams of one client.
struct Flow {
    key: u64,
    port: usize,
    client: SocketAddrAny,
    socket: OwnedFd,
    last: Instant,
}

impl Forwarder {
    pub(super) fn open(&mut self, forwards: Vec<Forward>, listeners: Vec<OwnedFd>) {
        for socket in &listeners {
            let _ = rustix::io::ioctl_fionbio(socket, true);
        }
        self.ports = listeners.into_iter().zip(forwards).collect();
    }

    pub(super) fn close(&mut self) {
        self.ports.clear();
        self.links.clear();
        self.flows.clear();
    }

    pub(super) fn poll<'a>(&'a self, sources: &mut Vec<Source>, fds: &mut Vec<PollFd<'a>>) {
        let mut add = |token, fd: &'a OwnedFd, flags| {
            sources.push(Source::Forward(token));
            fds.push(PollFd::new(fd, flags));
        };
        for (at, (socket, forward)) in self.ports.iter().enumerate() {
            let full = forward.protocol == PortProtocol::Tcp && self.links.len() >= MOST;
            add(Token::Listener(at), socket, if full { PollFlags::empty() } else { PollFlags::IN });
        }
        for link in &self.links {
            for (side, end) in link.ends.iter().enumerate() {
                let flags = link.interest(side);
                // An end with nothing to do would only tell its hang-up again and again.
                if !flags.is_empty() {
                    add(Token::Link(link.key, side), end, flags);
                }
            }
        }
        for flow in &self.flows {
            add(Token::Flow(flow.key), &flow.socket, PollFlags::IN);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flows.iter().map(|flow| flow.last + IDLE).min()
    }

    /// Forgets what is over.
    pub(super) fn prune(&mut self) {
        self.links.retain(|link| !link.over);
        let now = Instant::now();
        self.flows.retain(|flow| now < flow.last + IDLE);
    }

    pub(super) fn act(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Listener(at) => match self.ports.get(at).map(|(_, forward)| forward.protocol) {
                Some(PortProtocol::Tcp) => self.accept(at),
                Some(PortProtocol::Udp) => self.datagrams(at),
                Some(PortProtocol::Sctp) | None => {}
            },
            Token::Link(key, side) => {
                if let Some(link) = self.links.iter_mut().find(|link| link.key == key) {
                    link.act(side, flags);
                }
            }
            Token::Flow(key) => self.answers(key),
        }
    }

    fn accept(&mut self, at: usize) {
        let Some((socket, forward)) = self.ports.get(at) else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(client) = rustix::net::accept_with(socket, flags) else { return };
        let Ok(container) = connect(forward.target, SocketType::STREAM) else { return };
        let _ = rustix::net::sockopt::set_tcp_nodelay(&client, true);
        let _ = rustix::net::sockopt::set_tcp_nodelay(&container, true);
        self.next += 1;
        self.links.push(Link {
            key: self.next,
            ends: [client, container],
            held: Default::default(),
            ended: [false; 2],
            connected: false,
            over: false,
        });
    }

    fn datagrams(&mut self, at: usize) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let Some((socket, forward)) = self.ports.get(at) else { return };
            let received = rustix::net::recvfrom(socket, &mut buffer[..], rustix::net::RecvFlags::DONTWAIT);
            let Ok((length, _, Some(client))) = received else { return };
            let known = self.flows.iter_mut().find(|flow| flow.port == at && flow.client == client);
            let data = buffer.get(..length).unwrap_or_default();
            if let Some(flow) = known {
                flow.last = Instant::now();
                let _ = rustix::net::send(&flow.socket, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                continue;
            }
            if self.flows.len() >= MOST {
                continue;
            }
            let Ok(socket) = connect(forward.target, SocketType::DGRAM) else { continue };
            let _ = rustix::net::send(&socket, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            self.next += 1;
            self.flows.push(Flow { key: self.next, port: at, client, socket, last: Instant::now() });
        }
    }

    fn answers(&mut self, key: u64) {
        let mut buffer = vec![0; 64 << 10];
        let Some(flow) = self.flows.iter_mut().find(|flow| flow.key == key) else { return };
        loop {
            match rustix::io::read(&flow.socket, &mut buffer[..]) {
                Ok(length) => {
                    flow.last = Instant::now();
                    if let Some((socket, _)) = self.ports.get(flow.port) {
                        let data = buffer.get(..length).unwrap_or_default();
                        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                        let _ = rustix::net::sendto(socket, data, flags, &flow.client);
                    }
                }
                // Refused: the container does not listen. The error is told once and the flow stays.
                Err(_) => return,
            }
        }
    }
}

impl Link {
    /// What an end is waited for.
    fn interest(&self, side: usize) -> PollFlags {
        let mut flags = PollFlags::empty();
        if !self.connected {
            flags.set(PollFlags::OUT, side == 1);
            return flags;
        }
        let (own, other) = (self.held.get(side), self.held.get(1 - side));
        let ended = self.ended.get(side).copied().unwrap_or(true);
        flags.set(PollFlags::IN, !ended && own.is_some_and(|held| held.len() < BLOCK));
        flags.set(PollFlags::OUT, other.is_some_and(|held| !held.is_empty()));
        flags
    }

    fn act(&mut self, side: usize, flags: PollFlags) {
        if !self.connected {
            let trouble = self.ends.get(1).map(rustix::net::sockopt::socket_error);
            match trouble {
                Some(Ok(Ok(()))) => self.connected = true,
                _ => self.over = true,
            }
            return;
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read(side);
        }
        for to in [0, 1] {
            self.write(to);
        }
        self.over |= self.ended == [true; 2] && self.held.iter().all(Vec::is_empty);
    }

    fn read(&mut self, side: usize) {
        let mut buffer = [0; BLOCK];
        let (Some(end), Some(held), Some(ended)) =
            (self.ends.get(side), self.held.get_mut(side), self.ended.get_mut(side))
        else {
            return;
        };
        if *ended || held.len() >= BLOCK {
            return;
        }
        match rustix::io::read(end, &mut buffer) {
            Ok(0) => {
                *ended = true;
                if held.is_empty() {
                    self.shut(1 - side);
                }
            }
            Ok(n) => held.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.over = true,
        }
    }

    /// Writes to an end what the other has sent.
    fn write(&mut self, to: usize) {
        let from = 1 - to;
        let (Some(end), Some(held)) = (self.ends.get(to), self.held.get_mut(from)) else { return };
        while !held.is_empty() {
            match rustix::net::send(end, held, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => drop(held.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.over = true;
                    return;
                }
            }
        }
        if self.ended.get(from) == Some(&true) {
            self.shut(to);
        }
    }

    fn shut(&self, side: usize) {
        if let Some(end) = self.ends.get(side) {
            let _ = rustix::net::shutdown(end, Shutdown::Write);
        }
    }
}

fn connect(target: SocketAddr, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let family =
        if target.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(socket.as_fd(), &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
