//! What can be done with a volume as a whole, beyond docker: clone, rename, export and import. A volume appears
//! with all of its data or not at all.

use crate::engine::blocking;
use crate::events::EventKind;
use crate::files::{Failing, write};
use crate::{Engine, Error};
use proa_image::tar::{ExtractOptions, extract, pack_contents, plain};
use proa_types::{ContainerId, Labels};
use proa_volume::{Volume, VolumeSpec};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the volumes of ended containers are waited for, and how often they are looked at.
const RELEASE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

impl Engine {
    /// Makes a volume with the data of another one, and with its labels and these.
    ///
    /// # Errors
    /// [`Error::Volume`] where a running container has the other one mounted, or the name is taken.
    pub async fn volume_clone(
        self: &Arc<Self>,
        from: &str,
        to: &str,
        labels: Labels,
    ) -> Result<Volume, Error> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let clone = move |engine: &Engine| engine.volumes.clone_as(&from, &to, &labels);
        let volume = self.when_released(|user| self.runs(user), clone).await?;
        self.events_volume("create", &volume.name);
        Ok(volume)
    }

    /// Gives a volume another name.
    ///
    /// # Errors
    /// [`Error::Volume`] where a container uses it, or the name is taken.
    pub async fn volume_rename(self: &Arc<Self>, from: &str, to: &str) -> Result<Volume, Error> {
        let (old, to) = (from.to_owned(), to.to_owned());
        let rename = move |engine: &Engine| engine.volumes.rename(&old, &to);
        let volume = self.when_released(|user| self.find(user.as_str()).is_ok(), rename).await?;
        let attributes =
            BTreeMap::from([("driver".into(), volume.driver.clone()), ("oldName".into(), from.to_owned())]);
        self.events.tell(EventKind::Volume, "rename", &volume.name, attributes);
        Ok(volume)
    }

    /// Writes a volume's data as an archive. The reader is told where the volume went away meanwhile.
    ///
    /// # Errors
    /// [`Error::Volume`] where it does not exist, or a running container has it mounted.
    pub async fn volume_export(
        self: &Arc<Self>,
        name: &str,
        to: impl Write + Send + Failing + 'static,
    ) -> Result<(), Error> {
        let wanted = name.to_owned();
        let open = move |engine: &Engine| engine.volumes.idle_directory(&wanted, "export");
        let directory = self.when_released(|user| self.runs(user), open).await?;
        let (engine, wanted) = (Arc::clone(self), name.to_owned());
        tokio::task::spawn_blocking(move || {
            write(to, |to| {
                pack_contents(directory.as_fd(), None, to)?;
                let same = || {
                    let now = engine.volumes.directory(&wanted).ok()?;
                    let (now, then) = (rustix::fs::fstat(&now).ok()?, rustix::fs::fstat(&directory).ok()?);
                    (now.st_ino == then.st_ino).then_some(())
                };
                same().ok_or_else(|| std::io::Error::other("the volume was removed meanwhile"))
            });
        });
        Ok(())
    }

    /// Makes a volume of an archive.
    ///
    /// # Errors
    /// [`Error::Volume`] where the name is taken; [`Error::Archive`].
    pub async fn volume_import(
        self: &Arc<Self>,
        name: &str,
        labels: Labels,
        from: impl Read + Send + 'static,
    ) -> Result<Volume, Error> {
        let engine = Arc::clone(self);
        let spec = VolumeSpec { name: Some(name.to_owned()), labels, ..VolumeSpec::default() };
        let volume = blocking(move || {
            engine.volumes.make(&spec, |directory| {
                let root = directory.try_clone().map_err(Error::io("a volume"))?;
                let archive = plain(from).map_err(Error::Archive)?;
                let options = ExtractOptions::default();
                extract(archive, root.as_fd(), (directory, b""), &options).map_err(Error::Archive)
            })
        })
        .await?;
        self.events_volume("create", &volume.name);
        Ok(volume)
    }

    fn runs(&self, user: &ContainerId) -> bool {
        self.find(user.as_str()).is_ok_and(|container| container.running().is_ok())
    }

    /// Does what needs a volume that nobody uses. The end of a container is told before its volumes are released,
    /// so users that do not count any more are waited for: they go by themselves, as do those that begin to run,
    /// which then count.
    async fn when_released<T: Send + 'static>(
        self: &Arc<Self>,
        counts: impl Fn(&ContainerId) -> bool,
        act: impl Fn(&Engine) -> Result<T, proa_volume::Error> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let act = Arc::new(act);
        let end = Instant::now() + RELEASE;
        loop {
            let (engine, act) = (Arc::clone(self), Arc::clone(&act));
            let done = blocking(move || Ok(act(&engine))).await?;
            match done {
                Err(proa_volume::Error::Busy { ref users, .. })
                    if Instant::now() < end && !users.iter().any(&counts) =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                done => return Ok(done?),
            }
        }
    }
}
