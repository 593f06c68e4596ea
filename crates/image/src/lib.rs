//! Images: the content store, layers unpacked into directories, names, archives, and the snapshots
//! containers run on.
//!
//! [`ImageStore`] is the one door. It is synchronous (call it from a blocking pool), cheap to clone and to
//! share, and answers [`ImageStore::resolve`] and [`ImageStore::snapshot_prepare`] from memory. It knows
//! nothing of containers beyond the keys of their snapshots.
//!
//! What always holds:
//! * A layer is in the tables only when its directory is complete; an image only when all its layers are.
//!   Whatever else lies on disk after a crash is leftover, and [`ImageStore::open`] removes it.
//! * Nothing is written outside a layer's own directory, whatever an archive says.
//! * A layer's exact tar, or the exact blob it was pulled as, can always be read back.

pub mod builtin;
mod catalog;
pub mod changes;
mod chunk;
mod claim;
mod commit;
mod containers;
mod content;
mod derive;
pub mod difference;
mod driver;
mod error;
mod image;
mod import;
mod ingest;
mod layer;
mod layers;
mod load;
mod names;
mod pack;
mod progress;
mod push;
mod recipe;
mod record;
mod save;
mod snapshot;
mod spare;
mod store;
pub mod tar;
mod unpack;
mod usage;
mod vfs;

pub use claim::Claim;
pub use derive::DeriveOptions;
pub use driver::DriverKind;
pub use error::{Error, Result};
pub use image::{
    Blob, DriverData, HistoryRow, Image, ImageUse, ImportOptions, Loaded, NewImage, PushPlan, Removal,
    RemoveOptions, Snapshot,
};
pub use ingest::Ingest;
pub use names::Pruned;
pub use progress::{Phase, Progress};
pub use store::ImageStore;
pub use usage::LayersUsage;

/// Where the process can be told to die.
pub const FAILPOINTS: &[&str] =
    &["blob.published", "layer.kept", "image.record", "image.recorded", "image.removed"];

#[cfg(test)]
mod tests;
