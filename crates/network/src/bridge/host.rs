//! The host's side of a bridge network in the kernel: links, addresses, sysctls.

use super::config::{BridgeConfig, SMALLEST_MTU};
use crate::{Addressing, Error, MacAddress, Result, Subnet};
use proa_sys::netlink::{Address, Batch, Link, NewBridge, Protocol, Route, Socket};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};

/// The largest payload of an Ethernet frame, in bytes.
const ETHERNET_MTU: u32 = 1500;
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// A route socket in this thread's network namespace.
pub(super) fn socket() -> Result<Socket> {
    Ok(Socket::open(Protocol::Route)?)
}

/// Holds back other daemons of this network namespace while addresses are chosen. The lock is on the namespace's own
/// file, so it needs no path of ours and ends with the descriptor.
pub(super) fn lock() -> Option<OwnedFd> {
    let file =
        rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).ok()?;
    Some(file)
}

/// The link of this name.
pub(super) fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let mut batch = Batch::new();
    batch.find_link(name);
    match socket.exchange(batch) {
        Ok(replies) => Ok(replies.iter().find_map(Link::read)),
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All links.
pub(super) fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let mut batch = Batch::new();
    batch.dump_links();
    Ok(socket.exchange(batch)?.iter().filter_map(Link::read).collect())
}

/// The IPv4 addresses of a link.
pub(super) fn addresses_of(socket: &mut Socket, link: u32) -> Result<Vec<Subnet>> {
    Ok(addresses(socket)?.into_iter().filter(|(index, _)| *index == link).map(|(_, subnet)| subnet).collect())
}

fn addresses(socket: &mut Socket) -> Result<Vec<(u32, Subnet)>> {
    let mut batch = Batch::new();
    batch.dump_addresses();
    let read = |address: Address| Some((address.link, v4(address.address, address.prefix)?));
    Ok(socket.exchange(batch)?.iter().filter_map(Address::read).filter_map(read).collect())
}

/// Everything of IPv4 that this host knows a way to, but for default routes; and its name servers.
pub(super) fn taken(socket: &mut Socket) -> Result<Vec<Subnet>> {
    let mut batch = Batch::new();
    batch.dump_routes();
    let routes = socket.exchange(batch)?;
    let routes =
        routes.iter().filter_map(Route::read).filter_map(|route| v4(route.destination, route.prefix));
    let mut taken: Vec<Subnet> = routes.filter(|route| route.prefix() > 0).collect();
    taken.extend(addresses(socket)?.into_iter().map(|(_, subnet)| subnet));
    taken.extend(crate::files::host_servers().into_iter().filter_map(|server| v4(server, 32)));
    Ok(taken)
}

fn v4(address: IpAddr, prefix: u8) -> Option<Subnet> {
    match address {
        IpAddr::V4(address) => Subnet::new(address, prefix),
        IpAddr::V6(_) => None,
    }
}

/// Makes the bridge.
pub(super) fn create(socket: &mut Socket, config: &BridgeConfig, gateway: Ipv4Addr) -> Result<Link> {
    let name = config.name.as_str();
    let mtu = if config.mtu == 0 { usual_mtu(socket)? } else { config.mtu };
    let mut batch = Batch::new();
    batch.add_bridge(&NewBridge { name, mac: MacAddress::of(gateway).0, mtu });
    match socket.exchange(batch) {
        Err(error) if error.errno() != Some(Errno::EXIST) => return Err(error.into()),
        _ => {}
    }
    disable_ipv6(name);
    let gone = || Error::Config(format!("bridge {name} vanished while it was being made"));
    find(socket, name)?.ok_or_else(gone)
}

/// Ethernet's, or that of the interface with the default route if that is smaller: larger packets would only be lost
/// on the way out, as in clouds and tunnels.
fn usual_mtu(socket: &mut Socket) -> Result<u32> {
    let mut batch = Batch::new();
    batch.dump_routes();
    let replies = socket.exchange(batch)?;
    let out: Vec<u32> = replies
        .iter()
        .filter_map(Route::read)
        .filter(|r| r.prefix == 0 && r.link != 0)
        .map(|r| r.link)
        .collect();
    let mtus = links(socket)?.into_iter().filter(|link| out.contains(&link.index)).map(|link| link.mtu);
    Ok(mtus.chain([ETHERNET_MTU]).filter(|mtu| *mtu >= SMALLEST_MTU).min().unwrap_or(ETHERNET_MTU))
}

/// Makes the bridge's IPv4 address the wished one, and switches it on.
pub(super) fn configure(socket: &mut Socket, bridge: &Link, addressing: Addressing) -> Result<()> {
    let wanted = Subnet::new(addressing.gateway, addressing.subnet.prefix());
    let present = addresses_of(socket, bridge.index)?;
    let address = |subnet: &Subnet| Address {
        link: bridge.index,
        address: subnet.address().into(),
        prefix: subnet.prefix(),
    };
    let mut batch = Batch::new();
    present
        .iter()
        .filter(|subnet| Some(**subnet) != wanted)
        .for_each(|old| batch.delete_address(&address(old)));
    wanted.iter().filter(|subnet| !present.contains(subnet)).for_each(|new| batch.add_address(&address(new)));
    if !bridge.up {
        batch.set_up(bridge.index);
    }
    socket.exchange(batch)?;
    Ok(())
}

/// Switches the host's IPv4 forwarding on; says whether it was off.
pub(super) fn enable_forwarding() -> Result<bool> {
    let file = |action, source| Error::File { action, path: FORWARD.into(), source };
    let now = std::fs::read(FORWARD).map_err(|source| file("read", source))?;
    if now.first() != Some(&b'0') {
        return Ok(false);
    }
    std::fs::write(FORWARD, "1").map_err(|source| file("write", source))?;
    Ok(true)
}

/// Keeps the kernel from giving an interface of this namespace IPv6 addresses and from probing for them. A kernel
/// without IPv6 has no such file, and that is as good.
pub(super) fn disable_ipv6(interface: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
}
