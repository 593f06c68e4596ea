//! Endpoints: a sandbox's attachment to a network.

use crate::{MacAddress, PublishedPort};
use proa_types::SandboxId;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What is wanted of a new endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRequest {
    /// The sandbox; it has at most one endpoint on a network.
    pub sandbox: SandboxId,
    /// The address it must get; `None` takes the next free one.
    pub address: Option<Ipv4Addr>,
    /// The hardware address it must get; `None` derives it from the address.
    pub mac: Option<MacAddress>,
}

impl EndpointRequest {
    /// A request without wishes.
    pub fn of(sandbox: SandboxId) -> Self {
        Self { sandbox, address: None, mac: None }
    }
}

/// An endpoint that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The sandbox it is in.
    pub sandbox: SandboxId,
    /// Its address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix, in bits.
    pub prefix: u8,
    /// The default gateway: the bridge's own address unless configured otherwise.
    pub gateway: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The name of the interface inside the sandbox, `eth0`.
    pub interface: String,
    /// The name of the interface's other end on the host.
    pub host_link: String,
}

/// An endpoint and its published ports, as the caller remembers them across a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What is published of it; the listening sockets are held by its shim.
    pub published: Vec<PublishedPort>,
}
