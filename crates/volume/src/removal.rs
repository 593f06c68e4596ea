//! Removal of volumes together with the container they were made for: their records go in the same commit as the
//! container's, their data is out of reach before anybody is told, and only its deletion comes later.

use crate::driver::Driver;
use crate::references;
use crate::volume::VolumeRecord;
use crate::{Error, VOLUMES, Volumes, existing};
use proa_state::{Durability, Update};
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// Data of a removed volume that is still to be deleted: [`Volumes::delete`]. If that never comes, the next
/// [`Volumes::open`] does it.
#[derive(Debug)]
pub struct Retired {
    name: String,
    /// Its name now, below the root of volumes.
    trash: String,
}

impl Volumes {
    /// Takes those of `names` that no container uses out of the table, as a part of the caller's own update; which
    /// these are. From the commit on they are no volumes any more. [`Self::retire`] follows for each.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn remove_in<'a>(
        update: &mut Update<'_>,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<String>, Error> {
        let mut removed = Vec::new();
        for name in names {
            let record = match existing(update, name) {
                Err(Error::NotFound(_)) => continue,
                other => other?,
            };
            if references::users_in(update, name)?.is_empty() {
                update.put(&VOLUMES, name, &VolumeRecord { removing: true, ..record })?;
                removed.push(name.to_owned());
            }
        }
        Ok(removed)
    }

    /// Takes the data of a volume that [`Self::remove_in`] has removed out of reach, which takes as long as a rename.
    /// None if there is no data.
    ///
    /// # Errors
    /// [`Error::Io`]; it is a volume again then, so that somebody sees it.
    pub fn retire(&self, name: &str) -> Result<Option<Retired>, Error> {
        let lock = self.locks.of(name);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have made a new one of this name meanwhile, which has finished the removal of this one.
        let Some(record) = self.removing(name)? else { return Ok(None) };
        let trash = match self.local.retire(name, &record.options) {
            Ok(trash) => trash,
            Err(error) => {
                let record = VolumeRecord { removing: false, ..record };
                self.store.update(Durability::Eventual, |update| update.put(&VOLUMES, name, &record))?;
                return Err(error);
            }
        };
        self.mounted().remove(name);
        self.forget(name, Durability::Eventual)?;
        Ok(trash.map(|trash| Retired { name: name.to_owned(), trash }))
    }

    /// Deletes retired data.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delete(&self, retired: Retired) -> Result<(), Error> {
        self.local.delete(&retired.name, &retired.trash)
    }

    /// At start: forgets anonymous volumes without data that nobody uses. Their removal reached the data, and the
    /// table only in memory.
    pub(crate) fn forget_retired(
        &self,
        records: &[(String, VolumeRecord)],
        there: &[String],
    ) -> Result<(), Error> {
        let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
        let empty = records
            .iter()
            .filter(|(name, record)| record.anonymous && !record.removing && !there.contains(name.as_str()));
        for (name, _) in empty {
            if self.users(name)?.is_empty() {
                self.forget(name, Durability::Eventual)?;
            }
        }
        Ok(())
    }

    /// Ends a removal that has begun, if one has. The caller holds the name's lock.
    pub(crate) fn finish_removal(&self, name: &str) -> Result<(), Error> {
        let Some(record) = self.removing(name)? else { return Ok(()) };
        self.local.remove(name, &record.options)?;
        self.forget(name, Durability::Eventual)
    }

    /// The record of a volume whose removal has begun.
    fn removing(&self, name: &str) -> Result<Option<VolumeRecord>, Error> {
        let record = self.store.view(|view| view.get(&VOLUMES, name)).map_err(Error::State)?;
        Ok(record.filter(|record: &VolumeRecord| record.removing))
    }
}
