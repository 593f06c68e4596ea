//! Containers by id and name, in memory: finding one costs nothing that grows with their number.

use crate::Error;
use crate::container::Container;
use proa_types::ContainerId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All containers.
#[derive(Default)]
pub(crate) struct Index {
    /// Ordered, so that a prefix is a range.
    by_id: BTreeMap<String, Arc<Container>>,
    by_name: HashMap<String, ContainerId>,
}

impl Index {
    pub(crate) fn insert(&mut self, name: &str, container: Arc<Container>) {
        self.by_name.insert(name.to_owned(), container.id.clone());
        self.by_id.insert(container.id.as_str().to_owned(), container);
    }

    pub(crate) fn remove(&mut self, id: &ContainerId) {
        self.by_id.remove(id.as_str());
        self.by_name.retain(|_, held| held != id);
    }

    pub(crate) fn rename(&mut self, id: &ContainerId, from: &str, to: &str) {
        self.by_name.remove(from);
        self.by_name.insert(to.to_owned(), id.clone());
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
