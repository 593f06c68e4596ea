//! `save`: an archive that is a docker archive (`manifest.json`, `repositories`) and an OCI layout
//! (`index.json`, `oci-layout`) at once, as docker 25 and newer write it: docker since 1.10, podman, skopeo
//! and containerd read it. Layers are plain tars named by their diff ids, shared ones are written once.
//! The same images give the same bytes.

use crate::ingest::matches;
use crate::store::Inner;
use crate::tar::{Entry, Writer};
use crate::{Error, Image, ImageStore, Result};
use proa_oci::digest::Hasher;
use proa_oci::image::{Descriptor, Index, Manifest, media};
use proa_oci::{Digest, Platform, Reference};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::Arc;

/// An image with the tags it is saved under.
struct Chosen {
    image: Arc<Image>,
    tags: Vec<Reference>,
}

/// Writes images as an archive.
pub(crate) fn save(store: &ImageStore, names: &[String], to: impl Write) -> Result<()> {
    // Nothing may remove a layer while it is read.
    let lease = store.begin();
    let chosen = choose(store, names)?;
    for diff in chosen.iter().flat_map(|chosen| &chosen.image.layers) {
        if !lease.has_layer(diff) {
            return Err(Error::NoBlob(diff.clone()));
        }
    }
    let mut archive = Archive { writer: Writer::new(to), written: BTreeSet::new(), store: &store.inner };
    for name in ["blobs/", "blobs/sha256/"] {
        archive.writer.entry(&Entry::directory(name), &mut std::io::empty()).map_err(failed)?;
    }
    let mut index = Vec::new();
    for chosen in &chosen {
        index.extend(archive.image(chosen)?);
    }
    archive.documents(&chosen, index)?;
    archive.writer.finish().map_err(failed)?.flush().map_err(failed)
}

/// The images meant: a repository without a tag means all its tags, an id means the image without names.
fn choose(store: &ImageStore, names: &[String]) -> Result<Vec<Chosen>> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for name in names {
        for (image, tag) in meant(store, name)? {
            let at = chosen.iter().position(|other| other.image.id == image.id).unwrap_or(chosen.len());
            if at == chosen.len() {
                chosen.push(Chosen { image, tags: Vec::new() });
            }
            if let (Some(entry), Some(tag)) = (chosen.get_mut(at), tag)
                && !entry.tags.contains(&tag)
            {
                entry.tags.push(tag);
            }
        }
    }
    Ok(chosen)
}

fn meant(store: &ImageStore, name: &str) -> Result<Vec<(Arc<Image>, Option<Reference>)>> {
    let reference = name.parse::<Reference>().ok();
    let bare = !name.contains('@') && !name.rsplit('/').next().unwrap_or(name).contains(':');
    if let Some(reference) = reference.as_ref().filter(|_| bare) {
        let prefix = format!("{}:", reference.repository());
        let catalog = store.inner.catalog();
        let tags = catalog.tags.iter().filter_map(|(key, id)| Some((key.strip_prefix(&prefix)?, id)));
        let found: Vec<_> = tags
            .filter_map(|(tag, id)| {
                let image = Arc::clone(&catalog.images.get(id)?.image);
                Some((image, Some(reference.with_tag(tag))))
            })
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let image = store.resolve(name)?;
    let named = reference.filter(|r| r.digest.is_none() && image.repo_tags.contains(&r.familiar()));
    Ok(vec![(image, named)])
}

struct Archive<'a, W> {
    writer: Writer<W>,
    written: BTreeSet<Digest>,
    store: &'a Inner,
}

impl<W: Write> Archive<'_, W> {
    /// Writes the blobs of an image; its entries in the index, one for each name.
    fn image(&mut self, chosen: &Chosen) -> Result<Vec<Descriptor>> {
        let image = &chosen.image;
        let config = self.document(media::CONFIG, image.raw_config.as_bytes())?;
        let mut layers = Vec::new();
        for diff in &image.layers {
            layers.push(self.layer(diff)?);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.into()),
            config,
            layers,
            annotations: BTreeMap::new(),
        };
        let mut entry = self.document(media::MANIFEST, &encode(&manifest)?)?;
        entry.platform = Some(Platform {
            variant: Some(image.config.variant.clone()).filter(|variant| !variant.is_empty()),
            os: image.config.os.clone(),
            ..Platform::linux(&image.config.architecture)
        });
        if chosen.tags.is_empty() {
            return Ok(vec![entry]);
        }
        let named = |tag: &Reference| {
            let mut entry = entry.clone();
            let whole = format!("{}:{}", tag.repository(), tag.tag.as_deref().unwrap_or_default());
            entry.annotations.insert("io.containerd.image.name".into(), whole);
            let short = tag.tag.clone().unwrap_or_default();
            entry.annotations.insert("org.opencontainers.image.ref.name".into(), short);
            entry
        };
        Ok(chosen.tags.iter().map(named).collect())
    }

    fn document(&mut self, kind: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = Digest::of(bytes);
        if self.written.insert(digest.clone()) {
            self.file(&path(&digest), bytes.len() as u64, &mut &*bytes)?;
        }
        Ok(Descriptor::new(kind, digest, bytes.len() as u64))
    }

    fn layer(&mut self, diff: &Digest) -> Result<Descriptor> {
        let (tar, size) = self.store.layer_tar(diff)?;
        if self.written.insert(diff.clone()) {
            let mut checked = Checked { from: tar, hasher: Hasher::default() };
            self.file(&path(diff), size, &mut checked)?;
            matches(&format!("layer {}", diff.short()), diff, &checked.hasher.finish())?;
        }
        Ok(Descriptor::new(media::LAYER, diff.clone(), size))
    }

    /// The documents that make it an archive.
    fn documents(&mut self, chosen: &[Chosen], manifests: Vec<Descriptor>) -> Result<()> {
        let index = Index {
            schema_version: 2,
            media_type: Some(media::INDEX.into()),
            manifests,
            annotations: BTreeMap::new(),
        };
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut items = Vec::new();
        for Chosen { image, tags } in chosen {
            for tag in tags {
                let top = image.layers.last().map(|diff| diff.hex().to_owned()).unwrap_or_default();
                let names = repositories.entry(tag.familiar_name()).or_default();
                names.insert(tag.tag.clone().unwrap_or_default(), top);
            }
            let tags: Vec<String> = tags.iter().map(Reference::familiar).collect();
            items.push(json!({
                "Config": path(&image.id),
                "RepoTags": if tags.is_empty() { None } else { Some(tags) },
                "Layers": image.layers.iter().map(path).collect::<Vec<_>>(),
            }));
        }
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        let mut documents = vec![
            ("index.json", encode(&index)?),
            ("manifest.json", encode(&items)?),
            ("oci-layout", encode(&layout)?),
        ];
        if !repositories.is_empty() {
            documents.push(("repositories", encode(&repositories)?));
        }
        for (name, bytes) in documents {
            self.file(name, bytes.len() as u64, &mut bytes.as_slice())?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, size: u64, bytes: &mut dyn Read) -> Result<()> {
        self.writer.entry(&Entry::file(name, 0o644, size), bytes).map_err(failed)
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|source| Error::Document { what: "document of the archive".into(), source })
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "cannot write the image archive".into(), source }
}

/// A stream that is hashed as it is read.
pub(crate) struct Checked<R> {
    pub(crate) from: R,
    pub(crate) hasher: Hasher,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
