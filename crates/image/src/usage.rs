//! How much disk the layers of images take.

use crate::ImageStore;
use proa_oci::Digest;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Bytes of layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayersUsage {
    /// Of all images, each layer counted once.
    pub total: u64,
    /// Of the images that are used, each layer counted once.
    pub used: u64,
    /// By image, of the layers that another image has too.
    pub shared: BTreeMap<Digest, u64>,
}

impl ImageStore {
    /// How much disk the layers of images take; `is_used` tells which images are used.
    pub fn layers_usage(&self, is_used: impl Fn(&Digest) -> bool) -> LayersUsage {
        let images = self.list();
        let mut holders: HashMap<&Digest, usize> = HashMap::new();
        let mut used: HashSet<&Digest> = HashSet::new();
        for image in &images {
            // An image may have a layer twice.
            let layers: HashSet<&Digest> = image.layers.iter().collect();
            if is_used(&image.id) {
                used.extend(&layers);
            }
            layers.into_iter().for_each(|diff| *holders.entry(diff).or_default() += 1);
        }
        let catalog = self.inner.catalog();
        let size = |diff: &Digest| catalog.layer(diff).map_or(0, |layer| layer.content_size);
        let shared = |layers: &[Digest]| {
            let layers = layers.iter().filter(|diff| holders.get(diff).is_some_and(|count| *count > 1));
            layers.map(size).sum()
        };
        LayersUsage {
            total: holders.keys().map(|diff| size(diff)).sum(),
            used: used.into_iter().map(size).sum(),
            shared: images.iter().map(|image| (image.id.clone(), shared(&image.layers))).collect(),
        }
    }
}
