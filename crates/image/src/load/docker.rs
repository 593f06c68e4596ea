//! Docker archives: `manifest.json` lists images, each with its configuration, names and layers.

use super::Found;
use super::archive::{Archive, parse};
use crate::{Error, Result};
use proa_oci::Reference;
use proa_oci::image::ImageConfig;
use serde::Deserialize;

const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of a docker archive.
pub(crate) fn images(archive: &Archive<'_>) -> Result<Vec<Found>> {
    let items: Vec<Item> = archive.document(MANIFEST, MANIFEST)?;
    items.into_iter().map(|item| image(archive, item)).collect()
}

fn image(archive: &Archive<'_>, item: Item) -> Result<Found> {
    let config = archive.bytes(&item.config, MANIFEST)?;
    let document: ImageConfig = parse(&item.config, config)?;
    archive.check_layers(&document, &item.layers.unwrap_or_default(), MANIFEST)?;
    let tags = item.repo_tags.unwrap_or_default();
    let tags: Result<Vec<Reference>> = tags.iter().map(|tag| name(tag, MANIFEST)).collect();
    Ok(Found { config: config.to_vec(), manifest: None, tags: tags? })
}

/// A name an archive gives to an image.
pub(crate) fn name(text: &str, from: &str) -> Result<Reference> {
    let reference: Reference =
        text.parse().map_err(|e| Error::Archive { file: from.into(), problem: format!("{e}") })?;
    match reference.digest {
        None => Ok(reference),
        Some(_) => Err(Error::Archive {
            file: from.into(),
            problem: format!("the name {text:?} has a digest: an archive can only give tags"),
        }),
    }
}
