//! What callers see of images: the image itself, its history, and what load and remove did.

use proa_oci::Digest;
use proa_oci::image::{Descriptor, ImageConfig, chain_ids};
use proa_types::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An image of the store, as it was when it was looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// Digest of its configuration.
    pub id: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// The configuration as it came: the bytes whose digest is `id`.
    pub raw_config: String,
    /// Tags as docker shows them (`busybox:latest`), sorted.
    pub repo_tags: Vec<String>,
    /// Digests it was pulled or pushed by (`busybox@sha256:…`), sorted.
    pub repo_digests: Vec<String>,
    /// When it was made; "never" if the configuration does not say.
    pub created: Timestamp,
    /// When it last got a tag here; "never" if it has none.
    pub last_tagged: Timestamp,
    /// Bytes of the files of all its layers.
    pub size: u64,
    /// Diff ids of its layers, base first: what [`crate::ImageStore::snapshot_prepare`] wants.
    pub layers: Vec<Digest>,
    /// The manifest it was pulled by.
    pub manifest: Option<Descriptor>,
    /// The image it was committed or built from, if that was here.
    pub parent: Option<Digest>,
}

impl Image {
    /// Chain ids of its layers, base first.
    pub fn chain(&self) -> Vec<Digest> {
        chain_ids(&self.layers)
    }
}

/// One row of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image id for the top row; none (`<missing>`) for the others.
    pub id: Option<Digest>,
    /// When the step was made.
    pub created: Timestamp,
    /// By which instruction.
    pub created_by: String,
    /// Tags of the image, on the top row.
    pub tags: Vec<String>,
    /// Bytes of the files of its layer.
    pub size: u64,
    /// Free text.
    pub comment: String,
}

/// What `load` brought in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// The tag it was given, as docker shows it; none for an image without a name.
    pub tag: Option<String>,
}

/// One line of `docker rmi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A name no longer points at the image.
    Untagged(String),
    /// The image (by id) or one of its layers (by chain id) is gone.
    Deleted(Digest),
}

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// Its id, whole or short.
    pub container: String,
    /// Whether it runs, which no force overrides.
    pub running: bool,
}

/// How to remove an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Remove in spite of stopped containers and several names.
    pub force: bool,
    /// Remove untagged parents too.
    pub prune: bool,
}

impl Default for RemoveOptions {
    fn default() -> Self {
        Self { force: false, prune: true }
    }
}

/// How `import` makes an image of a file tree.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Instructions as in a Dockerfile: `CMD ["sh"]`, `ENV A=b`.
    pub changes: Vec<String>,
    /// Comment of the image.
    pub message: String,
    /// Platform, as `linux/arm64`; the host's if none.
    pub platform: Option<proa_oci::Platform>,
    /// Name of the new image.
    pub reference: Option<proa_oci::Reference>,
}

/// The root file system of a container: what to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// An overlay of these directories.
    Overlay {
        /// Read-only layers, topmost first.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// Scratch space of the kernel, on the same file system as `upper`.
        work: PathBuf,
    },
    /// A plain directory (driver `vfs`).
    Directory(PathBuf),
}

/// What `inspect` shows as `GraphDriver`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverData {
    /// Name of the driver.
    pub name: String,
    /// Its directories, by docker's names (`LowerDir`, `UpperDir`, …).
    pub data: BTreeMap<String, String>,
}

/// What to send to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPlan {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The configuration blob.
    pub config: Descriptor,
    /// The layer blobs, base first. Each can be opened with [`crate::ImageStore::blob`].
    pub layers: Vec<Descriptor>,
}

/// A blob being read.
pub struct Blob {
    /// Its length in bytes.
    pub size: u64,
    /// Its bytes.
    pub reader: Box<dyn std::io::Read + Send>,
}

/// The documents of an image whose layers have been ingested.
#[derive(Debug, Clone, Copy)]
pub struct NewImage<'a> {
    /// The configuration's bytes.
    pub config: &'a [u8],
    /// The manifest's media type and bytes, when it came from a registry or a layout.
    pub manifest: Option<(&'a str, &'a [u8])>,
    /// The tag to give it.
    pub tag: Option<&'a proa_oci::Reference>,
    /// The `name@digest` it was pulled by: the digest of the index, or of the manifest when there was none.
    pub pulled_by: Option<&'a proa_oci::Reference>,
    /// The image it was made from, if that is here.
    pub parent: Option<&'a Digest>,
}
