//! Bringing in an image layer by layer: what a pull does.

use crate::layer::{Compression, Spool};
use crate::store::Inner;
use crate::{Error, Image, ImageStore, NewImage, Phase, Progress, Result};
use proa_oci::Digest;
use proa_oci::image::Descriptor;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An image on its way in. It holds a lease on its layers: nothing removes them until it is committed or
/// dropped; dropped without a commit, it leaves only unfinished blobs behind, for the next attempt.
///
/// Layers may be brought in by several threads at once, in any order.
pub struct Ingest {
    pub(crate) inner: Arc<Inner>,
    pub(crate) lease: u64,
    /// What [`Ingest::received`] has told, by blob: there the caller's streams start.
    told: Mutex<HashMap<Digest, u64>>,
}

impl ImageStore {
    /// Begins bringing in an image.
    pub fn begin(&self) -> Ingest {
        let lease = self.inner.lease();
        Ingest { inner: Arc::clone(&self.inner), lease, told: Mutex::default() }
    }
}

impl Ingest {
    /// Whether the layer is here already; if so it is held until this ingest ends, and need not be fetched.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.inner.hold(self.lease, diff_id)
    }

    /// How many bytes of a blob an earlier attempt left here: the transfer must go on from there. (Whoever
    /// does not ask starts at 0.)
    pub fn received(&self, blob: &Digest) -> u64 {
        let have = self.inner.content.received(blob);
        self.told().insert(blob.clone(), have);
        have
    }

    fn told(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what an earlier attempt left of a blob, for a source that cannot go on from there.
    pub fn restart(&self, blob: &Digest) {
        self.told().remove(blob);
        let _ = std::fs::remove_file(self.inner.content.partial_path(blob));
    }

    /// Takes in a layer: the blob is stored, unpacked and checked in one pass. `from` delivers its bytes
    /// from the position that [`Self::received`] told last.
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
        let label = blob.digest.short();
        let _busy = self.inner.busy(diff_id);
        if self.has_layer(diff_id) {
            progress.report(label, Phase::Exists, blob.size, blob.size);
            return Ok(());
        }
        let taken = self.take(blob, diff_id, from, progress);
        match &taken {
            Ok(()) => progress.report(label, Phase::Complete, blob.size, blob.size),
            // Only a broken transfer is worth going on with.
            Err(Error::Stream { .. }) => {}
            Err(_) => self.restart(&blob.digest),
        }
        taken
    }

    fn take(
        &self,
        blob: &Descriptor,
        diff_id: &Digest,
        from: &mut (dyn Read + Send),
        progress: &dyn Progress,
    ) -> Result<()> {
        let content = &self.inner.content;
        let file = content.partial(&blob.digest)?;
        let failed = |source| Error::Io { what: format!("cannot read what came of {}", blob.digest), source };
        let have = file.metadata().map_err(failed)?.len();
        // Another ingest may have added to it, or taken it away, since the caller asked.
        let told = self.told().remove(&blob.digest).unwrap_or(0);
        if told > have {
            let source = std::io::Error::other("what was here of it has gone meanwhile: try again");
            return Err(Error::Stream { what: format!("layer {}", blob.digest.short()), source });
        }
        let have = told.min(blob.size);
        file.set_len(have).map_err(failed)?;
        let mut old = file.try_clone().map_err(failed)?;
        old.rewind().map_err(failed)?;
        let mut source = old.take(have).chain(Exactly { from, left: blob.size - have });
        let mut spool = |_: Compression| -> std::io::Result<Option<Spool>> {
            let file: File = file.try_clone()?;
            Ok(Some(Spool { file, have }))
        };
        let mut seen = throttled(progress, blob.digest.short(), blob.size);
        let received = self.inner.receive(blob.digest.short(), &mut source, &mut spool, &mut seen);
        let (scratch, received) = received?;
        matches(&format!("blob of layer {}", diff_id.short()), &blob.digest, &received.blob)?;
        matches(&format!("layer {}", blob.digest.short()), diff_id, &received.diff_id)?;
        let path = content.partial_path(&blob.digest);
        if received.compression == Compression::None {
            // The recipe rebuilds it.
            let _ = std::fs::remove_file(path);
        } else {
            content.publish(&path, &blob.digest)?;
        }
        self.inner.register(self.lease, scratch, &received, Some(blob.clone()))
    }

    /// Makes the image: its record, its names and its layers, in one transaction. All layers its
    /// configuration names must have been brought in or found by [`Self::has_layer`].
    ///
    /// # Errors
    /// [`crate::Error::Inconsistent`] when a layer is missing, [`crate::Error::Document`] when a document
    /// cannot be read.
    pub fn commit(&self, image: &NewImage<'_>) -> Result<Arc<Image>> {
        let made = self.inner.commit(std::slice::from_ref(image))?;
        made.into_iter().next().ok_or_else(|| Error::NotAnImage("nothing was committed".into()))
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.inner.release(self.lease);
    }
}

/// Fails unless a digest is the one promised.
pub(crate) fn matches(what: &str, expected: &Digest, found: &Digest) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Mismatch { what: what.into(), expected: expected.clone(), found: found.clone() })
}

/// Passes progress on about ten times a second.
pub(crate) fn throttled<'a>(progress: &'a dyn Progress, label: &'a str, total: u64) -> impl FnMut(u64) + 'a {
    let mut next = Instant::now();
    move |current| {
        let now = Instant::now();
        if now >= next {
            next = now + Duration::from_millis(100);
            progress.report(label, Phase::Receiving, current, total);
        }
    }
}

/// A stream that must deliver exactly so many bytes.
struct Exactly<'a> {
    from: &'a mut (dyn Read + Send),
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.from.read(buffer.get_mut(..room).unwrap_or_default())?;
        if count == 0 && room > 0 {
            let text = format!("the transfer ended {} bytes early", self.left);
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
