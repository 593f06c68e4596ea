//! Words every crate shares: ids, names, kinds of errors, labels, filters, signals, units.
//!
//! Nothing here does I/O beyond asking the kernel for random bytes, and nothing here is a wire type.

pub mod capability;
pub mod filter;
pub mod id;
pub mod ids;
pub mod kind;
pub mod name;
pub mod port;
pub mod signal;
pub mod time;
pub mod units;

pub use filter::Filters;
pub use id::{ContainerId, ExecId, NetworkId, SandboxId};
pub use ids::{IdMap, IdRange};
pub use kind::{ErrorKind, Kinded};
pub use name::ContainerName;
pub use port::{PortProtocol, PortSpec};
pub use signal::Signal;
pub use time::Timestamp;

/// Labels of an object, sorted by key as every output shows them.
pub type Labels = std::collections::BTreeMap<String, String>;
