//! Volumes: asked for by name, and mounted by containers.

use crate::engine::{blocking, passage};
use crate::events::EventKind;
use crate::record::MountPoint;
use crate::root::Root;
use crate::{Engine, Error};
use proa_types::{ContainerId, Filters};
use proa_volume::{Volume, VolumeSpec};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
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
        let volume = blocking(move || Ok(engine.volumes.create(&spec)?)).await?;
        self.events_volume("create", &volume.name);
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
        let mut all = self.volumes.list()?;
        all.retain(|volume| {
            let unused = || self.volumes.users(&volume.name).is_ok_and(|users| users.is_empty());
            filters.any("name", |text| volume.name.contains(text))
                && filters.any("driver", |text| volume.driver == text)
                && filters.labels_match(&volume.labels)
                && filters.any("dangling", |text| matches!(text, "1" | "true") == unused())
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
        passage("volume.remove");
        let (engine, wanted) = (Arc::clone(self), name.to_owned());
        blocking(move || Ok(engine.volumes.remove(&wanted, force)?)).await?;
        self.events_volume("destroy", name);
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
}
