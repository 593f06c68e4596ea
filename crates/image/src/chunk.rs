//! Bytes on their way between the threads that receive, decompress, hash and unpack a layer.
//!
//! Buffers are shared, not copied, and come back to a pool: fresh pages are dear. Channels are bounded, so
//! a slow stage slows the ones before it and memory stays small.

use std::io::{BufRead, Error, ErrorKind, Read, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a full chunk.
pub(crate) const CHUNK: usize = 128 << 10;
/// Chunks a channel holds.
const DEPTH: usize = 8;

/// Shared bytes.
pub(crate) type Shared = Arc<Chunk>;

/// A buffer that goes back to its pool.
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Chunk {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

/// Buffers to use again.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// Reads from `source` until a chunk is full, the source ends or fails. An empty chunk without a failure
    /// is the end; what came before a failure comes with it.
    pub(crate) fn read(&self, source: &mut dyn Read) -> (Shared, Option<Error>) {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = spare.unwrap_or_default();
        bytes.resize(CHUNK, 0);
        let (mut filled, mut failure) = (0, None);
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match source.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        bytes.truncate(filled);
        (Arc::new(Chunk { bytes, pool: self.clone() }), failure)
    }
}

/// A bounded channel of chunks.
pub(crate) fn channel() -> (SyncSender<Shared>, Source) {
    let (sender, receiver) = sync_channel(DEPTH);
    (sender, Source { receiver, current: None, at: 0, taken: Arc::default() })
}

/// The receiving end: a stream. It ends when the sender sends an empty chunk; when the sender goes away
/// before that, reading fails, so that a broken transfer never looks like a short one.
pub(crate) struct Source {
    receiver: Receiver<Shared>,
    current: Option<Shared>,
    at: usize,
    taken: Arc<AtomicU64>,
}

impl Source {
    /// How many bytes have been read, for others to look at.
    pub(crate) fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// The next whole chunk; none at the end.
    pub(crate) fn chunk(&mut self) -> Option<Shared> {
        self.receiver.recv().ok().filter(|chunk| !chunk.bytes.is_empty())
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        let ended = self.current.as_ref().is_some_and(|chunk| chunk.bytes.is_empty());
        if !ended && self.current.as_ref().is_none_or(|chunk| self.at >= chunk.bytes.len()) {
            let broken = |_| Error::new(ErrorKind::UnexpectedEof, "the stream broke off");
            self.current = Some(self.receiver.recv().map_err(broken)?);
            self.at = 0;
            let length = self.current.as_ref().map_or(0, |chunk| chunk.bytes.len());
            self.taken.fetch_add(length as u64, Ordering::Relaxed);
        }
        let bytes = self.current.as_ref().map_or(&[][..], |chunk| chunk.bytes());
        Ok(bytes.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        if let (Some(target), Some(bytes)) = (buffer.get_mut(..count), bytes.get(..count)) {
            target.copy_from_slice(bytes);
        }
        self.consume(count);
        Ok(count)
    }
}
