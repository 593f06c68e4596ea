//! The default network: a Linux bridge with NAT.

use crate::{Addressing, Driver, Endpoint, EndpointRecord, EndpointRequest, Error, PortBinding, Published};
use crate::{Result, Subnet};
use proa_types::SandboxId;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

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
    /// The interfaces' MTU in bytes; 0 takes 1500.
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
            mtu: 1500,
            inter_container: true,
            masquerade: true,
            forward: true,
            default_bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            existing: false,
        }
    }
}

/// A bridge network. It is lazy: opening it touches nothing, its kernel objects appear with the first endpoint.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
}

impl Bridge {
    /// A bridge network of this configuration.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn open(config: BridgeConfig) -> Result<Self> {
        Ok(Self { config })
    }

    /// How it is configured.
    pub fn config(&self) -> &BridgeConfig {
        &self.config
    }

    /// See [`Driver::addressing`].
    ///
    /// # Errors
    /// When no free pool is left.
    pub fn addressing(&self) -> Result<Addressing> {
        Err(Error::NotYet("addressing"))
    }

    /// See [`Driver::connect`].
    ///
    /// # Errors
    /// When addresses ran out, the wished one is taken, or the kernel refuses; nothing is left behind.
    pub fn connect(&self, _request: &EndpointRequest, _netns: BorrowedFd<'_>) -> Result<Endpoint> {
        Err(Error::NotYet("connect"))
    }

    /// See [`Driver::disconnect`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn disconnect(&self, _sandbox: &SandboxId) -> Result<()> {
        Err(Error::NotYet("disconnect"))
    }

    /// See [`Driver::publish`].
    ///
    /// # Errors
    /// When a port is taken (naming its holder), the host address is not this host's, or the kernel refuses.
    pub fn publish(
        &self,
        _sandbox: &SandboxId,
        _address: Ipv4Addr,
        _bindings: &[PortBinding],
    ) -> Result<Vec<Published>> {
        Err(Error::NotYet("publish"))
    }

    /// See [`Driver::unpublish`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unpublish(&self, _sandbox: &SandboxId) -> Result<()> {
        Err(Error::NotYet("unpublish"))
    }

    /// See [`Driver::reconcile`].
    ///
    /// # Errors
    /// When the kernel refuses; the rest is done all the same.
    pub fn reconcile(&self, _live: &[EndpointRecord]) -> Result<()> {
        Err(Error::NotYet("reconcile"))
    }

    /// See [`Driver::shutdown_if_unused`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn shutdown_if_unused(&self) -> Result<bool> {
        Err(Error::NotYet("shutdown"))
    }
}

impl Driver for Bridge {
    fn addressing(&self) -> Result<Addressing> {
        Self::addressing(self)
    }

    fn connect(&self, request: &EndpointRequest, netns: BorrowedFd<'_>) -> Result<Endpoint> {
        Self::connect(self, request, netns)
    }

    fn disconnect(&self, sandbox: &SandboxId) -> Result<()> {
        Self::disconnect(self, sandbox)
    }

    fn publish(
        &self,
        sandbox: &SandboxId,
        address: Ipv4Addr,
        bindings: &[PortBinding],
    ) -> Result<Vec<Published>> {
        Self::publish(self, sandbox, address, bindings)
    }

    fn unpublish(&self, sandbox: &SandboxId) -> Result<()> {
        Self::unpublish(self, sandbox)
    }

    fn reconcile(&self, live: &[EndpointRecord]) -> Result<()> {
        Self::reconcile(self, live)
    }

    fn shutdown_if_unused(&self) -> Result<bool> {
        Self::shutdown_if_unused(self)
    }
}
