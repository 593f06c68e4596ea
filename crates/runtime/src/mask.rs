//! Paths hidden or made read-only (config-linux.md, "Masked Paths", "Readonly Paths").
//!
//! A file is hidden by a null device, a directory by an empty read-only tmpfs. Both are of our own making and never
//! looked up in the container's root, where something else could have taken their place (CVE-2025-31133).

use crate::{Error, detached, inside};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What paths are hidden by.
#[derive(Debug)]
pub(crate) struct Masks {
    /// A null device.
    null: OwnedFd,
    /// An empty tmpfs, read-only; made when the first directory is hidden.
    empty: Option<OwnedFd>,
    /// Where it is attached in the sandbox's own root: before Linux 6.15 a mount that is nowhere cannot be copied.
    place: OwnedFd,
    label: String,
}

impl Masks {
    /// Masks whose null device is `null`, which is checked to be one, and whose tmpfs lies at the directory `place`.
    pub(crate) fn new(null: OwnedFd, place: OwnedFd, mount_label: &str) -> Result<Self, Error> {
        if !detached::is_device(null.as_fd(), 1, 3) {
            let wrong = std::io::Error::other("it is not the null device");
            return Err(Error::step("hide paths behind /dev/null", wrong));
        }
        Ok(Self { null, empty: None, place, label: mount_label.to_owned() })
    }

    /// Hides a path below `root`; one that does not exist needs no hiding.
    pub(crate) fn hide(&mut self, root: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
        let failed = |error: Errno| Error::step(format!("mask {}", path.display()), error);
        let Some(target) = existing(root, path).map_err(failed)? else { return Ok(()) };
        let stat = rustix::fs::statat(&target, "", AtFlags::EMPTY_PATH).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return detached::cover(target.as_fd(), self.null.as_fd()).map_err(failed);
        }
        let empty = self.empty()?;
        detached::cover(target.as_fd(), empty).map_err(failed)
    }

    fn empty(&mut self) -> Result<BorrowedFd<'_>, Error> {
        if self.empty.is_none() {
            let mut data = vec![("size", Some("0")), ("nr_inodes", Some("1")), ("mode", Some("755"))];
            let label = label_option(&self.label);
            if let Some(label) = &label {
                data.push(("context", Some(label)));
            }
            let attributes = libc::MOUNT_ATTR_RDONLY
                | libc::MOUNT_ATTR_NOSUID
                | libc::MOUNT_ATTR_NODEV
                | libc::MOUNT_ATTR_NOEXEC;
            let made = detached::configured("tmpfs", "tmpfs", &data, attributes)?;
            detached::attach(made.as_fd(), self.place.as_fd())
                .map_err(|error| Error::step("mount the mask of directories", error))?;
            self.empty = Some(made);
        }
        self.empty.as_ref().map(AsFd::as_fd).ok_or_else(|| Error::step("make the mask", Errno::NOENT))
    }
}

/// Makes a path below `root` read-only, with the mounts in it; one that does not exist needs nothing.
pub(crate) fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::step(format!("make {} read-only", path.display()), error);
    let Some(target) = existing(root, path).map_err(|e| failed(e.into()))? else { return Ok(()) };
    let copy = detached::copy_of_fd(target.as_fd(), true).map_err(|e| failed(e.into()))?;
    detached::make_read_only(copy.as_fd(), true).map_err(failed)?;
    detached::attach(copy.as_fd(), target.as_fd()).map_err(|e| failed(e.into()))
}

/// The option that labels a filesystem, where SELinux is active.
pub(crate) fn label_option(label: &str) -> Option<String> {
    (!label.is_empty() && PathBuf::from("/sys/fs/selinux/enforce").exists()).then(|| label.to_owned())
}

fn existing(root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    match inside::open(root, inside::relative(path)) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    }
}
