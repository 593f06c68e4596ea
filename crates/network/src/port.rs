//! Published ports: what is asked for and what came of it.

use proa_types::PortSpec;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

/// A wish to publish one port of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// The host address to publish on; `None` takes the network's default (all of them, IPv4 and IPv6).
    pub host_ip: Option<IpAddr>,
    /// The host port. A range takes its first free port; `None` or port 0 takes a free one of 32768 to 60999.
    pub host_port: Option<PortRange>,
    /// The port of the sandbox.
    pub container: PortSpec,
}

impl PortBinding {
    /// A binding on the default addresses.
    pub fn to(container: PortSpec, host_port: Option<PortRange>) -> Self {
        Self { host_ip: None, host_port, container }
    }
}

/// A published port, without the socket that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host address it is published on; `0.0.0.0` or `::` is all of that family.
    pub host_ip: IpAddr,
    /// The host port.
    pub host_port: u16,
    /// The port of the sandbox it leads to.
    pub container: PortSpec,
}

/// A published port and the socket that holds it on the host: bound, and listening where the protocol listens.
/// Whoever keeps the socket forwards what arrives on it (loopback and IPv6 traffic) to the sandbox; all other
/// traffic is redirected by the kernel before it gets there.
#[derive(Debug)]
pub struct Published {
    /// The host address; `0.0.0.0` or `::` is all of that family.
    pub host_ip: IpAddr,
    /// The host port.
    pub host_port: u16,
    /// The port of the sandbox it leads to.
    pub container: PortSpec,
    /// The bound socket, close-on-exec and blocking.
    pub listener: OwnedFd,
}

impl Published {
    /// What to remember of it.
    pub fn port(&self) -> PublishedPort {
        PublishedPort { host_ip: self.host_ip, host_port: self.host_port, container: self.container }
    }
}
