//! Holds: a volume of which a container is being made is in use before that container is recorded.

use crate::Volumes;
use proa_types::ContainerId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Containers that are being made, by the volume they will use.
#[derive(Default)]
pub(crate) struct Holds(Mutex<BTreeMap<String, Vec<ContainerId>>>);

/// Volumes that are not removed while this is held.
pub struct Hold<'a> {
    volumes: &'a Volumes,
    names: Vec<String>,
    container: ContainerId,
}

impl Holds {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Vec<ContainerId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who holds a volume.
    pub(crate) fn of(&self, name: &str) -> Vec<ContainerId> {
        self.all().get(name).cloned().unwrap_or_default()
    }
}

impl Volumes {
    /// Keeps volumes, whether they are there yet or not, for a container that is being made: until it is dropped,
    /// which is to be when [`Self::acquire_in`] is on its way to the disk. A removal that has begun is not stopped.
    pub fn hold<'a>(&self, names: impl Iterator<Item = &'a str>, container: &ContainerId) -> Hold<'_> {
        let names: Vec<String> = names.map(str::to_owned).collect();
        let mut all = self.holds.all();
        for name in &names {
            all.entry(name.clone()).or_default().push(container.clone());
        }
        drop(all);
        Hold { volumes: self, names, container: container.clone() }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if self.names.is_empty() {
            return;
        }
        let mut all = self.volumes.holds.all();
        for name in &self.names {
            if let Some(holders) = all.get_mut(name) {
                if let Some(at) = holders.iter().position(|id| *id == self.container) {
                    holders.swap_remove(at);
                }
                if holders.is_empty() {
                    all.remove(name);
                }
            }
        }
    }
}
