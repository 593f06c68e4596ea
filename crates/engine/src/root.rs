//! The root filesystem of a container that starts: its layers, and the whole of them as a mount, once there is one.

use crate::Error;
use crate::container::Container;
use crate::record::ContainerRecord;
use proa_image::{ImageStore, Snapshot};
use proa_runtime::{Overlay, Rootfs, make_mount_points};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A container's root.
pub(crate) struct Root {
    snapshot: Snapshot,
    /// What will be removed anyway need not be written out.
    volatile: bool,
    /// Whether its mount here is not the container's, which shows other ids.
    apart: bool,
    mount: Option<OwnedFd>,
}

impl Root {
    /// The root of a container, with the mount that was made ahead of its first start.
    pub(crate) fn of(
        images: &ImageStore,
        container: &Container,
        record: &ContainerRecord,
    ) -> Result<Self, Error> {
        let snapshot = images.snapshot(record.id.as_str())?;
        let mount = container.set_mounted(None);
        if mount.is_none() {
            clear_volatile(&snapshot);
        }
        let apart = record.userns.is_some();
        Ok(Self { snapshot, volatile: record.spec.host.auto_remove, apart, mount })
    }

    /// Where a container's files are, topmost first.
    pub(crate) fn layers_of(images: &ImageStore, record: &ContainerRecord) -> Result<Vec<PathBuf>, Error> {
        Ok(layers(&images.snapshot(record.id.as_str())?))
    }

    /// Where its files are, topmost first.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        layers(&self.snapshot)
    }

    /// For the monitor: what it is to mount, and the mount if there is one already.
    pub(crate) fn into_parts(self) -> (Rootfs, Option<OwnedFd>) {
        match self.snapshot {
            Snapshot::Overlay { lower, upper, work } => {
                let mount = self.mount.filter(|_| !self.apart);
                (Rootfs::Overlay(Overlay { lower, upper, work, volatile: self.volatile }), mount)
            }
            Snapshot::Directory(path) => (Rootfs::Directory(path), None),
        }
    }

    /// All layers as one, for a look at them.
    pub(crate) fn into_source(mut self) -> Result<crate::view::Source, Error> {
        self.whole()?;
        let directory = matches!(self.snapshot, Snapshot::Directory(_));
        let mount =
            self.mount.take().ok_or_else(|| Error::Internal("a root that was mounted is gone".into()))?;
        Ok(if directory { crate::view::Source::Directory(mount) } else { crate::view::Source::Mount(mount) })
    }

    /// A directory as the container would see it; links are followed inside only. None if it is none.
    pub(crate) fn open_directory(&mut self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        let inner = path.strip_prefix("/").unwrap_or(path);
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat2(self.whole()?, inner, flags, Mode::empty(), resolve);
        Ok(opened.ok())
    }

    /// Makes a directory where it is missing. What cannot be made is told by the start, which looks for it.
    pub(crate) fn make_directory(&mut self, path: &Path) -> Result<(), Error> {
        if self.mount.is_none() && self.has_directory(path) {
            return Ok(());
        }
        let _ = make_mount_points(self.whole()?.as_fd(), &[path], &[]);
        Ok(())
    }

    /// Whether the topmost layer that has anything there, reached without links, has a directory.
    fn has_directory(&self, path: &Path) -> bool {
        let inner = path.strip_prefix("/").unwrap_or(path);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let (flags, none) = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let kind = |layer: PathBuf| {
            let layer = rustix::fs::openat(CWD, &layer, flags, none).ok()?;
            let found = rustix::fs::openat2(&layer, inner, flags, none, resolve).ok()?;
            rustix::fs::fstat(&found).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
        };
        self.layers().into_iter().find_map(kind).is_some_and(FileType::is_dir)
    }

    /// All layers as one, mounted now if it is not yet. A layer alone shows neither what lies below it nor what it
    /// hides.
    fn whole(&mut self) -> Result<&OwnedFd, Error> {
        let mount = match (self.mount.take(), &self.snapshot) {
            (Some(mount), _) => mount,
            (None, Snapshot::Overlay { lower, upper, work }) => {
                let (lower, upper, work) = (lower.clone(), upper.clone(), work.clone());
                let volatile = self.volatile && !self.apart;
                let mounted = Overlay { lower, upper, work, volatile }.mount();
                mounted.map_err(|error| Error::Internal(error.to_string()))?
            }
            (None, Snapshot::Directory(path)) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = rustix::fs::openat(CWD, path, flags, Mode::empty());
                opened.map_err(|e| Error::io(path.display().to_string())(e.into()))?
            }
        };
        Ok(self.mount.insert(mount))
    }
}

fn layers(snapshot: &Snapshot) -> Vec<PathBuf> {
    match snapshot {
        Snapshot::Overlay { lower, upper, .. } => std::iter::once(upper).chain(lower).cloned().collect(),
        Snapshot::Directory(path) => vec![path.clone()],
    }
}

/// The kernel refuses a work directory that a volatile mount has used. A container that comes here a second time, or
/// whose mount made ahead was given up, has a file tree that is whole, since the machine has been up all the time
/// (kernel: overlayfs.rst).
fn clear_volatile(snapshot: &Snapshot) {
    if let Snapshot::Overlay { work, .. } = snapshot {
        // It holds a file `dirty`.
        let _ = std::fs::remove_dir_all(work.join("work/incompat/volatile"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("proa-engine-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_volatile_mark_of_an_earlier_run_goes() {
        let dir = Scratch::new("volatile");
        let mark = dir.0.join("work/incompat/volatile");
        std::fs::create_dir_all(&mark).unwrap();
        std::fs::write(mark.join("dirty"), "").unwrap();
        let (upper, work) = (dir.0.join("upper"), dir.0.clone());
        clear_volatile(&Snapshot::Overlay { lower: Vec::new(), upper, work });
        assert!(!mark.exists());
    }

    #[test]
    fn a_directory_is_what_all_layers_make_of_it() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let dir = Scratch::new("whole");
        let at = |name: &str| dir.0.join(name);
        for path in ["base/data", "top/data", "upper", "work"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("base/data/below"), "").unwrap();
        std::fs::write(at("top/data/above"), "").unwrap();
        let lower = vec![at("top"), at("base")];
        let snapshot = Snapshot::Overlay { lower, upper: at("upper"), work: at("work") };
        let mut root = Root { snapshot, volatile: true, apart: false, mount: None };
        if root.whole().is_err() {
            return println!("skipped: {} cannot hold an overlay", dir.0.display());
        }
        let data = root.open_directory(Path::new("/data")).unwrap().unwrap();
        let names: Vec<String> = rustix::fs::Dir::new(data)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        root.make_directory(Path::new("/a/b")).unwrap();
        let made = at("upper/a/b").is_dir();
        drop(root);
        assert_eq!((names.len(), made), (2, true), "{names:?}");
    }
}
