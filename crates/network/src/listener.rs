//! The sockets that hold published ports on the host.

use crate::port::PortRange;
use crate::{Error, PortBinding, PortHolder, Published, Result};
use proa_types::{PortProtocol, PortSpec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where ports come from that nobody chose.
const EPHEMERAL: PortRange = PortRange { first: 32768, last: 60999 };
/// What `listen(2)` is asked for; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Next-fit over the ephemeral range.
#[derive(Debug)]
pub(crate) struct Ephemeral(AtomicU16);

impl Default for Ephemeral {
    fn default() -> Self {
        Self(AtomicU16::new(0))
    }
}

impl Ephemeral {
    /// Every port of the range once, from where the last caller stopped.
    fn ports(&self) -> impl Iterator<Item = u16> {
        let size = EPHEMERAL.last - EPHEMERAL.first + 1;
        (0..size).map(move |_| EPHEMERAL.first + self.0.fetch_add(1, Ordering::Relaxed) % size)
    }
}

/// A binding with its addresses decided: several are bound on the same port, or none is.
struct Wish {
    hosts: Vec<IpAddr>,
    container: PortSpec,
}

/// Binds all ports of `bindings`, or none. On a conflict `holder` names who has the port.
pub(crate) fn bind_all(
    bindings: &[PortBinding],
    default: IpAddr,
    ephemeral: &Ephemeral,
    holder: &dyn Fn(SocketAddr, PortProtocol) -> PortHolder,
) -> Result<Vec<Published>> {
    let mut published = Vec::with_capacity(bindings.len() * 2);
    for binding in bindings {
        published.extend(bind(binding, default, ephemeral, holder)?);
    }
    Ok(published)
}

fn bind(
    binding: &PortBinding,
    default: IpAddr,
    ephemeral: &Ephemeral,
    holder: &dyn Fn(SocketAddr, PortProtocol) -> PortHolder,
) -> Result<Vec<Published>> {
    let wish = Wish { hosts: hosts(binding.host_ip, default), container: binding.container };
    let range = binding.host_port.unwrap_or(PortRange { first: 0, last: 0 });
    if range.first > range.last {
        let text = format!("port range {}-{} of {} is upside down", range.first, range.last, wish.container);
        return Err(Error::Config(text));
    }
    if range.last == 0 {
        return wish.first_of(ephemeral.ports(), EPHEMERAL);
    }
    if range.first == range.last {
        return wish.at(range.first)?.map_err(|taken| {
            let protocol = wish.container.protocol;
            Error::PortTaken { host: taken, protocol, holder: holder(taken, protocol) }
        });
    }
    wish.first_of(range.first..=range.last, range)
}

/// The addresses to bind: no wish on a network that publishes everywhere means both families.
fn hosts(wished: Option<IpAddr>, default: IpAddr) -> Vec<IpAddr> {
    match wished {
        Some(ip) => vec![ip],
        None if default.is_unspecified() && default.is_ipv4() => vec![default, Ipv6Addr::UNSPECIFIED.into()],
        None => vec![default],
    }
}

impl Wish {
    /// The first port of `ports` that is free on all addresses.
    fn first_of(&self, ports: impl Iterator<Item = u16>, range: PortRange) -> Result<Vec<Published>> {
        for port in ports {
            if let Ok(published) = self.at(port)? {
                return Ok(published);
            }
        }
        let host_ip = self.hosts.first().copied().unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let protocol = self.container.protocol;
        Err(Error::PortsExhausted { host_ip, first: range.first, last: range.last, protocol })
    }

    /// This port on all addresses; the inner error is the one that is taken.
    fn at(&self, port: u16) -> Result<std::result::Result<Vec<Published>, SocketAddr>> {
        let protocol = self.container.protocol;
        let mut published = Vec::with_capacity(self.hosts.len());
        for host_ip in &self.hosts {
            let host = SocketAddr::new(*host_ip, port);
            match open(host, protocol) {
                Ok(listener) => published.push(Published {
                    host_ip: *host_ip,
                    host_port: port,
                    container: self.container,
                    listener,
                }),
                Err(Errno::ADDRINUSE) => return Ok(Err(host)),
                // A host without IPv6 publishes on IPv4 alone, unless IPv6 was asked for.
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if host.is_ipv6() && !published.is_empty() => {}
                Err(errno) => return Err(Error::Bind { host, protocol, source: errno.into() }),
            }
        }
        Ok(Ok(published))
    }
}

/// A bound socket; for stream protocols it listens, which is when conflicts of reusable addresses show.
fn open(host: SocketAddr, protocol: PortProtocol) -> std::result::Result<OwnedFd, Errno> {
    let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        PortProtocol::Tcp => (SocketType::STREAM, None),
        PortProtocol::Udp => (SocketType::DGRAM, None),
        PortProtocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, number)?;
    if host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != PortProtocol::Udp {
        // Connections of a former holder that linger must not keep the port; a listener still does.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &host)?;
    if protocol != PortProtocol::Udp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
