//! How a process gets into a container's cgroup without waiting for the kernel.
//!
//! Moving another process takes `cgroup_threadgroup_rwsem` for writing, which after a quiet moment costs an RCU grace
//! period: ten milliseconds. Two ways do without it: being born in the cgroup (`CLONE_INTO_CGROUP`, v2 only), and a
//! single thread that moves itself by writing 0 to `tasks` (v1 only; kernel commit 9a3284fad42f, Linux 5.5). So a
//! process is born in the v2 cgroup and moves itself into those of v1.

use crate::Error;
use crate::cgroup::Cgroup;
use rustix::fs::{Mode, OFlags, openat};
use std::os::fd::BorrowedFd;

/// The directory of the v2 cgroup, where the host has v2, to be born in.
pub(crate) fn unified(cgroup: &Cgroup) -> Option<BorrowedFd<'_>> {
    cgroup.directories().find(|directory| directory.controllers.is_empty()).map(|directory| directory.fd)
}

/// Moves the caller, which must have one thread, into the cgroups of v1.
pub(crate) fn enter_v1(cgroup: &Cgroup) -> Result<(), Error> {
    for directory in cgroup.directories().filter(|directory| !directory.controllers.is_empty()) {
        openat(directory.fd, "tasks", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|tasks| rustix::io::write(tasks, b"0"))
            .map_err(|error| Error::step(format!("enter cgroup {}", directory.path.display()), error))?;
    }
    Ok(())
}
