//! Unpacking a layer into a directory, in the form overlayfs wants.
//!
//! Every name is resolved below a descriptor of the layer's root with openat2(2) (Linux 5.6): first without
//! following any symbolic link; where the layer itself has a link on the way, with that root as the root of
//! the link, as docker's chroot does. Files are only ever made new (`O_EXCL`), never opened for writing
//! when they exist. So nothing outside is reached, whatever the names say.
//!
//! Whiteouts (image-spec, layer.md#whiteouts) become character devices 0:0 and `trusted.overlay.opaque`
//! (kernel, Documentation/filesystems/overlayfs.rst); an entry of the same layer wins over its whiteout.
//! Modes, times and attributes of directories come last: default ACLs and setgid bits must not spread to
//! what is made in them, and times would change again.
//!
//! The same code unpacks into the tree of a container (`extract`), which others write to meanwhile. There the root of
//! links is the container's, whiteouts mean nothing, and what is in the way is removed.

mod attributes;
mod path;
mod place;

use crate::recipe::{Move, Recorder};
use crate::tar::{Entry, Error, Kind, Limits, Reader};
use attributes::Meta;
pub(crate) use attributes::allowed;
pub(crate) use path::clean;
use place::{Live, Tree};
use proa_types::IdMap;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat,
};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What came of a layer.
pub(crate) struct Outcome {
    /// Bytes of its files.
    pub(crate) content: u64,
    /// Bytes of the stream.
    pub(crate) size: u64,
    /// Whether the tar can be rebuilt, and with which moves.
    pub(crate) recipe: bool,
    pub(crate) moves: Vec<Move>,
}

/// Unpacks a stream into `dir/fs`, which must be there and empty, and reads the stream to its end.
pub(crate) fn unpack<R: BufRead>(
    input: R,
    dir: &Path,
    recorder: Recorder,
    limits: Limits,
) -> Result<Outcome, Error> {
    let mut tree = Tree::open(dir)?;
    let mut reader = Reader::new(input, recorder, limits);
    let mut content = 0;
    while let Some(entry) = reader.next_entry()? {
        add(&mut tree, &entry, &mut reader)?;
        if entry.kind == Kind::File {
            content += entry.size;
        }
    }
    reader.finish()?;
    let size = reader.position();
    let recipe = reader.tap.finish().map_err(|source| Error::Write { path: "recipe".into(), source })?;
    let moves = tree.finish(recipe)?;
    Ok(Outcome { content, size, recipe, moves })
}

/// How an archive is unpacked into a tree that is in use.
#[derive(Debug, Clone, Default)]
pub struct ExtractOptions {
    /// Who everything belongs to.
    pub owner: Owner,
    /// Whether a directory is never replaced by something else, nor the reverse.
    pub keep_kind: bool,
    /// The first part of all names, and what it becomes.
    pub rename: Option<(Vec<u8>, Vec<u8>)>,
    /// Which ids of the host those of the archive become.
    pub ids: Option<IdMap>,
}

/// Who what is unpacked belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// Whom the archive says.
    #[default]
    Archived,
    /// This user and group.
    One(u32, u32),
    /// Who unpacks it, who may lack the right to give it away, or to set attributes.
    Caller,
}

impl ExtractOptions {
    /// The entry as it is to be unpacked.
    fn adapt(&self, entry: &mut Entry) -> Result<(), Error> {
        if let Owner::One(uid, gid) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some((from, to)) = &self.rename {
            rename(&mut entry.path, from, to);
            if entry.kind == Kind::HardLink {
                rename(&mut entry.link, from, to);
            }
        }
        if let Some(ids) = &self.ids {
            let owner = ids.outside((entry.uid, entry.gid));
            (entry.uid, entry.gid) = owner.ok_or_else(|| refused(entry, NOT_MAPPED))?;
            let root = ids.root().map_or(0, |(uid, _)| uid);
            for (_, value) in entry.xattrs.iter_mut().filter(|(name, _)| name == b"security.capability") {
                own(value, root);
            }
        }
        Ok(())
    }
}

/// Why an entry cannot be given to whom the archive says.
const NOT_MAPPED: &str = "it belongs to a user or group that the container does not have";

/// Capabilities of a file become those of the user namespace whose root is `root`.
fn own(value: &mut Vec<u8>, root: u32) {
    if value.len() == 20
        && let Some(revision) = value.get_mut(3)
    {
        *revision = 3;
        value.extend(root.to_le_bytes());
    }
}

/// Gives the first part of a path another name. The root is no part, so everything lies below it.
fn rename(path: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let rest = match from {
        b"/" | b"" => Some(path.as_slice()),
        from => path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with(b"/")),
    };
    if let Some(rest) = rest {
        let slash: &[u8] = if rest.is_empty() || rest.starts_with(b"/") { b"" } else { b"/" };
        *path = [to, slash, rest].concat();
    }
}

/// Unpacks a plain archive into `dir`, which lies at `place` below `root`. Links lead from `root` on. Others may write
/// to the tree meanwhile; callers have a umask of nothing.
///
/// # Errors
/// [`Error`]; what was unpacked before stays.
pub fn extract(
    input: impl BufRead,
    root: BorrowedFd<'_>,
    (dir, place): (OwnedFd, &[u8]),
    options: &ExtractOptions,
) -> Result<(), Error> {
    let failed = |source| Error::Write { path: String::from_utf8_lossy(place).into_owned(), source };
    let root = root.try_clone_to_owned().map_err(failed)?;
    let mut tree = Tree::live(
        dir,
        Live { root, place: place.to_vec(), keep_kind: options.keep_kind, owner: options.owner },
    );
    // What it takes is the container's own affair; names are bounded.
    let limits = Limits { entries: u64::MAX, bytes: u64::MAX, ..Limits::default() };
    let mut reader = Reader::new(input, Recorder::none(), limits);
    let mut unpacked = || {
        while let Some(mut entry) = reader.next_entry()? {
            options.adapt(&mut entry)?;
            add(&mut tree, &entry, &mut reader)?;
        }
        reader.finish()
    };
    let unpacked = unpacked();
    let finished = tree.finish(false).map(drop);
    unpacked.and(finished)
}

fn add<R: BufRead>(tree: &mut Tree, entry: &Entry, reader: &mut Reader<R, Recorder>) -> Result<(), Error> {
    let clean = path::clean(&entry.path).map_err(|problem| refused(entry, problem))?;
    let (parent, name) = path::split(&clean);
    let live = tree.is_live();
    if clean.is_empty() {
        return match entry.kind {
            Kind::Directory if live => Ok(()),
            Kind::Directory => tree.directory(Vec::new(), Meta::of(entry)),
            _ => Err(refused(entry, "would replace the root of the layer")),
        };
    }
    if let Some(hidden) = name.strip_prefix(b".wh.").filter(|_| !live) {
        return whiteout(tree, entry, parent, hidden);
    }
    let place = tree.place(parent, name, entry)?;
    match entry.kind {
        Kind::Directory => directory(tree, &place, entry),
        Kind::File => file(tree, &place, entry, reader),
        Kind::HardLink => hard_link(tree, &place, entry),
        Kind::Symlink => {
            let link = entry.link.as_slice();
            tree.make(&place, entry, |dir, name| symlinkat(link, dir, name))?;
            attributes::apply_at(place.dir.as_fd(), &place.name, entry, tree.giving())
        }
        Kind::Character | Kind::Block | Kind::Fifo => {
            let kind = match entry.kind {
                Kind::Character => FileType::CharacterDevice,
                Kind::Block => FileType::BlockDevice,
                _ => FileType::Fifo,
            };
            let device = makedev(entry.device.0, entry.device.1);
            let mode = Mode::from_raw_mode(entry.mode & 0o777);
            tree.make(&place, entry, |dir, name| mknodat(dir, name, kind, mode, device))?;
            attributes::apply_at(place.dir.as_fd(), &place.name, entry, tree.giving())
        }
    }
}

fn directory(tree: &mut Tree, place: &place::Place, entry: &Entry) -> Result<(), Error> {
    let mode = Mode::from_raw_mode(0o700);
    let made = mkdirat(place.dir.as_fd(), place.name.as_slice(), mode);
    let opaque = match made {
        Err(rustix::io::Errno::EXIST) => {
            let here = statat(place.dir.as_fd(), place.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| failed(entry, errno))?;
            let is_dir = FileType::from_raw_mode(here.st_mode) == FileType::Directory;
            let hidden = tree.is_whiteout(&place.path());
            if !is_dir {
                tree.make(place, entry, |dir, name| mkdirat(dir, name, mode))?;
            }
            hidden
        }
        other => {
            other.map_err(|errno| failed(entry, errno))?;
            false
        }
    };
    tree.directory(place.path(), Meta::of(entry).giving(tree.giving()))?;
    if !opaque {
        return Ok(());
    }
    let dir = place.subdirectory().map_err(|errno| failed(entry, errno))?;
    attributes::make_opaque(dir.as_fd(), entry)
}

fn file<R: BufRead>(
    tree: &mut Tree,
    place: &place::Place,
    entry: &Entry,
    reader: &mut Reader<R, Recorder>,
) -> Result<(), Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let mut file = File::from(tree.make(place, entry, |dir, name| openat(dir, name, flags, mode))?);
    if entry.size > 0 {
        if reader.tap.on() {
            let note = |source| Error::Write { path: "recipe".into(), source };
            reader.tap.file(&place.path(), entry.size).map_err(note)?;
            tree.noted(reader.tap.files());
        }
        reader.payload(|bytes| {
            file.write_all(bytes).map_err(|source| Error::Write { path: entry.name(), source })
        })?;
    }
    attributes::apply(file.as_fd(), &Meta::of(entry).giving(tree.giving()), entry)
}

fn hard_link(tree: &mut Tree, place: &place::Place, entry: &Entry) -> Result<(), Error> {
    let target = path::clean(&entry.link).map_err(|_| refused(entry, "links to outside of the layer"))?;
    if target == place.path() {
        return Err(refused(entry, "is a hard link to itself"));
    }
    let (parent, name) = path::split(&target);
    let missing = || refused(entry, "is a hard link to something this layer does not have");
    let from = tree.existing(parent).ok_or_else(missing)?;
    let linked = tree.make(place, entry, |dir, new| linkat(from.as_fd(), name, dir, new, AtFlags::empty()));
    match linked {
        Err(Error::Write { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Err(missing()),
        other => other,
    }
}

/// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all they have in its directory. Other
/// `.wh..wh.` names are bookkeeping of aufs.
fn whiteout(tree: &mut Tree, entry: &Entry, parent: &[u8], hidden: &[u8]) -> Result<(), Error> {
    if hidden == b".wh..opq" {
        let dir = tree.directory_for(parent, entry)?;
        return attributes::make_opaque(dir.as_fd(), entry);
    }
    if hidden.starts_with(b".wh.") {
        return Ok(());
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(refused(entry, "is a whiteout of nothing"));
    }
    let place = tree.place(parent, hidden, entry)?;
    let mode = Mode::empty();
    match mknodat(place.dir.as_fd(), place.name.as_slice(), FileType::CharacterDevice, mode, makedev(0, 0)) {
        Ok(()) => tree.whiteout(place.path()),
        Err(rustix::io::Errno::EXIST) => match place.subdirectory() {
            // The layer hides a directory and has one of its own: it starts empty.
            Ok(dir) => attributes::make_opaque(dir.as_fd(), entry),
            Err(_) => Ok(()),
        },
        Err(errno) => Err(failed(entry, errno)),
    }
}

/// An entry that will not be unpacked.
fn refused(entry: &Entry, problem: &'static str) -> Error {
    Error::Refused { path: entry.name(), problem }
}

/// An entry the kernel refused.
fn failed(entry: &Entry, errno: rustix::io::Errno) -> Error {
    Error::Write { path: entry.name(), source: errno.into() }
}
