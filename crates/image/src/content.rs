//! The content store: blobs by digest below `content/blobs/sha256`, and what is on its way in below
//! `content/ingest`.
//!
//! A blob gets its name by rename once its digest is checked. A transfer that breaks off leaves
//! `ingest/<hex>.partial`, which the next attempt continues; it proves nothing until the whole is hashed.

use crate::{Blob, Error, Result};
use proa_oci::Digest;
use proa_sys::failpoint::passage;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The content store's directories.
pub(crate) struct Content {
    blobs: PathBuf,
    ingest: PathBuf,
}

impl Content {
    /// Opens the store below the data root, making its directories.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let content = root.join("content");
        let store = Self { blobs: content.join("blobs/sha256"), ingest: content.join("ingest") };
        for dir in [&store.blobs, &store.ingest] {
            make_dir(dir)?;
        }
        Ok(store)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Opens a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Blob> {
        let path = self.path(digest);
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NoBlob(digest.clone()),
            _ => Error::io(format!("cannot read {}", path.display()))(error),
        };
        let file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok(Blob { size, reader: Box::new(file) })
    }

    /// Whether the blob is here.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Removes a blob; absent is fine.
    pub(crate) fn remove(&self, digest: &Digest) {
        let _ = std::fs::remove_file(self.path(digest));
    }

    /// Where a blob on its way in is kept.
    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.ingest.join(format!("{}.partial", digest.hex()))
    }

    /// How many bytes of a blob are here from an attempt that broke off.
    pub(crate) fn received(&self, digest: &Digest) -> u64 {
        std::fs::metadata(self.partial_path(digest)).map_or(0, |meta| meta.len())
    }

    /// Opens what has come of a blob, for reading it and then adding to it.
    pub(crate) fn partial(&self, digest: &Digest) -> Result<File> {
        let path = self.partial_path(digest);
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(Error::io(format!("cannot write {}", path.display())))
    }

    /// A file for a blob whose digest is not known yet.
    pub(crate) fn anonymous(&self, name: &str) -> Result<(File, PathBuf)> {
        let path = self.ingest.join(name);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        Ok((file.map_err(Error::io(format!("cannot write {}", path.display())))?, path))
    }

    /// Gives a finished file its name; its digest has been checked.
    pub(crate) fn publish(&self, from: &Path, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        std::fs::rename(from, &path).map_err(Error::io(format!("cannot write {}", path.display())))?;
        passage("blob.published");
        Ok(())
    }

    /// Removes blobs that `wanted` does not know, and transfers older than a week.
    pub(crate) fn sweep(&self, wanted: impl Fn(&str) -> bool) {
        for name in names(&self.blobs) {
            if !wanted(&name) {
                let _ = std::fs::remove_file(self.blobs.join(name));
            }
        }
        let old = |path: &Path| {
            let age = path.metadata().and_then(|m| m.modified()).map(|at| at.elapsed().unwrap_or_default());
            age.map_or(true, |age| age.as_secs() > 7 * 86_400)
        };
        for name in names(&self.ingest) {
            let path = self.ingest.join(&name);
            if !name.ends_with(".partial") || old(&path) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Makes a directory that only root may enter, with its parents.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o710)
        .create(dir)
        .map_err(Error::io(format!("cannot make {}", dir.display())))
}

/// Names of the entries of a directory; none if it cannot be read.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
