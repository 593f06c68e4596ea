//! OCI layouts (image-spec, image-layout.md): `index.json` points at manifests, they at blobs, all by digest.

use super::Found;
use super::archive::{Archive, parse};
use super::docker::name;
use crate::ingest::matches;
use crate::{Error, Result};
use proa_oci::image::{Descriptor, ImageConfig, Index, Manifest, media, unambiguous};
use proa_oci::{Digest, Platform, Reference};

const INDEX: &str = "index.json";
/// Indexes within indexes.
const MAX_DEPTH: usize = 4;

/// The images of a layout: of each entry of the index the one for this platform.
pub(crate) fn images(archive: &Archive<'_>) -> Result<Vec<Found>> {
    let index: Index = archive.document(INDEX, INDEX)?;
    let mut found: Vec<Found> = Vec::new();
    for entry in index.manifests.iter().filter(|entry| !is_for_others(entry, &index)) {
        let Some(manifest) = choose(archive, entry, INDEX, 0)? else { continue };
        let mut image = image(archive, &manifest)?;
        match found.iter_mut().find(|other| other.config == image.config) {
            Some(same) => same.tags.extend(tag(entry)?),
            None => {
                image.tags.extend(tag(entry)?);
                found.push(image);
            }
        }
    }
    Ok(found)
}

/// Whether an entry is for another platform, and one of the same name is for this, or for no platform at all.
fn is_for_others(entry: &Descriptor, index: &Index) -> bool {
    let host = Platform::host();
    let fits = |entry: &Descriptor| entry.platform.as_ref().is_none_or(|platform| platform.runs_on(&host));
    let unknown = entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    let twin = |other: &Descriptor| other.annotations == entry.annotations && fits(other);
    unknown || (!fits(entry) && index.manifests.iter().any(twin))
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The bytes of a document that a descriptor promises.
fn document<'a>(archive: &'a Archive<'_>, wanted: &Descriptor, from: &str) -> Result<&'a [u8]> {
    let path = path(&wanted.digest);
    let bytes = archive.bytes(&path, from)?;
    matches(&path, &wanted.digest, &Digest::of(bytes))?;
    if wanted.media_type != media::CONFIG && wanted.media_type != media::DOCKER_CONFIG {
        unambiguous(&wanted.media_type, bytes)
            .map_err(|problem| Error::Archive { file: path, problem: problem.into() })?;
    }
    Ok(bytes)
}

/// The manifest a descriptor leads to on this platform.
fn choose(archive: &Archive<'_>, entry: &Descriptor, from: &str, depth: usize) -> Result<Option<Descriptor>> {
    match entry.media_type.as_str() {
        media::MANIFEST | media::DOCKER_MANIFEST => return Ok(Some(entry.clone())),
        media::INDEX | media::DOCKER_LIST if depth < MAX_DEPTH => {}
        media::INDEX | media::DOCKER_LIST => {
            let problem = "its indexes lie too deep in each other".into();
            return Err(Error::Archive { file: from.into(), problem });
        }
        _ => return Ok(None),
    }
    let name = path(&entry.digest);
    let index: Index = parse(&name, document(archive, entry, from)?)?;
    let host = Platform::host();
    let here = |d: &&Descriptor| archive.has(&path(&d.digest));
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.runs_on(&host));
    let real = |d: &&Descriptor| d.platform.as_ref().is_none_or(|p| p.os != "unknown");
    let candidates = || index.manifests.iter().filter(here);
    match candidates().find(fits).or_else(|| candidates().find(real)) {
        Some(chosen) => choose(archive, chosen, &name, depth + 1),
        None => Ok(None),
    }
}

fn image(archive: &Archive<'_>, entry: &Descriptor) -> Result<Found> {
    let name = path(&entry.digest);
    let bytes = document(archive, entry, INDEX)?;
    let manifest: Manifest = parse(&name, bytes)?;
    let config_name = path(&manifest.config.digest);
    let config = document(archive, &manifest.config, &name)?;
    let read: ImageConfig = parse(&config_name, config)?;
    let members: Vec<String> = manifest.layers.iter().map(|layer| path(&layer.digest)).collect();
    archive.check_layers(&read, &members, &name)?;
    for ((layer, member), diff) in manifest.layers.iter().zip(&members).zip(&read.rootfs.diff_ids) {
        if let Some(blob) = archive.layer_for(member, diff, &name).ok().and_then(|found| found.blob.as_ref())
        {
            matches(member, &layer.digest, blob)?;
        }
    }
    let manifest = Some((entry.media_type.clone(), bytes.to_vec()));
    Ok(Found { config: config.to_vec(), manifest, tags: Vec::new() })
}

/// The name of an image: containerd and docker write it whole, skopeo and podman put what they were given
/// into the other annotation, which may be no more than a tag.
fn tag(entry: &Descriptor) -> Result<Option<Reference>> {
    if let Some(whole) = entry.annotations.get("io.containerd.image.name") {
        return name(whole, INDEX).map(Some);
    }
    match entry.annotations.get("org.opencontainers.image.ref.name") {
        Some(text) if text.contains([':', '/']) => name(text, INDEX).map(Some),
        _ => Ok(None),
    }
}
