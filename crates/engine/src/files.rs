//! Files into and out of a container: `cp` and `export`.

use crate::engine::passage;
use crate::identity::{Tables, identity};
use crate::record::ContainerRecord;
use crate::root::Root;
use crate::view::View;
use crate::{Engine, Error};
use proa_image::tar::{self, ExtractOptions, Owner, extract, pack, pack_contents};
use proa_types::Timestamp;
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, fstat, fstatvfs, statat, statx};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Written at once.
const PIECE: usize = 128 << 10;

/// What a path of a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Its last part.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permissions, as stat(2) has them.
    pub mode: u32,
    /// When it was changed.
    pub modified: Timestamp,
    /// Where it leads in the end, if it is a link.
    pub link_target: String,
}

/// How an archive is unpacked into a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// Whether a directory must not become something else, nor the reverse.
    pub keep_kind: bool,
    /// Whether everything becomes the container's user's.
    pub own: bool,
}

/// A path as it was asked for, cleaned.
struct Asked {
    path: PathBuf,
    /// Ends with `/` or `/.`: the directory is meant, not a link to it.
    directory: bool,
    /// What its entries are shown below.
    shown: Vec<u8>,
}

impl Asked {
    fn new(text: &str) -> Self {
        let mut path = PathBuf::from("/");
        for part in Path::new(text).components() {
            match part {
                std::path::Component::Normal(name) => path.push(name),
                std::path::Component::ParentDir => drop(path.pop()),
                _ => {}
            }
        }
        let (dot, slash) = (text == "." || text.ends_with("/."), text.ends_with('/'));
        let shown = match path.file_name() {
            _ if dot => b".".to_vec(),
            Some(name) => name.as_bytes().to_vec(),
            None => b"/".to_vec(),
        };
        Self { directory: dot || slash || path == Path::new("/"), path, shown }
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}

/// An entry of a container's tree, by its directory.
struct Found {
    dir: OwnedFd,
    name: CString,
}

fn find(view: &View, asked: &Asked) -> Result<Found, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    if asked.directory {
        return Ok(Found { dir: view.open(&asked.path, flags)?, name: c".".to_owned() });
    }
    let parent = asked.path.parent().unwrap_or(Path::new("/"));
    let name = asked.path.file_name().map_or(&b"."[..], OsStr::as_bytes);
    Ok(Found { dir: view.open(parent, flags)?, name: CString::new(name).map_err(|_| Errno::INVAL)? })
}

fn stat(view: &View, asked: &Asked, found: &Found) -> Result<PathStat, Errno> {
    let stat = statat(&found.dir, found.name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => target(view, asked, found)?.display().to_string(),
        _ => String::new(),
    };
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Ok(PathStat {
        name: asked.name(),
        size: stat.st_size,
        mode: stat.st_mode,
        modified: Timestamp(stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanos)),
        link_target,
    })
}

/// Where a link leads in the end; if nothing is there, as far as its own text says.
fn target(view: &View, asked: &Asked, found: &Found) -> Result<PathBuf, Errno> {
    match view.open(&asked.path, OFlags::PATH) {
        Ok(file) => view.path_of(file.as_fd()),
        Err(_) => {
            let text = rustix::fs::readlinkat(&found.dir, found.name.as_c_str(), Vec::new())?;
            let whole = view.path_of(found.dir.as_fd())?.join(OsStr::from_bytes(text.to_bytes()));
            Ok(Asked::new(&whole.to_string_lossy()).path)
        }
    }
}

impl Engine {
    /// What a path of a container is.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`].
    pub async fn path_stat(self: &Arc<Self>, container: &str, path: &str) -> Result<PathStat, Error> {
        let failed = failure(container, path);
        let asked = Asked::new(path);
        let look = move |view: &View, _: &ContainerRecord| {
            find(view, &asked).and_then(|found| stat(view, &asked, &found)).map_err(&failed)
        };
        self.look_into(&self.find(container)?, true, look).await
    }

    /// Writes what a path of a container is, and all below it, as an archive. What it is comes first; the archive
    /// follows, and `to` is told if it fails.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`].
    pub async fn archive(
        self: &Arc<Self>,
        container: &str,
        path: &str,
        to: impl Write + Send + Failing + 'static,
    ) -> Result<PathStat, Error> {
        let failed = failure(container, path);
        let container = self.find(container)?;
        let asked = Asked::new(path);
        let (tell, told) = oneshot::channel();
        let look = move |view: &View, _: &ContainerRecord| {
            let found = find(view, &asked).map_err(&failed)?;
            let what = stat(view, &asked, &found).map_err(&failed)?;
            if tell.send(what).is_ok() {
                write(to, |to| pack((found.dir.as_fd(), &found.name), &asked.shown, view.ids.as_ref(), to));
            }
            Ok(())
        };
        let (engine, held) = (Arc::clone(self), Arc::clone(&container));
        let mut looking = tokio::spawn(async move { engine.look_into(&held, true, look).await });
        let what = tokio::select! {
            biased;
            Ok(what) = told => what,
            ended = &mut looking => {
                let never = || Error::Internal("an archive was not begun".into());
                ended.map_err(|error| Error::Internal(error.to_string()))??;
                return Err(never());
            }
        };
        self.tell(&container, "archive-path", &[]);
        Ok(what)
    }

    /// Unpacks an archive into a directory of a container.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`]; [`Error::Forbidden`] where nothing may be written; [`Error::Archive`].
    pub async fn extract(
        self: &Arc<Self>,
        container: &str,
        path: &str,
        options: UnpackOptions,
        from: impl Read + Send + 'static,
    ) -> Result<(), Error> {
        let failed = failure(container, path);
        let container = self.find(container)?;
        let owner = match options.own {
            true => self.owner(&container.record())?,
            false => Owner::Archived,
        };
        let asked = Asked::new(path);
        let look = move |view: &View, _: &ContainerRecord| {
            let dir = view.open(&asked.path, OFlags::PATH).map_err(&failed)?;
            if !fstat(&dir).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) {
                return Err(Error::Invalid("extraction point is not a directory".into()));
            }
            writable(view, &dir)?;
            let place = view.path_of(dir.as_fd()).map_err(&failed)?;
            let place = place.strip_prefix("/").unwrap_or(&place).as_os_str().as_bytes();
            passage("extract.begin");
            let ids = view.ids.clone();
            let options = ExtractOptions { owner, keep_kind: options.keep_kind, rename: None, ids };
            let plain = tar::plain(from).map_err(Error::Archive)?;
            extract(plain, view.root.as_fd(), (dir, place), &options).map_err(Error::Archive)
        };
        self.look_into(&container, true, look).await?;
        passage("extract.done");
        self.tell(&container, "extract-to-dir", &[]);
        Ok(())
    }

    /// Writes a container's own files, without its volumes, as an archive.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub async fn export(
        self: &Arc<Self>,
        container: &str,
        to: impl Write + Send + Failing + 'static,
    ) -> Result<(), Error> {
        let container = self.find(container)?;
        let (begun, beginning) = oneshot::channel();
        let look = move |view: &View, _: &ContainerRecord| {
            let root = view.open(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY);
            let root = root.map_err(|errno| Error::io("/")(errno.into()))?;
            if begun.send(()).is_ok() {
                write(to, |to| pack_contents(root.as_fd(), view.ids.as_ref(), to));
            }
            Ok(())
        };
        let (engine, held) = (Arc::clone(self), Arc::clone(&container));
        let mut looking = tokio::spawn(async move { engine.look_into(&held, false, look).await });
        tokio::select! {
            biased;
            Ok(()) = beginning => {}
            ended = &mut looking => {
                return ended.map_err(|error| Error::Internal(error.to_string()))?;
            }
        }
        self.tell(&container, "export", &[]);
        Ok(())
    }

    /// A container's user and group, if it names a user.
    fn owner(&self, record: &ContainerRecord) -> Result<Owner, Error> {
        if record.spec.user.is_empty() {
            return Ok(Owner::Archived);
        }
        let layers = Root::layers_of(&self.images, record)?;
        let identity = identity(&Tables::new(layers), &record.spec.user, &[])?;
        Ok(Owner::One(identity.uid, identity.gid))
    }
}

/// A stream whose reader can be told that it broke off.
pub trait Failing {
    /// Tells it.
    fn fail(&mut self, error: std::io::Error);
}

/// Writes with `write`; tells the reader if that fails.
pub(crate) fn write<W: Write + Failing>(
    mut to: W,
    write: impl FnOnce(&mut BufWriter<&mut W>) -> std::io::Result<()>,
) {
    let mut buffered = BufWriter::with_capacity(PIECE, &mut to);
    let written = write(&mut buffered).and_then(|()| buffered.flush());
    // What is left would be written when it is dropped.
    let _ = buffered.into_parts();
    if let Err(error) = written {
        tracing::warn!(%error, "an archive of a container broke off");
        to.fail(error);
    }
}

/// In docker's words.
fn failure(container: &str, path: &str) -> impl Fn(Errno) -> Error + Send + Sync + 'static {
    let (container, path) = (container.to_owned(), path.to_owned());
    move |errno| match errno {
        Errno::NOENT => Error::NoSuchPath { path: path.clone(), container: container.clone() },
        Errno::NOTDIR => Error::Invalid(format!("{path}: not a directory")),
        errno => Error::io(path.clone())(errno.into()),
    }
}

/// Refuses a directory that must not be written, in docker's words.
fn writable(view: &View, dir: &OwnedFd) -> Result<(), Error> {
    let readonly =
        fstatvfs(dir).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    if !readonly {
        return Ok(());
    }
    let mount = |fd: &OwnedFd| {
        statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map(|stat| stat.stx_mnt_id)
            .unwrap_or_default()
    };
    Err(Error::Forbidden(match mount(dir) == mount(&view.root) {
        true => "container rootfs is marked read-only".into(),
        false => "mounted volume is marked read-only".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_keep_what_their_end_means() {
        for (text, path, directory, shown) in [
            ("/a/b", "/a/b", false, "b"),
            ("a", "/a", false, "a"),
            ("/a/b/", "/a/b", true, "b"),
            ("/a/.", "/a", true, "."),
            ("/../../etc/passwd", "/etc/passwd", false, "passwd"),
            ("/", "/", true, "/"),
            ("", "/", true, "/"),
            (".", "/", true, "."),
        ] {
            let asked = Asked::new(text);
            assert_eq!((asked.path.to_str(), asked.directory), (Some(path), directory), "{text}");
            assert_eq!(asked.name(), shown, "{text}");
        }
    }
}
