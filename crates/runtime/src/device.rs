//! Device nodes and the links beside them in a container's /dev (config-linux.md, "Default Devices").

use crate::{Error, detached, inside};
use proa_oci::runtime::Device;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Name, major and minor of the devices every container has.
const DEFAULT: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills a /dev with the default devices and links. What is there already stays.
pub(crate) fn populate(dev: BorrowedFd<'_>, host: &HostDevices) -> Result<(), Error> {
    for (name, major, minor) in DEFAULT {
        let step = || format!("make /dev/{name}");
        make(dev, OsStr::new(name), FileType::CharacterDevice, (major, minor), 0o666, host.find(name))
            .map_err(|error| Error::step(step(), error))?;
    }
    for (name, target) in LINKS {
        link(dev, name, target)?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        link(dev, "core", "/proc/kcore")?;
    }
    Ok(())
}

fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<(), Error> {
    match symlinkat(target, dev, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::step(format!("make /dev/{name}"), error)),
    }
}

/// The host's own default devices, bound where no node can be made (in a user namespace).
#[derive(Debug, Default)]
pub(crate) struct HostDevices(Vec<(&'static str, OwnedFd)>);

impl HostDevices {
    /// Opens them, each checked to be what its name says (CVE-2025-31133).
    pub(crate) fn open() -> Self {
        let open = |name: &str| {
            openat(CWD, Path::new("/dev").join(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        let checked = |(name, major, minor)| {
            open(name).filter(|fd| detached::is_device(fd.as_fd(), major, minor)).map(|fd| (name, fd))
        };
        Self(DEFAULT.into_iter().filter_map(checked).collect())
    }

    pub(crate) fn find(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, fd)| fd.as_fd())
    }
}

/// Makes a node; binds `host` in its place where the kernel does not allow nodes.
fn make(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileType,
    (major, minor): (u32, u32),
    mode: u32,
    host: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    match mknodat(parent, name, kind, Mode::from_raw_mode(mode), makedev(major, minor)) {
        Err(Errno::PERM) if host.is_some() => {
            let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            drop(openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
            let target =
                openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            host.map_or(Ok(()), |host| detached::cover(target.as_fd(), host))
        }
        // What the image has there must not be taken for the device.
        Err(Errno::EXIST) => {
            let found =
                openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let device = kind == FileType::CharacterDevice || kind == FileType::BlockDevice;
            match device && !is(found.as_fd(), kind, major, minor) {
                true => Err(Errno::EXIST),
                false => Ok(()),
            }
        }
        other => other,
    }
}

fn is(fd: BorrowedFd<'_>, kind: FileType, major: u32, minor: u32) -> bool {
    rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == makedev(major, minor)
    })
}

/// Makes a device of the specification inside the root; binds `host` where nodes cannot be made.
pub(crate) fn create(
    root: BorrowedFd<'_>,
    device: &Device,
    host: Option<BorrowedFd<'_>>,
) -> Result<(), Error> {
    let failed = |error: Errno| Error::step(format!("make device {}", device.path.display()), error);
    let kind = file_type(device)?;
    let number = |n: i64| u32::try_from(n).map_err(|_| failed(Errno::INVAL));
    let numbers = match kind {
        FileType::Fifo => (0, 0),
        _ => (number(device.major)?, number(device.minor)?),
    };
    let path = inside::clean(&device.path);
    let (parent, name) = inside::parent(root, inside::relative(&path)).map_err(failed)?;
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    make(parent.as_fd(), name, kind, numbers, mode, host).map_err(failed)?;
    let owner = (device.uid, device.gid);
    if host.is_none() && owner != (None, None) {
        let id = |id: Option<u32>| id.filter(|id| *id != u32::MAX);
        rustix::fs::chownat(
            &parent,
            name,
            id(owner.0).map(Uid::from_raw),
            id(owner.1).map(Gid::from_raw),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed)?;
    }
    Ok(())
}

/// The kind of node; checked before anything is made, too.
pub(crate) fn file_type(device: &Device) -> Result<FileType, Error> {
    match device.kind.as_str() {
        "c" | "u" => Ok(FileType::CharacterDevice),
        "b" => Ok(FileType::BlockDevice),
        "p" => Ok(FileType::Fifo),
        other => Err(Error::spec(
            format!("linux.devices {}", device.path.display()),
            format!("{other:?} is no type of device; use c, b, u or p"),
        )),
    }
}
