//! Writing a directory tree as an archive, by directory descriptors only, while others may change it.
//!
//! No symbolic link is followed: what was a directory a moment ago and is a link now is left out, as is what vanished.
//! A file that shrinks while it is read is filled up with zeros, as tar(1) does, since its length was told before.

use crate::tar::{Entry, Kind, Writer};
use crate::unpack::allowed;
use proa_types::IdMap;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, major, minor, openat,
    readlinkat, statat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Directories within directories.
pub(crate) const MAX_DEPTH: usize = 512;
/// Names of directories that are being read, all in all.
const MAX_NAMES: usize = 64 << 10;
/// Files with several names that are remembered; further ones are written as files of their own.
const MAX_LINKED: usize = 512 << 10;
/// Bytes of an extended attribute.
const MAX_XATTR: usize = 64 << 10;

/// An archive in the making.
pub(crate) struct Pack<W> {
    writer: Writer<W>,
    linked: HashMap<(u64, u64), Vec<u8>>,
    depth: usize,
    names: usize,
    /// Which ids of the host the tree shows, and what the archive has for them.
    ids: Option<IdMap>,
}

/// Writes what `name` in `dir` is, and all below it, as `shown`; `.` is the directory itself. What is mounted below
/// belongs to it.
///
/// # Errors
/// When `to` fails, or a file cannot be read.
pub fn pack(
    (dir, name): (BorrowedFd<'_>, &CStr),
    shown: &[u8],
    ids: Option<&IdMap>,
    to: impl Write,
) -> Result<()> {
    let mut pack = Pack { ids: ids.cloned(), ..Pack::new(to) };
    pack.tree(dir, name, shown)?;
    pack.finish().map(drop)
}

/// Writes everything in `dir`, which itself has no entry.
///
/// # Errors
/// As [`pack`].
pub fn pack_contents(dir: BorrowedFd<'_>, ids: Option<&IdMap>, to: impl Write) -> Result<()> {
    let mut pack = Pack { ids: ids.cloned(), ..Pack::new(to) };
    pack.contents(dir, b"")?;
    pack.finish().map(drop)
}

impl<W: Write> Pack<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { writer: Writer::new(to), linked: HashMap::new(), depth: 0, names: 0, ids: None }
    }

    pub(crate) fn finish(self) -> Result<W> {
        self.writer.finish()
    }

    /// Writes an entry and what is below it.
    fn tree(&mut self, dir: BorrowedFd<'_>, name: &CStr, shown: &[u8]) -> Result<()> {
        let Some(stat) = look(dir, name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.leaf(dir, name, &stat, shown);
        }
        let Some(opened) = open_directory(dir, name)? else { return Ok(()) };
        self.directory(opened.as_fd(), shown)?;
        self.contents(opened.as_fd(), shown)
    }

    fn contents(&mut self, dir: BorrowedFd<'_>, shown: &[u8]) -> Result<()> {
        if self.depth >= MAX_DEPTH {
            return Err(too_deep(shown));
        }
        self.depth += 1;
        let mut list = Names::open(dir)?;
        loop {
            let names = list.next(MAX_NAMES.saturating_sub(self.names))?;
            if names.is_empty() {
                break;
            }
            self.names += names.len();
            for name in &names {
                self.tree(dir, name, &below(shown, name))?;
            }
            self.names -= names.len();
        }
        self.depth -= 1;
        Ok(())
    }

    fn entry(&self, kind: Kind, stat: &Stat, shown: &[u8]) -> Entry {
        let mut entry = entry(kind, stat, shown);
        if let Some(ids) = &self.ids {
            (entry.uid, entry.gid) = ids.inside((entry.uid, entry.gid));
        }
        entry
    }

    fn xattrs(&self, file: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = xattrs(file)?;
        for (name, value) in found.iter_mut().filter(|_| self.ids.is_some()) {
            if name == b"security.capability" {
                unowned(value);
            }
        }
        Ok(found)
    }

    /// Writes a directory's own entry.
    pub(crate) fn directory(&mut self, dir: BorrowedFd<'_>, shown: &[u8]) -> Result<()> {
        let stat = fstat(dir)?;
        let slash: &[u8] = if shown.ends_with(b"/") { b"" } else { b"/" };
        let mut entry = self.entry(Kind::Directory, &stat, &[shown, slash].concat());
        entry.xattrs = self.xattrs(dir)?;
        self.writer.entry(&entry, &mut std::io::empty())
    }

    /// Writes an entry that is no directory.
    pub(crate) fn leaf(&mut self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat, shown: &[u8]) -> Result<()> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.file(dir, name, shown),
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Character,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            // Archives have no sockets.
            _ => return Ok(()),
        };
        let mut entry = self.entry(kind, stat, shown);
        if kind == Kind::Symlink {
            match readlinkat(dir, name, Vec::new()) {
                Ok(link) => entry.link = link.into_bytes(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(errno) => return Err(named(errno, shown)),
            }
        } else {
            self.again(stat, &mut entry, shown);
        }
        self.writer.entry(&entry, &mut std::io::empty())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr, shown: &[u8]) -> Result<()> {
        // Whatever it has become since it was looked at: no wait for a writer, no terminal, and no device, which the
        // callers' mounts refuse.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(errno) => {
                // A device by now?
                let still = look(dir, name)?
                    .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
                return if still { Err(named(errno, shown)) } else { Ok(()) };
            }
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let mut entry = self.entry(Kind::File, &stat, shown);
        if self.again(&stat, &mut entry, shown) {
            return self.writer.entry(&entry, &mut std::io::empty());
        }
        entry.size = u64::try_from(stat.st_size).unwrap_or_default();
        entry.xattrs = self.xattrs(file.as_fd())?;
        self.writer.entry(&entry, &mut Steady(File::from(file)))
    }

    /// Makes an entry a link if its file was written under another name.
    fn again(&mut self, stat: &Stat, entry: &mut Entry, shown: &[u8]) -> bool {
        if stat.st_nlink < 2 {
            return false;
        }
        if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
            entry.kind = Kind::HardLink;
            entry.link.clone_from(first);
            return true;
        }
        if self.linked.len() < MAX_LINKED {
            self.linked.insert((stat.st_dev, stat.st_ino), shown.to_vec());
        }
        false
    }

    /// Writes an empty file, which marks something.
    pub(crate) fn mark(&mut self, shown: &[u8]) -> Result<()> {
        let entry = Entry { path: shown.to_vec(), ..Entry::file("", 0, 0) };
        self.writer.entry(&entry, &mut std::io::empty())
    }
}

/// The names in a directory, piece by piece, each piece in order.
pub(crate) struct Names(Dir);

impl Names {
    pub(crate) fn open(dir: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self(Dir::read_from(dir)?))
    }

    /// At most so many further names, but at least 16; none at the end.
    pub(crate) fn next(&mut self, most: usize) -> Result<Vec<CString>> {
        let mut names = Vec::new();
        while names.len() < most.max(16) {
            let Some(entry) = self.0.read() else { break };
            let entry = match entry {
                Ok(entry) => entry,
                // The directory was removed.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(errno.into()),
            };
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// A file that has at least as many bytes as it was said to.
struct Steady(File);

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.0.read(buffer)? {
            0 => {
                buffer.fill(0);
                Ok(buffer.len())
            }
            read => Ok(read),
        }
    }
}

/// What is there; none if nothing is.
pub(crate) fn look(dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(named(errno, name.to_bytes())),
    }
}

/// Opens a directory; none if it is none any more.
pub(crate) fn open_directory(dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(opened) => Ok(Some(opened)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(named(errno, name.to_bytes())),
    }
}

/// The path of an entry in a directory that is shown as `shown`.
pub(crate) fn below(shown: &[u8], name: &CStr) -> Vec<u8> {
    match shown {
        b"" => name.to_bytes().to_vec(),
        _ if shown.ends_with(b"/") => [shown, name.to_bytes()].concat(),
        _ => [shown, b"/", name.to_bytes()].concat(),
    }
}

pub(crate) fn too_deep(shown: &[u8]) -> Error {
    let text = format!("{}: more than {MAX_DEPTH} directories deep", String::from_utf8_lossy(shown));
    Error::new(std::io::ErrorKind::InvalidInput, text)
}

fn named(errno: Errno, shown: &[u8]) -> Error {
    let source = Error::from(errno);
    Error::new(source.kind(), format!("{}: {source}", String::from_utf8_lossy(shown)))
}

fn entry(kind: Kind, stat: &Stat, shown: &[u8]) -> Entry {
    let device = matches!(kind, Kind::Character | Kind::Block);
    Entry {
        path: shown.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: 0,
        // Whole seconds, as docker writes them.
        mtime: (stat.st_mtime, 0),
        link: Vec::new(),
        device: if device { (major(stat.st_rdev), minor(stat.st_rdev)) } else { (0, 0) },
        xattrs: Vec::new(),
    }
}

/// Capabilities of a file that hold for one user namespace become those of the namespace it is read for (struct
/// vfs_ns_cap_data of linux/capability.h: revision, sets, and who is root).
fn unowned(value: &mut Vec<u8>) {
    if let Some(revision) = value.get_mut(3).filter(|revision| **revision == 3) {
        *revision = 2;
        value.truncate(20);
    }
}

/// The attributes of a file that an archive carries: those that unpacking sets.
fn xattrs(file: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = [0u8; 4096];
    let length = match flistxattr(file, &mut list[..]) {
        Ok(length) => length,
        // None there, or more than anyone has.
        Err(Errno::NOTSUP | Errno::RANGE) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    let names = list.get(..length).unwrap_or_default().split(|&byte| byte == 0);
    for name in names.filter(|name| !name.is_empty() && allowed(name)) {
        let mut value = vec![0u8; MAX_XATTR];
        match fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.to_vec(), value));
            }
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}
