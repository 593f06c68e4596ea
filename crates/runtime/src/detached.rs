//! Mounts that are nowhere yet: made, copied and changed by descriptor, then attached. fsopen(2), open_tree(2),
//! mount_setattr(2), move_mount(2).

use crate::Error;
use crate::mount_options::MountOptions;
use proa_sys::mount::{Attributes, set_attributes};
use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const RDONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;

/// Mounts a new filesystem of type `kind` with the options of the filesystem (`data`) and of the mount.
pub(crate) fn filesystem(kind: &str, source: &str, options: &MountOptions) -> Result<OwnedFd, Error> {
    let data: Vec<(&str, Option<&str>)> = options
        .data
        .iter()
        .map(|option| match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option.as_str(), None),
        })
        .collect();
    configured(kind, source, &data, options.set)
}

/// As [`filesystem`], with the options apart.
pub(crate) fn configured(
    kind: &str,
    source: &str,
    data: &[(&str, Option<&str>)],
    attributes: u64,
) -> Result<OwnedFd, Error> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|error| Error::step(format!("open filesystem type {kind}"), error))?;
    let failed =
        |what: &str, error: Errno| Error::step(format!("{what} {kind}{}", reason(fs.as_fd())), error);
    if !source.is_empty() {
        fsconfig_set_string(&fs, "source", source).map_err(|error| failed("set the source of", error))?;
    }
    for (name, value) in data {
        match value {
            Some(value) => fsconfig_set_string(&fs, *name, *value),
            None => fsconfig_set_flag(&fs, *name),
        }
        .map_err(|error| failed(&format!("set option {name:?} of"), error))?;
    }
    fsconfig_create(&fs).map_err(|error| failed("create", error))?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(|error| failed("mount", error))
}

/// What the kernel noted in the filesystem's log, for the message.
fn reason(fs: BorrowedFd<'_>) -> String {
    let mut line = [0u8; 512];
    match rustix::io::read(fs, &mut line) {
        Ok(n) => {
            let text = String::from_utf8_lossy(line.get(..n).unwrap_or_default()).trim_end().to_owned();
            // "e " error, "w " warning, "i " information.
            format!(" ({})", text.get(2..).unwrap_or(&text))
        }
        Err(_) => String::new(),
    }
}

/// A copy of the mount at a path, with all mounts below it where `recursive`.
pub(crate) fn copy_of(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags)
}

/// A copy of the mount (beginning at that file) behind a descriptor.
pub(crate) fn copy_of_fd(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(fd, "", flags)
}

/// Attaches a detached mount, or moves an attached one, onto the file behind `target`.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// Applies the attributes and propagation of a bind to its detached copy. `default` is the propagation when the
/// options name none.
pub(crate) fn apply(mount: BorrowedFd<'_>, options: &MountOptions, default: u64) -> std::io::Result<()> {
    let propagation =
        if options.propagation.is_empty() { &[(default, true)][..] } else { &options.propagation };
    for (kind, recursive) in propagation {
        // A copy of a shared mount is its peer already; the kernel has one change for each call.
        set_attributes(mount, *recursive, Attributes { propagation: *kind, ..Attributes::default() })?;
    }
    if options.set_all | options.clear_all != 0 {
        let change = Attributes { set: options.set_all, clear: options.clear_all, ..Attributes::default() };
        set_attributes(mount, true, change)?;
    }
    if options.set | options.clear != 0 {
        let change = Attributes { set: options.set, clear: options.clear, ..Attributes::default() };
        set_attributes(mount, false, change)?;
    }
    Ok(())
}

/// Makes a mount read-only; with all below it where `recursive`.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>, recursive: bool) -> std::io::Result<()> {
    set_attributes(mount, recursive, Attributes { set: RDONLY, ..Attributes::default() })
}

/// Lets a detached mount show the ids of the host that `users`, a user namespace, maps those of its files to; with all
/// mounts below it where `recursive`.
pub(crate) fn map_users(
    mount: BorrowedFd<'_>,
    users: BorrowedFd<'_>,
    recursive: bool,
) -> std::io::Result<()> {
    set_attributes(mount, recursive, Attributes { id_map: Some(users), ..Attributes::default() })
}

/// Why ids cannot be mapped at a path.
pub(crate) fn unmapped(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let what = format!("map the users of {}", path.display());
    move |error| match error.raw_os_error() {
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            let why = "its file system or this kernel has no mounts with mapped ids (ext4, xfs, btrfs, tmpfs have; overlays of them since Linux 5.19)";
            Error::step(what.clone(), std::io::Error::other(why))
        }
        _ => Error::step(what.clone(), error),
    }
}

/// Changes a mount's propagation; with all below it where `recursive`.
pub(crate) fn set_propagation(mount: BorrowedFd<'_>, kind: u64, recursive: bool) -> std::io::Result<()> {
    set_attributes(mount, recursive, Attributes { propagation: kind, ..Attributes::default() })
}

/// Whether the file behind a descriptor is the character device `major:minor`.
pub(crate) fn is_device(fd: BorrowedFd<'_>, major: u32, minor: u32) -> bool {
    rustix::fs::statat(fd, "", AtFlags::EMPTY_PATH).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice
            && rustix::fs::major(stat.st_rdev) == major
            && rustix::fs::minor(stat.st_rdev) == minor
    })
}

/// Attaches a copy of the file behind `source` (a device, a mask) onto `target`. `source` must be on an attached mount of
/// this namespace: others are copied since Linux 6.15 only.
pub(crate) fn cover(target: BorrowedFd<'_>, source: BorrowedFd<'_>) -> Result<(), Errno> {
    attach(copy_of_fd(source, false)?.as_fd(), target)
}
