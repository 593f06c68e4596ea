//! Root filesystems made ahead, for the images used last.
//!
//! A container's own files are a dozen new inodes: its layer, the overlay's work directory, the places where mounts go,
//! its log, its hosts file. A filesystem under load takes up to half a millisecond for each (see
//! [`proa_image::ImageStore::snapshot_prepare`]), and mounting the overlay as long as all the rest of a start. So a few
//! are made, and mounted, in the pauses between starts; a container that fits takes one by two renames and a
//! descriptor. One that does not fit is made as if there were none: both ways end with the same files.

use crate::container::Container;
use crate::engine::blocking;
use crate::record::ContainerRecord;
use crate::{Engine, Error};
use proa_image::Snapshot;
use proa_oci::Digest;
use proa_runtime::{Overlay, make_mount_points};
use proa_types::id::random_hex;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Kept ready of each kind.
const EACH: usize = 4;
/// Kinds remembered.
const KINDS: usize = 3;
/// Mounts held for containers that were made and not started yet.
const HELD: usize = 16;
/// How keys of trees begin, in the image store and among the containers' directories.
const PREFIX: &str = "ready-";
/// Files of a container that its mounts show, beside its log.
pub(crate) const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];
/// A log that has no container yet.
const LOG: &str = "log";

/// What trees of one kind are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Diff ids, the base first.
    pub(crate) layers: Vec<Digest>,
    /// Whether nothing of it need be written out.
    pub(crate) volatile: bool,
}

/// A root filesystem that no container has yet.
struct Tree {
    key: String,
    mount: OwnedFd,
}

/// The trees that are ready, the kind used last in front.
#[derive(Default)]
pub(crate) struct Trees {
    kinds: Mutex<VecDeque<(Kind, Vec<Tree>)>>,
    held: Mutex<VecDeque<Weak<Container>>>,
    making: AtomicBool,
    closed: AtomicBool,
}

impl Trees {
    fn kinds(&self) -> MutexGuard<'_, VecDeque<(Kind, Vec<Tree>)>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tree of this kind, if one is ready; and the trees of a kind that is forgotten for it.
    fn take(&self, kind: &Kind) -> (Option<Tree>, Vec<Tree>) {
        let mut kinds = self.kinds();
        let found = kinds.iter().position(|(known, _)| known == kind);
        let mut entry = found.and_then(|at| kinds.remove(at)).unwrap_or_else(|| (kind.clone(), Vec::new()));
        let tree = entry.1.pop();
        kinds.push_front(entry);
        let forgotten = if kinds.len() > KINDS { kinds.pop_back() } else { None };
        (tree, forgotten.map_or_else(Vec::new, |(_, trees)| trees))
    }

    /// The kind that wants a tree most.
    fn wanted(&self) -> Option<Kind> {
        let kinds = self.kinds();
        let wanting = kinds.iter().find(|(_, trees)| trees.len() < EACH);
        wanting.map(|(kind, _)| kind.clone()).filter(|_| !self.closed.load(Ordering::Relaxed))
    }

    /// Takes a tree in; gives it back when its kind was forgotten meanwhile.
    fn put(&self, kind: &Kind, tree: Tree) -> Option<Tree> {
        let mut kinds = self.kinds();
        let known = kinds.iter_mut().find(|(known, _)| known == kind);
        match known.filter(|_| !self.closed.load(Ordering::Relaxed)) {
            Some((_, trees)) => {
                trees.push(tree);
                None
            }
            None => Some(tree),
        }
    }

    fn clear(&self) -> Vec<Tree> {
        self.kinds().drain(..).flat_map(|(_, trees)| trees).collect()
    }
}

impl Engine {
    /// Gives a new container its root filesystem and its directory.
    pub(crate) fn give_files(
        &self,
        container: &Arc<Container>,
        record: &ContainerRecord,
        layers: &[Digest],
    ) -> Result<(), Error> {
        let kind = Kind { layers: layers.to_vec(), volatile: record.ephemeral };
        let runtime = self.config().runtime(&record.spec.host.runtime);
        let usual = matches!(runtime, Ok(proa_shim::RuntimeChoice::Builtin)) && record.userns.is_none();
        let (tree, forgotten) = if usual { self.trees.take(&kind) } else { (None, Vec::new()) };
        forgotten.into_iter().for_each(|tree| self.discard_tree(tree));
        if let Some(tree) = tree {
            match self.adopt(container, tree) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(container = container.id.short(), %error, "made from scratch"),
            }
        }
        self.images.snapshot_prepare(container.id.as_str(), layers)?;
        let dir = self.container_dir(container);
        std::fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))
    }

    fn adopt(&self, container: &Arc<Container>, tree: Tree) -> Result<(), Error> {
        let (from, to) = (self.tree_dir(&tree.key), self.container_dir(container));
        let moved = self.images.snapshot_rename(&tree.key, container.id.as_str()).map_err(Error::from);
        let moved = moved.and_then(|()| {
            std::fs::rename(&from, &to).map_err(Error::io(to.display().to_string()))?;
            let log = self.log_path(container);
            if log.parent() == Some(&to) {
                std::fs::rename(to.join(LOG), &log).map_err(Error::io(log.display().to_string()))?;
            }
            Ok(())
        });
        if moved.is_err() {
            drop(tree);
            let _ = self.images.snapshot_remove(container.id.as_str());
            let _ = std::fs::remove_dir_all(&from);
            let _ = std::fs::remove_dir_all(&to);
            return moved;
        }
        container.set_mounted(Some(tree.mount));
        let mut held = self.trees.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push_back(Arc::downgrade(container));
        let oldest = if held.len() > HELD { held.pop_front() } else { None };
        drop(held);
        // It is mounted again when it is started.
        drop(
            oldest
                .and_then(|container| container.upgrade())
                .and_then(|container| container.set_mounted(None)),
        );
        Ok(())
    }

    /// Makes what trees are missing, one after the other, until a start comes.
    pub(crate) fn make_trees(self: &Arc<Self>) {
        if self.pool.is_off() || self.trees.making.swap(true, Ordering::Relaxed) {
            return;
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(kind) = engine.trees.wanted().filter(|_| engine.pool.is_quiet()) {
                let worker = Arc::clone(&engine);
                let made = blocking(move || {
                    let tree = worker.make_tree(&kind)?;
                    if let Some(tree) = worker.trees.put(&kind, tree) {
                        worker.discard_tree(tree);
                    }
                    Ok(())
                });
                if let Err(error) = made.await {
                    // Starts make their own, and tell what is wrong.
                    tracing::debug!(%error, "a root filesystem could not be made ahead");
                    engine.drop_trees();
                    break;
                }
            }
            engine.trees.making.store(false, Ordering::Relaxed);
        });
    }

    fn make_tree(&self, kind: &Kind) -> Result<Tree, Error> {
        let key = format!("{PREFIX}{}", random_hex().get(..16).unwrap_or_default());
        let dir = self.tree_dir(&key);
        let made = self.fill_tree(&key, &dir, kind);
        if made.is_err() {
            let _ = self.images.snapshot_remove(&key);
            let _ = std::fs::remove_dir_all(&dir);
        }
        made.map(|mount| Tree { key, mount })
    }

    fn fill_tree(&self, key: &str, dir: &Path, kind: &Kind) -> Result<OwnedFd, Error> {
        let Snapshot::Overlay { lower, upper, work } = self.images.snapshot_prepare(key, &kind.layers)?
        else {
            return Err(Error::Unsupported("root filesystems made ahead with this storage driver".into()));
        };
        let unready = |error: proa_runtime::Error| Error::Internal(error.to_string());
        let mount = Overlay { lower, upper, work, volatile: kind.volatile }.mount().map_err(unready)?;
        let directories = ["/proc", "/dev", "/sys"].map(Path::new);
        let files = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].map(Path::new);
        make_mount_points(mount.as_fd(), &directories, &files).map_err(unready)?;
        std::fs::create_dir(dir).map_err(Error::io(dir.display().to_string()))?;
        for name in FILES.iter().chain([&LOG]) {
            let path = dir.join(name);
            std::fs::File::create_new(&path).map_err(Error::io(path.display().to_string()))?;
        }
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(dir.join(LOG), private).map_err(Error::io(dir.display().to_string()))?;
        Ok(mount)
    }

    fn tree_dir(&self, key: &str) -> PathBuf {
        self.config().data_root.join("containers").join(key)
    }

    fn discard_tree(&self, tree: Tree) {
        let Tree { key, mount } = tree;
        drop(mount);
        let _ = self.images.snapshot_remove(&key);
        let _ = std::fs::remove_dir_all(self.tree_dir(&key));
    }

    /// Gives all trees back: the engine is idle, or an image is removed whose layers they hold.
    pub(crate) fn drop_trees(&self) {
        self.trees.clear().into_iter().for_each(|tree| self.discard_tree(tree));
    }

    /// Gives all trees back, for good.
    pub(crate) fn close_trees(&self) {
        self.trees.closed.store(true, Ordering::Relaxed);
        self.drop_trees();
    }
}
