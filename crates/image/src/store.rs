//! The image store: opening, looking up, and the pieces every change is made of.

use crate::catalog::Catalog;
use crate::content::{Content, make_dir};
use crate::driver::{Driver, DriverKind};
use crate::record::{DIGESTS, IMAGES, LAYERS, TAGS};
use crate::snapshot::OverlayDriver;
use crate::{
    Blob, DriverData, Error, HistoryRow, Image, ImageUse, ImportOptions, Loaded, NewImage, Progress,
    PushPlan, Removal, RemoveOptions, Result, Snapshot,
};
use proa_oci::Digest;
use proa_state::Store;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The images of one data root. Clones share it.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones share.
pub(crate) struct Inner {
    pub(crate) state: Arc<Store>,
    pub(crate) content: Content,
    /// `<data root>/snapshots/overlay`: the layers.
    pub(crate) layers: PathBuf,
    pub(crate) driver: Box<dyn Driver>,
    catalog: RwLock<Catalog>,
    /// Held by whoever changes the tables: catalog and tables change in the same order.
    changes: Mutex<()>,
    /// Told when a layer leaves `Catalog::busy`.
    pub(crate) settled: Condvar,
}

impl ImageStore {
    /// Opens the store below the data root with the default driver, and removes what a crash left behind.
    ///
    /// # Errors
    /// [`Error::Io`] when directories cannot be made, [`Error::State`] when the tables cannot be read.
    pub fn open(root: &Path, state: Arc<Store>) -> Result<Self> {
        Self::open_with(root, state, DriverKind::default())
    }

    /// Opens the store with a chosen driver.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(root: &Path, state: Arc<Store>, driver: DriverKind) -> Result<Self> {
        let content = Content::open(root)?;
        let layers = root.join("snapshots/overlay");
        make_dir(&layers)?;
        let driver: Box<dyn Driver> = match driver {
            DriverKind::Overlay | DriverKind::Vfs => Box::new(OverlayDriver::new(layers.clone())),
        };
        let catalog = read_catalog(&state)?;
        let inner = Inner {
            state,
            content,
            layers,
            driver,
            catalog: RwLock::new(catalog),
            changes: Mutex::new(()),
            settled: Condvar::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image a user means: by id, by the start of one, or by reference. Answered from memory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Reference`].
    pub fn resolve(&self, text: &str) -> Result<Arc<Image>> {
        let catalog = self.inner.catalog();
        let id = catalog.find(text)?;
        catalog
            .images
            .get(&id)
            .map(|entry| Arc::clone(&entry.image))
            .ok_or_else(|| Error::NotFound(text.into()))
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<Arc<Image>> {
        let catalog = self.inner.catalog();
        let mut images: Vec<Arc<Image>> =
            catalog.images.values().map(|entry| Arc::clone(&entry.image)).collect();
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        images
    }

    /// Gives an image another name, taking it from the image that has it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the source, [`Error::Reference`] or [`Error::TagWithDigest`] for the target.
    pub fn tag(&self, source: &str, target: &str) -> Result<Arc<Image>> {
        let _ = (source, target);
        Err(not_yet())
    }

    /// Removes a name or an image, by docker's rules; `in_use` tells which containers use an image.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] in docker's words.
    pub fn remove(
        &self,
        text: &str,
        options: RemoveOptions,
        in_use: &dyn Fn(&Digest) -> Vec<ImageUse>,
    ) -> Result<Vec<Removal>> {
        let _ = (text, options, in_use);
        Err(not_yet())
    }

    /// How an image came to be, newest step first.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Reference`].
    pub fn history(&self, text: &str) -> Result<Vec<HistoryRow>> {
        let _ = text;
        Err(not_yet())
    }

    /// Takes in the images of a docker archive or an OCI layout, plain or compressed, from a stream.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::NotAnImage`], [`Error::Layer`]; nothing is left behind then.
    pub fn load(&self, from: impl Read + Send, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        let _ = (from, progress);
        Err(not_yet())
    }

    /// Writes images as an archive that docker (20.10 and newer), podman and skopeo read.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Io`] when `to` fails.
    pub fn save(&self, names: &[String], to: impl Write) -> Result<()> {
        let _ = (names, to);
        Err(not_yet())
    }

    /// Makes an image of a file tree in a tar archive.
    ///
    /// # Errors
    /// [`Error::Change`], [`Error::Layer`].
    pub fn import(
        &self,
        from: impl Read + Send,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Arc<Image>> {
        let _ = (from, options, progress);
        Err(not_yet())
    }

    /// Makes the root file system of a container over the layers of an image ([`Image::layers`]). `key` is
    /// the container's id, or another name of letters, digits, `-`, `_` and `.`. Fast: nothing is synced.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotFound`] if a layer went away meanwhile.
    pub fn snapshot_prepare(&self, key: &str, layers: &[Digest]) -> Result<Snapshot> {
        let _ = (key, layers);
        Err(not_yet())
    }

    /// The paths of a snapshot made before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot(&self, key: &str) -> Result<Snapshot> {
        Err(Error::NotFound(key.into()))
    }

    /// Removes the root file system of a container; absent is fine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn snapshot_remove(&self, key: &str) -> Result<()> {
        let _ = key;
        Err(not_yet())
    }

    /// Bytes a container has written.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn snapshot_usage(&self, key: &str) -> Result<u64> {
        let _ = key;
        Err(not_yet())
    }

    /// Keys of all snapshots, for reconciling after a restart.
    pub fn snapshots(&self) -> Vec<String> {
        self.inner.catalog().containers.keys().cloned().collect()
    }

    /// What `inspect` shows as `GraphDriver` of an image's layers, or of the container `key` over them.
    pub fn driver_data(&self, key: Option<&str>, layers: &[Digest]) -> DriverData {
        let _ = (key, layers);
        DriverData { name: self.inner.driver.name().into(), ..DriverData::default() }
    }

    /// Name of the storage driver, as `info` shows it.
    pub fn driver_name(&self) -> &'static str {
        self.inner.driver.name()
    }

    /// What to send to a registry. A layer that is not here as a blob is compressed into one first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoBlob`].
    pub fn push_plan(&self, image: &Image) -> Result<PushPlan> {
        let _ = image;
        Err(not_yet())
    }

    /// Records that an image is known to a registry as `name@digest`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`].
    pub fn pushed(&self, image: &Digest, reference: &proa_oci::Reference) -> Result<()> {
        let _ = (image, reference);
        Err(not_yet())
    }

    /// Opens a blob: a layer as it was pulled, or an image's configuration or manifest.
    ///
    /// # Errors
    /// [`Error::NoBlob`], [`Error::Io`].
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        self.inner.content.blob(digest)
    }
}

fn not_yet() -> Error {
    Error::NotAnImage("this part of the image store is not there yet".into())
}

impl Inner {
    /// Reads the catalog.
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the catalog. Hold it briefly: the start path reads it.
    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serialises changes of the tables.
    pub(crate) fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lease(&self) -> u64 {
        let mut catalog = self.catalog_mut();
        catalog.next_lease += 1;
        let lease = catalog.next_lease;
        catalog.leases.insert(lease, Default::default());
        lease
    }

    /// Adds a layer that is here to a lease; whether it is.
    pub(crate) fn hold(&self, lease: u64, diff: &Digest) -> bool {
        let mut catalog = self.catalog_mut();
        let here = catalog.layer(diff).is_some();
        if here && let Some(held) = catalog.leases.get_mut(&lease) {
            held.insert(diff.clone());
        }
        here
    }

    pub(crate) fn release(&self, lease: u64) {
        self.catalog_mut().leases.remove(&lease);
    }

    pub(crate) fn commit(&self, image: &NewImage<'_>) -> Result<Arc<Image>> {
        let _ = image;
        Err(not_yet())
    }
}

fn read_catalog(state: &Store) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    state.view(|view| {
        let digest = |text: &str| text.parse::<Digest>().ok();
        for (key, layer) in view.scan(&LAYERS, "")? {
            if let Some(diff) = digest(&key) {
                catalog.layers.insert(diff, layer);
            }
        }
        catalog.tags = view.scan(&TAGS, "")?.into_iter().collect();
        catalog.digests = view.scan(&DIGESTS, "")?.into_iter().collect();
        for (key, record) in view.scan(&IMAGES, "")? {
            if let Some(id) = digest(&key) {
                catalog.put_image(&id, record)?;
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok(catalog)
}
