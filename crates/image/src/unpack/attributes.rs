//! Owners, modes, extended attributes and times, in the order in which the kernel does not undo them:
//! a change of owner clears setuid bits and capabilities, any change moves the time.

use super::failed;
use crate::tar::{Entry, Error};
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr,
    futimens, utimensat,
};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// What is set on a file or directory.
pub(crate) struct Meta {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    giving: Giving,
}

/// How entries get their owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Giving {
    /// They are root's, made a moment ago, and nobody else writes here.
    FromRoot,
    /// They may belong to anyone, and others write here too.
    FromAnyone,
    /// They do not.
    Nothing,
}

impl Giving {
    fn away(self, owner: (u32, u32)) -> bool {
        match self {
            Self::FromRoot => owner != (0, 0),
            Self::FromAnyone => true,
            Self::Nothing => false,
        }
    }
}

impl Meta {
    /// What an entry asks for.
    pub(crate) fn of(entry: &Entry) -> Self {
        let wanted = entry.xattrs.iter().filter(|(name, _)| allowed(name));
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: Some(entry.mtime),
            xattrs: wanted.cloned().collect(),
            giving: Giving::FromRoot,
        }
    }

    /// The same with another way to give it away.
    pub(crate) fn giving(self, giving: Giving) -> Self {
        Self { giving, ..self }
    }

    /// Bytes it takes.
    pub(crate) fn weight(&self) -> usize {
        let xattrs: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        size_of::<Self>() + xattrs
    }

    /// What a directory gets that no entry names.
    pub(crate) fn implied() -> Self {
        Self { mode: 0o755, uid: 0, gid: 0, mtime: None, xattrs: Vec::new(), giving: Giving::FromRoot }
    }
}

/// Which attributes a layer may set. `trusted.overlay.*` would let it redirect overlayfs into other
/// directories, `user.overlay.*` the same for mounts without root; labels belong to the host.
pub(crate) fn allowed(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

/// Sets everything on an open file or directory made by us, which is root's until told otherwise.
pub(crate) fn apply(file: BorrowedFd<'_>, meta: &Meta, entry: &Entry) -> Result<(), Error> {
    set(file, meta).map_err(|errno| failed(entry, errno))
}

/// The same, for callers with no entry at hand.
pub(crate) fn set(file: BorrowedFd<'_>, meta: &Meta) -> Result<(), Errno> {
    if meta.giving.away((meta.uid, meta.gid)) {
        fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    }
    fchmod(file, Mode::from_raw_mode(meta.mode))?;
    for (name, value) in &meta.xattrs {
        match fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without this attribute: docker goes on too.
            Err(Errno::NOTSUP) | Ok(()) => {}
            Err(Errno::PERM) if meta.giving == Giving::Nothing => {}
            Err(errno) => return Err(errno),
        }
    }
    meta.mtime.map_or(Ok(()), |mtime| futimens(file, &times(mtime)))
}

/// Sets owner, mode and time of a link, device or pipe that was just made in `dir`. In a tree that others write to its
/// mode was set when it was made: by its name, a link could be meant by now.
pub(crate) fn apply_at(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, giving: Giving) -> Result<(), Error> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    let set = || {
        if giving.away((entry.uid, entry.gid)) {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            chownat(dir, name, Some(uid), Some(gid), nofollow)?;
        }
        if entry.kind != crate::tar::Kind::Symlink && giving == Giving::FromRoot {
            // Not a link: it was just made, and nobody else writes here.
            chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        utimensat(dir, name, &times(entry.mtime), nofollow)
    };
    set().map_err(|errno| failed(entry, errno))
}

/// Hides everything the layers below have in this directory.
pub(crate) fn make_opaque(dir: BorrowedFd<'_>, entry: &Entry) -> Result<(), Error> {
    fsetxattr(dir, c"trusted.overlay.opaque", b"y", XattrFlags::empty()).map_err(|errno| failed(entry, errno))
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
