//! Layers of the store: making their directories, registering them, reading them back, letting them go.

use crate::containers::NO_LAYER;
use crate::content::{Content, make_dir, names};
use crate::layer::{Compression, Failure, Received, SpoolFor, receive};
use crate::recipe::Rebuilt;
use crate::record::LayerRecord;
use crate::snapshot::remove_tree;
use crate::store::Inner;
use crate::{Blob, Error, Result};
use proa_oci::Digest;
use proa_oci::image::Descriptor;
use proa_sys::failpoint::passage;
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// A layer directory that is removed again unless it is kept.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    name: String,
    kept: bool,
}

impl Scratch {
    fn keep(mut self) -> String {
        self.kept = true;
        self.name.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            let _ = remove_tree(&self.path);
        }
    }
}

/// A layer being brought in by one thread; others that want it wait.
pub(crate) struct Busy<'a> {
    inner: &'a Inner,
    diff: Digest,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.inner.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.diff);
        self.inner.settled.notify_all();
    }
}

impl Inner {
    /// Waits until nobody else brings in this layer.
    pub(crate) fn busy(&self, diff: &Digest) -> Busy<'_> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |busy: &mut HashSet<Digest>| busy.contains(diff);
        let mut busy = self.settled.wait_while(busy, free).unwrap_or_else(PoisonError::into_inner);
        busy.insert(diff.clone());
        Busy { inner: self, diff: diff.clone() }
    }

    /// A new, empty layer directory.
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        let name = proa_types::id::random_hex().get(..12).unwrap_or_default().to_owned();
        let path = self.layers.join(&name);
        let made = || {
            DirBuilder::new().mode(0o710).create(&path)?;
            std::fs::create_dir(path.join("fs"))?;
            std::fs::set_permissions(path.join("fs"), std::fs::Permissions::from_mode(0o755))
        };
        let scratch = Scratch { path: path.clone(), name, kept: false };
        made().map_err(Error::io(format!("cannot make {}", path.display())))?;
        Ok(scratch)
    }

    /// Receives a layer into a new directory. `label` names it in errors.
    pub(crate) fn receive(
        &self,
        label: &str,
        from: &mut dyn Read,
        spool: SpoolFor<'_>,
        seen: &mut dyn FnMut(u64),
    ) -> Result<(Scratch, Received)> {
        let scratch = self.scratch()?;
        let received = receive(from, spool, &scratch.path, self.limits(), seen);
        let received = received.map_err(|failure| match failure {
            Failure::Stream(source) => Error::Stream { what: format!("layer {label}"), source },
            Failure::Store(source) => Error::Io { what: format!("cannot store layer {label}"), source },
            Failure::Layer(source) => Error::Layer { layer: label.into(), source },
        })?;
        Ok((scratch, received))
    }

    /// Registers a received layer under a lease; it belongs to no image yet. If it is here already, the new
    /// directory is dropped.
    pub(crate) fn register(
        &self,
        lease: u64,
        scratch: Scratch,
        received: &Received,
        blob: Option<Descriptor>,
    ) -> Result<()> {
        let mut catalog = self.catalog_mut();
        if catalog.layer(&received.diff_id).is_none() {
            if !received.outcome.moves.is_empty() {
                write_moves(&scratch.path, received)?;
            }
            let record = LayerRecord {
                dir: scratch.keep(),
                content_size: received.outcome.content,
                tar_size: received.outcome.size,
                blobs: blob.into_iter().collect(),
                recipe: received.outcome.recipe,
                unsettled: Some(self.boot.clone()),
            };
            passage("layer.kept");
            catalog.pending.insert(received.diff_id.clone(), record);
        }
        if let Some(held) = catalog.leases.get_mut(&lease) {
            held.insert(received.diff_id.clone());
        }
        Ok(())
    }

    /// The directory of a layer.
    pub(crate) fn layer_dir(&self, record: &LayerRecord) -> PathBuf {
        self.layers.join(&record.dir)
    }

    /// The exact tar of a layer, and its length.
    pub(crate) fn layer_tar(&self, diff: &Digest) -> Result<(Box<dyn Read + Send>, u64)> {
        let record = self.catalog().layer(diff).cloned().ok_or_else(|| Error::NoBlob(diff.clone()))?;
        if record.recipe {
            let dir = self.layer_dir(&record);
            let failed =
                |source| Error::Io { what: format!("cannot rebuild layer {}", diff.short()), source };
            let rebuilt = Rebuilt::open(&dir, read_moves(&dir).map_err(failed)?).map_err(failed)?;
            return Ok((Box::new(rebuilt), record.tar_size));
        }
        let blob = record.blobs.first().ok_or_else(|| Error::NoBlob(diff.clone()))?;
        let (_, plain) = open_plain(&self.content, &blob.digest)?;
        Ok((plain, record.tar_size))
    }

    /// A layer as a blob that was never stored as one: a plain tar, rebuilt.
    pub(crate) fn plain_blob(&self, digest: &Digest) -> Option<Result<Blob>> {
        let plain = self.catalog().layer(digest).is_some_and(|record| record.recipe);
        plain.then(|| self.layer_tar(digest).map(|(reader, size)| Blob { size, reader }))
    }

    /// Removes directories and blobs of layers that the tables no longer know.
    pub(crate) fn discard(&self, layers: Vec<LayerRecord>) {
        for record in layers {
            let _ = remove_tree(&self.layer_dir(&record));
            for blob in &record.blobs {
                let mine = |other: &LayerRecord| other.blobs.iter().any(|b| b.digest == blob.digest);
                let catalog = self.catalog();
                let shared = catalog.layers.values().chain(catalog.pending.values()).any(mine);
                drop(catalog);
                if !shared {
                    self.content.remove(&blob.digest);
                }
            }
        }
    }

    /// Removes what a crash left behind: layer directories and blobs the catalog does not know.
    pub(crate) fn sweep(&self) -> Result<()> {
        let none = self.layers.join(NO_LAYER);
        make_dir(&none)?;
        std::fs::set_permissions(&none, std::fs::Permissions::from_mode(0o755))
            .map_err(Error::io(format!("cannot make {}", none.display())))?;
        let catalog = self.catalog();
        let known: HashSet<&str> = catalog.layers.values().map(|layer| layer.dir.as_str()).collect();
        for name in names(&self.layers) {
            if !known.contains(name.as_str()) && !name.starts_with("c-") && name != NO_LAYER {
                remove_tree(&self.layers.join(name))?;
            }
        }
        let blobs = catalog.layers.values().flat_map(|layer| &layer.blobs);
        let blobs: HashSet<&str> = blobs.map(|blob| blob.digest.hex()).collect();
        self.content.sweep(|name| blobs.contains(name));
        Ok(())
    }
}

/// A layer blob, decompressed, and how it was compressed.
pub(crate) fn open_plain(content: &Content, blob: &Digest) -> Result<(Compression, Box<dyn Read + Send>)> {
    let failed = |source| Error::Io { what: format!("cannot decompress {blob}"), source };
    let mut bytes = BufReader::with_capacity(128 << 10, content.blob(blob)?.reader);
    let first = bytes.fill_buf().map_err(failed)?;
    let compression = Compression::of(first).ok().flatten().unwrap_or(Compression::None);
    Ok((compression, compression.reader(bytes).map_err(failed)?))
}

/// Moves are rare and belong to the recipe, so they lie beside it.
fn write_moves(dir: &Path, received: &Received) -> Result<()> {
    let path = dir.join("moves");
    let written = serde_json::to_vec(&received.outcome.moves)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(&path, bytes));
    written.map_err(Error::io(format!("cannot write {}", path.display())))
}

fn read_moves(dir: &Path) -> std::io::Result<Vec<crate::recipe::Move>> {
    match std::fs::read(dir.join("moves")) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
