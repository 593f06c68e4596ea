//! `commit`: an image of another one and a layer of changes.

use crate::catalog::parse_config;
use crate::{Error, Image, ImageStore, NewImage, Result};
use proa_oci::Reference;
use proa_oci::image::{ExecConfig, History};
use proa_types::Timestamp;
use std::io::{BufWriter, Write};
use std::sync::Arc;

/// What an image that is made of another one is to be.
#[derive(Debug, Clone, Default)]
pub struct DeriveOptions {
    /// How to run it.
    pub config: ExecConfig,
    /// Who made it.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// The command whose effects the layer has.
    pub created_by: String,
    /// Its name.
    pub reference: Option<Reference>,
}

impl ImageStore {
    /// Makes an image of `parent` and the layer that `write` writes as a plain archive; `write` tells whether there is
    /// anything in it. Nothing is left behind when it fails.
    ///
    /// # Errors
    /// [`Error::Io`] when `write` fails, [`Error::Layer`], [`Error::TagWithDigest`].
    pub fn derive(
        &self,
        parent: &Image,
        options: &DeriveOptions,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<bool> + Send,
    ) -> Result<Arc<Image>> {
        if let Some(reference) = options.reference.as_ref().filter(|reference| reference.digest.is_some()) {
            return Err(Error::TagWithDigest(reference.familiar()));
        }
        let lease = self.begin();
        for diff in &parent.layers {
            lease.has_layer(diff);
        }
        let what = || "cannot read the changes of the container".to_owned();
        let (mut from, to) = std::io::pipe().map_err(Error::io(what()))?;
        let (received, written) = std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut to = BufWriter::with_capacity(128 << 10, to);
                let changed = write(&mut to)?;
                to.flush().map(|()| changed)
            });
            let received = self.inner.receive("of changes", &mut from, &mut |_| Ok(None), &mut |_| {});
            // The writer is not to wait for a reader that has gone.
            drop(from);
            let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (received, written)
        });
        // Its failure explains the other's, unless it only saw that nobody read on.
        let changed = match (written, &received) {
            (Err(error), Err(_)) if error.kind() == std::io::ErrorKind::BrokenPipe => false,
            (written, _) => written.map_err(Error::io(what()))?,
        };
        let (scratch, received) = received?;
        let mut document = parse_config(&parent.id, parent.raw_config.as_bytes())?;
        if changed {
            self.inner.register(lease.lease, scratch, &received, None)?;
            document.rootfs.diff_ids.push(received.diff_id);
        }
        let now = Some(Timestamp::now().to_string());
        document.created.clone_from(&now);
        document.author.clone_from(&options.author);
        document.config = options.config.clone();
        document.history.push(History {
            created: now,
            created_by: options.created_by.clone(),
            author: options.author.clone(),
            comment: options.comment.clone(),
            empty_layer: !changed,
        });
        let bytes = serde_json::to_vec(&document)
            .map_err(|source| Error::Document { what: "image configuration".into(), source })?;
        lease.commit(&NewImage {
            config: &bytes,
            manifest: None,
            tag: options.reference.as_ref(),
            pulled_by: None,
            parent: Some(&parent.id),
        })
    }
}
