//! Whole directory trees, by directory descriptors only: removed, copied, measured.
//!
//! What always holds: no symbolic link is followed, and no mount point is crossed, also when somebody changes the
//! tree meanwhile. The depth of a tree costs neither stack nor descriptors without bound.

mod copy;
mod remove;

pub use copy::copy;
pub use remove::{clear, remove};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Deepest tree that is measured or copied. Two descriptors are open a level.
const MAX_DEPTH: usize = 200;

/// A failure, with the place below the tree's root.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct TreeError {
    /// The entry, below the root.
    pub path: PathBuf,
    /// What the kernel says.
    pub source: std::io::Error,
}

impl TreeError {
    fn new(name: &CStr, source: Errno) -> Self {
        Self { path: OsStr::from_bytes(name.to_bytes()).into(), source: source.into() }
    }

    /// The same failure, seen from the directory above.
    fn below(mut self, name: &CStr) -> Self {
        self.path = PathBuf::from(OsStr::from_bytes(name.to_bytes())).join(&self.path);
        self
    }
}

/// Opens a directory directly below `dir`: no link, no other mount.
///
/// # Errors
/// `ELOOP` or `ENOTDIR` when it is something else, `EXDEV` when something is mounted there.
pub fn open_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    loop {
        match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
            // Something was renamed while the kernel looked.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Whether a directory has no entries.
///
/// # Errors
/// What the kernel says.
pub fn is_empty(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut found = false;
    each_entry(dir, |_, _| {
        found = true;
        false
    })?;
    Ok(!found)
}

/// The bytes of all files below, each counted once however many names it has; directories count nothing.
///
/// # Errors
/// [`TreeError`]. Entries that vanish meanwhile are no error.
pub fn size(dir: BorrowedFd<'_>) -> Result<u64, TreeError> {
    let mut seen = HashSet::new();
    size_below(dir, 0, &mut seen)
}

fn size_below(dir: BorrowedFd<'_>, depth: usize, seen: &mut HashSet<(u64, u64)>) -> Result<u64, TreeError> {
    let mut sum = 0u64;
    for (name, _) in entries(dir).map_err(|source| TreeError::new(c".", source))? {
        let stat = match rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(source) => return Err(TreeError::new(&name, source)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                sum = sum.saturating_add(u64::try_from(stat.st_size).unwrap_or_default());
            }
            continue;
        }
        if depth >= MAX_DEPTH {
            return Err(TreeError::new(&name, Errno::NAMETOOLONG));
        }
        match open_dir(dir, &name) {
            Ok(child) => {
                let below = size_below(child.as_fd(), depth + 1, seen).map_err(|e| e.below(&name))?;
                sum = sum.saturating_add(below);
            }
            // Gone, replaced, or another file system, which is counted elsewhere.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(source) => return Err(TreeError::new(&name, source)),
        }
    }
    Ok(sum)
}

/// The entries of a directory with their types as the file system tells them.
fn entries(dir: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut list = Vec::new();
    each_entry(dir, |name, kind| {
        list.push((name.to_owned(), kind));
        true
    })?;
    Ok(list)
}

/// Calls `visit` for every entry until it returns false. The descriptor's own position is not used.
fn each_entry(dir: BorrowedFd<'_>, mut visit: impl FnMut(&CStr, FileType) -> bool) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut raw = RawDir::new(list, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." && !visit(name, entry.file_type()) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
