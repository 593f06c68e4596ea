//! What a container has changed: its own files held against the image's.
//!
//! With overlayfs a container's own files are the upper directory alone: what is not there is unchanged, a device 0:0
//! is a deletion, and `trusted.overlay.opaque` hides what lies below (kernel, Documentation/filesystems/overlayfs.rst).
//! With copied layers (`vfs`) they are everything, and what is missing was deleted.
//!
//! A directory above a change counts as changed, so that a layer has its owner and mode. What the engine itself made,
//! so that mounts have a place, is no change.

use crate::pack::{MAX_DEPTH, Names, Pack, below, look, open_directory, too_deep};
use rustix::fs::{FileType, Stat, fgetxattr};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Changes that are listed.
const MAX_CHANGES: usize = 1 << 20;
/// Places for mounts, which are there before the program runs.
const PLACES: &[&[u8]] = &[
    b"dev",
    b"dev/console",
    b"dev/mqueue",
    b"dev/pts",
    b"dev/shm",
    b"etc",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/resolv.conf",
    b"proc",
    b"sys",
];

/// A change of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Its path, from the root of the container on.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is another one, or something in it changed.
    Modified,
    /// It was not there.
    Added,
    /// It is not there any more.
    Deleted,
}

/// A container's own files.
pub enum Own<'a> {
    /// The upper directory of an overlay.
    Upper(BorrowedFd<'a>),
    /// All its files.
    Whole(BorrowedFd<'a>),
}

/// The changes, in the order of their paths.
///
/// # Errors
/// When a file cannot be looked at, or there are too many.
pub fn changes(own: &Own<'_>, image: BorrowedFd<'_>) -> Result<Vec<Change>> {
    let mut list = List(Vec::new());
    walk(own, image, &mut list)?;
    list.0.sort_unstable();
    list.0.dedup();
    Ok(list.0)
}

/// Writes the changes as a layer. Whether there were any.
///
/// # Errors
/// As [`changes`], and when `to` fails.
pub fn layer(own: &Own<'_>, image: BorrowedFd<'_>, to: impl Write) -> Result<bool> {
    let mut layer = Layer { pack: Pack::new(to), empty: true };
    walk(own, image, &mut layer)?;
    let empty = layer.empty;
    layer.pack.finish()?;
    Ok(!empty)
}

/// What a change is now.
enum Node<'a> {
    Directory(BorrowedFd<'a>),
    Other(BorrowedFd<'a>, &'a CStr, &'a Stat),
    Nothing,
}

/// Who is told of changes, a directory before what is in it.
trait Sink {
    /// Whether files count as changed because they were opened for writing.
    fn exact(&self) -> bool;
    fn change(&mut self, path: &[u8], kind: ChangeKind, node: Node<'_>) -> Result<()>;
    /// All that the image has in this directory is gone.
    fn emptied(&mut self, path: &[u8]) -> Result<()>;
}

struct List(Vec<Change>);

impl Sink for List {
    fn exact(&self) -> bool {
        false
    }

    fn change(&mut self, path: &[u8], kind: ChangeKind, _: Node<'_>) -> Result<()> {
        if self.0.len() >= MAX_CHANGES {
            let text = format!("the container has more than {MAX_CHANGES} changes: export it instead");
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        self.0.push(Change { path: [b"/", path].concat(), kind });
        Ok(())
    }

    fn emptied(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

struct Layer<W> {
    pack: Pack<W>,
    empty: bool,
}

impl<W: Write> Sink for Layer<W> {
    fn exact(&self) -> bool {
        true
    }

    fn change(&mut self, path: &[u8], _: ChangeKind, node: Node<'_>) -> Result<()> {
        self.empty = false;
        match node {
            Node::Directory(dir) => self.pack.directory(dir, path),
            Node::Other(dir, name, stat) => self.pack.leaf(dir, name, stat, path),
            Node::Nothing => {
                let at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
                let (parent, name) = path.split_at_checked(at).unwrap_or((b"", path));
                self.pack.mark(&[parent, b".wh.", name].concat())
            }
        }
    }

    fn emptied(&mut self, path: &[u8]) -> Result<()> {
        self.pack.mark(&[path, b"/.wh..wh..opq"].concat())
    }
}

/// A directory that is told of when something in it changed.
struct Waiting {
    path: Vec<u8>,
    kind: ChangeKind,
    dir: Rc<OwnedFd>,
}

struct Walk<'a, S> {
    upper: bool,
    sink: &'a mut S,
    waiting: Vec<Waiting>,
    depth: usize,
}

fn walk<S: Sink>(own: &Own<'_>, image: BorrowedFd<'_>, sink: &mut S) -> Result<()> {
    let (root, upper) = match own {
        Own::Upper(root) => (root, true),
        Own::Whole(root) => (root, false),
    };
    let mut walk = Walk { upper, sink, waiting: Vec::new(), depth: 0 };
    walk.directory(*root, Some(image), b"", !upper)
}

impl<S: Sink> Walk<'_, S> {
    /// Everything in a directory; `closed` says that what is missing there was deleted.
    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        image: Option<BorrowedFd<'_>>,
        path: &[u8],
        closed: bool,
    ) -> Result<()> {
        if self.depth >= MAX_DEPTH {
            return Err(too_deep(path));
        }
        self.depth += 1;
        let mut names = Names::open(dir)?;
        loop {
            let some = names.next(PIECE)?;
            if some.is_empty() {
                break;
            }
            for name in &some {
                self.entry(dir, image, name, &below(path, name))?;
            }
        }
        if let Some(image) = image.filter(|_| closed) {
            self.missing(dir, image, path)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Tells what the image has in a directory and the container has not.
    fn missing(&mut self, dir: BorrowedFd<'_>, image: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let mut names = Names::open(image)?;
        loop {
            let some: Vec<CString> = names.next(PIECE)?;
            if some.is_empty() {
                return Ok(());
            }
            for name in &some {
                if look(dir, name)?.is_none() {
                    self.tell(&below(path, name), ChangeKind::Deleted, Node::Nothing)?;
                }
            }
        }
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        image: Option<BorrowedFd<'_>>,
        name: &CStr,
        path: &[u8],
    ) -> Result<()> {
        let Some(stat) = look(dir, name)? else { return Ok(()) };
        let old = image.map_or(Ok(None), |image| look(image, name))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.upper && kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return match old {
                Some(_) => self.tell(path, ChangeKind::Deleted, Node::Nothing),
                None => Ok(()),
            };
        }
        if kind == FileType::Directory {
            return self.subdirectory(dir, image, name, path, old.as_ref());
        }
        let change = match &old {
            None if PLACES.contains(&path) && stat.st_size == 0 => return Ok(()),
            None => ChangeKind::Added,
            Some(old) if different(old, &stat) || self.upper && self.sink.exact() => ChangeKind::Modified,
            Some(_) => return Ok(()),
        };
        self.tell(path, change, Node::Other(dir, name, &stat))
    }

    fn subdirectory(
        &mut self,
        dir: BorrowedFd<'_>,
        image: Option<BorrowedFd<'_>>,
        name: &CStr,
        path: &[u8],
        old: Option<&Stat>,
    ) -> Result<()> {
        let Some(opened) = open_directory(dir, name)? else { return Ok(()) };
        let opened = Rc::new(opened);
        let stat = rustix::fs::fstat(opened.as_fd())?;
        let opaque = self.upper && marked(opened.as_fd(), c"trusted.overlay.opaque")?;
        if self.upper && marked(opened.as_fd(), c"trusted.overlay.redirect")? {
            let text = format!(
                "{}: the kernel notes renamed directories in a way that is not read here: boot it with overlay.redirect_dir=off",
                String::from_utf8_lossy(path)
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let there = old.filter(|old| FileType::from_raw_mode(old.st_mode) == FileType::Directory);
        let below = match (there, image) {
            (Some(_), Some(image)) => open_directory(image, name)?,
            _ => None,
        };
        let (change, sure) = match (old, there) {
            (None, _) => (ChangeKind::Added, !PLACES.contains(&path)),
            (Some(old), Some(_)) => {
                (ChangeKind::Modified, different(old, &stat) || opaque && self.sink.exact())
            }
            (Some(_), None) => (ChangeKind::Modified, true),
        };
        let waits = self.waiting.len();
        if sure {
            self.tell(path, change, Node::Directory(opened.as_fd()))?;
        } else {
            self.waiting.push(Waiting { path: path.to_vec(), kind: change, dir: Rc::clone(&opened) });
        }
        let hides = opaque && below.is_some();
        if hides {
            self.sink.emptied(path)?;
        }
        // A layer that hides what lies below has everything itself.
        let below = below.filter(|_| !(hides && self.sink.exact()));
        self.directory(opened.as_fd(), below.as_ref().map(AsFd::as_fd), path, opaque || !self.upper)?;
        self.waiting.truncate(waits);
        Ok(())
    }

    fn tell(&mut self, path: &[u8], kind: ChangeKind, node: Node<'_>) -> Result<()> {
        for waiting in self.waiting.drain(..) {
            self.sink.change(&waiting.path, waiting.kind, Node::Directory(waiting.dir.as_fd()))?;
        }
        self.sink.change(path, kind, node)
    }
}

/// Names of a directory that are read at once.
const PIECE: usize = 1024;

/// Whether a file is another one, by what a copy keeps.
fn different(old: &Stat, new: &Stat) -> bool {
    let same = |a: &Stat| (a.st_mode, a.st_uid, a.st_gid, a.st_rdev);
    if same(old) != same(new) {
        return true;
    }
    let content = |a: &Stat| (a.st_size, a.st_mtime, a.st_mtime_nsec);
    FileType::from_raw_mode(new.st_mode) != FileType::Directory && content(old) != content(new)
}

/// Whether a directory has one of overlayfs's marks.
fn marked(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
    let mut value = [0u8; 1];
    match fgetxattr(dir, name, &mut value[..]) {
        Ok(length) => Ok(length > 0 && (name != c"trusted.overlay.opaque" || value == *b"y")),
        Err(Errno::RANGE) => Ok(true),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
