//! The terminal of a process: a pty of the container's own devpts.

use crate::start::TerminalSize;
use crate::{Error, detached, inside};
use rustix::fs::{FileType, OFlags, Uid, fchown, fstat, fstatfs, major, minor};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// DEVPTS_SUPER_MAGIC (include/uapi/linux/magic.h).
const DEVPTS: i64 = 0x1cd1;

/// Both ends of a terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
    pub(crate) peer: OwnedFd,
}

impl Terminal {
    /// Opens one in the devpts below `root`. The other end is asked from the kernel, not looked up by its path, and both
    /// are checked to be what they should be (CVE-2025-52565).
    pub(crate) fn open(root: BorrowedFd<'_>, size: Option<TerminalSize>, owner: u32) -> Result<Self, Error> {
        let failed = |error: Errno| Error::step("open a terminal in the container's /dev/pts", error);
        let master = inside::open_with(root, Path::new("dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY)
            .map_err(failed)?;
        if !is_pty(master.as_fd(), |major, minor| (major, minor) == (5, 2)).map_err(failed)? {
            return Err(failed(Errno::NOTTY));
        }
        unlockpt(&master).map_err(failed)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let peer = ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
        if !is_pty(peer.as_fd(), |major, _| (136..=143).contains(&major)).map_err(failed)? {
            return Err(failed(Errno::NOTTY));
        }
        if let Some(size) = size {
            let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size).map_err(failed)?;
        }
        match fchown(&peer, Some(Uid::from_raw(owner)), None) {
            // Not every user has a mapping, and a terminal works without owner.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { master, peer })
    }

    /// Makes it /dev/console as well.
    pub(crate) fn bind_console(&self, root: BorrowedFd<'_>) -> Result<(), Error> {
        let failed = |error: Errno| Error::step("mount /dev/console", error);
        let target = inside::file(root, Path::new("dev/console")).map_err(failed)?;
        detached::cover(target.as_fd(), self.peer.as_fd()).map_err(failed)
    }
}

/// Whether it is a character device of a devpts with such a number.
fn is_pty(fd: BorrowedFd<'_>, number: impl Fn(u32, u32) -> bool) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && number(major(stat.st_rdev), minor(stat.st_rdev))
        && fstatfs(fd)?.f_type == DEVPTS)
}
