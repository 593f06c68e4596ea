//! Volumes: named directories that outlive containers, and the drivers that provide them.
//!
//! [`Volumes`] keeps the records (name, labels, options, which containers use it) in the store, and the data
//! below `<data root>/volumes/<name>/_data`, as docker lays it out. It knows a container only by its id, and
//! mounts nothing into one: it says where a volume is and fills a new one from an image's directory.
//!
//! What always holds: a volume has its record before its directory and loses its directory before its record, so
//! that whatever a crash leaves is completed or cleared away by the next [`Volumes::open`]; a directory nobody has
//! a record of becomes a volume, it is never deleted. A volume that a container uses, running or not, is not
//! removed.

mod driver;
mod error;
mod hold;
mod local;
mod locks;
mod name;
mod options;
mod references;
mod removal;
#[cfg(test)]
mod tests;
mod volume;
mod whole;

pub use driver::{Driver, Options};
pub use error::Error;
pub use hold::Hold;
pub use removal::Retired;
pub use volume::{Volume, VolumeSpec};

use hold::Holds;
use local::Local;
use locks::Locks;
use proa_state::{Durability, Store, Table, Update};
use proa_sys::failpoint::passage;
use proa_types::{ContainerId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use volume::VolumeRecord;

const VOLUMES: Table<VolumeRecord> = Table::new("volumes");

/// Where the process can be told to die.
pub const FAILPOINTS: &[&str] = &["volume.record", "volume.populated", "volume.removing", "volume.retired"];

/// All volumes of one data root.
pub struct Volumes {
    local: Local,
    store: Arc<Store>,
    locks: Locks,
    /// Running containers by the volume they have mounted. Of this process: see [`Volumes::reconcile`].
    mounted: Mutex<BTreeMap<String, BTreeSet<ContainerId>>>,
    holds: Holds,
}

impl Volumes {
    /// Opens `<data root>/volumes`, making it if it is absent, and finishes what a crash left unfinished.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::State`].
    pub fn open(data_root: &Path, store: Arc<Store>) -> Result<Self, Error> {
        let local = Local::open(data_root.join("volumes"))?;
        let volumes = Self {
            local,
            store,
            locks: Locks::default(),
            mounted: Mutex::default(),
            holds: Holds::default(),
        };
        volumes.recover()?;
        Ok(volumes)
    }

    fn recover(&self) -> Result<(), Error> {
        let mut records = self.store.view(|view| view.scan(&VOLUMES, "")).map_err(Error::State)?;
        self.finish_renames(&mut records)?;
        for (name, record) in records.iter().filter(|(_, record)| record.removing) {
            self.local.remove(name, &record.options)?;
            self.forget(name, Durability::Immediate)?;
        }
        let known: BTreeSet<&str> = records.iter().map(|(name, _)| name.as_str()).collect();
        let there = self.local.recover()?;
        self.forget_retired(&records, &there)?;
        for name in there.iter().filter(|name| !known.contains(name.as_str())) {
            let record = VolumeRecord {
                driver: self.local.name().to_owned(),
                options: BTreeMap::new(),
                labels: BTreeMap::new(),
                created: Timestamp::now(),
                anonymous: name::is_anonymous(name),
                removing: false,
                moved_from: None,
            };
            self.store.update(Durability::Immediate, |update| update.put(&VOLUMES, name, &record))?;
        }
        Ok(())
    }

    /// Makes a volume. One that exists under this name is returned as it is, whatever the options say, as docker
    /// does.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::Option`], [`Error::Driver`], [`Error::Differs`], [`Error::Io`].
    pub fn create(&self, spec: &VolumeSpec) -> Result<Volume, Error> {
        self.ensure(spec).map(|(volume, _)| volume)
    }

    /// As [`Self::create`]; with whether it was made now.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn ensure(&self, spec: &VolumeSpec) -> Result<(Volume, bool), Error> {
        let name = match spec.name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => {
                name::check(name)?;
                name.to_owned()
            }
            None => proa_types::id::random_hex(),
        };
        let told = |error: Error| match error {
            Error::Option(text) => Error::Option(format!("create {name}: {text}")),
            Error::Driver(driver) => Error::CreateDriver { name: name.clone(), driver },
            error => error,
        };
        let driver = self.driver(&spec.driver).map_err(told)?;
        let lock = self.locks.of(&name);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.finish_removal(&name)?;
        match self.record(&name) {
            Ok(record) if record.driver == driver.name() => {
                return Ok((record.volume(name.clone(), driver.mountpoint(&name)), false));
            }
            Ok(_) => return Err(Error::Differs(name)),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        driver.check(&spec.options).map_err(told)?;
        let anonymous = spec.anonymous || spec.name.as_deref().is_none_or(str::is_empty);
        let record = VolumeRecord {
            driver: driver.name().to_owned(),
            options: spec.options.clone(),
            labels: spec.labels.clone(),
            created: Timestamp::now(),
            anonymous,
            removing: false,
            moved_from: None,
        };
        // An anonymous volume is worth nothing without the container, whose own record follows.
        let durability = if anonymous { Durability::Eventual } else { Durability::Immediate };
        self.store.update(durability, |update| update.insert(&VOLUMES, &name, &record))?;
        passage("volume.record");
        if let Err(error) = driver.create(&name, &spec.options) {
            self.forget(&name, durability)?;
            return Err(error);
        }
        let mountpoint = driver.mountpoint(&name);
        Ok((record.volume(name, mountpoint), true))
    }

    /// Every volume, by name.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn list(&self) -> Result<Vec<Volume>, Error> {
        let records = self.store.view(|view| view.scan(&VOLUMES, "")).map_err(Error::State)?;
        Ok(records.into_iter().filter(|(_, record)| !record.removing).map(|r| self.volume(r)).collect())
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn inspect(&self, name: &str) -> Result<Volume, Error> {
        Ok(self.volume((name.to_owned(), self.record(name)?)))
    }

    /// Removes a volume and its data. `force` accepts that it does not exist.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InUse`], [`Error::Io`].
    pub fn remove(&self, name: &str, force: bool) -> Result<(), Error> {
        let lock = self.locks.of(name);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.store.update(Durability::Immediate, |update| {
            let record = existing(update, name)?;
            let mut users = references::users_in(update, name)?;
            users.extend(self.holds.of(name));
            if !users.is_empty() {
                return Err(Error::InUse { name: name.to_owned(), users });
            }
            update.put(&VOLUMES, name, &VolumeRecord { removing: true, ..record.clone() })?;
            Ok(record)
        });
        let record = match begun {
            Err(Error::NotFound(_)) if force => return Ok(()),
            other => other?,
        };
        passage("volume.removing");
        if let Err(error) = self.local.remove(name, &record.options) {
            self.store.update(Durability::Immediate, |update| update.put(&VOLUMES, name, &record))?;
            return Err(error);
        }
        self.mounted().remove(name);
        self.forget(name, Durability::Eventual)
    }

    /// Notes that a container (running or not) uses the volume, so that it cannot be removed. It is on disk with
    /// the next durable commit, which should be the container's own record.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`].
    pub fn acquire(&self, name: &str, container: &ContainerId) -> Result<(), Error> {
        self.store.update(Durability::Eventual, |update| Self::acquire_in(update, name, container))
    }

    /// As [`Self::acquire`], as a part of the caller's own update.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::State`].
    pub fn acquire_in(update: &mut Update<'_>, name: &str, container: &ContainerId) -> Result<(), Error> {
        existing(update, name)?;
        references::add(update, name, container)
    }

    /// Forgets that a container uses any volume; the names of those it used.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn release(&self, container: &ContainerId) -> Result<Vec<String>, Error> {
        self.store.update(Durability::Eventual, |update| references::drop_container(update, container))
    }

    /// As [`Self::release`], as a part of the caller's own update.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn release_in(update: &mut Update<'_>, container: &ContainerId) -> Result<Vec<String>, Error> {
        references::drop_container(update, container)
    }

    /// The containers that use a volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn users(&self, name: &str) -> Result<Vec<ContainerId>, Error> {
        self.record(name)?;
        self.store.view(|view| references::users(view, name))
    }

    /// Makes the data reachable for a container that starts, mounting it where its options say so; its path.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Mount`].
    pub fn mount(&self, name: &str, container: &ContainerId) -> Result<PathBuf, Error> {
        let lock = self.locks.of(name);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.record(name)?;
        self.local.mount(name, &record.options)?;
        self.mounted().entry(name.to_owned()).or_default().insert(container.clone());
        Ok(self.local.mountpoint(name))
    }

    /// Undoes [`Self::mount`], when the container has ended. The last one to go unmounts. A container that has not
    /// mounted it is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn unmount(&self, name: &str, container: &ContainerId) -> Result<(), Error> {
        let lock = self.locks.of(name);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.record(name)?;
        let last = {
            let mut mounted = self.mounted();
            match mounted.get_mut(name) {
                Some(containers) => {
                    containers.remove(container);
                    containers.is_empty() && mounted.remove(name).is_some()
                }
                None => true,
            }
        };
        if last { self.local.unmount(name, &record.options) } else { Ok(()) }
    }

    /// The data's directory, for binding it by descriptor. [`Self::populate`] and [`Self::mount`] come before: they
    /// may replace the directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn directory(&self, name: &str) -> Result<OwnedFd, Error> {
        self.record(name)?;
        self.local.directory(name)
    }

    /// Copies `source` (a directory of an image, opened by the caller) into the volume if that is empty, with
    /// owners, modes, times, extended attributes and hard links; the directory itself gets the attributes of
    /// `source`. Whether it was done. Call it before [`Self::mount`] where the volume needs none, and after it
    /// where it does (`type`, `device`).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn populate(&self, name: &str, source: BorrowedFd<'_>) -> Result<bool, Error> {
        let lock = self.locks.of(name);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.record(name)?;
        let looked_at = self.mounted().contains_key(name);
        self.local.create(name, &record.options)?;
        let swap = !looked_at && options::plan(&record.options).is_none();
        self.local.populate(name, source, swap)
    }

    /// Bytes of the volume's files, each counted once; none where the data is a mount of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn usage(&self, name: &str) -> Result<Option<u64>, Error> {
        let record = self.record(name)?;
        if options::plan(&record.options).is_some() {
            return Ok(None);
        }
        let directory = match self.local.directory(name) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some(0));
            }
            other => other?,
        };
        proa_sys::tree::size(std::os::fd::AsFd::as_fd(&directory)).map(Some).map_err(|error| {
            Error::io(name, "measure", self.local.mountpoint(name).join(error.path), error.source)
        })
    }

    /// Volumes no container uses: what `prune` may remove. Only anonymous ones unless `all`.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn unused(&self, all: bool) -> Result<Vec<Volume>, Error> {
        let used: BTreeSet<String> =
            self.store.view(references::all)?.into_iter().map(|(name, _)| name).collect();
        let mut volumes = self.list()?;
        volumes.retain(|volume| (all || volume.anonymous) && !used.contains(&volume.name));
        Ok(volumes)
    }

    /// At start: drops references of containers that are gone, learns which running ones have volumes mounted, and
    /// ends mounts nobody running needs.
    ///
    /// # Errors
    /// [`Error::State`], [`Error::Io`].
    pub fn reconcile(
        &self,
        exists: &dyn Fn(&ContainerId) -> bool,
        running: &dyn Fn(&ContainerId) -> bool,
    ) -> Result<(), Error> {
        let mut gone = BTreeSet::new();
        for (name, container) in self.store.view(references::all)? {
            if !exists(&container) {
                gone.insert(container);
            } else if running(&container) {
                self.mounted().entry(name).or_default().insert(container);
            }
        }
        if !gone.is_empty() {
            self.store.update(Durability::Immediate, |update| {
                gone.iter().try_for_each(|container| references::drop_container(update, container).map(drop))
            })?;
        }
        for volume in self.list()? {
            if !volume.options.is_empty() && !self.mounted().contains_key(&volume.name) {
                self.local.unmount(&volume.name, &volume.options)?;
            }
        }
        Ok(())
    }

    fn driver(&self, name: &str) -> Result<&dyn Driver, Error> {
        match name {
            "" | "local" => Ok(&self.local),
            other => Err(Error::Driver(other.to_owned())),
        }
    }

    fn record(&self, name: &str) -> Result<VolumeRecord, Error> {
        let record = self.store.view(|view| view.get(&VOLUMES, name)).map_err(Error::State)?;
        record.filter(|record| !record.removing).ok_or_else(|| Error::NotFound(name.to_owned()))
    }

    fn volume(&self, (name, record): (String, VolumeRecord)) -> Volume {
        let mountpoint = self.local.mountpoint(&name);
        record.volume(name, mountpoint)
    }

    fn forget(&self, name: &str, durability: Durability) -> Result<(), Error> {
        self.store.update(durability, |update| update.remove(&VOLUMES, name).map(drop)).map_err(Error::State)
    }

    fn mounted(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<ContainerId>>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record of a volume that is not being removed.
fn existing(update: &Update<'_>, name: &str) -> Result<VolumeRecord, Error> {
    update
        .get(&VOLUMES, name)?
        .filter(|record| !record.removing)
        .ok_or_else(|| Error::NotFound(name.to_owned()))
}
