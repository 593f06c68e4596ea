//! The seam between networks and those who use them.
//!
//! A driver makes one kind of network real. All calls are synchronous, may be made from several threads at once and
//! are idempotent where that makes sense: disconnecting what is not connected succeeds. An endpoint's life:
//! `connect` → `publish`* → `unpublish` → `disconnect`; the network itself appears with its first endpoint and
//! disappears in `shutdown_if_unused`. After a restart `reconcile` comes first.

use crate::{Endpoint, EndpointRecord, EndpointRequest, PortBinding, Published, Result, Subnet};
use proa_types::SandboxId;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

/// The addresses a network works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressing {
    /// The network, host part zero.
    pub subnet: Subnet,
    /// The host's own address in it.
    pub gateway: Ipv4Addr,
}

/// A network that sandboxes connect to.
pub trait Driver: Send + Sync {
    /// The addresses in use, chosen now if they were not yet; nothing is created in the kernel. Store them and
    /// hand them in again at the next start to keep them.
    ///
    /// # Errors
    /// When no free pool is left.
    fn addressing(&self) -> Result<Addressing>;

    /// Gives the sandbox whose network namespace is `netns` an interface, an address and a default route.
    ///
    /// # Errors
    /// When addresses ran out, the wished one is taken, or the kernel refuses; nothing is left behind.
    fn connect(&self, request: &EndpointRequest, netns: BorrowedFd<'_>) -> Result<Endpoint>;

    /// Gives the address back. The interface dies with its namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn disconnect(&self, sandbox: &SandboxId) -> Result<()>;

    /// Publishes ports of a connected sandbox: all of them or none.
    ///
    /// # Errors
    /// When a port is taken (naming its holder), the host address is not this host's, or the kernel refuses.
    fn publish(
        &self,
        sandbox: &SandboxId,
        address: Ipv4Addr,
        bindings: &[PortBinding],
    ) -> Result<Vec<Published>>;

    /// Takes all published ports of a sandbox back. Sockets are the holder's to close.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn unpublish(&self, sandbox: &SandboxId) -> Result<()>;

    /// Makes the kernel's state that of `live`: what others left is removed, what is missing is made again, what is
    /// right is not touched.
    ///
    /// # Errors
    /// When the kernel refuses; the rest is done all the same.
    fn reconcile(&self, live: &[EndpointRecord]) -> Result<()>;

    /// Removes everything from the kernel if no endpoint is left; says whether it did.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn shutdown_if_unused(&self) -> Result<bool>;
}
