//! rtnetlink: the messages for links, addresses, routes and neighbours that container networks need. rtnetlink(7).

use super::decode::{Attributes, u16_at, u32_at};
use super::encode::{ACK, CREATE, DUMP, EXCLUSIVE, REPLACE};
use super::{Batch, Body, Reply};
use rustix::fd::{AsRawFd, BorrowedFd};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const DUMP_LINKS: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const DUMP_ADDRESSES: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DUMP_ROUTES: u16 = 26;
const DELETE_NEIGHBOUR: u16 = 29;

const UNSPEC: u8 = 0;
const INET: u8 = 2;
const INET6: u8 = 10;
/// `IFF_UP`
const UP: u32 = 1;
/// `IF_OPER_UP`
const OPERATIONAL: u8 = 6;

/// `IFLA_…`, from linux/if_link.h.
mod link {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const OPERATIONAL_STATE: u16 = 16;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const AF_SPEC: u16 = 26;
    pub(super) const NET_NS_FD: u16 = 28;
    pub(super) const TX_QUEUES: u16 = 31;
    pub(super) const RX_QUEUES: u16 = 32;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const INFO_SLAVE_KIND: u16 = 4;
    pub(super) const INFO_SLAVE_DATA: u16 = 5;
    pub(super) const VETH_PEER: u16 = 1;
    pub(super) const BRIDGE_STP: u16 = 5;
    pub(super) const PORT_HAIRPIN: u16 = 4;
    pub(super) const PORT_ISOLATED: u16 = 33;
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it: `bridge`, `veth`; empty for hardware and the loopback.
    pub kind: String,
    /// The bridge it is a port of, 0 if none.
    pub master: u32,
    /// Its hardware address; empty where there is none.
    pub address: Vec<u8>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it carries packets now (RFC 2863's `up`): not before the kernel worked off that a pair's or a bridge's
    /// other side came up.
    pub carries: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix in bits.
    pub prefix: u8,
}

/// A route of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination network, `0.0.0.0` or `::` for a default route.
    pub destination: IpAddr,
    /// The length of the destination's prefix in bits.
    pub prefix: u8,
    /// The interface, 0 if it has none.
    pub link: u32,
}

/// A bridge to be made. It comes up at once, without spanning tree.
#[derive(Debug, Clone)]
pub struct NewBridge<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address; being set, it does not follow those of the ports.
    pub mac: [u8; 6],
    /// The largest packet in bytes.
    pub mtu: u32,
}

/// A pair of interfaces to be made, the host's end on a bridge and up.
#[derive(Debug, Clone)]
pub struct NewVeth<'a> {
    /// The name of the host's end.
    pub name: &'a str,
    /// The number of the bridge the host's end becomes a port of, 0 for none.
    pub master: u32,
    /// The largest packet in bytes, on both ends.
    pub mtu: u32,
    /// The other end.
    pub peer: LinkPeer<'a>,
}

/// The end of a pair that is made inside a namespace, where it still is down.
#[derive(Debug, Clone)]
pub struct LinkPeer<'a> {
    /// Its name in there.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The namespace.
    pub netns: BorrowedFd<'a>,
}

/// `struct ifinfomsg`
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    let numbers = [0, index, flags, change];
    for (place, number) in header.chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
    header
}

/// `struct ifaddrmsg`
fn address_header(family: u8, prefix: u8, link: u32) -> [u8; 8] {
    let [a, b, c, d] = link.to_ne_bytes();
    [family, prefix, 0, 0, a, b, c, d]
}

impl Batch {
    /// Makes a bridge; fails when the name is taken.
    pub fn add_bridge(&mut self, bridge: &NewBridge<'_>) {
        let label = format!("create bridge {}", bridge.name);
        self.message(label, NEW_LINK, ACK | CREATE | EXCLUSIVE, &link_header(0, UP, UP), |body| {
            body.text(link::IFNAME, bridge.name);
            body.bytes(link::ADDRESS, &bridge.mac);
            body.u32(link::MTU, bridge.mtu);
            body.nested(link::LINKINFO, |body| {
                body.text(link::INFO_KIND, "bridge");
                body.nested(link::INFO_DATA, |body| body.u32(link::BRIDGE_STP, 0));
            });
        });
    }

    /// Makes a pair of interfaces in one step. One queue each: the default of one a processor costs time and memory.
    pub fn add_veth(&mut self, veth: &NewVeth<'_>) {
        let label = format!("create interface {} with {} in the sandbox", veth.name, veth.peer.name);
        self.message(label, NEW_LINK, ACK | CREATE | EXCLUSIVE, &link_header(0, UP, UP), |body| {
            body.text(link::IFNAME, veth.name);
            if veth.master != 0 {
                body.u32(link::MASTER, veth.master);
            }
            end_of_pair(body, veth.mtu);
            body.nested(link::LINKINFO, |body| {
                body.text(link::INFO_KIND, "veth");
                body.nested(link::INFO_DATA, |body| {
                    body.nested(link::VETH_PEER, |body| peer(body, veth));
                });
            });
        });
    }

    /// Switches an interface on.
    pub fn set_up(&mut self, index: u32) {
        let label = format!("switch interface {index} on");
        self.message(label, NEW_LINK, ACK, &link_header(index, UP, UP), |_| {});
    }

    /// Sets an interface's hardware address. With `arp_notify` on, the kernel announces its addresses then, also when
    /// nothing changed.
    pub fn set_mac(&mut self, index: u32, mac: [u8; 6]) {
        let label = format!("set the hardware address of interface {index}");
        self.message(label, NEW_LINK, ACK, &link_header(index, 0, 0), |body| body.bytes(link::ADDRESS, &mac));
    }

    /// Makes an interface a port of the bridge `master`, and switches it on.
    pub fn set_master(&mut self, name: &str, master: u32) {
        let label = format!("attach interface {name} to its bridge");
        self.message(label, NEW_LINK, ACK, &link_header(0, UP, UP), |body| {
            body.text(link::IFNAME, name);
            body.u32(link::MASTER, master);
        });
    }

    /// Forbids or allows a bridge's port to talk to other isolated ports. Linux 4.18.
    pub fn set_isolated(&mut self, name: &str, isolated: bool) {
        self.port_flag(format!("set the isolation of interface {name}"), name, link::PORT_ISOLATED, isolated);
    }

    /// Lets a bridge send a frame back out of the port it came in by.
    pub fn allow_hairpin(&mut self, name: &str) {
        self.port_flag(format!("allow hairpin traffic on interface {name}"), name, link::PORT_HAIRPIN, true);
    }

    /// Keeps the kernel from giving an interface a link-local IPv6 address. Refused by a kernel without IPv6.
    pub fn omit_link_local(&mut self, name: &str) {
        /// `IFLA_INET6_ADDR_GEN_MODE` and `IN6_ADDR_GEN_MODE_NONE`
        const GENERATION: u16 = 8;
        const NONE: u8 = 1;
        let label = format!("keep interface {name} without IPv6 address");
        self.message(label, NEW_LINK, ACK, &link_header(0, 0, 0), |body| {
            body.text(link::IFNAME, name);
            body.nested(link::AF_SPEC, |body| {
                body.nested(u16::from(INET6), |body| body.u8(GENERATION, NONE));
            });
        });
    }

    fn port_flag(&mut self, label: String, name: &str, flag: u16, on: bool) {
        self.message(label, NEW_LINK, ACK, &link_header(0, 0, 0), |body| {
            body.text(link::IFNAME, name);
            body.nested(link::LINKINFO, |body| {
                body.text(link::INFO_SLAVE_KIND, "bridge");
                body.nested(link::INFO_SLAVE_DATA, |body| body.u8(flag, on.into()));
            });
        });
    }

    /// Removes an interface, and the other end of a pair. Waits for the kernel: about 30 ms.
    pub fn delete_link(&mut self, name: &str) {
        self.message(format!("remove interface {name}"), DELETE_LINK, ACK, &link_header(0, 0, 0), |body| {
            body.text(link::IFNAME, name);
        });
    }

    /// Gives an interface an address.
    pub fn add_address(&mut self, address: &Address) {
        let label = format!("add address {}/{}", address.address, address.prefix);
        self.address(label, NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, address);
    }

    /// Takes an address from an interface.
    pub fn delete_address(&mut self, address: &Address) {
        let label = format!("remove address {}/{}", address.address, address.prefix);
        self.address(label, DELETE_ADDRESS, ACK, address);
    }

    fn address(&mut self, label: String, kind: u16, flags: u16, address: &Address) {
        /// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_BROADCAST`
        const PEER: u16 = 1;
        const LOCAL: u16 = 2;
        const BROADCAST: u16 = 4;
        let (family, bytes) = octets(address.address);
        let header = address_header(family, address.prefix, address.link);
        self.message(label, kind, flags, &header, |body| {
            body.bytes(LOCAL, &bytes);
            body.bytes(PEER, &bytes);
            if let (IpAddr::V4(v4), 1..=30) = (address.address, address.prefix) {
                let all = u32::from(v4) | u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
                body.bytes(BROADCAST, &all.to_be_bytes());
            }
        });
    }

    /// Sends everything without a route of its own to `gateway`.
    pub fn add_default_route(&mut self, gateway: IpAddr, index: u32) {
        /// `RT_TABLE_MAIN`, `RTPROT_BOOT`, `RT_SCOPE_UNIVERSE`, `RTN_UNICAST`, `RTA_OIF`, `RTA_GATEWAY`
        const MAIN: u8 = 254;
        const BOOT: u8 = 3;
        const UNIVERSE: u8 = 0;
        const UNICAST: u8 = 1;
        const OIF: u16 = 4;
        const GATEWAY: u16 = 5;
        let (family, bytes) = octets(gateway);
        let header = [family, 0, 0, 0, MAIN, BOOT, UNIVERSE, UNICAST, 0, 0, 0, 0];
        self.message(
            format!("add the default route by {gateway}"),
            NEW_ROUTE,
            ACK | CREATE | REPLACE,
            &header,
            |body| {
                body.bytes(GATEWAY, &bytes);
                body.u32(OIF, index);
            },
        );
    }

    /// Forgets the hardware address the host learned for `address`.
    pub fn delete_neighbour(&mut self, address: IpAddr, index: u32) {
        /// `NDA_DST`
        const DESTINATION: u16 = 1;
        let (family, bytes) = octets(address);
        let [a, b, c, d] = index.to_ne_bytes();
        let header = [family, 0, 0, 0, a, b, c, d, 0, 0, 0, 0];
        self.message(format!("forget neighbour {address}"), DELETE_NEIGHBOUR, ACK, &header, |body| {
            body.bytes(DESTINATION, &bytes);
        });
    }

    /// Asks for one interface by name. Since Linux 6.7 the kernel first works off pending changes of its carrier, which
    /// otherwise happens a little later and loses packets until then.
    pub fn find_link(&mut self, name: &str) {
        self.message(format!("find interface {name}"), DUMP_LINKS, ACK, &link_header(0, 0, 0), |body| {
            body.text(link::IFNAME, name);
        });
    }

    /// Asks for all interfaces.
    pub fn dump_links(&mut self) {
        self.message("list interfaces", DUMP_LINKS, DUMP, &link_header(0, 0, 0), |_| {});
    }

    /// Asks for all addresses of both families.
    pub fn dump_addresses(&mut self) {
        self.message("list addresses", DUMP_ADDRESSES, DUMP, &address_header(UNSPEC, 0, 0), |_| {});
    }

    /// Asks for all IPv4 routes.
    pub fn dump_routes(&mut self) {
        let mut header = [0; 12];
        if let Some(family) = header.first_mut() {
            *family = INET;
        }
        self.message("list routes", DUMP_ROUTES, DUMP, &header, |_| {});
    }
}

fn end_of_pair(body: &mut Body<'_>, mtu: u32) {
    body.u32(link::MTU, mtu);
    body.u32(link::TX_QUEUES, 1);
    body.u32(link::RX_QUEUES, 1);
}

fn peer(body: &mut Body<'_>, veth: &NewVeth<'_>) {
    body.raw(&link_header(0, 0, 0));
    body.text(link::IFNAME, veth.peer.name);
    body.bytes(link::ADDRESS, &veth.peer.mac);
    end_of_pair(body, veth.mtu);
    body.bytes(link::NET_NS_FD, &veth.peer.netns.as_raw_fd().to_ne_bytes());
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (INET6, v6.octets().to_vec()),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        16 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

impl Link {
    /// Reads an answer to [`Batch::find_link`] or [`Batch::dump_links`].
    pub fn read(reply: &Reply) -> Option<Self> {
        if reply.kind != NEW_LINK {
            return None;
        }
        let attributes = Attributes::after(&reply.payload, 16);
        let info = Attributes::new(attributes.first(link::LINKINFO).unwrap_or_default());
        Some(Self {
            index: u32_at(&reply.payload, 4)?,
            name: attributes.text(link::IFNAME)?,
            kind: info.text(link::INFO_KIND).unwrap_or_default(),
            master: attributes.u32(link::MASTER).unwrap_or_default(),
            address: attributes.first(link::ADDRESS).unwrap_or_default().to_vec(),
            mtu: attributes.u32(link::MTU).unwrap_or_default(),
            up: u32_at(&reply.payload, 8)? & UP != 0,
            carries: attributes.first(link::OPERATIONAL_STATE) == Some(&[OPERATIONAL]),
        })
    }
}

impl Address {
    /// Reads an answer to [`Batch::dump_addresses`].
    pub fn read(reply: &Reply) -> Option<Self> {
        if reply.kind != NEW_ADDRESS {
            return None;
        }
        let attributes = Attributes::after(&reply.payload, 8);
        // IFA_LOCAL, which differs from IFA_ADDRESS on point-to-point links; IPv6 only has the latter.
        let address = attributes.first(2).or_else(|| attributes.first(1)).and_then(ip)?;
        let prefix = u16_at(&reply.payload, 0)?.to_ne_bytes()[1];
        Some(Self { link: u32_at(&reply.payload, 4)?, address, prefix })
    }
}

impl Route {
    /// Reads an answer to [`Batch::dump_routes`].
    pub fn read(reply: &Reply) -> Option<Self> {
        if reply.kind != NEW_ROUTE {
            return None;
        }
        let [family, prefix] = u16_at(&reply.payload, 0)?.to_ne_bytes();
        let attributes = Attributes::after(&reply.payload, 12);
        let unspecified =
            if family == INET6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let destination = attributes.first(1).and_then(ip).unwrap_or(unspecified);
        Some(Self { destination, prefix, link: attributes.u32(4).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Protocol, Socket};

    #[test]
    fn the_loopback_is_listed_with_its_address() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        batch.dump_links();
        let replies = socket.exchange(batch).unwrap();
        let links: Vec<Link> = replies.iter().filter_map(Link::read).collect();
        assert!(links.iter().any(|link| link.index == 1 && link.name == "lo"), "{links:?}");
        let mut batch = Batch::new();
        batch.find_link("lo");
        let replies = socket.exchange(batch).unwrap();
        assert_eq!(replies.iter().find_map(Link::read).map(|link| link.index), Some(1));
        let mut batch = Batch::new();
        batch.dump_addresses();
        let addresses: Vec<Address> =
            socket.exchange(batch).unwrap().iter().filter_map(Address::read).collect();
        assert!(addresses.iter().all(|address| address.link > 0));
        let mut batch = Batch::new();
        batch.dump_routes();
        socket.exchange(batch).unwrap();
    }

    #[test]
    fn a_refusal_names_the_request_and_the_ones_before_it_are_done() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut batch = Batch::new();
        batch.find_link("lo");
        batch.find_link("proa-nowhere");
        let error = socket.exchange(batch).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::NODEV), "{error}");
        assert!(error.to_string().starts_with("cannot find interface proa-nowhere: "), "{error}");
        let mut batch = Batch::new();
        batch.find_link("lo");
        assert!(socket.exchange(batch).is_ok(), "the socket is usable after a refusal");
    }
}
