//! The members of an image archive, taken in as the stream brings them.

use crate::ingest::{Ingest, matches, throttled};
use crate::layer::{Compression, Spool};
use crate::tar::{self, Entry, Kind, Reader};
use crate::unpack::clean;
use crate::{Error, Phase, Progress, Result};
use proa_oci::image::{Descriptor, media};
use proa_oci::{Digest, image::ImageConfig};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// Bytes a document may have, and all of them together.
const MAX_DOCUMENT: u64 = 4 << 20;
const MAX_DOCUMENTS: u64 = 64 << 20;
/// Members an image archive may have.
const MAX_MEMBERS: u64 = 200_000;
/// Links to follow from one name.
const MAX_LINKS: usize = 8;

/// A member that is (or may be) a layer.
#[derive(Clone)]
pub(crate) struct Layer {
    /// Digest of the member's own bytes; none if they were skipped because the layer is here.
    pub(crate) blob: Option<Digest>,
    /// Digest of its tar.
    pub(crate) diff_id: Digest,
}

/// What has come.
pub(crate) struct Archive<'a> {
    lease: &'a Ingest,
    documents: HashMap<String, Vec<u8>>,
    layers: HashMap<String, std::result::Result<Layer, String>>,
    links: HashMap<String, String>,
    budget: u64,
}

impl<'a> Archive<'a> {
    /// Reads an archive to its end.
    pub(crate) fn read(lease: &'a Ingest, input: impl BufRead, progress: &dyn Progress) -> Result<Self> {
        let mut archive = Self {
            lease,
            documents: HashMap::new(),
            layers: HashMap::new(),
            links: HashMap::new(),
            budget: MAX_DOCUMENTS,
        };
        let limits = tar::Limits { entries: MAX_MEMBERS, bytes: u64::MAX >> 1, ..lease.inner.limits() };
        let mut reader = Reader::new(input, (), limits);
        let failed = |source| match source {
            tar::Error::Read(source) => Error::Stream { what: "image archive".into(), source },
            source => Error::NotAnImage(format!("the image archive cannot be read: {source}")),
        };
        while let Some(entry) = reader.next_entry().map_err(failed)? {
            let problem = |problem: &str| Error::Archive { file: entry.name(), problem: problem.into() };
            let name = clean(&entry.path).map_err(problem)?;
            let name = String::from_utf8(name).map_err(|_| problem("its name is not UTF-8 text"))?;
            match entry.kind {
                Kind::File => archive.member(&name, &entry, &mut reader, progress)?,
                Kind::Symlink | Kind::HardLink => archive.link(name, &entry)?,
                _ => {}
            }
        }
        Ok(archive)
    }

    /// Notes a link: older dockers write a layer that several images share once, and link to it.
    fn link(&mut self, name: String, entry: &Entry) -> Result<()> {
        let refused = |problem: &str| Error::Archive { file: name.clone(), problem: problem.into() };
        let target = match (entry.kind, name.rsplit_once('/')) {
            (Kind::Symlink, Some((parent, _))) => [parent.as_bytes(), b"/", &entry.link].concat(),
            _ => entry.link.clone(),
        };
        let target = clean(&target).map_err(|_| refused("it links to outside of the archive"))?;
        let target = String::from_utf8(target).map_err(|_| refused("its target is not UTF-8 text"))?;
        self.links.insert(name, target);
        Ok(())
    }

    fn member<R: BufRead>(
        &mut self,
        name: &str,
        entry: &Entry,
        reader: &mut Reader<R, ()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        if let Some(layer) = self.known(name) {
            progress.report(layer.diff_id.short(), Phase::Exists, entry.size, entry.size);
            self.layers.insert(name.into(), Ok(layer));
            return Ok(());
        }
        let mut payload = Payload { reader };
        let mut first = Vec::with_capacity(512);
        let read = (&mut payload).take(512).read_to_end(&mut first);
        read.map_err(|source| Error::Stream { what: name.into(), source })?;
        let compressed = matches!(Compression::of(&first), Err(_) | Ok(Some(_)));
        if compressed {
            let mut bytes = first.as_slice().chain(payload);
            let layer = self.layer(name, entry.size, &mut bytes, progress)?;
            self.layers.insert(name.into(), layer);
        } else if entry.size <= MAX_DOCUMENT.min(self.budget) {
            payload.read_to_end(&mut first).map_err(|source| Error::Stream { what: name.into(), source })?;
            self.budget -= entry.size;
            self.documents.insert(name.into(), first);
        } else {
            let text = "neither a layer (tar, gzip, zstd) nor small enough for a document";
            self.layers.insert(name.into(), Err(text.into()));
        }
        Ok(())
    }

    /// A member whose name is the digest of a layer that is here: its bytes are of no interest.
    fn known(&self, name: &str) -> Option<Layer> {
        let digest = Digest::from_hex(name.strip_prefix("blobs/sha256/")?).ok()?;
        if self.lease.has_layer(&digest) {
            return Some(Layer { blob: None, diff_id: digest });
        }
        let diff_id = self.lease.inner.catalog().diff_of_blob(&digest)?;
        self.lease.has_layer(&diff_id).then_some(Layer { blob: Some(digest), diff_id })
    }

    /// Takes in what looks like a layer. That it cannot be unpacked matters only if an image wants it; that
    /// the stream or the disk fails matters at once.
    fn layer(
        &self,
        name: &str,
        size: u64,
        bytes: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<std::result::Result<Layer, String>> {
        let inner = &self.lease.inner;
        let label = label(name);
        let mut kept = None;
        let mut spool = |compression| {
            if compression == Compression::None {
                return Ok(None);
            }
            let temporary = format!("load-{}", proa_types::id::random_hex());
            let (file, path) = inner.content.anonymous(&temporary)?;
            kept = Some(Temporary(path));
            Ok(Some(Spool { file, have: 0 }))
        };
        let mut seen = throttled(progress, &label, size);
        let (scratch, received) = match inner.receive(name, bytes, &mut spool, &mut seen) {
            Ok(received) => received,
            Err(Error::Layer { source, .. }) if !crate::error::fatal(&source) => {
                return Ok(Err(source.to_string()));
            }
            Err(error) => return Err(error),
        };
        let kind = match received.compression {
            Compression::None => media::LAYER,
            Compression::Gzip => media::LAYER_GZIP,
            Compression::Zstd => media::LAYER_ZSTD,
        };
        let blob = Descriptor::new(kind, received.blob.clone(), received.blob_size);
        if let Some(Temporary(path)) = &kept {
            inner.content.publish(path, &received.blob)?;
        }
        inner.register(self.lease.lease, scratch, &received, Some(blob))?;
        progress.report(&label, Phase::Complete, size, size);
        Ok(Ok(Layer { blob: Some(received.blob), diff_id: received.diff_id }))
    }

    /// Whether there is such a document.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.documents.contains_key(self.target(name))
    }

    /// The bytes of a document; `from` is the member that names it.
    pub(crate) fn bytes(&self, name: &str, from: &str) -> Result<&[u8]> {
        let missing = || Error::Archive {
            file: from.into(),
            problem: format!("it names {name:?}, which is not in the archive: save the image again"),
        };
        self.documents.get(self.target(name)).map(Vec::as_slice).ok_or_else(missing)
    }

    /// A document, read.
    pub(crate) fn document<T: DeserializeOwned>(&self, name: &str, from: &str) -> Result<T> {
        parse(name, self.bytes(name, from)?)
    }

    /// A layer that an image wants as `diff_id`; `from` is the member that names it.
    pub(crate) fn layer_for(&self, name: &str, diff_id: &Digest, from: &str) -> Result<&Layer> {
        let problem = |problem: String| Error::Archive { file: from.into(), problem };
        let layer = match self.layers.get(self.target(name)) {
            Some(Ok(layer)) => layer,
            Some(Err(why)) => {
                return Err(problem(format!("its layer {name:?} cannot be unpacked: {why}")));
            }
            None => {
                let text = format!("it names the layer {name:?}, which is not in the archive: save it again");
                return Err(problem(text));
            }
        };
        matches(name, diff_id, &layer.diff_id)?;
        Ok(layer)
    }

    /// Checks that the layers of a configuration are these members.
    pub(crate) fn check_layers(&self, config: &ImageConfig, members: &[String], from: &str) -> Result<()> {
        let diffs = &config.rootfs.diff_ids;
        if diffs.len() != members.len() {
            let (have, want) = (members.len(), diffs.len());
            let problem = format!("it lists {have} layers, but the image's configuration has {want}");
            return Err(Error::Archive { file: from.into(), problem });
        }
        for (name, diff) in members.iter().zip(diffs) {
            // docker leaves out layers that the receiver has.
            if self.layers.contains_key(self.target(name)) || !self.lease.has_layer(diff) {
                self.layer_for(name, diff, from)?;
            }
        }
        Ok(())
    }

    /// Diff id of a member, whatever it is wanted as.
    pub(crate) fn diff_id(&self, name: &str, from: &str) -> Result<Digest> {
        match self.layers.get(self.target(name)) {
            Some(Ok(layer)) => Ok(layer.diff_id.clone()),
            Some(Err(why)) => Err(Error::Archive {
                file: from.into(),
                problem: format!("its layer {name:?} cannot be unpacked: {why}"),
            }),
            None => Err(Error::Archive {
                file: from.into(),
                problem: format!("its layer {name:?} is not in the archive: save the image again"),
            }),
        }
    }

    fn target<'n>(&'n self, name: &'n str) -> &'n str {
        let mut name = name.strip_prefix("./").unwrap_or(name);
        for _ in 0..MAX_LINKS {
            match self.links.get(name) {
                Some(next) => name = next,
                None => break,
            }
        }
        name
    }
}

/// Reads a JSON document of an archive.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|source| Error::Archive { file: name.into(), problem: format!("cannot be read: {source}") })
}

/// What progress calls a layer: the start of the digest in its name.
fn label(name: &str) -> String {
    let part = |part: &&str| part.len() >= 12 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let base = name.strip_suffix(".tar").unwrap_or(name);
    base.split('/').rev().find(part).unwrap_or("layer").chars().take(12).collect()
}

/// A file that goes unless it was published (renamed) before.
struct Temporary(std::path::PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The payload of the current member as a stream.
struct Payload<'a, R> {
    reader: &'a mut Reader<R, ()>,
}

impl<R: BufRead> Read for Payload<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read_payload(buffer).map_err(|error| match error {
            tar::Error::Read(source) => source,
            other => std::io::Error::other(other),
        })
    }
}
