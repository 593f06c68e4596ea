//! `import`: an image of one layer from a file system tree.

use crate::changes::apply;
use crate::ingest::throttled;
use crate::layer::{Compression, Spool};
use crate::{Error, Image, ImageStore, ImportOptions, NewImage, Phase, Progress, Result};
use proa_oci::Platform;
use proa_oci::image::{Descriptor, ExecConfig, History, ImageConfig, RootFs, media};
use proa_types::Timestamp;
use std::io::Read;
use std::sync::Arc;

/// Makes an image of a file tree in a tar archive.
pub(crate) fn import(
    store: &ImageStore,
    mut from: impl Read + Send,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Arc<Image>> {
    if let Some(reference) = options.reference.as_ref().filter(|reference| reference.digest.is_some()) {
        return Err(Error::TagWithDigest(reference.familiar()));
    }
    // Wrong instructions are refused before anything is read.
    let mut config = ExecConfig::default();
    for instruction in &options.changes {
        apply(&mut config, instruction)?;
    }
    let lease = store.begin();
    let inner = &store.inner;
    let temporary = format!("import-{}", proa_types::id::random_hex());
    let mut kept = None;
    let mut spool = |compression| {
        if compression == Compression::None {
            return Ok(None);
        }
        let (file, path) = inner.content.anonymous(&temporary)?;
        kept = Some(path);
        Ok(Some(Spool { file, have: 0 }))
    };
    let mut seen = throttled(progress, "import", 0);
    let received = inner.receive("to import", &mut from, &mut spool, &mut seen);
    let (scratch, received) = match (received, &kept) {
        (Err(error), Some(path)) => {
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        (received, _) => received?,
    };
    if let Some(path) = &kept {
        inner.content.publish(path, &received.blob)?;
    }
    let kind = match received.compression {
        Compression::None => media::LAYER,
        Compression::Gzip => media::LAYER_GZIP,
        Compression::Zstd => media::LAYER_ZSTD,
    };
    let blob = Descriptor::new(kind, received.blob.clone(), received.blob_size);
    inner.register(lease.lease, scratch, &received, Some(blob))?;
    progress.report("import", Phase::Complete, received.blob_size, received.blob_size);
    let document = document(options, config, received.diff_id);
    let bytes = serde_json::to_vec(&document)
        .map_err(|source| Error::Document { what: "image configuration".into(), source })?;
    let tag = options.reference.as_ref();
    lease.commit(&NewImage { config: &bytes, manifest: None, tag, pulled_by: None, parent: None })
}

fn document(options: &ImportOptions, config: ExecConfig, diff_id: proa_oci::Digest) -> ImageConfig {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let now = Some(Timestamp::now().to_string());
    let comment = if options.message.is_empty() { "Imported from -" } else { &options.message };
    let history = History { created: now.clone(), comment: comment.into(), ..History::default() };
    ImageConfig {
        created: now,
        author: String::new(),
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant.unwrap_or_default(),
        config,
        rootfs: RootFs { kind: "layers".into(), diff_ids: vec![diff_id] },
        history: vec![history],
    }
}
