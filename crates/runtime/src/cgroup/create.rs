//! Making and opening a cgroup's directory in one hierarchy.

use super::dir::{Dir, open_dir, read_at, write_at};
use super::layout::{Hierarchy, to_enable};
use super::{CgroupPath, Error};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where processes of a nested root go, when they stand in the way of its controllers.
const LEAF: &str = "init";
/// What a v1 cpuset must have.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
/// How often the way is walked again when a directory on it is removed meanwhile, by whoever saw it empty.
const TRIES: u32 = 16;

/// Makes the directory of a v1 hierarchy. What had to be made is added to `made`, outermost first.
/// A hierarchy that is mounted read-only and lacks the cgroup is none for us.
pub(crate) fn v1(
    hierarchy: &Hierarchy,
    path: &CgroupPath,
    made: &mut Vec<PathBuf>,
) -> Result<Option<Dir>, Error> {
    let cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
    if let Some(dir) = at_once(hierarchy, path, made)
        && (!cpuset || has_cpuset(&dir)?)
    {
        return Ok(Some(dir));
    }
    walk(hierarchy, path, made, |parent, child| if cpuset { inherit_cpuset(parent, child) } else { Ok(()) })
}

/// Makes the directory of the v2 hierarchy and enables the controllers on the way.
pub(crate) fn v2(
    hierarchy: &Hierarchy,
    path: &CgroupPath,
    unified: bool,
    made: &mut Vec<PathBuf>,
) -> Result<Option<Dir>, Error> {
    if let Some(dir) = at_once(hierarchy, path, made)
        && to_enable(&hierarchy.available, &dir.read("cgroup.controllers")?.unwrap_or_default()).is_empty()
    {
        return Ok(Some(dir));
    }
    walk(hierarchy, path, made, |parent, _| {
        enable_controllers(parent, unified);
        Ok(())
    })
}

/// The usual case, all directories above being there: one call. None where that is not enough.
fn at_once(hierarchy: &Hierarchy, path: &CgroupPath, made: &mut Vec<PathBuf>) -> Option<Dir> {
    let full = full_path(hierarchy, path);
    match rustix::fs::mkdir(&full, Mode::from_raw_mode(0o755)) {
        Ok(()) => made.push(full),
        Err(rustix::io::Errno::EXIST) => {}
        Err(_) => return None,
    }
    open(hierarchy, path).ok().flatten()
}

/// Opens the directory if it exists.
pub(crate) fn open(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<Option<Dir>, Error> {
    let full = full_path(hierarchy, path);
    match rustix::fs::open(&full, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(Some(dir(hierarchy, fd, full))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io("open", full, error)),
    }
}

fn full_path(hierarchy: &Hierarchy, path: &CgroupPath) -> PathBuf {
    hierarchy.components(path).fold(hierarchy.mount.clone(), |full, part| full.join(part))
}

fn dir(hierarchy: &Hierarchy, fd: OwnedFd, path: PathBuf) -> Dir {
    Dir { fd, path, mount: hierarchy.mount.clone(), controllers: hierarchy.controllers.clone() }
}

/// Makes and opens one component after the other; `step` sees each parent with its child.
fn walk(
    hierarchy: &Hierarchy,
    path: &CgroupPath,
    made: &mut Vec<PathBuf>,
    mut step: impl FnMut(&OwnedFd, &OwnedFd) -> rustix::io::Result<()>,
) -> Result<Option<Dir>, Error> {
    let mut result = walk_once(hierarchy, path, made, &mut step);
    for _ in 1..TRIES {
        match &result {
            Err(Error::Io { source, .. }) if is_gone(source) => {}
            _ => break,
        }
        result = walk_once(hierarchy, path, made, &mut step);
    }
    result
}

/// Whether a directory was removed while it was used: cgroupfs says `ENODEV` then, or `ENOENT` of what is in it.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn walk_once(
    hierarchy: &Hierarchy,
    path: &CgroupPath,
    made: &mut Vec<PathBuf>,
    step: &mut impl FnMut(&OwnedFd, &OwnedFd) -> rustix::io::Result<()>,
) -> Result<Option<Dir>, Error> {
    let mut full = hierarchy.mount.clone();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut parent =
        rustix::fs::open(&full, flags, Mode::empty()).map_err(|error| Error::io("open", &full, error))?;
    for part in hierarchy.components(path) {
        full.push(part);
        match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
            Ok(()) => made.push(full.clone()),
            Err(rustix::io::Errno::EXIST) => {}
            Err(rustix::io::Errno::ROFS) => return Ok(None),
            Err(error) => return Err(Error::io("create", full, error)),
        }
        let child = open_dir(&parent, part).map_err(|error| Error::io("open", &full, error))?;
        step(&parent, &child).map_err(|error| Error::io("set up", &full, error))?;
        parent = child;
    }
    Ok(Some(dir(hierarchy, parent, full)))
}

/// Whether a v1 cpuset can take a process. Who makes its parent at the same time may have given that only the one.
fn has_cpuset(dir: &Dir) -> Result<bool, Error> {
    for file in CPUSET {
        if dir.read(file)?.is_none_or(|list| list.trim().is_empty()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A v1 cpuset takes no process before it has processors and memory nodes: give it its parent's, and let the
/// kernel do so for those below.
fn inherit_cpuset(parent: &OwnedFd, child: &OwnedFd) -> rustix::io::Result<()> {
    let write = |file: &str, value: &str| {
        write_at(child, file, value)
            .map_err(|error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
    };
    for file in CPUSET {
        let own = read_at(child, file)?.unwrap_or_default();
        if own.trim().is_empty() {
            let _ = write("cgroup.clone_children", "1");
            write(file, read_at(parent, file)?.unwrap_or_default().trim())?;
        }
    }
    Ok(())
}

/// Lets the cgroups below `parent` have the controllers we write to. What cannot be enabled will be missed when
/// a limit is written, and reported there.
fn enable_controllers(parent: &OwnedFd, unified: bool) {
    let available = read_at(parent, "cgroup.controllers").ok().flatten().unwrap_or_default();
    let enabled = read_at(parent, "cgroup.subtree_control").ok().flatten().unwrap_or_default();
    let missing = to_enable(&available, &enabled);
    if missing.is_empty() || write_at(parent, "cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return;
    }
    // The root of a cgroup namespace (an engine in a container) is not the real root: it may not have processes
    // and hand on controllers. Its processes go one down.
    let nested = matches!(read_at(parent, "cgroup.events"), Ok(Some(_)));
    if unified && nested && is_mount_root(parent) {
        vacate(parent);
        if write_at(parent, "cgroup.subtree_control", &missing.join(" ")).is_ok() {
            return;
        }
    }
    for controller in missing {
        let _ = write_at(parent, "cgroup.subtree_control", &controller);
    }
}

/// Whether the directory is where a file system is mounted: its parent is on another.
fn is_mount_root(fd: &OwnedFd) -> bool {
    let device =
        |path: &str| rustix::fs::statat(fd, path, rustix::fs::AtFlags::empty()).map(|stat| stat.st_dev);
    matches!((device("."), device("..")), (Ok(here), Ok(above)) if here != above)
}

fn vacate(root: &OwnedFd) {
    let _ = rustix::fs::mkdirat(root, LEAF, Mode::from_raw_mode(0o755));
    let Ok(leaf) = open_dir(root, LEAF) else { return };
    // Processes forked meanwhile need another round.
    for _ in 0..5 {
        let pids = read_at(root, "cgroup.procs").ok().flatten().unwrap_or_default();
        if pids.is_empty() {
            return;
        }
        for pid in pids.lines() {
            let _ = write_at(&leaf, "cgroup.procs", pid);
        }
    }
}
