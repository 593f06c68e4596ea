//! Networks of containers: the bridge, its endpoints and addresses, published ports and the firewall that
//! goes with them, and the text of `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.
//!
//! Everything here is synchronous: it is netlink messages, a few sysctls and pure text. The crate knows no
//! containers, only sandboxes (network namespaces) and endpoints in them; nothing is stored on disk: the
//! kernel holds the state and [`Driver::reconcile`] compares it with what the caller knows to be alive.
//!
//! ```no_run
//! # fn f(netns: std::os::fd::BorrowedFd<'_>) -> Result<(), Box<dyn std::error::Error>> {
//! use proa_network::{Bridge, BridgeConfig, EndpointRequest, PortBinding};
//! let bridge = Bridge::open(BridgeConfig::named("proa0"))?;
//! let sandbox = proa_types::SandboxId::random();
//! let endpoint = bridge.connect(&EndpointRequest::of(sandbox.clone()), netns)?;
//! let ports = bridge.publish(&sandbox, endpoint.address, &[PortBinding::to("80/tcp".parse()?, Some(8080.into()))])?;
//! // … hand `ports[i].listener` to the shim; later:
//! bridge.unpublish(&sandbox)?;
//! bridge.disconnect(&sandbox)?;
//! bridge.shutdown_if_unused()?;
//! # drop(ports); Ok(()) }
//! ```

pub mod address;
pub mod bridge;
pub mod driver;
pub mod endpoint;
mod error;
pub mod files;
mod firewall;
mod holder;
mod ipam;
mod listener;
pub mod port;

pub use address::{MacAddress, Subnet};
pub use bridge::{Bridge, BridgeConfig};
pub use driver::{Addressing, Driver};
pub use endpoint::{Endpoint, EndpointRecord, EndpointRequest};
pub use error::{Error, PortHolder, Result};
pub use files::{DnsOptions, ExtraHost, HostsFile, host_resolv_conf, hostname_file, hosts_file, resolv_conf};
pub use port::{PortBinding, PortRange, Published, PublishedPort};
