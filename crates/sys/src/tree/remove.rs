//! Removing a tree.

use super::{TreeError, each_entry, open_dir};
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How deep it is gone before a directory is moved to the top and taken up from there.
const MAX_DEPTH: usize = 64;

/// How often a directory is looked at anew because somebody fills it meanwhile.
const ROUNDS: u32 = 16;

/// Removes an entry of `parent` with all below it. A missing one is fine.
///
/// # Errors
/// [`TreeError`]: `EXDEV` where something is mounted inside, `ENOTEMPTY` where somebody fills it faster.
pub fn remove(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), TreeError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(source) => return Err(TreeError::new(name, source)),
    }
    let top = match open_dir(parent, name) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(TreeError::new(name, source)),
    };
    for _ in 0..ROUNDS {
        clear(top.as_fd()).map_err(|error| error.below(name))?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY) => {}
            Err(source) => return Err(TreeError::new(name, source)),
        }
    }
    Err(TreeError::new(name, Errno::NOTEMPTY))
}

/// Removes everything in a directory, which stays.
///
/// # Errors
/// As [`remove`].
pub fn clear(top: BorrowedFd<'_>) -> Result<(), TreeError> {
    let mut moved = 0;
    loop {
        let before = moved;
        clear_below(top, top, 0, &mut moved)?;
        if moved == before {
            return Ok(());
        }
    }
}

fn clear_below(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    depth: usize,
    moved: &mut u64,
) -> Result<(), TreeError> {
    let mut names: Vec<CString> = Vec::new();
    let mut failed = None;
    each_entry(dir, |name, kind| {
        if kind == FileType::Directory {
            names.push(name.to_owned());
            return true;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // The file system did not tell the type, or it was replaced.
            Err(Errno::ISDIR) => names.push(name.to_owned()),
            Err(source) => failed = Some(TreeError::new(name, source)),
        }
        failed.is_none()
    })
    .map_err(|source| TreeError::new(c".", source))?;
    if let Some(error) = failed {
        return Err(error);
    }
    for name in names {
        let child = match open_dir(dir, &name) {
            Ok(child) => child,
            Err(Errno::NOENT) => continue,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                unlink_replaced(dir, &name)?;
                continue;
            }
            Err(source) => return Err(TreeError::new(&name, source)),
        };
        if depth >= MAX_DEPTH && move_up(top, dir, &name, moved)? {
            continue;
        }
        remove_child(top, dir, (&child, &name), depth, moved).map_err(|error| error.below(&name))?;
    }
    Ok(())
}

fn remove_child(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    (child, name): (&OwnedFd, &CStr),
    depth: usize,
    moved: &mut u64,
) -> Result<(), TreeError> {
    for _ in 0..ROUNDS {
        clear_below(top, child.as_fd(), depth + 1, moved)?;
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY) => {}
            Err(source) => return Err(TreeError::new(c"", source)),
        }
    }
    Err(TreeError::new(c"", Errno::NOTEMPTY))
}

/// A directory that somebody has just replaced with something else.
fn unlink_replaced(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), TreeError> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(source) => Err(TreeError::new(name, source)),
    }
}

/// Moves a directory that is very deep down to the top, under a name nobody uses. False if it cannot be.
fn move_up(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &CStr,
    moved: &mut u64,
) -> Result<bool, TreeError> {
    let Ok(new) = CString::new(format!(".proa-removed-{}-{moved}", std::process::id())) else {
        return Ok(false);
    };
    *moved += 1;
    match rustix::fs::renameat_with(dir, name, top, &new, rustix::fs::RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::NOENT | Errno::EXIST) => Ok(true),
        Err(source) => Err(TreeError::new(name, source)),
    }
}
