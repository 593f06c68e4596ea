//! Connection tracking over netlink (ctnetlink): finding and forgetting redirected UDP flows.
//!
//! The kernel decides about redirection with a flow's first packet and remembers. A UDP flow has no end: a client that
//! keeps sending keeps the decision alive, also when the port has since been published by somebody else or by nobody.
//! Kernel header: `linux/netfilter/nfnetlink_conntrack.h`.

use crate::netlink::{ACK, Attributes, Batch, DUMP, Error, Reply, Socket};
use rustix::io::Errno;
use std::net::Ipv4Addr;

/// `NFNL_SUBSYS_CTNETLINK`
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
/// `AF_INET`
const INET: u8 = 2;
const UDP: u8 = 17;

/// `CTA_…`
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

/// A UDP flow whose destination was redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The port the client sent to.
    pub port: u16,
    /// Where its packets go instead.
    pub target: Ipv4Addr,
    /// The client's tuple, and what else names the flow, as the kernel gave them.
    original: Vec<u8>,
    id: Option<Vec<u8>>,
    zone: Option<Vec<u8>>,
}

/// The redirected UDP flows over IPv4. The kernel since 5.9 leaves the others out; an older one sends them all.
///
/// # Errors
/// When the kernel has no connection tracking or refuses to list it.
pub fn redirected_udp(socket: &mut Socket) -> Result<Vec<Flow>, Error> {
    /// `CTA_TUPLE_PROTO`, `CTA_PROTO_NUM`, `CTA_FILTER_ORIG_FLAGS`, `CTA_FILTER_F_CTA_PROTO_NUM`
    const PROTOCOL: u16 = 2;
    const NUMBER: u16 = 1;
    const ORIGINAL_FLAGS: u16 = 1;
    const BY_NUMBER: u32 = 1 << 3;
    let mut batch = Batch::new();
    batch.message("list connections", SUBSYSTEM << 8 | GET, DUMP, &[INET, 0, 0, 0], |body| {
        body.nested(ORIGINAL, |body| body.nested(PROTOCOL, |body| body.u8(NUMBER, UDP)));
        body.nested(FILTER, |body| body.u32(ORIGINAL_FLAGS, BY_NUMBER));
    });
    Ok(socket.exchange(batch)?.iter().filter_map(read).collect())
}

/// Forgets flows: their next packet is decided on anew. Those that ended meanwhile are no error.
///
/// # Errors
/// When the kernel refuses.
pub fn forget(socket: &mut Socket, flows: &[Flow]) -> Result<(), Error> {
    for flow in flows {
        let mut batch = Batch::new();
        batch.message("forget a connection", SUBSYSTEM << 8 | DELETE, ACK, &[INET, 0, 0, 0], |body| {
            body.nested(ORIGINAL, |body| body.raw(&flow.original));
            if let Some(zone) = &flow.zone {
                body.bytes(ZONE, zone);
            }
            if let Some(id) = &flow.id {
                body.bytes(ID, id);
            }
        });
        match socket.exchange(batch) {
            Err(error) if error.errno() != Some(Errno::NOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn read(reply: &Reply) -> Option<Flow> {
    let attributes = Attributes::after(&reply.payload, 4);
    let original = attributes.first(ORIGINAL)?;
    let (asked, port) = end(original, 2, 3)?;
    let (target, _) = end(attributes.first(REPLY)?, 1, 2)?;
    (asked != target).then(|| Flow {
        port,
        target,
        original: original.to_vec(),
        id: attributes.first(ID).map(<[u8]>::to_vec),
        zone: attributes.first(ZONE).map(<[u8]>::to_vec),
    })
}

/// One end of a UDP tuple: `CTA_IP_V4_SRC` or `…_DST`, `CTA_PROTO_SRC_PORT` or `…_DST_PORT`.
fn end(tuple: &[u8], address: u16, port: u16) -> Option<(Ipv4Addr, u16)> {
    let tuple = Attributes::new(tuple);
    let (ip, protocol) = (Attributes::new(tuple.first(1)?), Attributes::new(tuple.first(2)?));
    if protocol.first(1)?.first() != Some(&UDP) {
        return None;
    }
    let address: &[u8; 4] = ip.first(address)?.first_chunk()?;
    let port: &[u8; 2] = protocol.first(port)?.first_chunk()?;
    Some((Ipv4Addr::from(*address), u16::from_be_bytes(*port)))
}
