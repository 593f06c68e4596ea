//! `load`: docker archives (`manifest.json`, or the older `repositories`) and OCI layouts (`index.json`).
//!
//! An archive comes as a stream and names its parts only at the end, so every member that looks like a layer
//! is unpacked as it comes, straight into the place where it will live; what turns out to belong to no
//! image goes again with the lease. Members that look like documents are kept in memory up to a limit.
//! All images of an archive are made in one transaction, after everything has been checked.

mod archive;
mod docker;
mod legacy;
mod oci;

use crate::layer::Compression;
use crate::{Error, ImageStore, Loaded, NewImage, Progress, Result};
use archive::Archive;
use proa_oci::{Digest, Reference};
use std::io::{BufRead, BufReader, Read};

/// An image found in an archive, checked, with its layers registered.
struct Found {
    config: Vec<u8>,
    manifest: Option<(String, Vec<u8>)>,
    tags: Vec<Reference>,
}

/// Loads an archive.
pub(crate) fn load(
    store: &ImageStore,
    from: impl Read + Send,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let lease = store.begin();
    let mut input = BufReader::with_capacity(256 << 10, from);
    let first = input.fill_buf().map_err(|source| Error::Stream { what: "image archive".into(), source })?;
    if first.is_empty() {
        return Err(Error::NotAnImage("the image archive is empty".into()));
    }
    let layer = |source: crate::tar::Error| Error::NotAnImage(format!("this image archive is {source}"));
    let Some(compression) = Compression::of(first).map_err(layer)? else {
        let text = "this is not an image archive: it is neither tar nor gzip nor zstd; make one with 'save'";
        return Err(Error::NotAnImage(text.into()));
    };
    let plain = compression.reader(input).map_err(Error::io("cannot decompress the image archive"))?;
    let archive = Archive::read(&lease, BufReader::with_capacity(256 << 10, plain), progress)?;
    let found = interpret(&archive)?;
    let mut images = Vec::new();
    let mut loaded = Vec::new();
    for image in &found {
        let id = Digest::of(&image.config);
        let manifest = image.manifest.as_ref().map(|(kind, bytes)| (kind.as_str(), bytes.as_slice()));
        let new = |tag| NewImage { config: &image.config, manifest, tag, pulled_by: None, parent: None };
        if image.tags.is_empty() {
            images.push(new(None));
            loaded.push(Loaded { id: id.clone(), tag: None });
        }
        for tag in &image.tags {
            images.push(new(Some(tag)));
            loaded.push(Loaded { id: id.clone(), tag: Some(tag.familiar()) });
        }
    }
    store.inner.commit(&images)?;
    Ok(loaded)
}

/// Finds out what sort of archive it is, and its images.
fn interpret(archive: &Archive<'_>) -> Result<Vec<Found>> {
    let found = if archive.has("manifest.json") {
        docker::images(archive)
    } else if archive.has("index.json") {
        oci::images(archive)
    } else if archive.has("repositories") {
        legacy::images(archive)
    } else {
        let text = "this archive holds no image: it has neither manifest.json nor index.json \
                    (for a plain file system tree use 'import')";
        Err(Error::NotAnImage(text.into()))
    }?;
    if found.is_empty() {
        return Err(Error::NotAnImage("this archive lists no image for this platform".into()));
    }
    Ok(found)
}
