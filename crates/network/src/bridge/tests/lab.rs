//! A host, a machine outside of it and sandboxes, each a network namespace that vanishes with the test.

use crate::{Bridge, BridgeConfig, Endpoint, EndpointRequest, PortBinding, PortRange, Published};
use proa_sys::netlink::{
    Address, Batch, Link, LinkPeer, NewVeth, Protocol, Socket, in_namespace, new_namespace,
};
use proa_types::{PortProtocol, PortSpec, SandboxId};
use rustix::fd::{AsFd, OwnedFd};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
pub(super) const BRIDGE: &str = "proat0";
/// How long an answer may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for what must not come.
const SILENCE: Duration = Duration::from_millis(400);

pub(super) struct Lab {
    pub(super) host: OwnedFd,
    pub(super) outside: OwnedFd,
}

pub(super) struct Member {
    pub(super) netns: OwnedFd,
    pub(super) sandbox: SandboxId,
    pub(super) endpoint: Endpoint,
}

/// Runs `test` in the host's namespace.
pub(super) fn in_lab(test: impl FnOnce(&Lab) + Send) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root for network namespaces");
        return;
    }
    let lab = Lab { host: new_namespace().unwrap(), outside: new_namespace().unwrap() };
    in_namespace(lab.host.as_fd(), || {
        lab.wire();
        test(&lab);
    })
    .unwrap();
}

/// A bridge of docker's defaults with a change.
pub(super) fn bridge(change: impl FnOnce(&mut BridgeConfig)) -> Bridge {
    let mut config = BridgeConfig::named(BRIDGE);
    change(&mut config);
    Bridge::open(config).unwrap()
}

pub(super) fn tcp(port: u16) -> PortSpec {
    PortSpec { port, protocol: PortProtocol::Tcp }
}

pub(super) fn udp(port: u16) -> PortSpec {
    PortSpec { port, protocol: PortProtocol::Udp }
}

pub(super) fn on(host_ip: &str, host_port: u16, container: PortSpec) -> PortBinding {
    PortBinding { host_ip: host_ip.parse().ok(), host_port: Some(PortRange::from(host_port)), container }
}

impl Lab {
    fn wire(&self) {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        batch.set_up(1);
        let peer = LinkPeer { name: "eth0", mac: [2, 0, 0, 0, 0, 9], netns: self.outside.as_fd() };
        batch.add_veth(&NewVeth { name: "out0", master: 0, mtu: 1500, peer });
        socket.exchange(batch).unwrap();
        give_address(&mut socket, "out0", HOST);
        in_namespace(self.outside.as_fd(), || {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            let index = give_address(&mut socket, "eth0", OUTSIDE);
            let mut batch = Batch::new();
            batch.set_up(index);
            batch.add_default_route(HOST.into(), index);
            socket.exchange(batch).unwrap();
        })
        .unwrap();
    }

    /// A new sandbox with an endpoint.
    pub(super) fn member(&self, bridge: &Bridge) -> Member {
        let netns = new_namespace().unwrap();
        let sandbox = SandboxId::random();
        let endpoint = bridge.connect(&EndpointRequest::of(sandbox.clone()), netns.as_fd()).unwrap();
        Member { netns, sandbox, endpoint }
    }

    /// A new sandbox with an endpoint and published ports.
    pub(super) fn publisher(&self, bridge: &Bridge, ports: &[PortBinding]) -> (Member, Vec<Published>) {
        let member = self.member(bridge);
        let published = bridge.publish(&member.sandbox, member.endpoint.address, ports).unwrap();
        (member, published)
    }
}

impl Member {
    pub(super) fn at(&self, port: u16) -> SocketAddr {
        (self.endpoint.address, port).into()
    }

    /// A listener inside, on all its addresses.
    pub(super) fn listen(&self, port: u16) -> TcpListener {
        listen(&self.netns, (Ipv4Addr::UNSPECIFIED, port).into())
    }
}

fn give_address(socket: &mut Socket, link: &str, address: Ipv4Addr) -> u32 {
    let mut batch = Batch::new();
    batch.find_link(link);
    let index = socket.exchange(batch).unwrap().iter().find_map(Link::read).unwrap().index;
    let mut batch = Batch::new();
    batch.add_address(&Address { link: index, address: address.into(), prefix: 24 });
    socket.exchange(batch).unwrap();
    index
}

pub(super) fn listen(netns: &OwnedFd, at: SocketAddr) -> TcpListener {
    in_namespace(netns.as_fd(), || TcpListener::bind(at).unwrap()).unwrap()
}

pub(super) fn bind_udp(netns: &OwnedFd, at: SocketAddr) -> UdpSocket {
    let socket = in_namespace(netns.as_fd(), || UdpSocket::bind(at).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Talks from a namespace to `to`, which must end at `server`; says from which address `server` saw it come.
pub(super) fn talk(from: &OwnedFd, to: SocketAddr, server: &TcpListener) -> IpAddr {
    let client = in_namespace(from.as_fd(), || TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
    let mut client = client.unwrap_or_else(|error| panic!("{to}: {error}"));
    client.write_all(b"ping").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    server.set_nonblocking(true).unwrap();
    let (mut served, peer) = accept(server);
    let mut text = [0; 4];
    served.read_exact(&mut text).unwrap();
    served.write_all(b"pong").unwrap();
    client.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"pong");
    peer.ip()
}

fn accept(server: &TcpListener) -> (TcpStream, SocketAddr) {
    let start = std::time::Instant::now();
    loop {
        match server.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return (stream, peer);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("nothing arrived: {error}"),
        }
    }
}

/// Whether nothing at all answers.
pub(super) fn is_unreachable(from: &OwnedFd, to: SocketAddr) -> bool {
    in_namespace(from.as_fd(), || TcpStream::connect_timeout(&to, SILENCE)).unwrap().is_err()
}

/// Asks by UDP and answers; says from which address the server saw it come.
pub(super) fn talk_udp(from: &OwnedFd, to: SocketAddr, server: &UdpSocket) -> IpAddr {
    let client = bind_udp(from, (Ipv4Addr::UNSPECIFIED, 0).into());
    client.connect(to).unwrap();
    client.send(b"ping").unwrap();
    let mut text = [0; 4];
    let (_, peer) = server.recv_from(&mut text).unwrap();
    server.send_to(b"pong", peer).unwrap();
    client.recv(&mut text).unwrap();
    assert_eq!(&text, b"pong", "the answer came from the address that was asked");
    peer.ip()
}

/// The links of this namespace.
pub(super) fn all_links() -> Vec<Link> {
    super::super::host::links(&mut Socket::open(Protocol::Route).unwrap()).unwrap()
}

/// Their names.
pub(super) fn link_names() -> Vec<String> {
    all_links().into_iter().map(|link| link.name).collect()
}

pub(super) fn has_table(table: &str) -> bool {
    let mut socket = proa_sys::nfnetlink::open().unwrap();
    proa_sys::nfnetlink::has_table(&mut socket, table).unwrap()
}
