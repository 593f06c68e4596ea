//! Copying a tree with everything a file has: owner, mode, times, extended attributes, hard links, holes.

use super::{MAX_DEPTH, TreeError, entries, open_dir};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Longest value of an extended attribute (`XATTR_SIZE_MAX`), and longest list of names.
const MAX_XATTR: usize = 64 << 10;

/// Copies what is in `from` into `to`, and gives `to` the attributes of `from`.
///
/// Entries of `to` are never replaced: one that is there already is an error. Devices, sockets and FIFOs are made
/// anew; whiteouts of overlayfs (character devices 0:0) and its attributes are left out.
///
/// # Errors
/// [`TreeError`]: `EXDEV` where something is mounted in the source, and what the kernel says to the rest.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), TreeError> {
    let mut copy = Copy { root: to, links: HashMap::new() };
    copy.contents(from, to, &mut Vec::new())?;
    let stat = rustix::fs::fstat(from).map_err(|source| TreeError::new(c".", source))?;
    attributes(from, to, &stat).map_err(|source| TreeError::new(c".", source))
}

/// A copied file that has other names: where it is in the copy, and which inode it is there.
struct Linked {
    path: Vec<u8>,
    inode: u64,
}

struct Copy<'a> {
    root: BorrowedFd<'a>,
    links: HashMap<(u64, u64), Linked>,
}

impl Copy<'_> {
    fn contents(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<CString>,
    ) -> Result<(), TreeError> {
        for (name, _) in entries(from).map_err(|source| TreeError::new(c".", source))? {
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| TreeError::new(&name, source))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.directory(from, to, &name, path)?;
            } else {
                self.entry(from, to, &name, &stat, path).map_err(|source| TreeError::new(&name, source))?;
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<CString>,
    ) -> Result<(), TreeError> {
        let failed = |source| TreeError::new(name, source);
        if path.len() >= MAX_DEPTH {
            return Err(failed(Errno::NAMETOOLONG));
        }
        let source = open_dir(from, name).map_err(failed)?;
        rustix::fs::mkdirat(to, name, Mode::RWXU).map_err(failed)?;
        let target = open_dir(to, name).map_err(failed)?;
        path.push(name.to_owned());
        self.contents(source.as_fd(), target.as_fd(), path).map_err(|error| error.below(name))?;
        path.pop();
        // What was opened counts, not what was there when the list was read.
        let stat = rustix::fs::fstat(&source).map_err(failed)?;
        attributes(source.as_fd(), target.as_fd(), &stat).map_err(failed)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        path: &[CString],
    ) -> Result<(), Errno> {
        let linked = stat.st_nlink > 1;
        if linked && let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
            return self.link(first, to, name);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => regular(from, to, name)?,
            FileType::CharacterDevice if stat.st_rdev == 0 => return Ok(()),
            kind => special(from, to, name, stat, kind)?,
        }
        if linked {
            let made = rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let mut full: Vec<u8> = Vec::new();
            for part in path {
                full.extend_from_slice(part.to_bytes());
                full.push(b'/');
            }
            full.extend_from_slice(name.to_bytes());
            self.links.insert((stat.st_dev, stat.st_ino), Linked { path: full, inode: made.st_ino });
        }
        Ok(())
    }

    /// Another name for a file that was copied, looked up anew so that nobody leads it elsewhere.
    fn link(&self, first: &Linked, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat2(self.root, &*first.path, flags, Mode::empty(), resolve) {
            // The last component may itself be a link that has several names: its directory is what counts.
            Err(Errno::LOOP) => self.open_link(&first.path)?,
            other => other?,
        };
        if rustix::fs::fstat(&file)?.st_ino != first.inode {
            return Err(Errno::STALE);
        }
        rustix::fs::linkat(rustix::fs::CWD, proc_path(file.as_fd()), to, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn open_link(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match path.iter().rposition(|byte| *byte == b'/') {
            None => rustix::fs::openat(self.root, path, flags, Mode::empty()),
            Some(slash) => {
                let (above, name) = path.split_at(slash);
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
                let dir = rustix::fs::openat2(
                    self.root,
                    above,
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                    resolve,
                )?;
                rustix::fs::openat(&dir, name.get(1..).unwrap_or_default(), flags, Mode::empty())
            }
        }
    }
}

/// A name for an open file that the kernel follows to exactly that file.
fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn regular(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // Not blocking: what was a file a moment ago may be a FIFO now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&source)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::STALE);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    data(&source, &target, u64::try_from(stat.st_size).unwrap_or_default())?;
    attributes(source.as_fd(), target.as_fd(), &stat)
}

/// Copies data, keeping holes; shares the blocks where the file system can.
fn data(source: &OwnedFd, target: &OwnedFd, size: u64) -> Result<(), Errno> {
    if size == 0 || rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(source, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error),
        };
        let end = rustix::fs::seek(source, rustix::fs::SeekFrom::Hole(start)).unwrap_or(size);
        range(source, target, start, end)?;
        at = end;
    }
    rustix::fs::ftruncate(target, size)
}

fn range(source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> Result<(), Errno> {
    let (mut input, mut output) = (start, start);
    while input < end {
        let length = usize::try_from(end - input).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut input), target, Some(&mut output), length) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Between file systems before Linux 5.19, and from some that are not on disk.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return by_hand(source, target, input, end);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn by_hand(source: &OwnedFd, target: &OwnedFd, mut at: u64, end: u64) -> Result<(), Errno> {
    let mut buffer = vec![0u8; 128 << 10];
    while at < end {
        let read = match rustix::io::pread(source, &mut buffer, at) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        let mut rest = buffer.get(..read).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::pwrite(target, rest, at) {
                Ok(written) => {
                    at += written as u64;
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A link, device, socket or FIFO.
fn special(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    kind: FileType,
) -> Result<(), Errno> {
    if kind == FileType::Symlink {
        let target = rustix::fs::readlinkat(from, name, Vec::new())?;
        rustix::fs::symlinkat(&target, to, name)?;
    } else {
        rustix::fs::mknodat(to, name, kind, Mode::RUSR, stat.st_rdev)?;
    }
    let open =
        |dir| rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let (source, target) = (open(from)?, open(to)?);
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(&target, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    if kind != FileType::Symlink {
        // A descriptor by path only takes no attributes itself; its name below /proc does.
        let (source, target) = (proc_path(source.as_fd()), proc_path(target.as_fd()));
        rustix::fs::chmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let mut names = vec![0u8; MAX_XATTR];
        let length = rustix::fs::listxattr(&source, &mut names).unwrap_or_default();
        for attribute in xattr_names(&names, length) {
            let mut value = vec![0u8; MAX_XATTR];
            if let Ok(length) = rustix::fs::getxattr(&source, attribute, &mut value) {
                let value = value.get(..length).unwrap_or_default();
                tolerate(rustix::fs::setxattr(&target, attribute, value, XattrFlags::empty()))?;
            }
        }
    }
    rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, mode, attributes and times, in the order in which none undoes another.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut names = vec![0u8; MAX_XATTR];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error),
    };
    for name in xattr_names(&names, length) {
        let mut value = vec![0u8; MAX_XATTR];
        let length = match rustix::fs::fgetxattr(from, name, &mut value) {
            Ok(length) => length,
            // Gone meanwhile, or shown but not readable.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => continue,
            Err(error) => return Err(error),
        };
        let value = value.get(..length).unwrap_or_default();
        tolerate(rustix::fs::fsetxattr(to, name, value, XattrFlags::empty()))?;
    }
    rustix::fs::futimens(to, &times(stat))
}

/// The names in a list, without those overlayfs keeps for itself.
fn xattr_names(list: &[u8], length: usize) -> impl Iterator<Item = &CStr> {
    list.get(..length)
        .unwrap_or_default()
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .filter(|name| !name.to_bytes().starts_with(b"trusted.overlay."))
}

/// A file system that takes no such attribute is no reason to have no copy.
fn tolerate(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS | Errno::INVAL) => Ok(()),
        other => other,
    }
}

fn times(stat: &Stat) -> Timestamps {
    #[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below 2^30")]
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
