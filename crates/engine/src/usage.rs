//! Disk usage: measured when it is asked for.

use crate::engine::blocking;
use crate::list::ContainerView;
use crate::{Engine, Error};
use proa_image::{Image, LayersUsage};
use proa_volume::Volume;
use std::sync::Arc;

/// Whose disk usage is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageOf {
    /// Of images.
    pub images: bool,
    /// Of containers.
    pub containers: bool,
    /// Of volumes.
    pub volumes: bool,
}

/// Disk usage of what was asked for.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// Images, and their layers taken together.
    pub images: Option<(Vec<Arc<Image>>, LayersUsage)>,
    /// Containers with the bytes of their own layers.
    pub containers: Option<Vec<ContainerView>>,
    /// Volumes.
    pub volumes: Option<Vec<VolumeUsage>>,
}

/// Disk usage of a volume.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// How many containers use it.
    pub users: usize,
    /// Its bytes; none where its data lies elsewhere.
    pub size: Option<u64>,
}

impl Engine {
    /// Measures disk usage.
    ///
    /// # Errors
    /// [`Error::Volume`].
    pub async fn disk_usage(self: &Arc<Self>, of: UsageOf) -> Result<DiskUsage, Error> {
        let engine = Arc::clone(self);
        blocking(move || {
            let images = || {
                let layers = engine.images.layers_usage(|id| engine.image_users(id) > 0);
                (engine.images.list(), layers)
            };
            let containers = || engine.all().iter().map(|container| engine.glance(container, true)).collect();
            Ok(DiskUsage {
                images: of.images.then(images),
                containers: of.containers.then(containers),
                volumes: of.volumes.then(|| engine.volumes_usage()).transpose()?,
            })
        })
        .await
    }

    fn volumes_usage(&self) -> Result<Vec<VolumeUsage>, Error> {
        let measured = |volume: Volume| VolumeUsage {
            users: self.volumes.users(&volume.name).map_or(0, |users| users.len()),
            // One that is removed meanwhile takes nothing.
            size: self.volumes.usage(&volume.name).unwrap_or(Some(0)),
            volume,
        };
        Ok(self.volumes.list()?.into_iter().map(measured).collect())
    }
}
