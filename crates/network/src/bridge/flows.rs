//! UDP flows that outlive what their port led to. The kernel decides with a flow's first packet where it goes, and a
//! client that keeps sending keeps the decision alive; so the flows are forgotten when a port is taken back. Listing
//! them walks the kernel's whole table (about 10 ms), hence this is done outside of every lock, and never to publish.
//!
//! All of it is best effort: a kernel that does not say which flows there are forgets them by itself after a silence
//! of two minutes.

use crate::{EndpointRecord, PublishedPort, Subnet};
use proa_sys::nfnetlink::{self, conntrack};
use proa_types::PortProtocol;
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// Forgets flows to ports that led to `target`.
pub(super) fn forget_those_to(target: Ipv4Addr, ports: &[PublishedPort]) {
    if ports.iter().any(is_udp) {
        forget(|flow| flow.target == target);
    }
}

/// Forgets flows into the subnet to where none of `live` has a port.
pub(super) fn forget_stale(subnet: Subnet, live: &[EndpointRecord]) {
    let ports = live.iter().flat_map(|record| {
        let udp = record.published.iter().filter(|port| is_udp(port));
        udp.map(|port| (record.endpoint.address, port.host_port))
    });
    let known: HashSet<(Ipv4Addr, u16)> = ports.collect();
    forget(|flow| subnet.contains(flow.target) && !known.contains(&(flow.target, flow.port)));
}

fn is_udp(port: &PublishedPort) -> bool {
    port.container.protocol == PortProtocol::Udp
}

fn forget(stale: impl Fn(&conntrack::Flow) -> bool) {
    let Ok(mut socket) = nfnetlink::open() else { return };
    let Ok(mut flows) = conntrack::redirected_udp(&mut socket) else { return };
    flows.retain(stale);
    let _ = conntrack::forget(&mut socket, &flows);
}
