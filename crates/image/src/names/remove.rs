//! Removing names and images, by docker's rules:
//!
//! * A name takes that name away; the image goes with its last one.
//! * An id takes the image away if it has one name at most (or is forced); several names are a conflict.
//! * A running container forbids it always, a stopped one unless forced; so do images made from it.
//! * With the last tag of a repository its digest names go too.

use crate::catalog::{Catalog, familiar, is_prefix, key};
use crate::record::{DIGESTS, IMAGES, LAYERS, LayerRecord, TAGS};
use crate::{Error, Image, ImageStore, ImageUse, Removal, RemoveOptions, Result};
use proa_oci::{Digest, Reference, image::chain_ids};
use proa_state::Durability;
use proa_sys::failpoint::passage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is to go, decided before anything is touched.
#[derive(Default)]
struct Plan {
    names: BTreeSet<String>,
    images: Vec<Arc<Image>>,
    lines: Vec<Removal>,
}

type InUse<'a> = &'a dyn Fn(&Digest) -> Vec<ImageUse>;
type Uses = BTreeMap<Digest, Vec<ImageUse>>;
type Decide<'a> = &'a dyn Fn(&mut Plan, &Catalog, &Arc<Image>, &Uses) -> Result<()>;

/// How often a removal is decided anew because a container was made meanwhile.
const ROUNDS: usize = 1000;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names and images, in order.
    pub lines: Vec<Removal>,
    /// Bytes of the layers that went.
    pub freed: u64,
}

impl ImageStore {
    /// Removes a name or an image, by docker's rules; `in_use` tells which containers use an image.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] in docker's words.
    pub fn remove(&self, text: &str, options: RemoveOptions, in_use: InUse<'_>) -> Result<Vec<Removal>> {
        let decide = |plan: &mut Plan, catalog: &Catalog, image: &Arc<Image>, uses: &Uses| {
            plan.decide(catalog, text, image, options, uses)
        };
        Ok(self.carry_out(text, in_use, &decide)?.lines)
    }

    /// Removes an image with all its names, and the nameless ones it was made from, if no container uses it. With
    /// `untagged`, only one that has no tag.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Conflict`] where it is used or has become tagged.
    pub fn remove_unused(&self, id: &Digest, untagged: bool, in_use: InUse<'_>) -> Result<Pruned> {
        let options = RemoveOptions::default();
        self.carry_out(id.as_str(), in_use, &|plan, catalog, image, uses| {
            if untagged && !catalog.tags_of(&image.id).is_empty() {
                return Err(conflict(&image.id, false, "image has a tag"));
            }
            // Looked at before its names are taken away, which would otherwise go even where it stays.
            let users = uses.get(&image.id).map(Vec::as_slice).unwrap_or_default();
            refuse(catalog, &image.id, false, users, &[])?;
            plan.untag(names(catalog, &image.id));
            plan.delete(catalog, image, options, uses)
        })
    }

    /// Removes what `decide` plans, while nobody can begin to use it.
    fn carry_out(&self, text: &str, in_use: InUse<'_>, decide: Decide<'_>) -> Result<Pruned> {
        let _change = self.inner.change();
        let image = self.resolve(text)?;
        let (mut plan, lost) = self.decided(&image, in_use, decide)?;
        self.inner.state.update(Durability::Immediate, |update| {
            for name in &plan.names {
                update.remove(&TAGS, name)?;
                update.remove(&DIGESTS, name)?;
            }
            for image in &plan.images {
                update.remove(&IMAGES, image.id.as_str())?;
            }
            for diff in lost.keys() {
                update.remove(&LAYERS, diff.as_str())?;
            }
            Ok::<_, Error>(())
        })?;
        passage("image.removed");
        let freed = lost.values().map(|layer| layer.content_size).sum();
        self.inner.discard(lost.into_values().collect());
        Ok(Pruned { lines: std::mem::take(&mut plan.lines), freed })
    }

    /// The plan, and the layers lost once it is applied to the catalog.
    fn decided(
        &self,
        image: &Arc<Image>,
        in_use: InUse<'_>,
        decide: Decide<'_>,
    ) -> Result<(Plan, BTreeMap<Digest, LayerRecord>)> {
        for _ in 0..ROUNDS {
            let ended = self.inner.claims.ended();
            // Asked before the catalog is locked: the answer may need it.
            let mut uses = self.uses(image, in_use);
            let mut catalog = self.inner.catalog_mut();
            for (id, users) in &mut uses {
                users.extend(self.inner.claims.users(id));
            }
            // A container may have been finished after it was asked for.
            if self.inner.claims.ended() != ended {
                continue;
            }
            let mut plan = Plan::default();
            decide(&mut plan, &catalog, image, &uses)?;
            let lost = plan.apply(&mut catalog);
            return Ok((plan, lost));
        }
        Err(conflict(&image.id, false, "containers are being created all the time"))
    }

    /// Who uses an image, and the images it was made from.
    fn uses(&self, image: &Arc<Image>, in_use: InUse<'_>) -> Uses {
        let mut uses = BTreeMap::new();
        let mut next = Some(image.id.clone());
        while let Some(id) = next.filter(|id| !uses.contains_key(id)) {
            uses.insert(id.clone(), in_use(&id));
            let catalog = self.inner.catalog();
            next = catalog.images.get(&id).and_then(|entry| entry.record.parent.clone());
        }
        uses
    }
}

impl Plan {
    fn decide(
        &mut self,
        catalog: &Catalog,
        text: &str,
        image: &Arc<Image>,
        options: RemoveOptions,
        uses: &Uses,
    ) -> Result<()> {
        let names = names(catalog, &image.id);
        let users = uses.get(&image.id).map(Vec::as_slice).unwrap_or_default();
        if named_by_id(catalog, text, &image.id) {
            if is_single(&names) {
                refuse(catalog, &image.id, options.force, users, &[])?;
                self.untag(names.iter().cloned());
            }
        } else {
            let reference: Reference = text.parse()?;
            if let Some(user) = users.first().filter(|_| !options.force && is_single(&names)) {
                let (short, id) = (short(&user.container), image.id.short());
                return Err(Error::Conflict(format!(
                    "unable to remove repository reference {text:?} (must force) - container {short} is \
                     using its referenced image {id}"
                )));
            }
            self.untag_reference(&reference, &names);
            if names.iter().any(|name| !self.names.contains(name)) {
                return Ok(());
            }
        }
        self.delete(catalog, image, options, uses)
    }

    /// Takes a name away, and the digest names of its repository with the last tag of it.
    fn untag_reference(&mut self, reference: &Reference, names: &[String]) {
        let wanted = key(reference);
        self.untag([wanted.clone()]);
        let repository = reference.repository();
        let mine = |name: &&String| repository_of(name) == repository && **name != wanted;
        let tagged = names.iter().filter(mine).any(|name| !name.contains('@'));
        if reference.digest.is_none() && !tagged {
            self.untag(names.iter().filter(mine).cloned());
        }
    }

    fn untag(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            if self.names.insert(name.clone()) {
                self.lines.push(Removal::Untagged(familiar(&name)));
            }
        }
    }

    /// Takes an image away, and, pruning, the nameless ones it was made from.
    fn delete(
        &mut self,
        catalog: &Catalog,
        image: &Arc<Image>,
        options: RemoveOptions,
        uses: &Uses,
    ) -> Result<()> {
        let (mut image, mut force, mut quiet) = (Arc::clone(image), options.force, false);
        let mut gone: Vec<Digest> = Vec::new();
        loop {
            let names: Vec<String> =
                names(catalog, &image.id).into_iter().filter(|name| !self.names.contains(name)).collect();
            let users = uses.get(&image.id).map(Vec::as_slice).unwrap_or_default();
            let held = !names.is_empty() && !force;
            match refuse(catalog, &image.id, force, users, &gone) {
                Ok(()) if !held => {}
                _ if quiet => return Ok(()),
                Ok(()) => {
                    return Err(conflict(&image.id, false, "image is referenced in multiple repositories"));
                }
                Err(error) => return Err(error),
            }
            self.untag(names);
            self.lines.push(Removal::Deleted(image.id.clone()));
            gone.push(image.id.clone());
            self.images.push(Arc::clone(&image));
            let parent = image.parent.as_ref().filter(|_| options.prune);
            let Some(parent) = parent.and_then(|id| catalog.images.get(id)) else { return Ok(()) };
            image = Arc::clone(&parent.image);
            (force, quiet) = (false, true);
        }
    }

    /// Takes everything out of the catalog; the layers that nothing holds any more.
    fn apply(&mut self, catalog: &mut Catalog) -> BTreeMap<Digest, LayerRecord> {
        let mut stale = BTreeSet::new();
        for name in &self.names {
            stale.extend(catalog.tags.remove(name));
            stale.extend(catalog.digests.remove(name));
        }
        for image in &self.images {
            catalog.images.remove(&image.id);
        }
        for id in &stale {
            catalog.refresh(id);
        }
        let mut lost = BTreeMap::new();
        for image in &self.images {
            for (diff, chain) in image.layers.iter().zip(chain_ids(&image.layers)).rev() {
                if lost.contains_key(diff) || catalog.holds(diff) {
                    continue;
                }
                if let Some(layer) = catalog.layers.remove(diff) {
                    self.lines.push(Removal::Deleted(chain));
                    lost.insert(diff.clone(), layer);
                }
            }
        }
        lost
    }
}

/// All names of an image, tags first.
fn names(catalog: &Catalog, id: &Digest) -> Vec<String> {
    let mut names = catalog.tags_of(id);
    names.extend(catalog.digests_of(id));
    names
}

/// Whether the user meant the image by its id, not by a name that looks like one.
fn named_by_id(catalog: &Catalog, text: &str, id: &Digest) -> bool {
    let by_name = text.parse::<Reference>().is_ok_and(|reference| {
        let name = key(&reference);
        catalog.tags.get(&name).or_else(|| catalog.digests.get(&name)) == Some(id)
    });
    !by_name && is_prefix(text)
}

/// Whether there is one tag at most, and no digest name of another repository.
fn is_single(names: &[String]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let tags: Vec<&String> = names.iter().filter(|name| !name.contains('@')).collect();
    let digests: BTreeSet<&str> =
        names.iter().filter(|name| name.contains('@')).map(|name| repository_of(name)).collect();
    let only = tags.first().or(names.first().as_ref()).map(|name| repository_of(name));
    tags.len() <= 1 && digests.len() == 1 && only.is_some_and(|repository| digests.contains(repository))
}

/// `HOST/PATH` of a table key.
fn repository_of(name: &str) -> &str {
    match name.split_once('@') {
        Some((repository, _)) => repository,
        None => name.rsplit_once(':').map_or(name, |(repository, _)| repository),
    }
}

/// Fails if containers, or images not in `gone`, hold the image.
fn refuse(catalog: &Catalog, id: &Digest, force: bool, users: &[ImageUse], gone: &[Digest]) -> Result<()> {
    if catalog.children(id).any(|child| !gone.contains(child)) {
        return Err(conflict(id, true, "image has dependent child images"));
    }
    if let Some(user) = users.iter().find(|user| user.running) {
        let text = format!("image is being used by running container {}", short(&user.container));
        return Err(conflict(id, true, &text));
    }
    match users.first().filter(|_| !force) {
        Some(user) => {
            let text = format!("image is being used by stopped container {}", short(&user.container));
            Err(conflict(id, false, &text))
        }
        None => Ok(()),
    }
}

fn conflict(id: &Digest, hard: bool, why: &str) -> Error {
    let force = if hard { "cannot be forced" } else { "must be forced" };
    Error::Conflict(format!("unable to delete {} ({force}) - {why}", id.short()))
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
