//! The OCI runtime: library and command line.
//!
//! A container is built in two stages, whoever asks for it. [`Sandbox::prepare`] makes what depends on no image:
//! namespaces, cgroup, kernel filesystems, masks, the bounding set; its init process then waits. [`Sandbox::start`]
//! gives it a root, mounts, limits, user and program. A sandbox prepared long ago and one prepared a moment ago go
//! through the same code, so they end in the same state.
//!
//! The calling process must be single-threaded: init is a copy of it made by clone3(2), without exec.
//! Needs Linux 5.12 (`mount_setattr`, `close_range`, `openat2`, setns by pidfd).

pub mod cgroup;
pub mod cli;
mod container;
mod error;
mod sandbox;
pub mod seccomp;
mod spec;
mod start;

pub use container::{Container, Exec, ExecOptions};
pub use error::Error;
pub use sandbox::Sandbox;
pub use spec::SandboxSpec;
pub use start::{Overlay, Rootfs, StartContainer, Stdio, TerminalSize};
