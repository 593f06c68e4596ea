//! An endpoint's interface: the pair of links and the sandbox's own configuration.

use super::host;
use crate::{Endpoint, Error, Result};
use proa_sys::netlink::{Address, Batch, Error as NetlinkError, Link, LinkPeer, NewVeth, Protocol, Socket};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The loopback's number in every namespace.
const LOOPBACK: u32 = 1;

/// What a new pair of links is made from.
pub(super) struct Pair<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) bridge: u32,
    pub(super) mtu: u32,
    /// Whether the port may not talk to other isolated ports.
    pub(super) isolated: bool,
    /// Whether neighbours may know another hardware address for this endpoint's address.
    pub(super) announce: bool,
}

/// Makes the pair and configures its inner end.
pub(super) fn connect(socket: &mut Socket, pair: &Pair<'_>, netns: BorrowedFd<'_>) -> Result<()> {
    create(socket, pair, netns)?;
    host::disable_ipv6(&pair.endpoint.host_link);
    let inside = proa_sys::netlink::in_namespace(netns, || configure(pair.endpoint, pair.announce));
    let inside = inside.map_err(|errno| Error::Namespace { source: errno.into() });
    inside.and_then(|result| result).inspect_err(|_| remove(socket, &pair.endpoint.host_link))
}

/// One message: the pair, its inner end already in the namespace, its outer end up and on the bridge.
fn create(socket: &mut Socket, pair: &Pair<'_>, netns: BorrowedFd<'_>) -> Result<()> {
    match create_once(socket, pair, netns) {
        // Left over of an earlier try of this very sandbox.
        Err(error) if error.errno() == Some(Errno::EXIST) => {
            remove(socket, &pair.endpoint.host_link);
            Ok(create_once(socket, pair, netns)?)
        }
        result => Ok(result?),
    }
}

fn create_once(
    socket: &mut Socket,
    pair: &Pair<'_>,
    netns: BorrowedFd<'_>,
) -> std::result::Result<(), NetlinkError> {
    let endpoint = pair.endpoint;
    let mut batch = Batch::new();
    batch.add_veth(&NewVeth {
        name: &endpoint.host_link,
        master: pair.bridge,
        mtu: pair.mtu,
        peer: LinkPeer { name: &endpoint.interface, mac: endpoint.mac.0, netns },
    });
    if pair.isolated {
        batch.isolate_port(&endpoint.host_link);
    }
    socket.exchange(batch).map(|_| ())
}

/// Removes the pair; what is not there is fine, and a failure here must not hide the one that led to it.
pub(super) fn remove(socket: &mut Socket, host_link: &str) {
    let mut batch = Batch::new();
    batch.delete_link(host_link);
    let _ = socket.exchange(batch);
}

/// Runs inside the namespace.
fn configure(endpoint: &Endpoint, announce: bool) -> Result<()> {
    let interface = &endpoint.interface;
    host::disable_ipv6(interface);
    if announce {
        // The kernel then announces the address by ARP when the interface comes up.
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/arp_notify"), "1");
    }
    let mut socket = Socket::open(Protocol::Route)?;
    let mut batch = Batch::new();
    batch.find_link(interface);
    let replies = socket.exchange(batch)?;
    let link = replies.iter().find_map(Link::read).map(|link| link.index);
    let index = link.ok_or_else(|| NetlinkError::Unanswered(format!("find interface {interface}")))?;
    let mut batch = Batch::new();
    batch.set_up(LOOPBACK);
    batch.add_address(&Address { link: index, address: endpoint.address.into(), prefix: endpoint.prefix });
    batch.set_up(index);
    batch.add_default_route(endpoint.gateway.into(), index);
    socket.exchange(batch)?;
    Ok(())
}
