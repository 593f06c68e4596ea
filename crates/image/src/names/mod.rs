//! Names of images: giving, taking, and looking images up by what filters say.

mod remove;

pub use remove::Pruned;

use crate::catalog::{Catalog, key};
use crate::record::{DIGESTS, IMAGES, TAGS};
use crate::{Error, HistoryRow, Image, ImageStore, Result};
use proa_oci::{Digest, Reference};
use proa_state::Durability;
use proa_types::{Filters, Timestamp};
use std::sync::Arc;

/// Filters that [`ImageStore::filtered`] knows.
const FILTERS: [&str; 6] = ["dangling", "label", "reference", "before", "since", "until"];

impl ImageStore {
    /// Gives an image another name, taking it from the image that has it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the source, [`Error::Reference`] or [`Error::TagWithDigest`] for the target.
    pub fn tag(&self, source: &str, target: &str) -> Result<Arc<Image>> {
        let target: Reference = target.parse()?;
        if target.digest.is_some() {
            return Err(Error::TagWithDigest(target.familiar()));
        }
        let _change = self.inner.change();
        let image = self.resolve(source)?;
        let name = key(&target);
        let mut record = self.inner.record(&image.id)?;
        record.last_tagged = Timestamp::now();
        self.inner.state.update(Durability::Immediate, |update| {
            update.put(&IMAGES, image.id.as_str(), &record)?;
            update.put(&TAGS, &name, &image.id)
        })?;
        let mut catalog = self.inner.catalog_mut();
        if let Some(entry) = catalog.images.get_mut(&image.id) {
            entry.record = record;
        }
        let old = catalog.tags.insert(name, image.id.clone());
        for id in old.iter().chain([&image.id]) {
            catalog.refresh(id);
        }
        shown(&catalog, &image.id)
    }

    /// Records that an image is known to a registry as `name@digest`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`]; [`Error::Inconsistent`] if the reference has no digest.
    pub fn pushed(&self, image: &Digest, reference: &Reference) -> Result<()> {
        if reference.digest.is_none() {
            let problem = format!("{} has no digest", reference.familiar());
            return Err(Error::Inconsistent { image: image.short().into(), problem });
        }
        let _change = self.inner.change();
        self.inner.record(image)?;
        let name = key(reference);
        self.inner.state.update(Durability::Immediate, |update| update.put(&DIGESTS, &name, image))?;
        let mut catalog = self.inner.catalog_mut();
        let old = catalog.digests.insert(name, image.clone());
        for id in old.iter().chain([image]) {
            catalog.refresh(id);
        }
        Ok(())
    }

    /// How an image came to be, newest step first.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Reference`].
    pub fn history(&self, text: &str) -> Result<Vec<HistoryRow>> {
        let image = self.resolve(text)?;
        let catalog = self.inner.catalog();
        let mut layers = image.layers.iter();
        let mut row = |step: &proa_oci::image::History| HistoryRow {
            id: None,
            created: step.created.as_deref().and_then(|t| Timestamp::parse(t).ok()).unwrap_or_default(),
            created_by: step.created_by.clone(),
            tags: Vec::new(),
            size: match step.empty_layer {
                true => 0,
                false => layers.next().and_then(|diff| catalog.layer(diff)).map_or(0, |l| l.content_size),
            },
            comment: step.comment.clone(),
        };
        let mut rows: Vec<HistoryRow> = image.config.history.iter().map(&mut row).collect();
        // An image that does not say how its layers were made still has them.
        let nameless = proa_oci::image::History::default();
        let missing = image.layers.len().saturating_sub(steps_with_layers(&image));
        rows.extend((0..missing).map(|_| row(&nameless)));
        rows.reverse();
        if let Some(top) = rows.first_mut() {
            top.id = Some(image.id.clone());
            top.tags = image.repo_tags.clone();
        }
        Ok(rows)
    }

    /// The images that pass filters (`dangling`, `label`, `reference`, `before`, `since`, `until`), newest
    /// first.
    ///
    /// # Errors
    /// [`Error::Filter`] for another key or a bad value; [`Error::NotFound`] when `before` or `since` name
    /// no image.
    pub fn filtered(&self, filters: &Filters) -> Result<Vec<Arc<Image>>> {
        if let Some(key) = filters.unknown_key(&FILTERS) {
            return Err(Error::Filter { key: key.into(), value: String::new() });
        }
        let dangling = dangling(filters)?;
        let created = |key: &str| -> Result<Vec<Timestamp>> {
            filters.values(key).map(|text| self.resolve(text).map(|image| image.created)).collect()
        };
        let (before, since) = (created("before")?, created("since")?);
        let until: Result<Vec<Timestamp>> = filters.values("until").map(until).collect();
        let until = until?;
        let passes = |image: &Arc<Image>| {
            dangling.is_none_or(|wanted| image.repo_tags.is_empty() == wanted)
                && filters.labels_match(&image.config.config.labels)
                && before.iter().chain(&until).all(|time| image.created < *time)
                && since.iter().all(|time| image.created > *time)
                && filters.any("reference", |pattern| image.repo_tags.iter().any(|tag| fits(pattern, tag)))
        };
        Ok(self.list().into_iter().filter(passes).collect())
    }
}

/// The image as it now is.
fn shown(catalog: &Catalog, id: &Digest) -> Result<Arc<Image>> {
    let entry = catalog.images.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
    Ok(Arc::clone(&entry.image))
}

fn steps_with_layers(image: &Image) -> usize {
    image.config.history.iter().filter(|step| !step.empty_layer).count()
}

fn dangling(filters: &Filters) -> Result<Option<bool>> {
    let Some(value) = filters.values("dangling").next() else { return Ok(None) };
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        _ => Err(Error::Filter { key: "dangling".into(), value: value.into() }),
    }
}

fn until(text: &str) -> Result<Timestamp> {
    Timestamp::parse_moment(text, Timestamp::now())
        .map_err(|_| Error::Filter { key: "until".into(), value: text.into() })
}

/// Whether a `reference` filter fits a tag: with `*`, `?` and `[…]` as in Go's `path.Match` (they do not
/// cross a slash), against the whole name or the name without its tag.
fn fits(pattern: &str, tag: &str) -> bool {
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(pattern.as_bytes(), tag.as_bytes()) || glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // The place to come back to: the last star, and the text it ends at.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() || p < pattern.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        let one = text.get(t).and_then(|byte| one(pattern.get(p..).unwrap_or_default(), *byte));
        match (one, star) {
            (Some(width), _) => (p, t) = (p + width, t + 1),
            (None, Some((at, from))) if text.get(from).is_some_and(|byte| *byte != b'/') => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
    true
}

/// Whether the pattern's first element is `byte`, and how long the element is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] if byte != b'/' => Some(1),
        [b'\\', literal, ..] if *literal == byte => Some(2),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|b| *b == b']').filter(|end| *end > 0)?;
            let class = rest.get(..end)?;
            let (negated, class) = class.strip_prefix(b"^").map_or((false, class), |class| (true, class));
            let range = |w: &[u8]| matches!(w, [low, b'-', high] if (low..=high).contains(&&byte));
            let inside = class.contains(&byte) || class.windows(3).any(range);
            (inside != negated).then_some(end + 2)
        }
        [literal, ..] if *literal == byte && byte != b'?' => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_patterns_are_gos() {
        for (pattern, tag) in [
            ("busybox", "busybox:latest"),
            ("busy*:l*", "busybox:latest"),
            ("*", "busybox:latest"),
            ("user/*", "user/app:1"),
            ("[a-c]usy?ox", "busybox:1"),
        ] {
            assert!(fits(pattern, tag), "{pattern} {tag}");
        }
        for (pattern, tag) in
            [("busy", "busybox:latest"), ("*", "user/app:1"), ("[^b]usybox", "busybox:1"), ("", "a:1")]
        {
            assert!(!fits(pattern, tag), "{pattern} {tag}");
        }
    }
}
