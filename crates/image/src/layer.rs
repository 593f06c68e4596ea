//! Receiving one layer: stored, decompressed, hashed twice and unpacked in a single pass.
//!
//! ```text
//! source ── (blob file) ──┬─> digest of the blob
//!   (caller's thread)     └─> decompress ──┬─> digest of the tar (diff id)
//!                                          └─> unpack (and note the recipe)
//! ```
//! Each arrow's end is a thread of its own; for a plain tar the first fork is left out. A layer that comes
//! as a plain tar is not stored a second time: its recipe rebuilds it. One that comes compressed is kept as
//! it came, since no recipe reproduces another program's compression (docs/adr).

use crate::chunk::{self, Pool, Shared, Source};
use crate::recipe::Recorder;
use crate::tar::{self, Limits};
use crate::unpack::{Outcome, unpack};
use proa_oci::Digest;
use proa_oci::digest::Hasher;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread::{ScopedJoinHandle, scope};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    None,
    /// gzip, of one or more members.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// By the first bytes of the stream; none if they are neither of ours nor a tar.
    ///
    /// # Errors
    /// [`tar::Error::Unsupported`] for forms we know but do not read.
    pub(crate) fn of(first: &[u8]) -> Result<Option<Self>, tar::Error> {
        Ok(match first {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                return Err(tar::Error::Unsupported("compressed with xz: decompress it first with 'xz -d'"));
            }
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => {
                return Err(tar::Error::Unsupported(
                    "compressed with bzip2: decompress it first with 'bzip2 -d'",
                ));
            }
            _ if tar::header::is_tar(first) => Some(Self::None),
            _ => None,
        })
    }

    /// Wraps a stream in its decompression.
    pub(crate) fn reader<'a>(
        self,
        from: impl BufRead + Send + 'a,
    ) -> std::io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(from),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(from)?),
        })
    }
}

/// A layer that has been received.
pub(crate) struct Received {
    pub(crate) compression: Compression,
    /// Digest and length of what came.
    pub(crate) blob: Digest,
    pub(crate) blob_size: u64,
    /// Digest of the tar.
    pub(crate) diff_id: Digest,
    pub(crate) outcome: Outcome,
}

/// Why a layer was not received.
pub(crate) enum Failure {
    /// The source failed.
    Stream(std::io::Error),
    /// The blob could not be stored.
    Store(std::io::Error),
    /// The layer is bad, or could not be unpacked.
    Layer(tar::Error),
}

impl From<tar::Error> for Failure {
    fn from(error: tar::Error) -> Self {
        Self::Layer(error)
    }
}

/// Where the blob of a layer is kept.
pub(crate) struct Spool {
    pub(crate) file: File,
    /// Bytes at the start of the stream that are in the file already.
    pub(crate) have: u64,
}

/// Opens the file for a blob, if it is to be kept.
pub(crate) type SpoolFor<'a> = &'a mut dyn FnMut(Compression) -> std::io::Result<Option<Spool>>;

/// Receives a layer from `source` into `dir`, which has an empty directory `fs`. `spool` opens the file for
/// the blob; `seen` is told how many bytes have come.
pub(crate) fn receive(
    source: &mut dyn Read,
    spool: SpoolFor<'_>,
    dir: &Path,
    limits: Limits,
    seen: &mut dyn FnMut(u64),
) -> Result<Received, Failure> {
    let pool = Pool::default();
    let (first, failure) = pool.read(source);
    if let Some(error) = failure {
        // Too short to tell what it is; keep it for another attempt if a file asks for it.
        return Err(keep(spool, first.bytes()).unwrap_or(Failure::Stream(error)));
    }
    let neither = tar::Error::Broken { at: 0, problem: "neither a tar archive nor gzip nor zstd" };
    let compression = Compression::of(first.bytes())?.ok_or(neither)?;
    let recipe = || match compression {
        Compression::None => Recorder::create(&dir.join("recipe")),
        _ => Ok(Recorder::none()),
    };
    let recorder = recipe().map_err(Failure::Store)?;
    let mut feed = Feed { source, spool: spool(compression).map_err(Failure::Store)?, total: 0, seen };
    scope(|scope| {
        let (to_unpack, layer) = chunk::channel();
        let (to_hash, plain) = chunk::channel();
        let unpacking = scope.spawn(move || unpack(layer, dir, recorder, limits));
        let hashing = scope.spawn(move || digest(plain));
        let (fed, blob) = match compression {
            Compression::None => (feed.run(&pool, first, &[to_unpack, to_hash]), None),
            _ => {
                let (to_inflate, compressed) = chunk::channel();
                let (to_blob, bytes) = chunk::channel();
                let blob = scope.spawn(move || digest(bytes));
                let inflating = scope.spawn(move || {
                    inflate(compression, compressed, &Pool::default(), &[to_unpack, to_hash], limits)
                });
                let fed = feed.run(&pool, first, &[to_inflate, to_blob]);
                (fed.and_then(|()| join(inflating).map_err(Failure::Layer)), Some(join(blob)))
            }
        };
        let (outcome, diff_id) = (join(unpacking), join(hashing));
        fed?;
        let blob = blob.unwrap_or_else(|| diff_id.clone());
        Ok(Received { compression, blob, blob_size: feed.total, diff_id, outcome: outcome? })
    })
}

/// Stores the little that came of a stream that broke at once.
fn keep(spool: SpoolFor<'_>, bytes: &[u8]) -> Option<Failure> {
    let mut store = || -> std::io::Result<()> {
        let Some(spool) = spool(Compression::of(bytes).ok().flatten().unwrap_or(Compression::None))? else {
            return Ok(());
        };
        let mut feed =
            Feed { source: &mut std::io::empty(), spool: Some(spool), total: 0, seen: &mut |_| {} };
        feed.store(bytes)
    };
    store().err().map(Failure::Store)
}

/// Waits for a stage; its panic is ours.
fn join<T>(stage: ScopedJoinHandle<'_, T>) -> T {
    stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The first stage.
struct Feed<'a> {
    source: &'a mut dyn Read,
    spool: Option<Spool>,
    total: u64,
    seen: &'a mut dyn FnMut(u64),
}

impl Feed<'_> {
    /// Passes the source on to its end, or until the next stages no longer listen (they know why).
    fn run(&mut self, pool: &Pool, first: Shared, to: &[SyncSender<Shared>]) -> Result<(), Failure> {
        let mut chunk = first;
        loop {
            self.store(chunk.bytes()).map_err(Failure::Store)?;
            self.total += chunk.bytes().len() as u64;
            (self.seen)(self.total);
            let ended = chunk.bytes().is_empty();
            if !send(&chunk, to) || ended {
                return Ok(());
            }
            let failure;
            (chunk, failure) = pool.read(self.source);
            if let Some(error) = failure {
                self.store(chunk.bytes()).map_err(Failure::Store)?;
                return Err(Failure::Stream(error));
            }
        }
    }

    fn store(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(spool) = &mut self.spool else { return Ok(()) };
        let have = usize::try_from(spool.have.saturating_sub(self.total)).unwrap_or(usize::MAX);
        spool.file.write_all(bytes.get(have.min(bytes.len())..).unwrap_or_default())
    }
}

/// Whether all of them still listen.
fn send(chunk: &Shared, to: &[SyncSender<Shared>]) -> bool {
    to.iter().all(|sender| sender.send(Shared::clone(chunk)).is_ok())
}

fn digest(mut from: Source) -> Digest {
    let mut hasher = Hasher::default();
    while let Some(chunk) = from.chunk() {
        hasher.update(chunk.bytes());
    }
    hasher.finish()
}

/// Decompresses, as long as anyone listens.
fn inflate(
    compression: Compression,
    from: Source,
    pool: &Pool,
    to: &[SyncSender<Shared>],
    limits: Limits,
) -> Result<(), tar::Error> {
    let taken = from.taken();
    let mut plain = compression.reader(from).map_err(tar::Error::Compression)?;
    let mut total = 0u64;
    loop {
        let (chunk, failure) = pool.read(&mut plain);
        if let Some(error) = failure {
            return Err(tar::Error::Compression(error));
        }
        total += chunk.bytes().len() as u64;
        let most = taken.load(Ordering::Relaxed).saturating_mul(limits.ratio);
        if total > limits.ratio_from && total > most {
            return Err(tar::Error::TooMuch { limit: most, what: "bytes for how well it is compressed" });
        }
        if !send(&chunk, to) || chunk.bytes().is_empty() {
            return Ok(());
        }
    }
}
