//! A container's root, put together by init as the [`Layout`] says, and made its root.

use crate::layout::{Layout, Step};
use crate::mount_options::MountOptions;
use crate::stage::Stage;
use crate::{Error, cgroup_mount, copy_up, detached, device, hook, inside, mask, sysctl};
use rustix::fs::{AtFlags, FileType, OFlags, ResolveFlags, fstatfs, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_move, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// PROC_SUPER_MAGIC (include/uapi/linux/magic.h).
const PROC: i64 = 0x9fa0;

/// Files of procfs that may be mounted over: none of them steers the kernel (lxcfs does this).
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Builds the root and switches to it; returns a procfs nothing is mounted over.
pub(crate) fn build(mut stage: Stage, layout: &Layout, fds: Vec<OwnedFd>) -> Result<OwnedFd, Error> {
    let mut fds = fds.into_iter();
    let root = fds.next().ok_or_else(|| Error::spec("the layout", "it has no root"))?;
    detached::attach(root.as_fd(), stage.new_root.as_fd())
        .map_err(|error| Error::step("mount the root", error))?;
    let root = root.as_fd();
    let mut trees = stage.trees.iter();
    for step in &layout.steps {
        match step {
            Step::Tree { destination, plain } => {
                let tree = trees.next().ok_or_else(|| Error::spec("the layout", "it has too many trees"))?;
                attach_tree(root, destination, tree.0.as_fd(), *plain)?;
            }
            Step::Attach { destination, directory } => {
                let mount =
                    fds.next().ok_or_else(|| Error::spec("the layout", "it has too few descriptors"))?;
                attach_bind(root, destination, mount.as_fd(), *directory)?;
            }
            Step::Filesystem { destination, kind, source, options } => {
                mount_filesystem(root, destination, kind, source, options)?;
            }
        }
    }
    make_devices(root, layout, &stage, &mut fds)?;
    hook::run("createContainer", &layout.hooks, &layout.state)?;
    for path in &layout.readonly {
        mask::make_read_only(root, path)?;
    }
    for path in &layout.masked {
        stage.masks.hide(root, path)?;
    }
    make_read_only(root, layout, &stage)?;
    sysctl::apply(stage.proc.as_fd(), &layout.sysctl)?;
    name_host(layout)?;
    switch(root, layout)?;
    Ok(stage.proc)
}

fn attach_tree(
    root: BorrowedFd<'_>,
    destination: &Path,
    tree: BorrowedFd<'_>,
    plain: bool,
) -> Result<(), Error> {
    let failed = |error: Errno| Error::step(format!("mount {}", destination.display()), error);
    let relative = inside::relative(destination);
    let target = inside::directory(root, relative).map_err(failed)?;
    if plain {
        // The kernel's files must be where everything expects them, not behind an image's link (CVE-2019-19921).
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let ordinary = openat2(root, relative, flags, rustix::fs::Mode::empty(), resolve);
        ordinary.map_err(|_| {
            let link = std::io::Error::other("it must be mounted on an ordinary directory, not a link");
            Error::step(format!("mount {}", destination.display()), link)
        })?;
    }
    detached::attach(tree, target.as_fd()).map_err(failed)
}

fn attach_bind(
    root: BorrowedFd<'_>,
    destination: &Path,
    mount: BorrowedFd<'_>,
    directory: bool,
) -> Result<(), Error> {
    let failed = |error: Errno| {
        let hint = match error {
            Errno::NOTDIR | Errno::ISDIR => {
                " (are you trying to mount a directory onto a file (or vice-versa)? Check if the host path exists and is the expected type)"
            }
            _ => "",
        };
        Error::step(format!("mount {}{hint}", destination.display()), error)
    };
    let relative = inside::relative(destination);
    let target = if directory { inside::directory(root, relative) } else { inside::file(root, relative) };
    let target = target.map_err(failed)?;
    protect_proc(destination, target.as_fd(), mount)?;
    detached::attach(mount, target.as_fd()).map_err(failed)
}

/// Refuses what would be mounted over files of procfs by which the runtime or the kernel is steered (CVE-2025-52881).
fn protect_proc(destination: &Path, target: BorrowedFd<'_>, mount: BorrowedFd<'_>) -> Result<(), Error> {
    let is_proc = |fd: BorrowedFd<'_>| fstatfs(fd).is_ok_and(|fs| fs.f_type == PROC);
    let below = destination.starts_with("/proc");
    if !below && !is_proc(target) {
        return Ok(());
    }
    let whole = destination == Path::new("/proc") && is_proc(mount);
    if whole || PROC_FILES.iter().any(|file| destination == Path::new(file)) {
        return Ok(());
    }
    let reason = "it cannot be mounted because it is inside /proc";
    Err(Error::spec(format!("mount {}", destination.display()), reason))
}

fn mount_filesystem(
    root: BorrowedFd<'_>,
    destination: &Path,
    kind: &str,
    source: &str,
    options: &MountOptions,
) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::step(format!("mount {}", destination.display()), error);
    let relative = inside::relative(destination);
    let existing = inside::open_with(root, relative, OFlags::PATH | OFlags::DIRECTORY).ok();
    let target = inside::directory(root, relative).map_err(|e| failed(e.into()))?;
    let mut options = options.clone();
    let read_only = options.take_read_only();
    if kind == "tmpfs" && options.value("mode").is_none() {
        // As the directory it covers, as other runtimes have it; /tmp stays open to all.
        if let Some(stat) = existing.as_ref().and_then(|fd| statat(fd, "", AtFlags::EMPTY_PATH).ok()) {
            options.data.push(format!("mode={:o}", stat.st_mode & 0o7777));
        }
    }
    let made = match kind {
        "cgroup" | "cgroup2" => cgroup_mount::build(&options)?,
        _ => detached::filesystem(kind, source, &options)?,
    };
    protect_proc(destination, target.as_fd(), made.as_fd())?;
    if kind == "tmpfs" && options.copy_up {
        copy_up::copy(target.as_fd(), made.as_fd()).map_err(failed)?;
    }
    detached::apply(made.as_fd(), &MountOptions { set: 0, clear: 0, ..options }, libc::MS_PRIVATE)
        .map_err(failed)?;
    if read_only {
        detached::make_read_only(made.as_fd(), false).map_err(failed)?;
    }
    detached::attach(made.as_fd(), target.as_fd()).map_err(|e| failed(e.into()))
}

fn make_devices(
    root: BorrowedFd<'_>,
    layout: &Layout,
    stage: &Stage,
    fds: &mut impl Iterator<Item = OwnedFd>,
) -> Result<(), Error> {
    let failed = |error: Errno| Error::step("set up /dev", error);
    if layout.populate_dev {
        let dev = inside::directory(root, Path::new("dev")).map_err(failed)?;
        device::populate(dev.as_fd(), &stage.host_devices)?;
    }
    for (device, bound) in &layout.devices {
        let host = if *bound { fds.next() } else { None };
        device::create(root, device, host.as_ref().map(AsFd::as_fd))?;
    }
    if layout.console {
        let console = inside::file(root, Path::new("dev/console")).map_err(failed)?;
        let stat = statat(&console, "", AtFlags::EMPTY_PATH).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(failed(Errno::LOOP));
        }
    }
    Ok(())
}

fn make_read_only(root: BorrowedFd<'_>, layout: &Layout, stage: &Stage) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::step("make the root read-only", error);
    for (tree, _) in stage.trees.iter().filter(|(_, later)| *later) {
        detached::make_read_only(tree.as_fd(), false).map_err(failed)?;
    }
    if layout.root_readonly {
        detached::make_read_only(root, false).map_err(failed)?;
    }
    Ok(())
}

fn name_host(layout: &Layout) -> Result<(), Error> {
    if !layout.hostname.is_empty() {
        rustix::system::sethostname(layout.hostname.as_bytes())
            .map_err(|error| Error::step(format!("set host name {:?}", layout.hostname), error))?;
    }
    if !layout.domainname.is_empty() {
        rustix::system::setdomainname(layout.domainname.as_bytes())
            .map_err(|error| Error::step(format!("set domain name {:?}", layout.domainname), error))?;
    }
    Ok(())
}

/// Makes `root` the root of this process, and lets go of the former one, which is the sandbox's own empty tmpfs (or the
/// host's, in this mount namespace only).
fn switch(root: BorrowedFd<'_>, layout: &Layout) -> Result<(), Error> {
    let failed = |error: Errno| Error::step("switch to the root", error);
    fchdir(root).map_err(failed)?;
    let pivoted = match layout.pivot.then(|| pivot_root(".", ".")) {
        Some(Ok(())) => true,
        // The initial ramfs cannot be left so.
        None | Some(Err(Errno::INVAL)) => false,
        Some(Err(error)) => return Err(failed(error)),
    };
    if pivoted {
        unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    } else {
        mount_move(".", "/").map_err(failed)?;
        chroot(".").map_err(failed)?;
    }
    chdir("/").map_err(failed)?;
    if let Some((kind, recursive)) = layout.root_propagation {
        detached::set_propagation(root, kind, recursive)
            .map_err(|error| Error::step("set linux.rootfsPropagation", error))?;
    }
    Ok(())
}
