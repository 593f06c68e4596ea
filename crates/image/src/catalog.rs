//! What is in the store, in memory: answers every question of the start path without touching the disk.

use crate::record::{ImageRecord, LayerRecord};
use crate::{Error, Image, Result};
use proa_oci::image::{Descriptor, ImageConfig};
use proa_oci::{Digest, Reference};
use proa_types::Timestamp;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Images, names and layers, and who holds layers.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) images: BTreeMap<Digest, Entry>,
    /// Image ids by `HOST/PATH:TAG`.
    pub(crate) tags: BTreeMap<String, Digest>,
    /// Image ids by `HOST/PATH@DIGEST`.
    pub(crate) digests: BTreeMap<String, Digest>,
    /// Committed layers by diff id.
    pub(crate) layers: HashMap<Digest, LayerRecord>,
    /// Layers that are unpacked, but belong to no image yet. A lease holds each.
    pub(crate) pending: HashMap<Digest, LayerRecord>,
    /// Layers of each container's snapshot, by its key.
    pub(crate) containers: HashMap<String, Vec<Digest>>,
    /// Layers held by each open ingest.
    pub(crate) leases: HashMap<u64, HashSet<Digest>>,
    pub(crate) next_lease: u64,
}

/// An image with its stored form.
pub(crate) struct Entry {
    pub(crate) record: ImageRecord,
    pub(crate) image: Arc<Image>,
}

/// The key of a reference in the tables.
pub(crate) fn key(reference: &Reference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => format!("{}@{digest}", reference.repository()),
        (None, Some(tag)) => format!("{}:{tag}", reference.repository()),
        (None, None) => reference.repository(),
    }
}

/// How docker shows a table key.
pub(crate) fn familiar(key: &str) -> String {
    key.parse::<Reference>().map_or_else(|_| key.to_owned(), |reference| reference.familiar())
}

impl Catalog {
    /// The id that `text` names: a reference first, as docker does, then an id or the start of one.
    pub(crate) fn find(&self, text: &str) -> Result<Digest> {
        if let Ok(id) = text.parse::<Digest>() {
            return self.images.contains_key(&id).then_some(id).ok_or_else(|| Error::NotFound(text.into()));
        }
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(id) = self.by_reference(reference)
        {
            return Ok(id.clone());
        }
        if let Some(id) = self.by_prefix(text)? {
            return Ok(id);
        }
        match reference {
            Ok(reference) => Err(Error::NotFound(reference.familiar())),
            Err(_) if is_prefix(text) => Err(Error::NotFound(text.into())),
            Err(invalid) => Err(invalid.into()),
        }
    }

    fn by_reference(&self, reference: &Reference) -> Option<&Digest> {
        let names = if reference.digest.is_some() { &self.digests } else { &self.tags };
        names.get(&key(reference))
    }

    fn by_prefix(&self, text: &str) -> Result<Option<Digest>> {
        if !is_prefix(text) {
            return Ok(None);
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let mut fitting = self.images.keys().filter(|id| id.hex().starts_with(hex));
        match (fitting.next(), fitting.next()) {
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.into())),
            (first, _) => Ok(first.cloned()),
        }
    }

    /// Keys of the tags of an image, sorted.
    pub(crate) fn tags_of(&self, id: &Digest) -> Vec<String> {
        self.tags.iter().filter(|(_, target)| *target == id).map(|(key, _)| key.clone()).collect()
    }

    /// Keys of the digest names of an image, sorted.
    pub(crate) fn digests_of(&self, id: &Digest) -> Vec<String> {
        self.digests.iter().filter(|(_, target)| *target == id).map(|(key, _)| key.clone()).collect()
    }

    /// Images committed or built from `id`.
    pub(crate) fn children<'a>(&'a self, id: &'a Digest) -> impl Iterator<Item = &'a Digest> {
        self.images
            .iter()
            .filter(move |(_, entry)| entry.record.parent.as_ref() == Some(id))
            .map(|(child, _)| child)
    }

    /// Takes in an image, replacing its former entry.
    ///
    /// # Errors
    /// [`Error::Document`] if the configuration cannot be read.
    pub(crate) fn put_image(&mut self, id: &Digest, record: ImageRecord) -> Result<()> {
        let config = parse_config(id, record.config.as_bytes())?;
        let image = Arc::new(self.image(id, config, &record));
        self.images.insert(id.clone(), Entry { record, image });
        Ok(())
    }

    /// Shows an image anew after its names changed.
    pub(crate) fn refresh(&mut self, id: &Digest) {
        let Some(entry) = self.images.get(id) else { return };
        let image = Arc::new(self.image(id, entry.image.config.clone(), &entry.record));
        if let Some(entry) = self.images.get_mut(id) {
            entry.image = image;
        }
    }

    fn image(&self, id: &Digest, config: ImageConfig, record: &ImageRecord) -> Image {
        let layers = config.rootfs.diff_ids.clone();
        let size = layers.iter().filter_map(|diff| self.layers.get(diff)).map(|l| l.content_size).sum();
        let created = config.created.as_deref().and_then(|text| Timestamp::parse(text).ok());
        let manifest = record.manifest.as_ref().map(|manifest| {
            let digest = Digest::of(manifest.bytes.as_bytes());
            Descriptor::new(&manifest.media_type, digest, manifest.bytes.len() as u64)
        });
        Image {
            id: id.clone(),
            raw_config: record.config.clone(),
            repo_tags: sorted_familiar(self.tags_of(id)),
            repo_digests: sorted_familiar(self.digests_of(id)),
            created: created.unwrap_or_default(),
            last_tagged: record.last_tagged,
            size,
            layers,
            manifest,
            parent: record.parent.clone(),
            config,
        }
    }

    /// Whether an image, a container or a lease holds the layer.
    pub(crate) fn holds(&self, diff: &Digest) -> bool {
        self.leases.values().any(|held| held.contains(diff))
            || self.containers.values().any(|layers| layers.contains(diff))
            || self.images.values().any(|entry| entry.image.layers.contains(diff))
    }

    /// The layer that is kept as this blob.
    pub(crate) fn diff_of_blob(&self, blob: &Digest) -> Option<Digest> {
        let all = self.layers.iter().chain(&self.pending);
        let mut fitting = all.filter(|(_, layer)| layer.blobs.iter().any(|b| b.digest == *blob));
        fitting.next().map(|(diff, _)| diff.clone())
    }

    /// The layer, committed or not.
    pub(crate) fn layer(&self, diff: &Digest) -> Option<&LayerRecord> {
        self.layers.get(diff).or_else(|| self.pending.get(diff))
    }
}

fn sorted_familiar(keys: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = keys.iter().map(|key| familiar(key)).collect();
    names.sort();
    names
}

/// Whether `text` can be the start of an id.
pub(crate) fn is_prefix(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    !hex.is_empty()
        && hex.len() <= 64
        && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Reads an image configuration.
///
/// # Errors
/// [`Error::Document`].
pub(crate) fn parse_config(id: &Digest, bytes: &[u8]) -> Result<ImageConfig> {
    serde_json::from_slice(bytes)
        .map_err(|source| Error::Document { what: format!("configuration of image {}", id.short()), source })
}
