//! Volumes: named directories that outlive containers, and the drivers that provide them.
//!
//! [`Volumes`] keeps the records (name, labels, options, which containers use it) in the store, and the data
//! below `<data root>/volumes/<name>/_data`, as docker lays it out. It knows a container only by its id, and
//! mounts nothing into one: it says where a volume is and fills a new one from an image's directory.

mod error;
mod volume;

pub use error::Error;
pub use volume::{Volume, VolumeSpec};

use proa_state::Store;
use proa_types::ContainerId;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All volumes of one data root.
pub struct Volumes {
    root: PathBuf,
    store: Arc<Store>,
}

impl Volumes {
    /// Opens `<data root>/volumes`, making it if it is absent, and finishes what a crash left unfinished.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::State`].
    pub fn open(data_root: &Path, store: Arc<Store>) -> Result<Self, Error> {
        Ok(Self { root: data_root.join("volumes"), store })
    }

    /// Makes a volume. One that exists under this name is returned as it is if the driver and options agree.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Option`], [`Error::Driver`], [`Error::Differs`], [`Error::Io`].
    pub fn create(&self, spec: &VolumeSpec) -> Result<Volume, Error> {
        let _ = (&self.root, &self.store);
        Err(Error::Driver(spec.driver.clone()))
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn list(&self) -> Result<Vec<Volume>, Error> {
        Ok(Vec::new())
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn inspect(&self, name: &str) -> Result<Volume, Error> {
        Err(Error::NotFound(name.into()))
    }

    /// Removes a volume and its data. `force` accepts that it does not exist.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InUse`], [`Error::Io`].
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        if force { Ok(()) } else { Err(Error::NotFound(name.into())) }
    }

    /// Notes that a container (running or not) uses the volume, so that it cannot be removed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`].
    pub fn acquire(&self, name: &str, container: &ContainerId) -> Result<(), Error> {
        let _ = container;
        Err(Error::NotFound(name.into()))
    }

    /// Forgets that a container uses any volume; the names of those it used.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn release(&self, container: &ContainerId) -> Result<Vec<String>, Error> {
        let _ = container;
        Ok(Vec::new())
    }

    /// The containers that use a volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn users(&self, name: &str) -> Result<Vec<ContainerId>, Error> {
        Err(Error::NotFound(name.into()))
    }

    /// Makes the data reachable for a container that starts, mounting it where its options say so; its path.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Mount`].
    pub fn mount(&self, name: &str, container: &ContainerId) -> Result<PathBuf, Error> {
        let _ = container;
        Err(Error::NotFound(name.into()))
    }

    /// Undoes one [`Self::mount`], when the container has ended.
    ///
    /// # Errors
    /// [`Error::Mount`].
    pub fn unmount(&self, name: &str, container: &ContainerId) -> Result<(), Error> {
        let _ = container;
        Err(Error::NotFound(name.into()))
    }

    /// The data's directory, for binding it by descriptor. Mount it first.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn directory(&self, name: &str) -> Result<OwnedFd, Error> {
        Err(Error::NotFound(name.into()))
    }

    /// Copies `source` (a directory of an image, opened by the caller) into the volume if that is empty, with
    /// owners, modes, times, extended attributes and hard links. Whether anything was copied.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn populate(&self, name: &str, source: BorrowedFd<'_>) -> Result<bool, Error> {
        let _ = source;
        Err(Error::NotFound(name.into()))
    }

    /// Bytes on disk that the volume's data takes; none where it cannot be known (a mounted device).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn usage(&self, name: &str) -> Result<Option<u64>, Error> {
        Err(Error::NotFound(name.into()))
    }

    /// Volumes no container uses: what `prune` may remove. Only anonymous ones unless `all`.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn unused(&self, all: bool) -> Result<Vec<Volume>, Error> {
        let _ = all;
        Ok(Vec::new())
    }

    /// At start: drops references of containers that are gone, and mounts nobody running needs.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Io`].
    pub fn reconcile(
        &self,
        exists: &dyn Fn(&ContainerId) -> bool,
        running: &dyn Fn(&ContainerId) -> bool,
    ) -> Result<(), Error> {
        let _ = (exists, running);
        Ok(())
    }
}
