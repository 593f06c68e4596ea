//! Whole volumes: made with their data, cloned, renamed. Each is there entirely or not at all, also after a
//! crash: a volume that is being filled has a record that says that it is to be removed, and a volume that is
//! being renamed has one that says where its directory may still be.

use crate::volume::VolumeRecord;
use crate::{Driver, Error, VOLUMES, Volume, VolumeSpec, Volumes, existing, name, options, references};
use proa_state::Durability;
use proa_types::Timestamp;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;

impl Volumes {
    /// Makes a volume that must be new and has what `fill` puts into its directory; until that has ended nobody
    /// sees it.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::InvalidName`], [`Error::Option`], [`Error::Io`]; what `fill` says.
    pub fn make<E: From<Error>>(
        &self,
        spec: &VolumeSpec,
        fill: impl FnOnce(OwnedFd) -> Result<(), E>,
    ) -> Result<Volume, E> {
        let wanted = spec.name.clone().unwrap_or_default();
        name::check(&wanted)?;
        let lock = self.locks.of(&wanted);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_locked(&wanted, spec, fill)
    }

    fn make_locked<E: From<Error>>(
        &self,
        wanted: &str,
        spec: &VolumeSpec,
        fill: impl FnOnce(OwnedFd) -> Result<(), E>,
    ) -> Result<Volume, E> {
        self.finish_removal(wanted)?;
        let driver = self.driver(&spec.driver)?;
        driver.check(&spec.options)?;
        if options::plan(&spec.options).is_some() {
            let text = format!("volume {wanted} has its data elsewhere (options type, device, o)");
            return Err(Error::Option(text).into());
        }
        let record = VolumeRecord {
            driver: driver.name().to_owned(),
            options: spec.options.clone(),
            labels: spec.labels.clone(),
            created: Timestamp::now(),
            anonymous: false,
            removing: true,
            moved_from: None,
        };
        self.store.update(Durability::Immediate, |update| match existing(update, wanted) {
            Ok(_) => Err(Error::Exists(wanted.to_owned())),
            Err(_) => update.put(&VOLUMES, wanted, &record).map_err(Error::State),
        })?;
        let filled = || -> Result<VolumeRecord, E> {
            self.local.create(wanted, &spec.options)?;
            let directory = self.local.directory(wanted)?;
            fill(directory.try_clone().map_err(|error| self.failed(wanted, "open", error))?)?;
            // The record must not be on disk before the data is.
            rustix::fs::syncfs(&directory).map_err(|error| self.failed(wanted, "write", error.into()))?;
            let record = VolumeRecord { removing: false, ..record };
            self.store.update(Durability::Immediate, |update| {
                update.put(&VOLUMES, wanted, &record).map_err(Error::State)
            })?;
            Ok(record)
        };
        match filled() {
            Ok(record) => Ok(record.volume(wanted.to_owned(), self.local.mountpoint(wanted))),
            Err(error) => {
                // What cannot be removed now goes with the next opportunity: the record says so.
                let _ = self.finish_removal(wanted);
                Err(error)
            }
        }
    }

    /// Makes a volume with the data of another one, which no running container may have mounted; blocks are
    /// shared where the file system can. It has the labels of the other one, and those of `labels`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`], and as for [`Self::make`].
    pub fn clone_as(&self, from: &str, to: &str, labels: &BTreeMap<String, String>) -> Result<Volume, Error> {
        name::check(to)?;
        let locks = self.both(from, to);
        let _guards = locks.each_ref().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        let source = self.record(from)?;
        self.idle(from, "clone")?;
        let mut all = source.labels.clone();
        all.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        if options::plan(&source.options).is_some() {
            let text = format!("volume {from} has its data elsewhere (options type, device, o)");
            return Err(Error::Option(text));
        }
        let spec = VolumeSpec {
            name: Some(to.to_owned()),
            driver: source.driver,
            labels: all,
            ..VolumeSpec::default()
        };
        self.make_locked(to, &spec, |directory| {
            self.local.create(from, &source.options)?;
            let data = self.local.directory(from)?;
            proa_sys::tree::copy(data.as_fd(), directory.as_fd()).map_err(|error| {
                Error::io(to, "copy to", self.local.mountpoint(to).join(error.path), error.source)
            })
        })
    }

    /// Gives a volume another name. No container may use it, running or not: they know it by its name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`], [`Error::Busy`], [`Error::InvalidName`], [`Error::Io`].
    pub fn rename(&self, from: &str, to: &str) -> Result<Volume, Error> {
        name::check(to)?;
        if from == to {
            return Err(Error::Exists(to.to_owned()));
        }
        let locks = self.both(from, to);
        let _guards = locks.each_ref().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.finish_removal(to)?;
        self.idle(from, "rename")?;
        let (before, after) = self.store.update(Durability::Immediate, |update| {
            let before = existing(update, from)?;
            if existing(update, to).is_ok() {
                return Err(Error::Exists(to.to_owned()));
            }
            let mut users = references::users_in(update, from)?;
            users.extend(self.holds.of(from));
            if !users.is_empty() {
                return Err(Error::Busy { action: "rename", name: from.to_owned(), users });
            }
            let after =
                VolumeRecord { anonymous: false, moved_from: Some(from.to_owned()), ..before.clone() };
            update.remove(&VOLUMES, from).map_err(Error::State)?;
            update.put(&VOLUMES, to, &after).map_err(Error::State)?;
            Ok((before, after))
        })?;
        if let Err(error) = self.local.rename(from, to, &before.options) {
            self.store.update(Durability::Immediate, |update| {
                update.remove(&VOLUMES, to)?;
                update.put(&VOLUMES, from, &before)
            })?;
            return Err(error);
        }
        let record = VolumeRecord { moved_from: None, ..after };
        self.store.update(Durability::Eventual, |update| update.put(&VOLUMES, to, &record))?;
        Ok(record.volume(to.to_owned(), self.local.mountpoint(to)))
    }

    /// Finishes renames that a crash has left half done.
    pub(crate) fn finish_renames(&self, records: &mut [(String, VolumeRecord)]) -> Result<(), Error> {
        let names: Vec<String> = records.iter().map(|(name, _)| name.clone()).collect();
        for (name, record) in records {
            let Some(from) = record.moved_from.take() else { continue };
            // A volume may have got the old name since: then the rename had been done.
            if !names.contains(&from) && !self.local.exists(name) && self.local.exists(&from) {
                self.local.rename(&from, name, &record.options)?;
            }
            self.store.update(Durability::Immediate, |update| update.put(&VOLUMES, name, record))?;
        }
        Ok(())
    }

    /// The data of a volume for reading, while no running container has it mounted.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`], [`Error::Option`], [`Error::Io`].
    pub fn idle_directory(&self, name: &str, action: &'static str) -> Result<OwnedFd, Error> {
        let record = self.record(name)?;
        self.idle(name, action)?;
        if options::plan(&record.options).is_some() {
            let text = format!("volume {name} has its data elsewhere (options type, device, o)");
            return Err(Error::Option(text));
        }
        self.local.directory(name)
    }

    /// Fails where a running container has the volume mounted.
    fn idle(&self, name: &str, action: &'static str) -> Result<(), Error> {
        match self.mounted().get(name).filter(|users| !users.is_empty()) {
            Some(users) => {
                Err(Error::Busy { action, name: name.to_owned(), users: users.iter().cloned().collect() })
            }
            None => Ok(()),
        }
    }

    /// The locks of two names, in an order that is the same for everybody.
    fn both(&self, a: &str, b: &str) -> [std::sync::Arc<std::sync::Mutex<()>>; 2] {
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        if first == second {
            // one name: the second lock is nobody else's
            return [self.locks.of(first), std::sync::Arc::default()];
        }
        [self.locks.of(first), self.locks.of(second)]
    }

    fn failed(&self, name: &str, action: &'static str, error: std::io::Error) -> Error {
        Error::io(name, action, self.local.mountpoint(name), error)
    }
}
