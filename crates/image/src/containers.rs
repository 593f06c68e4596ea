//! Snapshots: the root file systems of containers.
//!
//! Which layers a snapshot stands on is written beside it (`c-KEY/layers`), so that it can be read back
//! after a restart without a commit on the start path.

use crate::catalog::Catalog;
use crate::content::names;
use crate::driver::LayerDir;
use crate::store::Inner;
use crate::{DriverData, Error, ImageStore, Result, Snapshot};
use proa_oci::Digest;
use std::collections::HashSet;
use std::os::fd::AsFd;

/// The directory that stands for the layers of an image that has none.
pub(crate) const NO_LAYER: &str = "none";

impl ImageStore {
    /// Makes the root file system of a container over the layers of an image ([`crate::Image::layers`]).
    /// `key` is the container's id, or another name of letters, digits, `-`, `_` and `.`. Fast: nothing is
    /// synced.
    ///
    /// # Errors
    /// [`Error::Io`], also when there is a snapshot of that key; [`Error::NotFound`] if a layer went away
    /// meanwhile.
    pub fn snapshot_prepare(&self, key: &str, layers: &[Digest]) -> Result<Snapshot> {
        self.inner.check_key(key)?;
        let dirs = self.inner.hold_for(key, layers)?;
        let lines: Vec<&str> = layers.iter().map(Digest::as_str).collect();
        let made = self.inner.driver.prepare(key, &dirs, &lines.join("\n"));
        if made.is_err() {
            self.inner.catalog_mut().containers.remove(key);
            let _ = self.inner.driver.remove(key);
        }
        made
    }

    /// Gives a snapshot that was made ahead its container's key.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when there is one of that key; [`Error::Io`].
    pub fn snapshot_rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.check_key(to)?;
        let mut catalog = self.inner.catalog_mut();
        if catalog.containers.contains_key(to) {
            return Err(taken(to));
        }
        let layers = catalog.containers.get(from).cloned().ok_or_else(|| no_snapshot(from))?;
        self.inner.driver.rename(from, to)?;
        catalog.containers.remove(from);
        catalog.containers.insert(to.into(), layers);
        Ok(())
    }

    /// The paths of a snapshot made before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot(&self, key: &str) -> Result<Snapshot> {
        let catalog = self.inner.catalog();
        let layers = catalog.containers.get(key).ok_or_else(|| no_snapshot(key))?;
        Ok(self.inner.driver.paths(key, &self.inner.dirs(&catalog, layers)?))
    }

    /// Directories of the layers a container stands on, topmost first, in the form overlayfs takes.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot_layers(&self, key: &str) -> Result<Vec<std::path::PathBuf>> {
        let catalog = self.inner.catalog();
        let layers = catalog.containers.get(key).ok_or_else(|| no_snapshot(key))?;
        self.inner.dirs(&catalog, layers)
    }

    /// Removes the root file system of a container; absent is fine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn snapshot_remove(&self, key: &str) -> Result<()> {
        self.inner.check_key(key)?;
        self.inner.driver.remove(key)?;
        let layers = self.inner.catalog_mut().containers.remove(key);
        layers.map_or(Ok(()), |layers| self.inner.collect(layers))
    }

    /// Bytes a container has written: those of its files, each counted once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn snapshot_usage(&self, key: &str) -> Result<u64> {
        if !self.inner.catalog().containers.contains_key(key) {
            return Err(no_snapshot(key));
        }
        let dir = self.inner.driver.written(key);
        let what = || format!("cannot measure {}", dir.display());
        let open = std::fs::File::open(&dir).map_err(Error::io(what()))?;
        proa_sys::tree::size(open.as_fd()).map_err(|error| Error::io(what())(error.source))
    }

    /// Keys of all snapshots, for reconciling after a restart.
    pub fn snapshots(&self) -> Vec<String> {
        self.inner.catalog().containers.keys().cloned().collect()
    }

    /// What `inspect` shows as `GraphDriver` of an image's layers, or of the container `key` over them.
    pub fn driver_data(&self, key: Option<&str>, layers: &[Digest]) -> DriverData {
        let catalog = self.inner.catalog();
        let dirs = self.inner.dirs(&catalog, layers).unwrap_or_default();
        self.inner.driver.data(key, &dirs)
    }

    /// Name of the storage driver, as `info` shows it.
    pub fn driver_name(&self) -> &'static str {
        self.inner.driver.name()
    }
}

impl Inner {
    fn check_key(&self, key: &str) -> Result<()> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if (1..=128).contains(&key.len()) && key.bytes().all(word) {
            return Ok(());
        }
        Err(Error::Inconsistent { image: key.into(), problem: "not a name for a snapshot".into() })
    }

    /// Holds the layers for a container, and tells their directories, topmost first.
    fn hold_for(&self, key: &str, layers: &[Digest]) -> Result<Vec<LayerDir>> {
        let mut catalog = self.catalog_mut();
        if catalog.containers.contains_key(key) {
            return Err(taken(key));
        }
        let dirs = self.dirs(&catalog, layers)?;
        catalog.containers.insert(key.into(), layers.to_vec());
        Ok(dirs)
    }

    /// Directories of layers, topmost first. A layer that an image has twice (empty ones are common) counts
    /// where it is topmost: below, it could add nothing, and overlayfs refuses the same directory twice.
    fn dirs(&self, catalog: &Catalog, layers: &[Digest]) -> Result<Vec<LayerDir>> {
        let mut seen = HashSet::new();
        let dir = |diff: &Digest| {
            let missing = || Error::NotFound(format!("layer {}: pull or load its image again", diff.short()));
            Ok(self.layer_dir(catalog.layer(diff).ok_or_else(missing)?).join("fs"))
        };
        let dirs: Result<Vec<LayerDir>> =
            layers.iter().rev().filter(|diff| seen.insert(*diff)).map(dir).collect();
        match dirs {
            // overlayfs wants a layer, if an empty one.
            Ok(dirs) if dirs.is_empty() => Ok(vec![self.layers.join(NO_LAYER)]),
            dirs => dirs,
        }
    }

    /// Reads back which layers each snapshot stands on.
    pub(crate) fn read_snapshots(&self) {
        let mut catalog = self.catalog_mut();
        for name in names(self.driver.home()) {
            let Some(key) = name.strip_prefix("c-") else { continue };
            let noted = std::fs::read_to_string(self.driver.home().join(&name).join("layers"));
            let layers = noted.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect();
            catalog.containers.insert(key.into(), layers);
        }
    }

    /// Removes those of these layers that nothing holds any more.
    pub(crate) fn collect(&self, layers: Vec<Digest>) -> Result<()> {
        if layers.iter().all(|diff| self.catalog().holds(diff)) {
            return Ok(());
        }
        let _change = self.change();
        let lost: Vec<_> = {
            let mut catalog = self.catalog_mut();
            let lost: HashSet<Digest> = layers.into_iter().filter(|diff| !catalog.holds(diff)).collect();
            lost.into_iter()
                .filter_map(|diff| catalog.layers.remove(&diff).map(|layer| (diff, layer)))
                .collect()
        };
        self.state.update(proa_state::Durability::Immediate, |update| {
            for (diff, _) in &lost {
                update.remove(&crate::record::LAYERS, diff.as_str())?;
            }
            Ok::<_, Error>(())
        })?;
        self.discard(lost.into_iter().map(|(_, layer)| layer).collect());
        Ok(())
    }
}

fn taken(key: &str) -> Error {
    Error::Conflict(format!("there is a snapshot of {key} already"))
}

fn no_snapshot(key: &str) -> Error {
    Error::NotFound(format!("snapshot of {key}"))
}
