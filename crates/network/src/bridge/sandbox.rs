//! An endpoint's interface: the pair of links and the sandbox's own configuration.

use super::host;
use crate::{Endpoint, Error, Result};
use proa_sys::netlink::spawn_in_namespace;
use proa_sys::netlink::{Address, Batch, Error as NetlinkError, Link, LinkPeer, NewVeth, Socket};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::time::Duration;

/// The loopback's number in every namespace.
const LOOPBACK: u32 = 1;

const CARRIER_TRIES: u32 = 100;
const CARRIER_PAUSE: Duration = Duration::from_micros(200);

/// What a new pair of links is made from.
pub(super) struct Pair<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) bridge: u32,
    pub(super) bridge_name: &'a str,
    pub(super) mtu: u32,
    /// Whether the port may not talk to other isolated ports.
    pub(super) isolated: bool,
    /// Whether neighbours may know another hardware address for this endpoint's address.
    pub(super) announce: bool,
}

/// Makes the pair and configures its inner end. The namespace is entered on another thread while the kernel works on
/// the pair; what was opened in there then serves from here.
pub(super) fn connect(socket: &mut Socket, pair: &Pair<'_>, netns: BorrowedFd<'_>) -> Result<()> {
    std::thread::scope(|scope| {
        let namespace = |errno: Errno| Error::Namespace { source: errno.into() };
        let inside = spawn_in_namespace(scope, netns, Inside::open).map_err(namespace)?;
        create(socket, pair, netns)?;
        let inside = inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let inside = inside.map_err(namespace).and_then(|inside| inside);
        let configured = inside.and_then(|mut inside| {
            let index = inside.configure(pair.endpoint)?;
            await_carrier(&mut inside.socket, &[&pair.endpoint.interface])?;
            await_carrier(socket, &[&pair.endpoint.host_link, pair.bridge_name])?;
            if pair.announce { inside.announce(pair.endpoint, index) } else { Ok(()) }
        });
        configured.inspect_err(|_| remove(socket, &pair.endpoint.host_link))
    })
}

/// One message: the pair, its inner end already in the namespace, its outer end up and on the bridge.
fn create(socket: &mut Socket, pair: &Pair<'_>, netns: BorrowedFd<'_>) -> Result<()> {
    match create_once(socket, pair, netns) {
        // Left over of an earlier try of this very sandbox.
        Err(error) if error.errno() == Some(Errno::EXIST) => {
            remove(socket, &pair.endpoint.host_link);
            Ok(create_once(socket, pair, netns)?)
        }
        result => Ok(result?),
    }
}

fn create_once(
    socket: &mut Socket,
    pair: &Pair<'_>,
    netns: BorrowedFd<'_>,
) -> std::result::Result<(), NetlinkError> {
    let endpoint = pair.endpoint;
    let mut batch = Batch::new();
    batch.add_veth(&NewVeth {
        name: &endpoint.host_link,
        master: pair.bridge,
        mtu: pair.mtu,
        peer: LinkPeer { name: &endpoint.interface, mac: endpoint.mac.0, netns },
    });
    if pair.isolated {
        batch.set_isolated(&endpoint.host_link, true);
    }
    socket.exchange(batch)?;
    let mut batch = Batch::new();
    batch.omit_link_local(&endpoint.host_link);
    let _ = socket.exchange(batch);
    Ok(())
}

/// Waits until the links carry packets. A new pair drops them until the kernel's own worker has seen that both ends are
/// up, and a first packet that is lost costs its sender a second. Asking makes a recent kernel do that work at once;
/// an older one is given a moment, and then the endpoint is as good as it gets.
fn await_carrier(socket: &mut Socket, names: &[&str]) -> Result<()> {
    for _ in 0..CARRIER_TRIES {
        let mut batch = Batch::new();
        names.iter().for_each(|name| batch.find_link(name));
        if socket.exchange(batch)?.iter().filter_map(Link::read).all(|link| link.carries) {
            return Ok(());
        }
        std::thread::sleep(CARRIER_PAUSE);
    }
    Ok(())
}

/// Removes the pair; what is not there is fine, and a failure here must not hide the one that led to it.
pub(super) fn remove(socket: &mut Socket, host_link: &str) {
    let mut batch = Batch::new();
    batch.delete_link(host_link);
    let _ = socket.exchange(batch);
}

/// What belongs to the sandbox's namespace.
struct Inside {
    socket: Socket,
    /// `/proc/sys/net/ipv4/conf` and `…/ipv6/conf`, of which a kernel without IPv6 has only the first.
    ipv4: Option<OwnedFd>,
    ipv6: Option<OwnedFd>,
}

impl Inside {
    /// Runs on a thread in the namespace.
    fn open() -> Result<Self> {
        let directory = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).ok()
        };
        Ok(Self {
            socket: host::socket()?,
            ipv4: directory("/proc/sys/net/ipv4/conf"),
            ipv6: directory("/proc/sys/net/ipv6/conf"),
        })
    }

    /// Tells the interface's number.
    fn configure(&mut self, endpoint: &Endpoint) -> Result<u32> {
        let interface = &endpoint.interface;
        // Before the interface is up: no address of its own making, no router's advertisement is taken.
        switch_on(self.ipv6.as_ref(), &format!("{interface}/disable_ipv6"));
        let mut batch = Batch::new();
        batch.find_link(interface);
        let replies = self.socket.exchange(batch)?;
        let link = replies.iter().find_map(Link::read).map(|link| link.index);
        let index = link.ok_or_else(|| NetlinkError::Unanswered(format!("find interface {interface}")))?;
        let mut batch = Batch::new();
        batch.set_up(LOOPBACK);
        batch.add_address(&Address {
            link: index,
            address: endpoint.address.into(),
            prefix: endpoint.prefix,
        });
        batch.set_up(index);
        batch.add_default_route(endpoint.gateway.into(), index);
        self.socket.exchange(batch)?;
        Ok(index)
    }

    /// Has the kernel announce the address by ARP, so that neighbours learn its new hardware address.
    fn announce(&mut self, endpoint: &Endpoint, index: u32) -> Result<()> {
        switch_on(self.ipv4.as_ref(), &format!("{}/arp_notify", endpoint.interface));
        let mut batch = Batch::new();
        batch.set_mac(index, endpoint.mac.0);
        self.socket.exchange(batch)?;
        Ok(())
    }
}

/// Writes 1 to a file below one of the namespace's directories of interface settings.
fn switch_on(directory: Option<&OwnedFd>, file: &str) {
    let Some(directory) = directory else { return };
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::openat(directory, file, flags, Mode::empty()) {
        let _ = rustix::io::write(&file, b"1");
    }
}
