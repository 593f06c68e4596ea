//! Bringing in an image layer by layer: what a pull does.

use crate::store::Inner;
use crate::{Image, ImageStore, NewImage, Progress, Result};
use proa_oci::Digest;
use proa_oci::image::Descriptor;
use std::io::Read;
use std::sync::Arc;

/// An image on its way in. It holds a lease on its layers: nothing removes them until it is committed or
/// dropped; dropped without a commit, it leaves only unfinished blobs behind, for the next attempt.
///
/// Layers may be brought in by several threads at once, in any order.
pub struct Ingest {
    inner: Arc<Inner>,
    lease: u64,
}

impl ImageStore {
    /// Begins bringing in an image.
    pub fn begin(&self) -> Ingest {
        let lease = self.inner.lease();
        Ingest { inner: Arc::clone(&self.inner), lease }
    }
}

impl Ingest {
    /// Whether the layer is here already; if so it is held until this ingest ends, and need not be fetched.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.inner.hold(self.lease, diff_id)
    }

    /// How many bytes of a blob an earlier attempt left here: the transfer may go on from there.
    pub fn received(&self, blob: &Digest) -> u64 {
        self.inner.content.received(blob)
    }

    /// Takes in a layer: the blob is stored, unpacked and checked in one pass. `from` delivers its bytes
    /// from position [`Self::received`] on.
    ///
    /// # Errors
    /// [`crate::Error::Stream`] when `from` fails (what came is kept), [`crate::Error::Mismatch`] when blob
    /// or layer are not what their digests say, [`crate::Error::Layer`] when it cannot be unpacked.
    pub fn layer(
        &self,
        blob: &Descriptor,
        diff_id: &Digest,
        from: &mut (dyn Read + Send),
        progress: &dyn Progress,
    ) -> Result<()> {
        let _ = (blob, diff_id, from, progress);
        Err(crate::Error::NotAnImage("taking in layers is not there yet".into()))
    }

    /// Makes the image: its record, its names and its layers, in one transaction. All layers its
    /// configuration names must have been brought in or found by [`Self::has_layer`].
    ///
    /// # Errors
    /// [`crate::Error::Inconsistent`] when a layer is missing, [`crate::Error::Document`] when a document
    /// cannot be read.
    pub fn commit(self, image: &NewImage<'_>) -> Result<Arc<Image>> {
        self.inner.commit(image)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.inner.release(self.lease);
    }
}
