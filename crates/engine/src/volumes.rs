//! Volumes: asked for by name, and mounted by containers.

use crate::engine::{blocking, passage};
use crate::events::EventKind;
use crate::record::MountPoint;
use crate::root::Root;
use crate::{Engine, Error};
use proa_types::{ContainerId, Filters};
use proa_volume::{Volume, VolumeSpec};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// A volume as it is shown.
pub type VolumeView = Volume;

impl Engine {
    /// Makes a volume, or returns the one there is.
    ///
    /// # Errors
    /// [`Error::Volume`].
    pub async fn volume_create(self: &Arc<Self>, spec: VolumeSpec) -> Result<Volume, Error> {
        let engine = Arc::clone(self);
        let (volume, made) = blocking(move || Ok(engine.volumes.ensure(&spec)?)).await?;
        passage("volume.made");
        if made {
            self.events_volume("create", &volume.name);
        }
        Ok(volume)
    }

    /// Volumes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown filter.
    pub fn volumes(&self, filters: &Filters) -> Result<Vec<Volume>, Error> {
        if let Some(key) = filters.unknown_key(&["dangling", "driver", "label", "name"]) {
            return Err(Error::Invalid(format!("invalid filter '{key}'")));
        }
        let dangling = dangling(filters)?;
        let mut all = self.volumes.list()?;
        all.retain(|volume| {
            let unused = || self.volumes.users(&volume.name).is_ok_and(|users| users.is_empty());
            filters.any("name", |text| crate::list::name_matches(&volume.name, text))
                && filters.any("driver", |text| volume.driver == text)
                && filters.labels_match(&volume.labels)
                && dangling.is_none_or(|wanted| wanted == unused())
        });
        Ok(all)
    }

    /// A volume.
    ///
    /// # Errors
    /// [`Error::Volume`].
    pub fn volume(&self, name: &str) -> Result<Volume, Error> {
        Ok(self.volumes.inspect(name)?)
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// [`Error::Volume`] when it is in use.
    pub async fn volume_remove(self: &Arc<Self>, name: &str, force: bool) -> Result<(), Error> {
        let (engine, wanted) = (Arc::clone(self), name.to_owned());
        let there = self.volumes.inspect(name).is_ok();
        blocking(move || Ok(engine.volumes.remove(&wanted, force)?)).await?;
        passage("volume.removed");
        if there {
            self.events_volume("destroy", name);
        }
        Ok(())
    }

    pub(crate) fn events_volume(&self, action: &str, name: &str) {
        self.events.tell(
            EventKind::Volume,
            action,
            name,
            BTreeMap::from([("driver".into(), "local".into())]),
        );
    }

    /// Makes a volume's data reachable for a container, filled with what the image has there if it is new; its path.
    pub(crate) fn mount_volume(
        &self,
        id: &ContainerId,
        mount: &MountPoint,
        root: &mut Root,
    ) -> Result<PathBuf, Error> {
        if mount.copy
            && let Some(dir) = root.open_directory(&mount.destination)?
        {
            self.volumes.populate(&mount.name, dir.as_fd())?;
        }
        Ok(self.volumes.mount(&mount.name, id)?)
    }

    /// Where only a part of a mounted volume is wanted: its source becomes a path that means this file, whatever a
    /// container that shares the volume does to the name meanwhile, as long as the descriptor is open.
    pub(crate) fn volume_part(&self, mount: &mut MountPoint) -> Result<Option<OwnedFd>, Error> {
        if mount.subpath.is_empty() {
            return Ok(None);
        }
        let volume = self.volumes.directory(&mount.name)?;
        let (flags, none) = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let part = rustix::fs::openat2(&volume, mount.subpath.as_str(), flags, none, resolve);
        let part = part.map_err(|error| {
            let path = mount.source.join(&mount.subpath);
            let why = match error {
                Errno::XDEV => "it leads out of the volume".into(),
                error => std::io::Error::from(error).to_string(),
            };
            Error::Invalid(format!("cannot access path {}: {why}", path.display()))
        })?;
        mount.source = format!("/proc/{}/fd/{}", std::process::id(), part.as_raw_fd()).into();
        Ok(Some(part))
    }
}

/// Whether those are wanted that nobody uses, if that is asked.
fn dangling(filters: &Filters) -> Result<Option<bool>, Error> {
    let mut wanted = None;
    for text in filters.values("dangling") {
        let value = match text {
            "1" | "true" => true,
            "0" | "false" => false,
            other => return Err(Error::Invalid(format!("invalid filter 'dangling={other}'"))),
        };
        if wanted.replace(value).is_some_and(|before| before != value) {
            return Err(Error::Invalid("invalid filter 'dangling=[true false]'".into()));
        }
    }
    Ok(wanted)
}
