//! Driver `vfs`: a container is a directory with a copy of everything. Slow, but it works where the file
//! system cannot carry overlayfs, and a container keeps nothing else busy.
//!
//! Layers are kept in overlay's form whatever the driver is; here they are copied one over the other, base
//! first, and whiteouts and opaque marks are acted on.

use crate::driver::{Driver, LayerDir};
use crate::snapshot::remove_tree;
use crate::{DriverData, Error, Result, Snapshot};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, Stat, Timespec, Timestamps, XattrFlags,
    fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat,
    readlinkat, renameat_with, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How names of copies that are not finished begin.
const MAKING: &str = "making-";

/// The vfs driver, with its home directory.
pub(crate) struct VfsDriver {
    home: PathBuf,
}

impl VfsDriver {
    /// A driver whose containers live in `home`. Copies that a crash broke off are removed.
    pub(crate) fn open(home: PathBuf) -> Result<Self> {
        for name in crate::content::names(&home).iter().filter(|name| name.starts_with(MAKING)) {
            remove_tree(&home.join(name))?;
        }
        Ok(Self { home })
    }

    fn dir(&self, key: &str) -> PathBuf {
        self.home.join(format!("c-{key}"))
    }
}

impl Driver for VfsDriver {
    fn name(&self) -> &'static str {
        "vfs"
    }

    fn prepare(&self, key: &str, layers: &[LayerDir], note: &str) -> Result<Snapshot> {
        let making = self.home.join(format!("{MAKING}{key}"));
        let made = || -> std::io::Result<()> {
            copy_layers(&making, layers, note)?;
            // Only whole snapshots ever have a container's name.
            Ok(renameat_with(CWD, &making, CWD, self.dir(key), RenameFlags::NOREPLACE)?)
        };
        made().map_err(|source| {
            let _ = remove_tree(&making);
            Error::io(format!("cannot make the snapshot {}", self.dir(key).display()))(source)
        })?;
        Ok(self.paths(key, layers))
    }

    fn paths(&self, key: &str, _: &[LayerDir]) -> Snapshot {
        Snapshot::Directory(self.dir(key).join("fs"))
    }

    fn remove(&self, key: &str) -> Result<()> {
        remove_tree(&self.dir(key))
    }

    fn written(&self, key: &str) -> PathBuf {
        self.dir(key).join("fs")
    }

    fn home(&self) -> &Path {
        &self.home
    }

    fn data(&self, _: Option<&str>, _: &[LayerDir]) -> DriverData {
        DriverData { name: self.name().into(), data: BTreeMap::new() }
    }
}

/// Makes a container's directory.
fn copy_layers(dir: &Path, layers: &[LayerDir], note: &str) -> std::io::Result<()> {
    let target = dir.join("fs");
    std::fs::create_dir(dir)?;
    std::fs::write(dir.join("layers"), note)?;
    std::fs::create_dir(&target)?;
    fchmod(&File::open(&target)?, Mode::from_raw_mode(0o755))?;
    let mut copy = Copy { links: HashMap::new(), root: open_root(&target)? };
    for layer in layers.iter().rev() {
        copy.links.clear();
        let (from, to) = (open_root(layer)?, rustix::io::dup(&copy.root)?);
        copy.directory(from.as_fd(), to.as_fd(), &mut Vec::new())?;
    }
    Ok(())
}

fn open_root(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(File::open(path)?.into())
}

fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Copies one layer over what is there.
struct Copy {
    /// Where the files of this layer with several names went, by inode: their first path.
    links: HashMap<u64, Vec<u8>>,
    root: OwnedFd,
}

impl Copy {
    /// Copies what is in `from` into `to`, whose path is `path`, then gives `to` the attributes of `from`.
    fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<u8>,
    ) -> rustix::io::Result<()> {
        let mut opaque = [0u8; 1];
        if matches!(fgetxattr(from, c"trusted.overlay.opaque", &mut opaque), Ok(1)) && opaque == *b"y" {
            for name in names(to)? {
                remove(to, &name)?;
            }
        }
        for name in names(from)? {
            let length = path.len();
            path.extend_from_slice(b"/");
            path.extend_from_slice(&name);
            self.entry(from, to, &name, path)?;
            path.truncate(length);
        }
        attributes(from, to)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> rustix::io::Result<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let target = match open_dir(to, name) {
                Ok(target) => target,
                Err(_) => {
                    remove(to, name)?;
                    mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                    open_dir(to, name)?
                }
            };
            return self.directory(open_dir(from, name)?.as_fd(), target.as_fd(), path);
        }
        remove(to, name)?;
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&stat.st_ino) {
                return linkat(&self.root, first.as_slice(), to, name, AtFlags::empty());
            }
            self.links.insert(stat.st_ino, path.get(1..).unwrap_or_default().to_vec());
        }
        match kind {
            FileType::RegularFile => file(from, to, name),
            FileType::Symlink => {
                let link = readlinkat(from, name, Vec::new())?;
                symlinkat(link, to, name)?;
                node(to, name, &stat, false)
            }
            kind => {
                mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
                node(to, name, &stat, true)
            }
        }
    }
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut source = File::from(openat(from, name, flags, Mode::empty())?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut target = File::from(openat(to, name, flags, Mode::from_raw_mode(0o600))?);
    // Shares blocks where the file system can (copy_file_range).
    let copied = std::io::copy(&mut source, &mut target);
    copied.map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
    attributes(source.as_fd(), target.as_fd())
}

/// Owner, mode, attributes and times, in the order that keeps them.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let stat = fstat(from)?;
    fchown(to, Some(rustix::fs::Uid::from_raw(stat.st_uid)), Some(rustix::fs::Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut list = vec![0u8; 64 << 10];
    let length = match flistxattr(from, list.as_mut_slice()) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let names = list.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    for name in names.filter(|name| !name.is_empty() && !name.starts_with(b"trusted.overlay.")) {
        let mut value = vec![0u8; 64 << 10];
        let length = fgetxattr(from, name, value.as_mut_slice())?;
        fsetxattr(to, name, value.get(..length).unwrap_or_default(), XattrFlags::empty())?;
    }
    futimens(to, &times(&stat))
}

fn node(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat, chmod: bool) -> rustix::io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if chmod {
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    }
    utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn times(stat: &Stat) -> Timestamps {
    let time =
        |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or_default() };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Removes what is there, with all below it; absent is fine.
fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let inner = open_dir(dir, name)?;
            for below in names(inner.as_fd())? {
                remove(inner.as_fd(), &below)?;
            }
            unlinkat(dir, name, AtFlags::REMOVEDIR)
        }
        other => other,
    }
}

/// Names of the entries of a directory.
fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    // A descriptor of its own: the position in the directory must be the start.
    let dir = openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}
