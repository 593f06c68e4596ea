//! What a bridge network knows while the daemon runs.

use super::config::{BridgeConfig, addressing_of};
use super::host;
use crate::firewall::{self, Elements, Ruleset};
use crate::ipam::{self, Pool};
use crate::{
    Addressing, Endpoint, EndpointRecord, EndpointRequest, Error, MacAddress, PublishedPort, Result,
};
use proa_sys::netlink::Socket;
use proa_sys::nfnetlink;
use proa_types::SandboxId;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

/// The interface's name in the sandbox.
const INTERFACE: &str = "eth0";
const HOST_PREFIX: &str = "veth";
/// As many digits of the sandbox's id as fit into an interface name.
const HOST_DIGITS: usize = 11;

#[derive(Debug)]
pub(super) struct Held {
    pub(super) endpoint: Endpoint,
    pub(super) published: Vec<PublishedPort>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    addresses: Option<(Addressing, Pool)>,
    /// Whether the addresses were our choice, which may be made again while nobody uses them.
    ours: bool,
    /// The bridge's number, while it and the table are known to be there.
    pub(super) bridge: Option<u32>,
    /// The bridge's MTU in bytes, which its endpoints get too.
    pub(super) mtu: u32,
    /// The ruleset's generation when the table was last seen.
    generation: u32,
    pub(super) endpoints: HashMap<SandboxId, Held>,
    /// Addresses that had a hardware address which is not derived from them.
    foreign: HashSet<Ipv4Addr>,
    pub(super) enabled_forwarding: bool,
    /// Kept: closing a netfilter socket waits for removed elements to be gone, about 10 ms.
    netfilter: Option<Socket>,
}

impl State {
    /// The addresses in use, chosen now if they were not yet.
    pub(super) fn addressing(&mut self, config: &BridgeConfig) -> Result<Addressing> {
        if let Some((addressing, _)) = &self.addresses {
            return Ok(*addressing);
        }
        let mut socket = host::socket()?;
        let found = match host::find(&mut socket, &config.name)? {
            Some(link) => host::addresses_of(&mut socket, link.index)?.first().copied(),
            None => None,
        };
        self.ours = false;
        let subnet = match (config.existing, config.subnet, found) {
            (true, _, Some(found)) | (false, None, Some(found)) => found,
            (false, Some(subnet), _) => subnet,
            (true, _, None) => return Err(no_such_bridge(config)),
            (false, None, None) => {
                self.ours = true;
                let free = ipam::choose(&host::taken(&mut socket)?);
                free.ok_or_else(|| Error::NoFreePool { bridge: config.name.clone() })?
            }
        };
        self.use_addresses(config, addressing_of(subnet))
    }

    /// Works with these addresses from now on, all of them free.
    pub(super) fn use_addresses(
        &mut self,
        config: &BridgeConfig,
        addressing: Addressing,
    ) -> Result<Addressing> {
        let reserved = [Some(addressing.gateway), config.gateway];
        let reserved: Vec<Ipv4Addr> = reserved.into_iter().flatten().collect();
        self.addresses = Some((addressing, Pool::new(addressing.subnet, config.pool, &reserved)?));
        Ok(addressing)
    }

    /// Reserves an address and a place for a new endpoint.
    pub(super) fn reserve(&mut self, config: &BridgeConfig, request: &EndpointRequest) -> Result<Endpoint> {
        if self.endpoints.contains_key(&request.sandbox) {
            return Err(Error::AlreadyConnected(request.sandbox.clone()));
        }
        let addressing = self.addressing(config)?;
        let pool = self.addresses.as_mut().map(|(_, pool)| pool);
        let pool = pool.ok_or_else(|| Error::NoFreePool { bridge: config.name.clone() })?;
        let address = match request.address {
            Some(address) => pool.take(address).map(|()| address)?,
            None => pool.allocate()?,
        };
        let endpoint = Endpoint {
            sandbox: request.sandbox.clone(),
            address,
            prefix: addressing.subnet.prefix(),
            gateway: config.gateway.unwrap_or(addressing.gateway),
            mac: request.mac.unwrap_or(MacAddress::of(address)),
            interface: INTERFACE.into(),
            host_link: host_link(&request.sandbox),
        };
        let held = Held { endpoint: endpoint.clone(), published: Vec::new() };
        self.endpoints.insert(request.sandbox.clone(), held);
        Ok(endpoint)
    }

    /// Forgets an endpoint and frees its address.
    pub(super) fn release(&mut self, sandbox: &SandboxId) -> Option<Held> {
        let held = self.endpoints.remove(sandbox)?;
        if let Some((_, pool)) = &mut self.addresses {
            pool.release(held.endpoint.address);
        }
        Some(held)
    }

    /// Whether neighbours may know another hardware address for this endpoint's address than its own.
    pub(super) fn must_announce(&mut self, endpoint: &Endpoint) -> bool {
        if endpoint.mac == MacAddress::of(endpoint.address) {
            return self.foreign.remove(&endpoint.address);
        }
        self.foreign.insert(endpoint.address);
        true
    }

    /// Takes over what lives, instead of what was known.
    pub(super) fn adopt(&mut self, config: &BridgeConfig, live: &[EndpointRecord]) -> Result<Addressing> {
        self.endpoints.clear();
        self.bridge = None;
        let addressing = match (&self.addresses, live.first(), config.existing || config.gateway.is_some()) {
            (Some((known, _)), ..) => *known,
            (None, Some(record), false) => addressing_of(
                crate::Subnet::new(record.endpoint.gateway, record.endpoint.prefix)
                    .ok_or_else(|| Error::Config("a stored endpoint has a prefix over 32 bits".into()))?,
            ),
            _ => self.addressing(config)?,
        };
        self.use_addresses(config, addressing)?;
        for record in live {
            if let Some((_, pool)) = &mut self.addresses {
                // One outside the subnet, as after a change of --bip, collides with nobody.
                let _ = pool.restore(record.endpoint.address);
            }
            let held = Held { endpoint: record.endpoint.clone(), published: record.published.clone() };
            self.endpoints.insert(record.endpoint.sandbox.clone(), held);
        }
        Ok(addressing)
    }

    /// The bridge's number, after making sure that it, its address, forwarding and the table are there.
    pub(super) fn ensure_up(&mut self, config: &BridgeConfig, socket: &mut Socket) -> Result<u32> {
        if let Some(index) = self.bridge {
            self.ensure_table(config)?;
            return Ok(index);
        }
        let _lock = host::lock();
        let bridge = match host::find(socket, &config.name)? {
            Some(link) if link.kind == "bridge" => link,
            Some(_) => {
                let text = format!("interface {} exists and is no bridge; choose another name", config.name);
                return Err(Error::Config(text));
            }
            None if config.existing => return Err(no_such_bridge(config)),
            None => {
                self.choose_again_if_taken(config, socket)?;
                host::create(socket, config, self.addressing(config)?.gateway)?
            }
        };
        if !config.existing {
            host::configure(socket, &bridge, self.addressing(config)?)?;
        }
        if config.forward {
            self.enabled_forwarding |= host::enable_forwarding()?;
        }
        self.install(config)?;
        self.mtu = bridge.mtu;
        self.bridge = Some(bridge.index);
        Ok(bridge.index)
    }

    /// A pool that was free when it was chosen may have been taken before the first endpoint came.
    fn choose_again_if_taken(&mut self, config: &BridgeConfig, socket: &mut Socket) -> Result<()> {
        let addressing = self.addressing(config)?;
        if !self.ours || !self.endpoints.is_empty() {
            return Ok(());
        }
        if host::taken(socket)?.iter().any(|other| other.overlaps(&addressing.subnet)) {
            self.addresses = None;
            self.addressing(config)?;
        }
        Ok(())
    }

    /// Others may flush the whole ruleset at any time (`nft flush ruleset`): the kernel's generation tells for a few
    /// microseconds whether anything changed at all.
    fn ensure_table(&mut self, config: &BridgeConfig) -> Result<()> {
        let netfilter = netfilter(&mut self.netfilter)?;
        let generation = nfnetlink::generation(netfilter)?;
        if generation == self.generation {
            return Ok(());
        }
        if !nfnetlink::has_table(netfilter, &config.table)? {
            return self.install(config);
        }
        self.generation = generation;
        Ok(())
    }

    /// Makes the table from what is known.
    pub(super) fn install(&mut self, config: &BridgeConfig) -> Result<()> {
        let ruleset = Ruleset {
            table: &config.table,
            bridge: &config.name,
            subnet: self.addressing(config)?.subnet,
            masquerade: config.masquerade,
            inter_container: config.inter_container,
        };
        let endpoints = self.endpoints.values().map(|held| (&held.endpoint, held.published.as_slice()));
        let netfilter = netfilter(&mut self.netfilter)?;
        ruleset.install(netfilter, &Elements::of_all(endpoints))?;
        self.generation = nfnetlink::generation(netfilter)?;
        Ok(())
    }

    /// Removes the table; says whether it was there.
    pub(super) fn remove_table(&mut self, config: &BridgeConfig) -> Result<bool> {
        firewall::delete(netfilter(&mut self.netfilter)?, &config.table)
    }

    /// Adds a sandbox's published ports to the table and remembers them; tells its interface's name on the host.
    pub(super) fn publish(
        &mut self,
        config: &BridgeConfig,
        sandbox: &SandboxId,
        address: Ipv4Addr,
        ports: &[PublishedPort],
    ) -> Result<String> {
        let missing = || Error::NotConnected(sandbox.clone());
        let held = self.endpoints.get_mut(sandbox).filter(|held| held.endpoint.address == address);
        let held = held.ok_or_else(missing)?;
        let host_link = held.endpoint.host_link.clone();
        let before = held.published.len();
        held.published.extend_from_slice(ports);
        let added =
            firewall::add(netfilter(&mut self.netfilter)?, &config.table, &Elements::of(address, ports));
        let added = match added {
            Err(error) if error.errno() == Some(rustix::io::Errno::NOENT) => self.install(config),
            result => result.map_err(Error::from),
        };
        added.map(|()| host_link).inspect_err(|_| {
            if let Some(held) = self.endpoints.get_mut(sandbox) {
                held.published.truncate(before);
            }
        })
    }

    /// Takes a sandbox's published ports out of the table; tells which they were and where they led.
    pub(super) fn unpublish(
        &mut self,
        config: &BridgeConfig,
        sandbox: &SandboxId,
    ) -> Result<Option<(Ipv4Addr, Vec<PublishedPort>)>> {
        let Some(held) = self.endpoints.get_mut(sandbox) else { return Ok(None) };
        let (address, ports) = (held.endpoint.address, std::mem::take(&mut held.published));
        firewall::remove(netfilter(&mut self.netfilter)?, &config.table, &Elements::of(address, &ports))?;
        Ok(Some((address, ports)))
    }
}

/// The socket, opened at its first use.
fn netfilter(kept: &mut Option<Socket>) -> Result<&mut Socket> {
    Ok(match kept {
        Some(socket) => socket,
        None => kept.insert(nfnetlink::open()?),
    })
}

fn no_such_bridge(config: &BridgeConfig) -> Error {
    Error::Config(format!(
        "bridge {} does not exist or has no IPv4 address; create it, or leave --bridge out to have one made",
        config.name
    ))
}

/// The name of the host's end of a sandbox's interface.
fn host_link(sandbox: &SandboxId) -> String {
    format!("{HOST_PREFIX}{}", sandbox.as_str().get(..HOST_DIGITS).unwrap_or_default())
}

/// Whether a link's name is of this form.
pub(super) fn is_host_link(name: &str) -> bool {
    name.strip_prefix(HOST_PREFIX)
        .is_some_and(|digits| digits.len() == HOST_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}
