//! The OCI runtime: library and command line.
//!
//! A container is built in two stages, whoever asks for it. [`Sandbox::prepare`] makes what depends on no image:
//! namespaces, cgroup, kernel filesystems, masks, the bounding set; its init process then waits. [`Sandbox::start`]
//! gives it a root, mounts, limits, user and program. A sandbox prepared long ago and one prepared a moment ago go
//! through the same code, so they end in the same state.
//!
//! The calling process must be single-threaded: init is a copy of it made by clone3(2), without exec.
//! Needs Linux 5.12 (`mount_setattr`, `close_range`, `openat2`, setns by pidfd).

mod birthplace;
mod capability;
pub mod cgroup;
mod cgroup_mount;
mod channel;
pub mod cli;
mod console;
mod container;
mod copy_up;
mod detached;
mod device;
mod error;
pub mod exe;
mod exec;
mod executable;
mod failure;
mod hook;
mod init;
mod inside;
mod layout;
mod leader;
mod lsm;
mod mask;
mod mount_options;
mod namespace;
mod overlay;
mod priority;
mod process;
mod reaper;
mod rlimit;
mod rootfs;
mod sandbox;
pub mod seccomp;
mod spec;
mod stage;
mod start;
mod sysctl;

pub use container::{Container, Exec, ExecOptions, start_time};
pub use error::Error;
pub use lsm::has_apparmor;
pub use overlay::mount_layers;
pub use sandbox::Sandbox;
pub use spec::SandboxSpec;
pub use start::{Overlay, Rootfs, StartContainer, Stdio, TerminalSize, make_mount_points};
