//! What the store keeps in the state tables. Stored forms: change them additively.

use proa_oci::Digest;
use proa_oci::image::Descriptor;
use proa_state::Table;
use proa_types::Timestamp;
use serde::{Deserialize, Serialize};

/// Images by id (`sha256:…`).
pub(crate) const IMAGES: Table<ImageRecord> = Table::new("images");
/// Image ids by `HOST/PATH:TAG`.
pub(crate) const TAGS: Table<Digest> = Table::new("image_tags");
/// Image ids by `HOST/PATH@DIGEST`.
pub(crate) const DIGESTS: Table<Digest> = Table::new("image_digests");
/// Layers by diff id.
pub(crate) const LAYERS: Table<LayerRecord> = Table::new("image_layers");

/// A stored image. Its documents are small and live here, so that one commit makes or unmakes an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// The configuration's bytes: their digest is the image's id.
    pub(crate) config: String,
    /// The manifest it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<ManifestRecord>,
    /// When it last got a tag.
    #[serde(default)]
    pub(crate) last_tagged: Timestamp,
    /// The image it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
}

/// A stored manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ManifestRecord {
    /// Its media type.
    pub(crate) media_type: String,
    /// Its bytes.
    pub(crate) bytes: String,
}

/// A stored layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// Name of its directory below `snapshots/overlay`.
    pub(crate) dir: String,
    /// Bytes of its files, which is what docker calls its size.
    pub(crate) content_size: u64,
    /// Bytes of its tar.
    pub(crate) tar_size: u64,
    /// Forms of it in the content store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<Descriptor>,
    /// Whether its tar can be rebuilt from the directory and its recipe.
    #[serde(default)]
    pub(crate) recipe: bool,
    /// Boot id of the kernel that still had to write it to disk; none once that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unsettled: Option<String>,
}
