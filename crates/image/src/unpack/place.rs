//! The directory tree a layer is unpacked into: where an entry goes, and clearing the way for it.

use super::attributes::{self, Giving, Meta};
use super::{Owner, failed, path, refused};
use crate::recipe::Move;
use crate::tar::{Entry, Error, Kind};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Open directories kept at hand.
const OPEN_DIRS: usize = 16;
/// How often a directory is asked for while others rename and mount.
const MAX_TRIES: usize = 10_000;
/// Bytes of the names that have to be remembered until the end.
const MAX_REMEMBERED: usize = 256 << 20;
/// Entries of one layer that may replace others of it.
const MAX_MOVES: usize = 10_000;

/// Where an entry goes: an open directory and a name in it.
pub(crate) struct Place {
    pub(crate) dir: Rc<OwnedFd>,
    parent: Vec<u8>,
    pub(crate) name: Vec<u8>,
}

impl Place {
    /// Opens the directory that is here; fails if it is anything else, also a link to one.
    pub(crate) fn subdirectory(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.dir.as_fd(), self.name.as_slice(), flags, Mode::empty())
    }

    /// Its path from the root of the layer, without any link in it.
    pub(crate) fn path(&self) -> Vec<u8> {
        path::join(&self.parent, &self.name)
    }
}

/// An open directory with the path it was asked for by, and its path without links.
struct Open {
    asked: Vec<u8>,
    canonical: Vec<u8>,
    dir: Rc<OwnedFd>,
}

/// A tree that is in use by a container.
pub(crate) struct Live {
    /// The container's root.
    pub(crate) root: OwnedFd,
    /// Where the tree lies below it.
    pub(crate) place: Vec<u8>,
    pub(crate) keep_kind: bool,
    pub(crate) owner: Owner,
}

/// The tree of one layer, or a directory of a container.
pub(crate) struct Tree {
    home: PathBuf,
    root: Rc<OwnedFd>,
    live: Option<Live>,
    open: Vec<Open>,
    directories: BTreeMap<Vec<u8>, Meta>,
    whiteouts: BTreeSet<Vec<u8>>,
    moves: Vec<Move>,
    shadow: Option<OwnedFd>,
    files: u64,
    remembered: usize,
}

impl Tree {
    /// Opens the tree below the layer's own directory.
    pub(crate) fn open(home: &Path) -> Result<Self, Error> {
        let opened = File::open(home.join("fs"));
        let root = opened.map_err(|source| Error::Write { path: home.display().to_string(), source })?;
        Ok(Self::at(home, root.into(), None))
    }

    /// The directory `dir` of a tree in use.
    pub(crate) fn live(dir: OwnedFd, live: Live) -> Self {
        Self::at(Path::new(""), dir, Some(live))
    }

    /// How entries get their owners.
    pub(crate) fn giving(&self) -> Giving {
        match self.live.as_ref().map(|live| live.owner) {
            None => Giving::FromRoot,
            Some(Owner::Caller) => Giving::Nothing,
            Some(Owner::Archived | Owner::One(..)) => Giving::FromAnyone,
        }
    }

    /// Whether others write to it meanwhile.
    pub(crate) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    fn at(home: &Path, root: OwnedFd, live: Option<Live>) -> Self {
        Self {
            home: home.into(),
            root: Rc::new(root),
            live,
            open: Vec::new(),
            directories: BTreeMap::new(),
            whiteouts: BTreeSet::new(),
            moves: Vec::new(),
            shadow: None,
            files: 0,
            remembered: 0,
        }
    }

    /// Where `name` in `parent` goes; makes directories on the way that no entry has named.
    pub(crate) fn place(&mut self, parent: &[u8], name: &[u8], entry: &Entry) -> Result<Place, Error> {
        let (dir, canonical) = self.parent(parent, entry)?;
        Ok(Place { dir, parent: canonical, name: name.to_vec() })
    }

    /// The directory at `path`, made if it is not there.
    pub(crate) fn directory_for(&mut self, path: &[u8], entry: &Entry) -> Result<Rc<OwnedFd>, Error> {
        self.parent(path, entry).map(|(dir, _)| dir)
    }

    fn parent(&mut self, asked: &[u8], entry: &Entry) -> Result<(Rc<OwnedFd>, Vec<u8>), Error> {
        if asked.is_empty() {
            return Ok((Rc::clone(&self.root), Vec::new()));
        }
        if let Some(at) = self.open.iter().position(|open| open.asked == asked) {
            let open = self.open.remove(at);
            let found = (Rc::clone(&open.dir), open.canonical.clone());
            self.open.push(open);
            return Ok(found);
        }
        let (dir, canonical) = match self.resolve(asked) {
            Err(Errno::NOENT) => {
                self.make_parents(asked, entry)?;
                self.resolve(asked)
            }
            other => other,
        }
        .map_err(|errno| match errno {
            Errno::NOTDIR => refused(entry, "lies below something that is not a directory"),
            Errno::XDEV | Errno::LOOP => refused(entry, "leaves the layer by a symbolic link"),
            errno => failed(entry, errno),
        })?;
        if self.open.len() >= OPEN_DIRS {
            self.open.remove(0);
        }
        let dir = Rc::new(dir);
        self.open.push(Open { asked: asked.to_vec(), canonical: canonical.clone(), dir: Rc::clone(&dir) });
        Ok((dir, canonical))
    }

    /// Opens a directory of the tree, and tells its path without links.
    fn resolve(&self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Errno> {
        let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if let Some(live) = &self.live {
            // Mounts of the container belong to it.
            let dir = match open_dir(self.root.as_fd(), path, strict) {
                Err(Errno::LOOP) => open_dir(live.root.as_fd(), &path::join(&live.place, path), inside),
                other => other,
            };
            return Ok((dir?, path.to_vec()));
        }
        match open_dir(self.root.as_fd(), path, strict | ResolveFlags::NO_XDEV) {
            Err(Errno::LOOP) => {
                let dir = open_dir(self.root.as_fd(), path, inside | ResolveFlags::NO_XDEV)?;
                let canonical = self.canonical(dir.as_fd())?;
                Ok((dir, canonical))
            }
            other => Ok((other?, path.to_vec())),
        }
    }

    /// The path of an open directory of the tree.
    fn canonical(&self, dir: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        let name = |fd: BorrowedFd<'_>| {
            readlinkat(rustix::fs::CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        };
        let (root, dir) = (name(self.root.as_fd())?, name(dir)?);
        let below = dir.to_bytes().strip_prefix(root.to_bytes()).ok_or(Errno::XDEV)?;
        path::clean(below).map_err(|_| Errno::XDEV)
    }

    /// Makes every directory of `path` that is not there.
    fn make_parents(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let (above, name) = path::split(path.get(..end).unwrap_or_default());
            let (dir, canonical) = match above {
                b"" => (None, Vec::new()),
                _ => {
                    self.resolve(above).map(|(dir, path)| (Some(dir), path)).map_err(|e| failed(entry, e))?
                }
            };
            let dir = dir.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            match mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    let meta = Meta::implied().giving(self.giving());
                    self.directory(path::join(&canonical, name), meta)?;
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(entry, errno)),
            }
        }
        Ok(())
    }

    /// Makes a new entry, moving away what is in its place.
    pub(crate) fn make<T>(
        &mut self,
        place: &Place,
        entry: &Entry,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Error> {
        let made = match make(place.dir.as_fd(), &place.name) {
            Err(Errno::EXIST) => {
                self.clear(place, entry)?;
                make(place.dir.as_fd(), &place.name)
            }
            other => other,
        };
        made.map_err(|errno| failed(entry, errno))
    }

    /// Removes what is at `place` in a container's directory.
    fn replace(&mut self, place: &Place, entry: &Entry) -> Result<(), Error> {
        let failed = |errno| failed(entry, errno);
        let name = CString::new(place.name.as_slice()).map_err(|_| failed(Errno::INVAL))?;
        let here = statat(place.dir.as_fd(), name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
        let here = match here {
            Err(Errno::NOENT) => return Ok(()),
            here => here.map_err(failed)?,
        };
        let (old, new) = (FileType::from_raw_mode(here.st_mode).is_dir(), entry.kind == Kind::Directory);
        if let Some(live) = self.live.as_ref().filter(|live| live.keep_kind && old != new) {
            let word = |directory| if directory { "directory" } else { "non-directory" };
            let text = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
            return Err(Error::Kept {
                old: word(old),
                path: text(&path::join(&live.place, &place.path())),
                new: word(new),
                into: text(&live.place),
            });
        }
        proa_sys::tree::remove(place.dir.as_fd(), &name)
            .map_err(|error| Error::Write { path: entry.name(), source: error.source })?;
        let path = place.path();
        self.open.clear();
        self.directories.retain(|below, _| !path::within(below, &path));
        Ok(())
    }

    /// Takes what is at `place` out of the way: a whiteout is dropped, anything else is kept in `shadow`,
    /// because the recipe may need its bytes.
    fn clear(&mut self, place: &Place, entry: &Entry) -> Result<(), Error> {
        if self.is_live() {
            return self.replace(place, entry);
        }
        let path = place.path();
        if self.whiteouts.remove(&path) {
            let removed = unlinkat(place.dir.as_fd(), place.name.as_slice(), AtFlags::empty());
            return removed.map_err(|errno| failed(entry, errno));
        }
        if self.moves.len() >= MAX_MOVES {
            return Err(Error::TooMuch { limit: MAX_MOVES as u64, what: "entries that replace others" });
        }
        let number = self.moves.len().to_string();
        let shadow = self.shadow().map_err(|source| Error::Write { path: entry.name(), source })?;
        renameat(place.dir.as_fd(), place.name.as_slice(), shadow, number.as_str())
            .map_err(|errno| failed(entry, errno))?;
        self.open.clear();
        self.directories.retain(|below, _| !path::within(below, &path));
        self.whiteouts.retain(|below| !path::within(below, &path));
        self.moves.push(Move { before: self.files, path });
        Ok(())
    }

    fn shadow(&mut self) -> std::io::Result<BorrowedFd<'_>> {
        if self.shadow.is_none() {
            let path = self.home.join("shadow");
            std::fs::create_dir(&path)?;
            self.shadow = Some(File::open(&path)?.into());
        }
        match &self.shadow {
            Some(shadow) => Ok(shadow.as_fd()),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// Tells how many files the recipe has noted.
    pub(crate) fn noted(&mut self, files: u64) {
        self.files = files;
    }

    /// Remembers what a directory gets at the end.
    pub(crate) fn directory(&mut self, path: Vec<u8>, meta: Meta) -> Result<(), Error> {
        self.remember(path.len() + meta.weight())?;
        self.directories.insert(path, meta);
        Ok(())
    }

    /// Remembers a whiteout of this layer.
    pub(crate) fn whiteout(&mut self, path: Vec<u8>) -> Result<(), Error> {
        self.remember(path.len())?;
        self.whiteouts.insert(path);
        Ok(())
    }

    fn remember(&mut self, bytes: usize) -> Result<(), Error> {
        self.remembered += bytes + 64;
        if self.remembered > MAX_REMEMBERED {
            return Err(Error::TooMuch {
                limit: MAX_REMEMBERED as u64,
                what: "bytes of names of directories",
            });
        }
        Ok(())
    }

    /// Whether `path` is a whiteout of this layer.
    pub(crate) fn is_whiteout(&self, path: &[u8]) -> bool {
        self.whiteouts.contains(path)
    }

    /// The directory at `path`, if it is there.
    pub(crate) fn existing(&self, path: &[u8]) -> Option<Rc<OwnedFd>> {
        if path.is_empty() {
            return Some(Rc::clone(&self.root));
        }
        let at_hand = self.open.iter().find(|open| open.asked == path).map(|open| Rc::clone(&open.dir));
        at_hand.or_else(|| self.resolve(path).ok().map(|(dir, _)| Rc::new(dir)))
    }

    /// Gives directories their modes and times, innermost first, and drops what was replaced unless a
    /// recipe needs it.
    pub(crate) fn finish(mut self, keep_moves: bool) -> Result<Vec<Move>, Error> {
        for (path, meta) in std::mem::take(&mut self.directories).iter().rev() {
            let name = || String::from_utf8_lossy(path).into_owned();
            let failed = |errno: Errno| Error::Write { path: name(), source: errno.into() };
            if path.is_empty() {
                attributes::set(self.root.as_fd(), meta).map_err(failed)?;
                continue;
            }
            let dir = match self.resolve(path) {
                // The container took it away.
                Err(Errno::NOENT | Errno::NOTDIR) if self.is_live() => continue,
                other => other.map_err(failed)?.0,
            };
            attributes::set(dir.as_fd(), meta).map_err(failed)?;
        }
        if !keep_moves && self.shadow.is_some() {
            let _ = std::fs::remove_dir_all(self.home.join("shadow"));
        }
        Ok(if keep_moves { self.moves } else { Vec::new() })
    }
}

/// openat2(2) for a directory. A link with `..` in it makes the kernel answer `EAGAIN` whenever anything was renamed or
/// mounted on the host meanwhile: it cannot rule out an escape then, and asks to try again.
fn open_dir(root: BorrowedFd<'_>, path: &[u8], resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for _ in 0..MAX_TRIES {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}
