//! The cgroup filesystem a container sees: its own cgroup, in every hierarchy of v1, or the unified one.

use crate::Error;
use crate::cgroup::{Cgroup, CgroupPath};
use crate::detached;
use crate::mount_options::MountOptions;
use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The filesystem to attach: cgroup2 where the host has nothing else, or a tmpfs for the hierarchies of v1.
///
/// In a cgroup namespace of its own cgroup2 begins at the container's cgroup. Without, it shows the host's whole tree,
/// as with other runtimes, and is read-only unless the specification wants otherwise.
pub(crate) fn build(options: &MountOptions) -> Result<OwnedFd, Error> {
    let mut plain = MountOptions { data: Vec::new(), ..options.clone() };
    if crate::cgroup::layout::Layout::host()?.is_unified() {
        return detached::filesystem("cgroup2", "cgroup", &plain);
    }
    plain.take_read_only();
    plain.data.push("mode=755".into());
    detached::filesystem("tmpfs", "tmpfs", &plain)
}

/// Puts the hierarchies of v1 into the attached tmpfs, each beginning at the container's cgroup, and makes it read-only
/// where asked.
pub(crate) fn fill(cgroup: &CgroupPath, tmpfs: BorrowedFd<'_>, options: &MountOptions) -> Result<(), Error> {
    if crate::cgroup::layout::Layout::host()?.is_unified() {
        return Ok(());
    }
    let cgroup = Cgroup::open(cgroup)?;
    for directory in cgroup.directories().filter(|d| !d.controllers.is_empty()) {
        let Some(name) = directory.mount.file_name().and_then(|name| name.to_str()) else { continue };
        let failed = |error: std::io::Error| Error::step(format!("mount cgroup {name}"), error);
        let made = |error: Errno| failed(error.into());
        let copy = detached::copy_of_fd(directory.fd, false).map_err(made)?;
        detached::apply(copy.as_fd(), options, libc::MS_PRIVATE).map_err(failed)?;
        mkdirat(tmpfs, name, Mode::from_raw_mode(0o755)).map_err(made)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(tmpfs, name, flags, Mode::empty()).map_err(made)?;
        detached::attach(copy.as_fd(), target.as_fd()).map_err(made)?;
        // `cpu,cpuacct` is found by either name.
        for controller in
            directory.controllers.iter().filter(|c| directory.controllers.len() > 1 && *c != name)
        {
            symlinkat(name, tmpfs, controller).map_err(made)?;
        }
    }
    if options.read_only() {
        detached::make_read_only(tmpfs, false)
            .map_err(|error| Error::step("make cgroups read-only", error))?;
    }
    Ok(())
}
