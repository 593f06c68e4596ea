//! Making images: one transaction for the record, its names and the layers it brought.

use crate::catalog::{Catalog, key, parse_config};
use crate::record::{DIGESTS, IMAGES, ImageRecord, LAYERS, LayerRecord, ManifestRecord, TAGS};
use crate::store::Inner;
use crate::{Error, Image, NewImage, Result};
use proa_oci::Digest;
use proa_oci::image::{ImageConfig, Manifest, unambiguous};
use proa_state::{Durability, Store};
use proa_sys::failpoint::passage;
use proa_types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// Layers of an image: what overlayfs stacks (`OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;

/// What one transaction will write.
#[derive(Default)]
struct Plan {
    ids: Vec<Digest>,
    images: BTreeMap<Digest, ImageRecord>,
    tags: BTreeMap<String, Digest>,
    digests: BTreeMap<String, Digest>,
    layers: BTreeMap<Digest, LayerRecord>,
}

impl Inner {
    /// Makes images of layers that are here and held, all of them or none. Their ids are in order.
    pub(crate) fn commit(self: &Arc<Self>, images: &[NewImage<'_>]) -> Result<Vec<Arc<Image>>> {
        let _change = self.change();
        let mut plan = Plan::default();
        {
            let catalog = self.catalog();
            for image in images {
                plan.add(image, &catalog)?;
            }
        }
        passage("image.record");
        self.state.update(Durability::Immediate, |update| {
            for (diff, layer) in &plan.layers {
                update.put(&LAYERS, diff.as_str(), layer)?;
            }
            for (id, record) in &plan.images {
                update.put(&IMAGES, id.as_str(), record)?;
            }
            for (name, id) in &plan.tags {
                update.put(&TAGS, name, id)?;
            }
            for (name, id) in &plan.digests {
                update.put(&DIGESTS, name, id)?;
            }
            Ok::<_, Error>(())
        })?;
        passage("image.recorded");
        let fresh: Vec<Digest> = plan.layers.keys().cloned().collect();
        let made = plan.apply(&mut self.catalog_mut());
        if !fresh.is_empty() {
            self.settle(fresh);
        }
        made
    }

    /// Lets the disk catch up behind the reply: once the file system is synced, the layers count as safe.
    /// A layer that is found unsettled after a restart of the host is not trusted.
    fn settle(self: &Arc<Self>, layers: Vec<Digest>) {
        let weak = Arc::downgrade(self);
        let Ok(root) = std::fs::File::open(&self.layers) else { return };
        let done = move |synced: std::io::Result<()>| {
            let noted = synced.map_err(Error::io("cannot sync the image store"));
            if let Err(error) = noted.and_then(|()| settled(&weak, &layers)) {
                tracing::warn!("layers stay unsettled: {error}");
            }
        };
        if let Err(error) = proa_sys::syncfs::spawn(root.into(), done) {
            tracing::warn!("layers stay unsettled: {error}");
        }
    }
}

fn settled(weak: &Weak<Inner>, layers: &[Digest]) -> Result<()> {
    let Some(inner) = weak.upgrade() else { return Ok(()) };
    let _change = inner.change();
    let mut records = Vec::new();
    for diff in layers {
        if let Some(layer) = inner.catalog_mut().layers.get_mut(diff) {
            layer.unsettled = None;
            records.push((diff, layer.clone()));
        }
    }
    write_layers(&inner.state, &records)
}

fn write_layers(state: &Store, records: &[(&Digest, LayerRecord)]) -> Result<()> {
    // If this is lost the layers merely stay unsettled.
    state.update(Durability::Eventual, |update| {
        for (diff, layer) in records {
            update.put(&LAYERS, diff.as_str(), layer)?;
        }
        Ok::<_, Error>(())
    })
}

impl Plan {
    fn add(&mut self, image: &NewImage<'_>, catalog: &Catalog) -> Result<()> {
        let id = Digest::of(image.config);
        let config = parse_config(&id, image.config)?;
        if config.rootfs.diff_ids.len() > MAX_LAYERS {
            let problem = format!("it has more than {MAX_LAYERS} layers, which no kernel mounts");
            return Err(Error::Inconsistent { image: id.short().into(), problem });
        }
        for diff in &config.rootfs.diff_ids {
            match (catalog.layers.contains_key(diff), catalog.pending.get(diff)) {
                (true, _) => {}
                (false, Some(layer)) => drop(self.layers.insert(diff.clone(), layer.clone())),
                (false, None) => {
                    let problem = format!("its layer {} is missing", diff.short());
                    return Err(Error::Inconsistent { image: id.short().into(), problem });
                }
            }
        }
        if let Some((media_type, bytes)) = image.manifest {
            check_manifest(&id, &config, media_type, bytes)?;
        }
        let old = catalog.images.get(&id).map(|entry| &entry.record);
        let named = image.tag.is_some();
        let manifest = image.manifest.map(|(media_type, bytes)| {
            text(&id, bytes).map(|bytes| ManifestRecord { media_type: media_type.into(), bytes })
        });
        let record = ImageRecord {
            config: text(&id, image.config)?,
            manifest: manifest.transpose()?.or_else(|| old.and_then(|old| old.manifest.clone())),
            last_tagged: match (named, old) {
                (true, _) => Timestamp::now(),
                (false, old) => old.map_or(Timestamp::default(), |old| old.last_tagged),
            },
            parent: image.parent.cloned().or_else(|| old.and_then(|old| old.parent.clone())),
        };
        self.tags.extend(image.tag.map(|tag| (key(tag), id.clone())));
        self.digests.extend(image.pulled_by.map(|name| (key(name), id.clone())));
        self.images.insert(id.clone(), record);
        self.ids.push(id);
        Ok(())
    }

    fn apply(self, catalog: &mut Catalog) -> Result<Vec<Arc<Image>>> {
        let mut stale: BTreeSet<Digest> = BTreeSet::new();
        for (diff, layer) in self.layers {
            catalog.pending.remove(&diff);
            catalog.layers.insert(diff, layer);
        }
        for (name, id) in self.tags {
            stale.extend(catalog.tags.insert(name, id));
        }
        for (name, id) in self.digests {
            stale.extend(catalog.digests.insert(name, id));
        }
        for (id, record) in self.images {
            catalog.put_image(&id, record)?;
        }
        for id in &stale {
            catalog.refresh(id);
        }
        let image = |id: &Digest| catalog.images.get(id).map(|entry| Arc::clone(&entry.image));
        self.ids.iter().map(|id| image(id).ok_or_else(|| Error::NotFound(id.to_string()))).collect()
    }
}

/// A manifest must be one, of this configuration, with as many layers.
fn check_manifest(id: &Digest, config: &ImageConfig, media_type: &str, bytes: &[u8]) -> Result<()> {
    let wrong = |problem: String| Error::Inconsistent { image: id.short().into(), problem };
    unambiguous(media_type, bytes).map_err(|problem| wrong(format!("its manifest is refused: {problem}")))?;
    let manifest: Manifest = serde_json::from_slice(bytes)
        .map_err(|source| Error::Document { what: format!("manifest of image {}", id.short()), source })?;
    if manifest.config.digest != *id {
        return Err(wrong(format!("its manifest is for {}", manifest.config.digest.short())));
    }
    let (named, diffs) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if named == diffs {
        return Ok(());
    }
    Err(wrong(format!("its manifest names {named} layers, its configuration {diffs}")))
}

fn text(id: &Digest, bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Inconsistent {
        image: id.short().into(),
        problem: "its documents are not UTF-8 text".into(),
    })
}
