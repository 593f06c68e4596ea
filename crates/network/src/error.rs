//! What can go wrong.

use crate::Subnet;
use proa_types::{ErrorKind, Kinded, PortProtocol, SandboxId};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of a network operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("invalid network configuration: {0}")]
    Config(String),
    /// All private ranges that could be taken collide with the host's routes.
    #[error(
        "no free address pool for bridge {bridge}: every candidate overlaps a route of this host; choose one with --bip"
    )]
    NoFreePool {
        /// The bridge that needs it.
        bridge: String,
    },
    /// The subnet has no free address.
    #[error(
        "no available IPv4 addresses on this network's address pool: {subnet} is full; remove containers or use a larger subnet"
    )]
    AddressesExhausted {
        /// The full subnet.
        subnet: Subnet,
    },
    /// The wished address is in use.
    #[error("address {address} is already in use")]
    AddressTaken {
        /// The address.
        address: Ipv4Addr,
    },
    /// The wished address cannot be an endpoint's.
    #[error("address {address} is not one of subnet {subnet} that a container can have")]
    AddressOutside {
        /// The address.
        address: Ipv4Addr,
        /// The subnet.
        subnet: Subnet,
    },
    /// The sandbox already has an endpoint here.
    #[error("sandbox {0:?} is already connected to this network")]
    AlreadyConnected(SandboxId),
    /// The sandbox has no endpoint here.
    #[error("sandbox {0:?} is not connected to this network")]
    NotConnected(SandboxId),
    /// Somebody has the port.
    #[error("Bind for {host} failed: port is already allocated: port {}/{} is already in use{holder}", host.port(), protocol.as_str())]
    PortTaken {
        /// Where it should have been published.
        host: SocketAddr,
        /// Its protocol.
        protocol: PortProtocol,
        /// Who has it.
        holder: PortHolder,
    },
    /// No port of the range is free.
    #[error("Bind for {host_ip} failed: all ports of {first}-{last}/{} are allocated", protocol.as_str())]
    PortsExhausted {
        /// Where they should have been published.
        host_ip: IpAddr,
        /// The lowest port tried.
        first: u16,
        /// The highest port tried.
        last: u16,
        /// Their protocol.
        protocol: PortProtocol,
    },
    /// A socket for a published port could not be had for another reason.
    #[error("cannot publish {host}/{}: {}", protocol.as_str(), bind_hint(source, host))]
    Bind {
        /// Where it should have been published.
        host: SocketAddr,
        /// Its protocol.
        protocol: PortProtocol,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A file of the kernel or the host could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The sandbox's network namespace cannot be entered.
    #[error("cannot enter the sandbox's network namespace: {source}")]
    Namespace {
        /// The cause.
        source: std::io::Error,
    },
    /// The kernel refused to change links, addresses, routes or the firewall.
    #[error(transparent)]
    Kernel(#[from] proa_sys::netlink::Error),
}

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// A sandbox of this network; the caller knows its container's name: [`Error::with_holder`].
    Sandbox(SandboxId),
    /// A container.
    Container {
        /// Its name.
        name: String,
    },
    /// A process of the host.
    Process {
        /// Its command name.
        name: String,
        /// Its id.
        pid: i32,
    },
    /// Nobody that could be found.
    Unknown,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox(_) => f.write_str(" by another container"),
            Self::Container { name } => write!(f, " by container {name}"),
            Self::Process { name, pid } => write!(f, " by {name} (pid {pid})"),
            Self::Unknown => Ok(()),
        }
    }
}

impl Error {
    /// The same failure with the sandbox that holds a port replaced by its container, if `name` knows it.
    #[must_use]
    pub fn with_holder(self, name: impl FnOnce(&SandboxId) -> Option<String>) -> Self {
        match self {
            Self::PortTaken { host, protocol, holder: PortHolder::Sandbox(sandbox) } => {
                let holder = match name(&sandbox) {
                    Some(name) => PortHolder::Container { name },
                    None => PortHolder::Sandbox(sandbox),
                };
                Self::PortTaken { host, protocol, holder }
            }
            other => other,
        }
    }
}

fn bind_hint(source: &std::io::Error, host: &SocketAddr) -> String {
    match source.kind() {
        std::io::ErrorKind::AddrNotAvailable => format!("{} is no address of this host", host.ip()),
        _ => source.to_string(),
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::AddressOutside { .. } => ErrorKind::InvalidArgument,
            Self::NoFreePool { .. } | Self::AddressesExhausted { .. } => ErrorKind::Exhausted,
            Self::AddressTaken { .. } | Self::AlreadyConnected(_) => ErrorKind::Conflict,
            Self::NotConnected(_) => ErrorKind::NotFound,
            Self::PortTaken { .. } | Self::PortsExhausted { .. } => ErrorKind::Conflict,
            Self::Bind { source, .. } | Self::File { source, .. } | Self::Namespace { source } => {
                ErrorKind::of_io(source)
            }
            Self::Kernel(error) => match error.errno() {
                Some(errno) => ErrorKind::of_io(&errno.into()),
                None => ErrorKind::Internal,
            },
        }
    }
}
