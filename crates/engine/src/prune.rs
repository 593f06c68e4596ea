//! Prunes: what nobody uses is removed. What is used is decided at each removal anew, so nothing that begins to be used
//! meanwhile goes.

use crate::container::Container;
use crate::engine::blocking;
use crate::events::EventKind;
use crate::state::State;
use crate::{Engine, Error};
use proa_image::{Image, Removal};
use proa_oci::Digest;
use proa_types::{Filters, Kinded, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a prune removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned<T> {
    /// Which, in order.
    pub removed: Vec<T>,
    /// Bytes of disk.
    pub freed: u64,
}

impl<T> Default for Pruned<T> {
    fn default() -> Self {
        Self { removed: Vec::new(), freed: 0 }
    }
}

impl Engine {
    /// Removes containers that do not run.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a filter.
    pub async fn containers_prune(self: &Arc<Self>, filters: &Filters) -> Result<Pruned<String>, Error> {
        let until = checked(filters, &["label", "label!", "until"])?;
        let mut pruned = Pruned::default();
        for container in self.all() {
            let passes = container.with(|record| {
                is_stopped(&record.state)
                    && until.is_none_or(|until| record.created < until)
                    && filters.labels_pass(&record.spec.labels)
            });
            if passes && let Some(freed) = self.prune_container(&container).await {
                pruned.removed.push(container.id.to_string());
                pruned.freed += freed;
            }
        }
        self.tell_pruned(EventKind::Container, pruned.freed);
        Ok(pruned)
    }

    /// Removes a container unless it has begun to run or is gone; the bytes of its own layer.
    async fn prune_container(self: &Arc<Self>, container: &Arc<Container>) -> Option<u64> {
        let _operation = container.operation.lock().await;
        if !is_stopped(&container.state()) {
            return None;
        }
        let (engine, held) = (Arc::clone(self), Arc::clone(container));
        let size = blocking(move || Ok(engine.images.snapshot_usage(held.id.as_str())?)).await.unwrap_or(0);
        self.remove_locked(container, false).await.ok().map(|()| size)
    }

    /// Removes images that no container uses: without a tag, or all of them where `dangling=false`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a filter.
    pub async fn images_prune(self: &Arc<Self>, filters: &Filters) -> Result<Pruned<Removal>, Error> {
        let until = checked(filters, &["dangling", "label", "label!", "until"])?;
        let untagged = switch(filters, "dangling")?.unwrap_or(true);
        self.await_deletions().await;
        let (engine, filters) = (Arc::clone(self), filters.clone());
        let pruned = blocking(move || {
            engine.drop_trees();
            let mut pruned = Pruned::default();
            for image in engine.candidates(untagged) {
                let passes = until.is_none_or(|until| image.created < until)
                    && filters.labels_pass(&image.config.config.labels);
                if passes && let Some(gone) = engine.prune_image(&image, untagged) {
                    pruned.removed.extend(gone.lines);
                    pruned.freed += gone.freed;
                }
            }
            Ok(pruned)
        })
        .await?;
        self.tell_removals(&pruned.removed);
        self.tell_pruned(EventKind::Image, pruned.freed);
        Ok(pruned)
    }

    /// Images that may be pruned, each after those made from it.
    fn candidates(&self, untagged: bool) -> Vec<Arc<Image>> {
        let mut all = self.images.list();
        let parents: BTreeSet<Digest> = all.iter().filter_map(|image| image.parent.clone()).collect();
        all.retain(|image| {
            let nameless = image.repo_tags.is_empty() && image.repo_digests.is_empty();
            // The nameless ones in between go with those made from them.
            !(nameless && parents.contains(&image.id)) && (!untagged || image.repo_tags.is_empty())
        });
        all
    }

    fn prune_image(self: &Arc<Self>, image: &Image, untagged: bool) -> Option<proa_image::Pruned> {
        match self.images.remove_unused(&image.id, untagged, &|id| self.users_of(id)) {
            Ok(gone) => Some(gone),
            Err(error) => {
                let kind = error.kind();
                // In use, or gone already.
                if !matches!(kind, proa_types::ErrorKind::Conflict | proa_types::ErrorKind::NotFound) {
                    tracing::warn!(image = image.id.short(), %error, "an image was not pruned");
                }
                None
            }
        }
    }

    /// Removes volumes that no container uses: anonymous ones, or `all`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a filter.
    pub async fn volumes_prune(
        self: &Arc<Self>,
        filters: &Filters,
        all: bool,
    ) -> Result<Pruned<String>, Error> {
        checked(filters, &["all", "label", "label!"])?;
        let all = switch(filters, "all")?.unwrap_or(all);
        let (engine, filters) = (Arc::clone(self), filters.clone());
        let pruned = blocking(move || {
            let mut pruned = Pruned::default();
            for volume in engine.volumes.unused(all)? {
                if !filters.labels_pass(&volume.labels) {
                    continue;
                }
                let size = engine.volumes.usage(&volume.name).ok().flatten().unwrap_or(0);
                // One that came into use, or is gone, is none of ours.
                if engine.volumes.remove(&volume.name, false).is_ok() {
                    engine.events_volume("destroy", &volume.name);
                    pruned.removed.push(volume.name);
                    pruned.freed += size;
                }
            }
            Ok(pruned)
        })
        .await?;
        self.tell_pruned(EventKind::Volume, pruned.freed);
        Ok(pruned)
    }

    /// Removes networks that no container uses; the built-in ones stay.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a filter.
    pub fn networks_prune(&self, filters: &Filters) -> Result<Pruned<String>, Error> {
        checked(filters, &["label", "label!", "until"])?;
        self.tell_pruned(EventKind::Network, 0);
        Ok(Pruned::default())
    }

    fn tell_pruned(&self, kind: EventKind, freed: u64) {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), freed.to_string())]);
        self.events.tell(kind, "prune", "", attributes);
    }
}

/// Whether it neither runs nor is about to.
fn is_stopped(state: &State) -> bool {
    match state {
        State::Created => true,
        State::Exited(exit) => !exit.restarting,
        State::Running(_) | State::Paused(_) | State::Removing => false,
    }
}

/// Refuses unknown filters; the time that `until` names.
fn checked(filters: &Filters, known: &[&str]) -> Result<Option<Timestamp>, Error> {
    if let Some(key) = filters.unknown_key(known) {
        return Err(Error::Invalid(format!("invalid filter '{key}'")));
    }
    let mut untils = filters.values("until");
    match (untils.next(), untils.next()) {
        (_, Some(_)) => Err(Error::Invalid("more than one until filter specified".into())),
        (Some(text), None) => {
            let until = Timestamp::parse_moment(text, Timestamp::now());
            let bad = |_| Error::Invalid(format!("failed to parse value as time or duration: {text:?}"));
            until.map(Some).map_err(bad)
        }
        (None, None) => Ok(None),
    }
}

/// A filter that is on or off.
fn switch(filters: &Filters, key: &str) -> Result<Option<bool>, Error> {
    let values: Vec<&str> = filters.values(key).collect();
    match values[..] {
        [] => Ok(None),
        ["1" | "t" | "T" | "true" | "TRUE" | "True"] => Ok(Some(true)),
        ["0" | "f" | "F" | "false" | "FALSE" | "False"] => Ok(Some(false)),
        _ => Err(Error::Invalid(format!("invalid filter '{key}=[{}]'", values.join(" ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(key: &str, values: &[&str]) -> Filters {
        Filters(BTreeMap::from([(key.into(), values.iter().map(|&value| value.into()).collect())]))
    }

    #[test]
    fn filters_are_checked_in_dockers_words() {
        let known = &["until", "label"];
        assert_eq!(checked(&Filters::default(), known).unwrap(), None);
        assert!(checked(&filters("until", &["10m"]), known).unwrap().is_some());
        let text = |result: Result<Option<Timestamp>, Error>| result.unwrap_err().to_string();
        assert_eq!(text(checked(&filters("x", &["1"]), known)), "invalid filter 'x'");
        let two = checked(&filters("until", &["1h", "2h"]), known);
        assert_eq!(text(two), "more than one until filter specified");
        assert!(checked(&filters("until", &["soon"]), known).is_err());
        assert_eq!(switch(&filters("all", &["1"]), "all").unwrap(), Some(true));
        assert_eq!(
            switch(&filters("dangling", &["x"]), "dangling").unwrap_err().to_string(),
            "invalid filter 'dangling=[x]'"
        );
    }
}
