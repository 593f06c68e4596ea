//! Containers by id and name, in memory: finding one costs nothing that grows with their number.

use crate::Error;
use crate::container::Container;
use crate::links::Links;
use crate::record::ContainerRecord;
use crate::userns::Taken;
use proa_types::{ContainerId, SandboxId};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All containers.
#[derive(Default)]
pub(crate) struct Index {
    /// Ordered, so that a prefix is a range.
    by_id: BTreeMap<String, Arc<Container>>,
    by_name: HashMap<String, ContainerId>,
    /// Which container runs in a sandbox.
    by_sandbox: HashMap<SandboxId, ContainerId>,
    /// Ids of the host that are one container's.
    taken: Taken,
    links: Links,
}

impl Index {
    /// Holds a name for a container that is being made, or for one that exists.
    ///
    /// # Errors
    /// [`Error::Conflict`] names the holder.
    pub(crate) fn reserve(&mut self, name: &str, id: &ContainerId) -> Result<(), Error> {
        match self.by_name.entry(name.to_owned()) {
            Entry::Occupied(taken) => Err(Error::Conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
                taken.get()
            ))),
            Entry::Vacant(free) => {
                free.insert(id.clone());
                Ok(())
            }
        }
    }

    /// Frees a name.
    pub(crate) fn free(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Shows a container whose name is held.
    pub(crate) fn insert(&mut self, container: Arc<Container>) {
        container.with(|record| {
            let own =
                record.userns.as_ref().filter(|users| users.own).and_then(|users| users.map.uids.first());
            if let Some(range) = own {
                self.taken.hold(range.outside, range.size, &record.id);
            }
        });
        container.with(|record| self.links.insert(record));
        self.by_id.insert(container.id.as_str().to_owned(), container);
    }

    /// Forgets a container, and its name unless another has it.
    pub(crate) fn remove(&mut self, id: &ContainerId, name: &str) {
        if let Some(container) = self.by_id.remove(id.as_str()) {
            container.with(|record| self.links.remove(record));
        }
        self.taken.free(id);
        if self.by_name.get(name) == Some(id) {
            self.by_name.remove(name);
        }
    }

    /// Ids of the host that are one container's.
    pub(crate) fn taken(&mut self) -> &mut Taken {
        &mut self.taken
    }

    /// A container runs in this sandbox, until it is [`Self::released`].
    pub(crate) fn began(&mut self, sandbox: SandboxId, container: &Container) {
        self.by_sandbox.insert(sandbox, container.id.clone());
    }

    /// Nothing of the sandbox is left.
    pub(crate) fn released(&mut self, sandbox: &SandboxId) {
        self.by_sandbox.remove(sandbox);
    }

    /// Which container runs in a sandbox, or ran in it last if it is not released yet.
    pub(crate) fn of_sandbox(&self, sandbox: &SandboxId) -> Option<Arc<Container>> {
        self.by_sandbox.get(sandbox).and_then(|id| self.by_id.get(id.as_str())).cloned()
    }

    /// Who is linked to a container.
    pub(crate) fn linking(&self, id: &ContainerId) -> Vec<ContainerId> {
        self.links.parents(id)
    }

    /// A container has other links than before.
    pub(crate) fn relink(&mut self, before: &ContainerRecord, after: &ContainerRecord) {
        self.links.remove(before);
        self.links.insert(after);
    }

    /// The container that a link names `PARENT/ALIAS`.
    fn by_link(&self, name: &str) -> Option<&Arc<Container>> {
        let (parent, alias) = name.split_once('/')?;
        let parent = self.by_id.get(self.by_name.get(parent)?.as_str())?;
        let child = parent.with(|record| {
            let link = record.spec.host.links.iter().find(|link| link.alias == alias);
            link.map(|link| link.container.clone())
        });
        self.by_id.get(&child?)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.by_id.values().cloned().collect()
    }

    /// Finds by whole id, by name, by a prefix of the id, in this order, as docker does.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Container>, Error> {
        let missing = || Error::NoSuchContainer(text.to_owned());
        if let Some(container) = self.by_id.get(text) {
            return Ok(Arc::clone(container));
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(container) = self.by_name.get(name).and_then(|id| self.by_id.get(id.as_str())) {
            return Ok(Arc::clone(container));
        }
        if let Some(container) = self.by_link(name) {
            return Ok(Arc::clone(container));
        }
        if text.is_empty() {
            return Err(missing());
        }
        let mut matching = self.by_id.range(text.to_owned()..).take_while(|(id, _)| id.starts_with(text));
        match (matching.next(), matching.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
            (None, _) => Err(missing()),
        }
    }
}
