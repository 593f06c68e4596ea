//! The rules and maps of a bridge network, in one nftables table of its own.
//!
//! ```text
//! table inet TABLE {
//!   map wildcard { inet_proto . inet_service : ipv4_addr . inet_service }               ports of all addresses
//!   map address  { ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }   ports of one address
//!   set loopback { ipv4_addr . inet_proto . inet_service }                              ports of the loopback
//!   raw          iifname != lo, to a loopback port: drop
//!   prerouting   without icc, from the bridge: leave, the port's socket gets that;
//!                to this host: redirect by address, else by wildcard
//!   output       the same for what this host sends, but not from or to 127.0.0.0/8: the port's socket gets that
//!   forward      not into the bridge: not ours; established, redirected, or from the bridge with icc: accept; else drop
//!   postrouting  from the subnet and off the bridge: masquerade; back into the bridge when redirected: masquerade
//! }
//! ```
//!
//! Publishing a port adds elements; the rules never change. Only traffic into the bridge is ever dropped, and tables of
//! others are never touched: what another table drops stays dropped, a `policy drop` of its forward chain included.
//! The masquerade of redirected traffic between two endpoints makes the answer come back through the host.
//!
//! Where the host has br_netfilter switched on, a redirected packet from the bridge into the bridge never reaches the
//! host's routing but is bridged. That takes a port that may send back what came from it (hairpin mode, set when a
//! port is published), and cannot work between isolated ports: hence the first rule of prerouting without icc.

use crate::{Endpoint, PublishedPort, Result, Subnet};
use proa_sys::netlink::{Error as NetlinkError, Socket};
use proa_sys::nfnetlink::{BaseChain, Element, Expression as X, Hook, SetType, Transaction, Verdict};
use proa_types::PortProtocol;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};

const WILDCARD: &str = "wildcard";
const ADDRESS: &str = "address";
const LOOPBACK: &str = "loopback";

/// Priorities as nft(8) names them.
const RAW: i32 = -300;
const DSTNAT: i32 = -100;
const FILTER: i32 = 0;
const SRCNAT: i32 = 100;

/// `RTN_LOCAL`
const LOCAL: u32 = 2;
/// `NFPROTO_IPV4`
const IPV4: u8 = 2;
/// `IPS_DST_NAT`
const REDIRECTED: u32 = 1 << 5;
/// Established and related.
const KNOWN: u32 = 2 | 4;
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

/// What the rules depend on.
#[derive(Debug, Clone)]
pub(crate) struct Ruleset<'a> {
    pub(crate) table: &'a str,
    pub(crate) bridge: &'a str,
    pub(crate) subnet: Subnet,
    pub(crate) masquerade: bool,
    pub(crate) inter_container: bool,
}

/// The elements that published ports need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    wildcard: Vec<Element>,
    address: Vec<Element>,
    loopback: Vec<Element>,
}

impl Elements {
    /// Adds those of `ports`, which lead to `target`. IPv6 needs none: the port's socket takes it.
    pub(crate) fn extend(&mut self, target: Ipv4Addr, ports: &[PublishedPort]) {
        for port in ports {
            let IpAddr::V4(host) = port.host_ip else { continue };
            let service = service(port.container.protocol, port.host_port);
            let specific = || [host.octets().as_slice(), &service].concat();
            let value = [target.octets().as_slice(), &padded(port.container.port)].concat();
            if host.is_unspecified() {
                self.wildcard.push(Element { key: service.to_vec(), value });
            } else if host.is_loopback() {
                self.loopback.push(Element { key: specific(), value: Vec::new() });
            } else {
                self.address.push(Element { key: specific(), value });
            }
        }
    }

    /// Those of `ports`, which lead to `target`.
    pub(crate) fn of(target: Ipv4Addr, ports: &[PublishedPort]) -> Self {
        let mut elements = Self::default();
        elements.extend(target, ports);
        elements
    }

    /// Those of all these endpoints.
    pub(crate) fn of_all<'a>(endpoints: impl Iterator<Item = (&'a Endpoint, &'a [PublishedPort])>) -> Self {
        let mut elements = Self::default();
        endpoints.for_each(|(endpoint, ports)| elements.extend(endpoint.address, ports));
        elements
    }

    fn sets(&self) -> [(&'static str, &[Element]); 3] {
        [(WILDCARD, &self.wildcard), (ADDRESS, &self.address), (LOOPBACK, &self.loopback)]
    }

    fn is_empty(&self) -> bool {
        self.sets().iter().all(|(_, elements)| elements.is_empty())
    }
}

/// `inet_proto . inet_service`
fn service(protocol: PortProtocol, port: u16) -> [u8; 8] {
    let number = match protocol {
        PortProtocol::Tcp => 6,
        PortProtocol::Udp => 17,
        PortProtocol::Sctp => 132,
    };
    let [high, low, ..] = padded(port);
    [number, 0, 0, 0, high, low, 0, 0]
}

fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// Adds elements; a key that is there already with another value belongs to nobody who still lives, because the
/// caller holds the port's socket, and is replaced.
///
/// # Errors
/// Also when the table is not there (`ENOENT`).
pub(crate) fn add(
    socket: &mut Socket,
    table: &str,
    elements: &Elements,
) -> std::result::Result<(), NetlinkError> {
    if elements.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::on(table);
    for (set, elements) in elements.sets() {
        transaction.add_elements(set, elements);
    }
    match transaction.commit(socket) {
        Err(error) if matches!(error.errno(), Some(Errno::EXIST | Errno::BUSY)) => {
            replace(socket, table, elements)
        }
        result => result,
    }
}

fn replace(socket: &mut Socket, table: &str, elements: &Elements) -> std::result::Result<(), NetlinkError> {
    let mut transaction = Transaction::on(table);
    for (set, elements) in elements.sets() {
        let stale = present(socket, table, set, elements)?;
        transaction.delete_elements(set, &stale);
        transaction.add_elements(set, elements);
    }
    transaction.commit(socket)
}

/// Removes elements; those that are not there are no error.
pub(crate) fn remove(socket: &mut Socket, table: &str, elements: &Elements) -> Result<()> {
    if elements.is_empty() {
        return Ok(());
    }
    let mut transaction = Transaction::on(table);
    for (set, elements) in elements.sets() {
        transaction.delete_elements(set, elements);
    }
    match transaction.commit(socket) {
        Err(error) if error.errno() == Some(Errno::NOENT) => remove_present(socket, table, elements),
        result => Ok(result?),
    }
}

fn remove_present(socket: &mut Socket, table: &str, elements: &Elements) -> Result<()> {
    if !proa_sys::nfnetlink::has_table(socket, table)? {
        return Ok(());
    }
    let mut transaction = Transaction::on(table);
    for (set, elements) in elements.sets() {
        let found = present(socket, table, set, elements)?;
        transaction.delete_elements(set, &found);
    }
    Ok(transaction.commit(socket)?)
}

/// Those elements of the set whose keys are among those of `elements`.
fn present(
    socket: &mut Socket,
    table: &str,
    set: &str,
    elements: &[Element],
) -> std::result::Result<Vec<Element>, NetlinkError> {
    if elements.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: std::collections::HashSet<&[u8]> = elements.iter().map(|e| e.key.as_slice()).collect();
    let mut found = proa_sys::nfnetlink::elements(socket, table, set)?;
    found.retain(|element| wanted.contains(element.key.as_slice()));
    Ok(found)
}

/// Removes the table, if it is there.
pub(crate) fn delete(socket: &mut Socket, table: &str) -> Result<bool> {
    if !proa_sys::nfnetlink::has_table(socket, table)? {
        return Ok(false);
    }
    let mut transaction = Transaction::on(table);
    transaction.delete_table();
    transaction.commit(socket)?;
    Ok(true)
}

/// Chains of others that drop what is forwarded unless a rule of theirs lets it pass, as dockerd's do.
pub(crate) fn obstacles(table: &str, bridge: &str) -> Result<Vec<String>> {
    let chains = proa_sys::nfnetlink::base_chains(&mut proa_sys::nfnetlink::open()?)?;
    let foreign =
        |chain: &&BaseChain| chain.drops && chain.hook == Hook::Forward as u32 && chain.table != table;
    let words = |chain: &BaseChain| {
        let family = match chain.family {
            1 => "inet",
            2 => "ip",
            _ => return None,
        };
        Some(format!(
            "chain {} of table {family} {} drops forwarded packets: containers reach other hosts, and other hosts \
             published ports, only where its rules accept interface {bridge} (beside dockerd: iptables -I DOCKER-USER \
             -i {bridge} -j ACCEPT, and the same with -o)",
            chain.name, chain.table
        ))
    };
    Ok(chains.iter().filter(foreign).filter_map(words).collect())
}

impl Ruleset<'_> {
    /// Makes the table what it should be, whatever it was before, in one step.
    pub(crate) fn install(
        &self,
        socket: &mut Socket,
        elements: &Elements,
    ) -> std::result::Result<(), NetlinkError> {
        let mut transaction = Transaction::on(self.table);
        transaction.add_table();
        transaction.delete_table();
        transaction.add_table();
        let service = SetType::PROTOCOL.then(SetType::PORT);
        let specific = SetType::IPV4.then(SetType::PROTOCOL).then(SetType::PORT);
        let target = SetType::IPV4.then(SetType::PORT);
        transaction.add_set(WILDCARD, service, Some(target));
        transaction.add_set(ADDRESS, specific, Some(target));
        transaction.add_set(LOOPBACK, specific, None);
        for (chain, kind, hook, priority) in [
            ("raw", "filter", Hook::Prerouting, RAW),
            ("prerouting", "nat", Hook::Prerouting, DSTNAT),
            ("output", "nat", Hook::Output, DSTNAT),
            ("forward", "filter", Hook::Forward, FILTER),
            ("postrouting", "nat", Hook::Postrouting, SRCNAT),
        ] {
            transaction.add_base_chain(chain, kind, hook, priority);
        }
        for (chain, rule) in self.rules() {
            transaction.add_rule(chain, &rule);
        }
        for (set, elements) in elements.sets() {
            transaction.add_elements(set, elements);
        }
        transaction.commit(socket)
    }

    /// All rules in order, with their chains.
    fn rules(&self) -> Vec<(&'static str, Vec<X<'static>>)> {
        let mut rules = vec![("raw", [input_is("lo", false), to_port(LOOPBACK_RULE)].concat())];
        for chain in ["prerouting", "output"] {
            if chain == "output" {
                rules.extend([SOURCE, DESTINATION].map(|end| (chain, from_loopback(end))));
            }
            if chain == "prerouting" && !self.inter_container {
                rules
                    .push((chain, [input_is(self.bridge, true), vec![X::Verdict(Verdict::Return)]].concat()));
            }
            rules.push((chain, [to_this_host(), specific_redirect()].concat()));
            rules.push((chain, [to_this_host(), wildcard_redirect()].concat()));
        }
        let accept = || vec![X::Verdict(Verdict::Accept)];
        rules.push(("forward", [output_is(self.bridge, false), accept()].concat()));
        rules.push(("forward", [connection(X::state(0), KNOWN), accept()].concat()));
        rules.push(("forward", [connection(X::status(0), REDIRECTED), accept()].concat()));
        if self.inter_container {
            rules.push(("forward", [input_is(self.bridge, true), accept()].concat()));
        }
        rules.push(("forward", vec![X::Verdict(Verdict::Drop)]));
        let leaving = |same| [self.subnet_is_source(), output_is(self.bridge, same)].concat();
        if self.masquerade {
            rules.push(("postrouting", [leaving(false), vec![X::Masquerade]].concat()));
        }
        let hairpin = [leaving(true), connection(X::status(0), REDIRECTED), vec![X::Masquerade]].concat();
        rules.push(("postrouting", hairpin));
        rules
    }

    fn subnet_is_source(&self) -> Vec<X<'static>> {
        let mut rule = is_ipv4();
        rule.push(X::Network { offset: SOURCE, length: 4, to: 0 });
        rule.push(X::Mask { at: 0, mask: self.subnet.mask().to_be_bytes().into() });
        rule.push(X::Equal { at: 0, value: self.subnet.network().octets().into() });
        rule
    }
}

/// Drop what goes to a port of the loopback.
const LOOPBACK_RULE: (&str, Verdict) = (LOOPBACK, Verdict::Drop);

fn to_port((set, verdict): (&'static str, Verdict)) -> Vec<X<'static>> {
    [is_ipv4(), load_specific(), vec![X::In { at: 0, set }, X::Verdict(verdict)]].concat()
}

fn is_ipv4() -> Vec<X<'static>> {
    vec![X::family(0), X::Equal { at: 0, value: vec![IPV4] }]
}

fn to_this_host() -> Vec<X<'static>> {
    let local = [X::DestinationType { to: 0 }, X::Equal { at: 0, value: LOCAL.to_ne_bytes().into() }];
    [is_ipv4().as_slice(), &local].concat()
}

/// Destination address, protocol and port into registers 0 to 2.
fn load_specific() -> Vec<X<'static>> {
    vec![
        X::Network { offset: DESTINATION, length: 4, to: 0 },
        X::protocol(1),
        X::Transport { offset: 2, length: 2, to: 2 },
    ]
}

fn specific_redirect() -> Vec<X<'static>> {
    let redirect = [X::Lookup { at: 0, map: ADDRESS, to: 0 }, X::Redirect { address: 0, port: 1 }];
    [load_specific().as_slice(), &redirect].concat()
}

fn wildcard_redirect() -> Vec<X<'static>> {
    vec![
        X::protocol(0),
        X::Transport { offset: 2, length: 2, to: 1 },
        X::Lookup { at: 0, map: WILDCARD, to: 0 },
        X::Redirect { address: 0, port: 1 },
    ]
}

/// Leave the chain when this end's address is in 127.0.0.0/8.
fn from_loopback(end: u32) -> Vec<X<'static>> {
    let first = [X::Network { offset: end, length: 1, to: 0 }, X::Equal { at: 0, value: vec![127] }];
    [is_ipv4().as_slice(), &first, &[X::Verdict(Verdict::Return)]].concat()
}

fn connection(load: X<'static>, bits: u32) -> Vec<X<'static>> {
    let mask = X::Mask { at: 0, mask: bits.to_ne_bytes().into() };
    vec![load, mask, X::Differs { at: 0, value: vec![0; 4] }]
}

fn input_is(name: &str, same: bool) -> Vec<X<'static>> {
    vec![X::input_name(0), compare_name(name, same)]
}

fn output_is(name: &str, same: bool) -> Vec<X<'static>> {
    vec![X::output_name(0), compare_name(name, same)]
}

/// Interface names fill 16 bytes.
fn compare_name(name: &str, same: bool) -> X<'static> {
    let mut value = name.as_bytes().to_vec();
    value.resize(16, 0);
    if same { X::Equal { at: 0, value } } else { X::Differs { at: 0, value } }
}

#[cfg(test)]
mod tests;
