//! The monitor of one container: its process, its protocol, and the engine's side of it.
//!
//! A shim is this binary exec'd fresh, single-threaded, in a session of its own. It is the parent of the container's
//! first process: it holds its output, writes its log and, by rename, its exit record, and forwards its published
//! ports. It knows nothing of the daemon's state, and outlives the daemon.
//!
//! ```text
//! spawned ──Prepare──> parked ──Start──> running ──(exit)──> ended ──Release──> gone
//!     └── the engine closes its connection before Start: gone, with everything that was made
//! ```

mod client;
mod error;
#[cfg(test)]
mod fuzz;
mod monitor;
mod protocol;
mod wire;

pub use client::{Prepared, Shim, Spawner, Started, events};
pub use error::Error;
pub use monitor::main;
pub use protocol::{
    AttachRequest, Event, ExecRequest, ExitRecord, Facts, Forward, RuntimeChoice, StartRequest, TerminalSize,
};
