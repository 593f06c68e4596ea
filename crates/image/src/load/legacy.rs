//! The archives of docker before 1.10: one directory `ID/` for each layer with `json` and `layer.tar`, and
//! `repositories` with the names. The configuration is put together from the `json` files.

use super::Found;
use super::archive::{Archive, parse};
use super::docker::name;
use crate::{Error, Result};
use proa_oci::Digest;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const REPOSITORIES: &str = "repositories";
/// Layers of one image.
const MAX_LAYERS: usize = 1000;

/// The images of such an archive.
pub(crate) fn images(archive: &Archive<'_>) -> Result<Vec<Found>> {
    let repositories: BTreeMap<String, BTreeMap<String, String>> =
        archive.document(REPOSITORIES, REPOSITORIES)?;
    let mut found = Vec::new();
    for (repository, tags) in &repositories {
        for (tag, id) in tags {
            let config = config(archive, id)?;
            let tags = vec![name(&format!("{repository}:{tag}"), REPOSITORIES)?];
            found.push(Found { config, manifest: None, tags });
        }
    }
    Ok(found)
}

fn config(archive: &Archive<'_>, top: &str) -> Result<Vec<u8>> {
    let (mut diffs, mut history) = (Vec::new(), Vec::new());
    let mut image: Option<Map<String, Value>> = None;
    let mut next = Some(top.to_owned());
    while let Some(id) = next.take() {
        let file = format!("{id}/json");
        if diffs.len() >= MAX_LAYERS || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::Archive { file, problem: "its chain of parents does not end".into() });
        }
        let document: Map<String, Value> = parse(&file, archive.bytes(&file, REPOSITORIES)?)?;
        diffs.push(archive.diff_id(&format!("{id}/layer.tar"), &file)?);
        history.push(step(&document));
        next = document.get("parent").and_then(Value::as_str).filter(|p| !p.is_empty()).map(Into::into);
        image.get_or_insert(document);
    }
    diffs.reverse();
    history.reverse();
    let image = image.unwrap_or_default();
    write(&image, &diffs, history)
}

fn step(document: &Map<String, Value>) -> Value {
    let words = document.get("container_config").and_then(|config| config.get("Cmd"));
    let words = words.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let created_by = words.collect::<Vec<_>>().join(" ");
    json!({"created": document.get("created"), "created_by": created_by})
}

fn write(image: &Map<String, Value>, diffs: &[Digest], history: Vec<Value>) -> Result<Vec<u8>> {
    let mut config = Map::new();
    for key in ["architecture", "author", "config", "created", "os", "variant"] {
        if let Some(value) = image.get(key).filter(|value| !value.is_null()) {
            config.insert(key.into(), value.clone());
        }
    }
    config.entry("os").or_insert_with(|| "linux".into());
    config.insert("rootfs".into(), json!({"type": "layers", "diff_ids": diffs}));
    config.insert("history".into(), history.into());
    serde_json::to_vec(&config)
        .map_err(|source| Error::Document { what: "image configuration".into(), source })
}
