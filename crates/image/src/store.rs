//! The image store: opening, looking up, and the pieces every change is made of.

use crate::catalog::Catalog;
use crate::claim::Claims;
use crate::content::{Content, make_dir};
use crate::driver::{Driver, DriverKind};
use crate::record::{DIGESTS, IMAGES, ImageRecord, LAYERS, LayerRecord, TAGS};
use crate::snapshot::OverlayDriver;
use crate::tar::Limits;
use crate::vfs::VfsDriver;
use crate::{Blob, Error, Image, ImportOptions, Loaded, Progress, Result};
use proa_oci::Digest;
use proa_state::{Durability, Store};
use std::collections::HashSet;
use std::io::{Cursor, Read, Write};
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
    /// Layers being brought in right now, and who waits for one.
    pub(crate) busy: Mutex<HashSet<Digest>>,
    pub(crate) settled: Condvar,
    /// The boot id of the kernel.
    pub(crate) boot: String,
    limits: Mutex<Limits>,
    /// Images of which containers are being made.
    pub(crate) claims: Claims,
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
            DriverKind::Overlay => Box::new(OverlayDriver::open(layers.clone())?),
            DriverKind::Vfs => {
                let home = root.join("snapshots/vfs");
                make_dir(&home)?;
                Box::new(VfsDriver::open(home)?)
            }
        };
        let boot = boot_id();
        let mut catalog = read_catalog(&state)?;
        distrust(&state, &mut catalog, &boot)?;
        let inner = Inner {
            state,
            content,
            layers,
            driver,
            catalog: RwLock::new(catalog),
            changes: Mutex::new(()),
            busy: Mutex::default(),
            settled: Condvar::new(),
            boot,
            limits: Mutex::default(),
            claims: Claims::default(),
        };
        inner.read_snapshots();
        let all: Vec<Digest> = inner.catalog().layers.keys().cloned().collect();
        inner.collect(all)?;
        inner.sweep()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sets what a layer may ask of the host.
    pub fn limit(&self, limits: Limits) {
        *self.inner.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
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

    /// Takes in the images of a docker archive or an OCI layout, plain or compressed, from a stream.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::NotAnImage`], [`Error::Layer`]; nothing is left behind then.
    pub fn load(&self, from: impl Read + Send, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        crate::load::load(self, from, progress)
    }

    /// Writes images as an archive that docker (20.10 and newer), podman and skopeo read.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Io`] when `to` fails.
    pub fn save(&self, names: &[String], to: impl Write) -> Result<()> {
        crate::save::save(self, names, to)
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
        crate::import::import(self, from, options, progress)
    }

    /// Opens a blob: a layer as it was pulled, or an image's configuration or manifest.
    ///
    /// # Errors
    /// [`Error::NoBlob`], [`Error::Io`].
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        if let Some(blob) = self.inner.plain_blob(digest) {
            return blob;
        }
        match self.inner.document(digest) {
            Some(text) => Ok(Blob { size: text.len() as u64, reader: Box::new(Cursor::new(text)) }),
            None => self.inner.content.blob(digest),
        }
    }
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

    /// The stored form of an image.
    pub(crate) fn record(&self, id: &Digest) -> Result<ImageRecord> {
        let catalog = self.catalog();
        let entry = catalog.images.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
        Ok(entry.record.clone())
    }

    /// A configuration or manifest, by its digest.
    fn document(&self, digest: &Digest) -> Option<String> {
        let catalog = self.catalog();
        if let Some(entry) = catalog.images.get(digest) {
            return Some(entry.record.config.clone());
        }
        let has = |image: &Image| image.manifest.as_ref().is_some_and(|manifest| manifest.digest == *digest);
        let entry = catalog.images.values().find(|entry| has(&entry.image))?;
        entry.record.manifest.as_ref().map(|manifest| manifest.bytes.clone())
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

    /// Ends a lease. Layers that only it held and that belong to no image go.
    pub(crate) fn release(&self, lease: u64) {
        let mut catalog = self.catalog_mut();
        let held = catalog.leases.remove(&lease).unwrap_or_default();
        let lost: Vec<Digest> = held.into_iter().filter(|diff| !catalog.holds(diff)).collect();
        let lost = lost.iter().filter_map(|diff| catalog.pending.remove(diff)).collect();
        drop(catalog);
        self.discard(lost);
    }

    /// What a layer may ask of the host.
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names this run of the kernel, or nothing that will ever be found again.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map_or_else(|_| proa_types::id::random_hex(), |text| text.trim().to_owned())
}

/// Drops layers that were not safely on disk when the host went down, and the images made of them: their
/// files may be empty or cut short, which nothing would notice until a container fails.
fn distrust(state: &Store, catalog: &mut Catalog, boot: &str) -> Result<()> {
    let suspect = |layer: &LayerRecord| layer.unsettled.as_deref().is_some_and(|written| written != boot);
    let layers: Vec<Digest> =
        catalog.layers.iter().filter(|(_, layer)| suspect(layer)).map(|(diff, _)| diff.clone()).collect();
    if layers.is_empty() {
        return Ok(());
    }
    let damaged = |image: &Image| image.layers.iter().any(|diff| layers.contains(diff));
    let images: Vec<Digest> =
        catalog.images.iter().filter(|(_, e)| damaged(&e.image)).map(|(id, _)| id.clone()).collect();
    state.update(Durability::Immediate, |update| {
        for diff in &layers {
            update.remove(&LAYERS, diff.as_str())?;
        }
        for id in &images {
            update.remove(&IMAGES, id.as_str())?;
            for tag in catalog.tags_of(id) {
                update.remove(&TAGS, &tag)?;
            }
            for name in catalog.digests_of(id) {
                update.remove(&DIGESTS, &name)?;
            }
        }
        Ok::<_, Error>(())
    })?;
    for id in &images {
        let names = catalog.images.get(id).map(|entry| entry.image.repo_tags.join(", ")).unwrap_or_default();
        let id = id.short();
        tracing::warn!("image {id} ({names}) was not on disk when the host went down: pull or load it again");
    }
    *catalog = read_catalog(state)?;
    Ok(())
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
