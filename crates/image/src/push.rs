//! What goes to a registry: the manifest an image was pulled by, if all it names is here, else one of ours
//! with layers compressed now. A blob once made is kept, so that the same image has the same digest next time.

use crate::layer::Compression;
use crate::layers::open_plain;
use crate::record::LAYERS;
use crate::{Error, Image, ImageStore, PushPlan, Result};
use flate2::write::GzEncoder;
use proa_oci::Digest;
use proa_oci::digest::Hasher;
use proa_oci::image::{Descriptor, Manifest, media};
use proa_state::Durability;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

impl ImageStore {
    /// What to send to a registry. A layer that is not here as a blob is compressed into one first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoBlob`].
    pub fn push_plan(&self, image: &Image) -> Result<PushPlan> {
        // Nothing may remove a layer meanwhile.
        let lease = self.begin();
        if let Some(missing) = image.layers.iter().find(|diff| !lease.has_layer(diff)) {
            return Err(Error::NoBlob(missing.clone()));
        }
        if let Some(plan) = self.as_pulled(image)? {
            return Ok(plan);
        }
        let mut layers = Vec::new();
        for diff in &image.layers {
            layers.push(self.compressed(diff)?);
        }
        let size = image.raw_config.len() as u64;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::DOCKER_MANIFEST.into()),
            config: Descriptor::new(media::DOCKER_CONFIG, image.id.clone(), size),
            layers,
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|source| Error::Document { what: "manifest to push".into(), source })?;
        Ok(PushPlan {
            manifest: bytes,
            media_type: media::DOCKER_MANIFEST.into(),
            config: manifest.config,
            layers: manifest.layers,
        })
    }

    /// The plan of the manifest it came with, if every blob of it is here.
    fn as_pulled(&self, image: &Image) -> Result<Option<PushPlan>> {
        let record = self.inner.record(&image.id)?;
        let Some(stored) = record.manifest else { return Ok(None) };
        let manifest: Manifest = serde_json::from_str(&stored.bytes).map_err(|source| Error::Document {
            what: format!("manifest of image {}", image.id.short()),
            source,
        })?;
        let here = |blob: &Descriptor| {
            self.inner.catalog().layer(&blob.digest).is_some_and(|layer| layer.recipe)
                || self.inner.content.has(&blob.digest)
        };
        if !manifest.layers.iter().all(here) {
            return Ok(None);
        }
        Ok(Some(PushPlan {
            manifest: stored.bytes.into_bytes(),
            media_type: stored.media_type,
            config: manifest.config,
            layers: manifest.layers,
        }))
    }

    /// A layer as a compressed blob in docker's media types, made if there is none.
    fn compressed(&self, diff: &Digest) -> Result<Descriptor> {
        let inner = &self.inner;
        let _busy = inner.busy(diff);
        let record = inner.catalog().layer(diff).cloned().ok_or_else(|| Error::NoBlob(diff.clone()))?;
        for blob in &record.blobs {
            let kind = open_plain(&inner.content, &blob.digest).map(|(compression, _)| compression);
            let kind = match kind {
                Ok(Compression::Gzip) => media::DOCKER_LAYER_GZIP,
                Ok(Compression::Zstd) => media::LAYER_ZSTD,
                _ => continue,
            };
            return Ok(Descriptor::new(kind, blob.digest.clone(), blob.size));
        }
        let blob = self.compress(diff)?;
        let _change = inner.change();
        let changed = {
            let mut catalog = inner.catalog_mut();
            let layer = catalog.layers.get_mut(diff).ok_or_else(|| Error::NoBlob(diff.clone()))?;
            layer.blobs.push(blob.clone());
            layer.clone()
        };
        inner.state.update(Durability::Immediate, |update| update.put(&LAYERS, diff.as_str(), &changed))?;
        Ok(blob)
    }

    fn compress(&self, diff: &Digest) -> Result<Descriptor> {
        let content = &self.inner.content;
        let (mut tar, _) = self.inner.layer_tar(diff)?;
        let (file, path) = content.anonymous(&format!("push-{}", proa_types::id::random_hex()))?;
        let failed = Error::io(format!("cannot compress layer {}", diff.short()));
        let mut hashed = Hashed { to: BufWriter::new(file), hasher: Hasher::default(), size: 0 };
        let made = (|| {
            let mut encoder = GzEncoder::new(&mut hashed, flate2::Compression::new(5));
            std::io::copy(&mut tar, &mut encoder)?;
            encoder.finish()?;
            hashed.to.flush()?;
            hashed.to.get_ref().sync_data()
        })();
        if let Err(error) = made {
            let _ = std::fs::remove_file(&path);
            return Err(failed(error));
        }
        let blob = Descriptor::new(media::DOCKER_LAYER_GZIP, hashed.hasher.finish(), hashed.size);
        content.publish(&path, &blob.digest)?;
        Ok(blob)
    }
}

/// A file that is hashed as it is written.
struct Hashed<W> {
    to: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.to.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
