//! The default network: a Linux bridge with NAT, as docker's `docker0` is.
//!
//! Kernel objects, all removed by [`Bridge::shutdown_if_unused`]: the bridge with its address, one `veth` per endpoint,
//! one nftables table. What stays is `net.ipv4.ip_forward`, which is switched on if it was off when the first endpoint
//! appeared ([`Bridge::enabled_forwarding`]): others may have come to rely on it.
//!
//! Locking: the state is locked while addresses, the bridge and the table change, never while an interface is made or
//! a socket bound. An endpoint's place is taken before its interface is made, so that the network is not shut down
//! under it.

mod config;
mod flows;
mod host;
mod sandbox;
mod state;

pub use config::BridgeConfig;

use crate::listener::{self, Ephemeral};
use crate::{Addressing, Driver, Endpoint, EndpointRecord, EndpointRequest, Error, PortBinding, PortHolder};
use crate::{Published, PublishedPort, Result, firewall, holder};
use proa_sys::netlink::{Batch, Link, Socket};
use proa_types::{PortProtocol, SandboxId};
use sandbox::Pair;
use state::State;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bridge network. It is lazy: opening it touches nothing, its kernel objects appear with the first endpoint.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    state: Mutex<State>,
    ephemeral: Ephemeral,
}

impl Bridge {
    /// A bridge network of this configuration.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn open(config: BridgeConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, state: Mutex::default(), ephemeral: Ephemeral::default() })
    }

    /// How it is configured.
    pub fn config(&self) -> &BridgeConfig {
        &self.config
    }

    /// Whether this network switched the host's IPv4 forwarding on.
    pub fn enabled_forwarding(&self) -> bool {
        self.state().enabled_forwarding
    }

    /// What in the host's own firewall stands in the way of this network, in words for `info`; nothing usually.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn obstacles(&self) -> Result<Vec<String>> {
        firewall::obstacles(&self.config.table, &self.config.name)
    }

    /// Whether its containers reach each other.
    pub fn lets_containers_talk(&self) -> bool {
        self.config.inter_container
    }

    /// Whether it has endpoints, also such as are being made or removed.
    pub fn is_used(&self) -> bool {
        !self.state().endpoints.is_empty()
    }

    /// See [`Driver::addressing`].
    ///
    /// # Errors
    /// When no free pool is left.
    pub fn addressing(&self) -> Result<Addressing> {
        self.state().addressing(&self.config)
    }

    /// See [`Driver::connect`].
    ///
    /// # Errors
    /// When addresses ran out, the wished one is taken, or the kernel refuses; nothing is left behind.
    pub fn connect(&self, request: &EndpointRequest, netns: BorrowedFd<'_>) -> Result<Endpoint> {
        // A network that was made for an endpoint which then failed is not left behind.
        self.connect_or_release(request, netns).inspect_err(|_| drop(self.shutdown_if_unused()))
    }

    fn connect_or_release(&self, request: &EndpointRequest, netns: BorrowedFd<'_>) -> Result<Endpoint> {
        let mut socket = host::socket()?;
        let isolated = !self.config.inter_container;
        let (endpoint, bridge, mtu, announce) = {
            let mut state = self.state();
            let bridge = state.ensure_up(&self.config, &mut socket)?;
            let endpoint = state.reserve(&self.config, request)?;
            let announce = state.must_announce(&endpoint);
            (endpoint, bridge, state.mtu, announce)
        };
        let bridge_name = self.config.name.as_str();
        let pair = Pair { endpoint: &endpoint, bridge, bridge_name, mtu, isolated, announce };
        let result = self.attach(&mut socket, pair, netns);
        result.map(|()| endpoint).inspect_err(|_| drop(self.state().release(&request.sandbox)))
    }

    /// Makes the interface; once more if somebody removed the bridge meanwhile.
    fn attach(&self, socket: &mut Socket, mut pair: Pair<'_>, netns: BorrowedFd<'_>) -> Result<()> {
        let bridge = pair.bridge;
        if pair.announce {
            forget_neighbour(socket, pair.endpoint.address, bridge);
        }
        let first = sandbox::connect(socket, &pair, netns);
        let vanished =
            first.is_err() && host::find(socket, &self.config.name)?.is_none_or(|l| l.index != bridge);
        if !vanished {
            return first;
        }
        pair.bridge = {
            let mut state = self.state();
            state.bridge = None;
            state.ensure_up(&self.config, socket)?
        };
        sandbox::connect(socket, &pair, netns)
    }

    /// See [`Driver::disconnect`].
    ///
    /// # Errors
    /// When the kernel refuses to take published ports out of the firewall; the address is free all the same.
    pub fn disconnect(&self, sandbox: &SandboxId) -> Result<()> {
        let result = self.unpublish(sandbox);
        self.state().release(sandbox);
        result
    }

    /// See [`Driver::publish`].
    ///
    /// # Errors
    /// When a port is taken (naming its holder), the host address is not this host's, or the kernel refuses.
    pub fn publish(
        &self,
        sandbox: &SandboxId,
        address: Ipv4Addr,
        bindings: &[PortBinding],
    ) -> Result<Vec<Published>> {
        let known = self.state().endpoints.get(sandbox).is_some_and(|held| held.endpoint.address == address);
        if !known {
            return Err(Error::NotConnected(sandbox.clone()));
        }
        let holder = |host, protocol| self.holder(host, protocol);
        let published = listener::bind_all(bindings, self.config.default_bind, &self.ephemeral, &holder)?;
        let ports: Vec<PublishedPort> = published.iter().map(Published::port).collect();
        let host_link = self.state().publish(&self.config, sandbox, address, &ports)?;
        if self.config.inter_container {
            allow_hairpin(&mut host::socket()?, [host_link.as_str()]);
        }
        Ok(published)
    }

    /// Who holds a port of the host: an endpoint of this network, or else a process.
    fn holder(&self, host: SocketAddr, protocol: PortProtocol) -> PortHolder {
        let same = |port: &PublishedPort| {
            port.host_port == host.port()
                && port.container.protocol == protocol
                && overlap(port.host_ip, host.ip())
        };
        let state = self.state();
        let known = state.endpoints.values().find(|held| held.published.iter().any(same));
        let known = known.map(|held| held.endpoint.sandbox.clone());
        drop(state);
        known.map_or_else(|| holder::find(host, protocol), PortHolder::Sandbox)
    }

    /// See [`Driver::unpublish`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unpublish(&self, sandbox: &SandboxId) -> Result<()> {
        let taken_back = self.state().unpublish(&self.config, sandbox)?;
        if let Some((address, ports)) = taken_back {
            flows::forget_those_to(address, &ports);
        }
        Ok(())
    }

    /// See [`Driver::reconcile`].
    ///
    /// # Errors
    /// When the kernel refuses; the rest is done all the same.
    pub fn reconcile(&self, live: &[EndpointRecord]) -> Result<()> {
        let mut socket = host::socket()?;
        let mut state = self.state();
        let subnet = state.adopt(&self.config, live)?.subnet;
        let swept = self.sweep(&mut socket, live);
        let restored = if live.is_empty() {
            state.remove_table(&self.config).map(|_| ())
        } else {
            self.restore(&mut state, &mut socket, live)
        };
        drop(state);
        flows::forget_stale(subnet, live);
        swept.and(restored)
    }

    /// Makes what live endpoints need, if it is not there.
    fn restore(&self, state: &mut State, socket: &mut Socket, live: &[EndpointRecord]) -> Result<()> {
        let index = state.ensure_up(&self.config, socket)?;
        reattach(socket, index, !self.config.inter_container, live)?;
        if self.config.inter_container {
            let publishers = live.iter().filter(|record| !record.published.is_empty());
            allow_hairpin(socket, publishers.map(|record| record.endpoint.host_link.as_str()));
        }
        Ok(())
    }

    /// Removes the interfaces of endpoints that do not live.
    fn sweep(&self, socket: &mut Socket, live: &[EndpointRecord]) -> Result<()> {
        let Some(bridge) = host::find(socket, &self.config.name)? else { return Ok(()) };
        let live: HashSet<&str> = live.iter().map(|record| record.endpoint.host_link.as_str()).collect();
        let left_over = |link: &Link| {
            link.master == bridge.index
                && link.kind == "veth"
                && state::is_host_link(&link.name)
                && !live.contains(link.name.as_str())
        };
        let links = host::links(socket)?;
        links.iter().filter(|link| left_over(link)).for_each(|link| sandbox::remove(socket, &link.name));
        Ok(())
    }

    /// See [`Driver::shutdown_if_unused`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn shutdown_if_unused(&self) -> Result<bool> {
        let mut state = self.state();
        if !state.endpoints.is_empty() {
            return Ok(false);
        }
        state.bridge = None;
        let mut removed = state.remove_table(&self.config)?;
        if !self.config.existing {
            let mut socket = host::socket()?;
            if host::find(&mut socket, &self.config.name)?.is_some_and(|link| link.kind == "bridge") {
                let mut batch = Batch::new();
                batch.delete_link(&self.config.name);
                socket.exchange(batch)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts live interfaces that lost their bridge on it again, and isolates all or none of them as configured now.
fn reattach(socket: &mut Socket, bridge: u32, isolated: bool, live: &[EndpointRecord]) -> Result<()> {
    let live: HashSet<&str> = live.iter().map(|record| record.endpoint.host_link.as_str()).collect();
    let mut batch = Batch::new();
    for link in host::links(socket)?.iter().filter(|link| live.contains(link.name.as_str())) {
        if link.master != bridge {
            batch.set_master(&link.name, bridge);
        }
        batch.set_isolated(&link.name, isolated);
    }
    socket.exchange(batch)?;
    Ok(())
}

/// Lets endpoints reach their own published ports by the host's address. One that cannot, because it is ending just
/// now, is no reason to fail.
fn allow_hairpin<'a>(socket: &mut Socket, host_links: impl IntoIterator<Item = &'a str>) {
    let mut batch = Batch::new();
    host_links.into_iter().for_each(|name| batch.allow_hairpin(name));
    let _ = socket.exchange(batch);
}

/// Not knowing the neighbour is fine.
fn forget_neighbour(socket: &mut Socket, address: Ipv4Addr, bridge: u32) {
    let mut batch = Batch::new();
    batch.delete_neighbour(address.into(), bridge);
    let _ = socket.exchange(batch);
}

/// Whether two sockets cannot have these addresses and one port: equal, or one of them all of the family.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
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

#[cfg(test)]
mod tests;
