//! How a bridge network is set up.

use crate::{Addressing, Error, Result, Subnet};
use std::net::{IpAddr, Ipv4Addr};

/// The kernel's limit on interface names, without the terminating zero.
const LONGEST_NAME: usize = 15;
/// Below this IPv4 does not work. (RFC 791)
pub(super) const SMALLEST_MTU: u32 = 68;

/// How a bridge network is set up; the names of dockerd's flags are given where they differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeConfig {
    /// The bridge's interface name, at most 15 bytes. (`--bridge`)
    pub name: String,
    /// The nftables table, of family `inet`, that belongs to this bridge alone.
    pub table: String,
    /// The host's address and the prefix; `None` takes the first free pool. (`--bip`)
    pub subnet: Option<Subnet>,
    /// The part of the subnet that endpoints get addresses from; `None` is all of it. (`--fixed-cidr`)
    pub pool: Option<Subnet>,
    /// The default gateway of endpoints; `None` is the bridge. (`--default-gateway`)
    pub gateway: Option<Ipv4Addr>,
    /// The interfaces' MTU in bytes; 0 takes that of the interface with the default route, at most 1500. (`--mtu`)
    pub mtu: u32,
    /// Whether endpoints may talk to each other. (`--icc`)
    pub inter_container: bool,
    /// Whether what leaves the host gets the host's address. (`--ip-masq`)
    pub masquerade: bool,
    /// Whether to switch on the host's IPv4 forwarding when the first endpoint appears. (`--ip-forward`)
    pub forward: bool,
    /// Where ports are published when the request does not say; `0.0.0.0` is all addresses of both families. (`--ip`)
    pub default_bind: IpAddr,
    /// Whether the bridge is the administrator's: it must exist, and is neither configured nor removed.
    pub existing: bool,
}

impl BridgeConfig {
    /// Docker's defaults on a bridge and a table called `name`.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            table: name.to_owned(),
            subnet: None,
            pool: None,
            gateway: None,
            mtu: 0,
            inter_container: true,
            masquerade: true,
            forward: true,
            default_bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            existing: false,
        }
    }

    /// Whether the configuration makes sense by itself.
    pub(super) fn check(&self) -> Result<()> {
        let printable = self.name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'));
        if self.name.is_empty() || self.name.len() > LONGEST_NAME || !printable || self.name.starts_with('.')
        {
            let text = format!("bridge name {:?} must be 1 to {LONGEST_NAME} plain characters", self.name);
            return Err(Error::Config(text));
        }
        if self.table.is_empty() || self.table.len() > 255 {
            return Err(Error::Config("the firewall table needs a name".into()));
        }
        if self.mtu != 0 && self.mtu < SMALLEST_MTU {
            return Err(Error::Config(format!("an MTU of {} is too small for IPv4", self.mtu)));
        }
        match (self.subnet, self.gateway) {
            (Some(subnet), Some(gateway)) if !subnet.contains(gateway) => Err(Error::Config(format!(
                "default gateway {gateway} does not lie in subnet {}",
                subnet.masked()
            ))),
            _ => Ok(()),
        }
    }
}

/// The addressing that a subnet means: its host part is the gateway, or the first address when there is none.
pub(super) fn addressing_of(subnet: Subnet) -> Addressing {
    let network = subnet.network();
    let gateway =
        if subnet.address() == network { Ipv4Addr::from(u32::from(network) | 1) } else { subnet.address() };
    Addressing { subnet: subnet.masked(), gateway }
}
