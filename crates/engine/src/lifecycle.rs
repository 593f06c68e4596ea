//! Stop, kill, restart, pause, rename, remove.

use crate::container::Container;
use crate::engine::{blocking, passage};
use crate::record::{CONTAINERS, ContainerRecord};
use crate::state::{State, Transition};
use crate::{Engine, Error, WaitCondition};
use proa_state::Durability;
use proa_types::{ContainerName, Signal};
use proa_volume::Volumes;
use std::sync::Arc;
use std::time::Duration;

/// Seconds a container gets to stop where nothing else is said.
const STOP: i64 = 10;

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also when it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
}

impl Engine {
    /// Stops a container: its signal, some seconds, then SIGKILL. -1 seconds wait for ever.
    ///
    /// # Errors
    /// [`Error::NotModified`] when it does not run.
    pub async fn stop(
        self: &Arc<Self>,
        container: &str,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        if container.state().run().is_none() {
            let restarting = matches!(container.state(), State::Exited(exit) if exit.restarting);
            container.change(|record| record.stopped_by_user = true);
            if restarting {
                container.apply(Transition::GiveUp)?;
                return self.note(&container.record());
            }
            return Err(Error::NotModified(format!("container {} is already stopped", container.id)));
        }
        self.stop_locked(&container, timeout, signal).await?;
        self.tell(&container, "stop", &[]);
        Ok(())
    }

    /// Stops a running container whose operation lock is held.
    pub(crate) async fn stop_locked(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<(), Error> {
        let (own, seconds) =
            container.with(|record| (record.spec.stop_signal.parse().ok(), record.spec.stop_timeout));
        let signal = signal.or(own).unwrap_or(Signal::TERM);
        let seconds = timeout.or(seconds).unwrap_or(STOP);
        container.change(|record| record.stopped_by_user = true);
        self.note(&container.record())?;
        passage("stop.signal");
        let ended = self.wait(container.id.as_str(), WaitCondition::NotRunning)?;
        self.thaw(container).await?;
        if seconds != 0 {
            self.signal(container, signal).await?;
        }
        let limit =
            u64::try_from(seconds).map_or(Duration::from_secs(u64::from(u32::MAX)), Duration::from_secs);
        if seconds == 0 || tokio::time::timeout(limit, ended.done()).await.is_err() {
            let ended = self.wait(container.id.as_str(), WaitCondition::NotRunning)?;
            self.kill_all(container).await?;
            ended.done().await;
        }
        Ok(())
    }

    /// A stopped process cannot obey a signal.
    async fn thaw(&self, container: &Arc<Container>) -> Result<(), Error> {
        if matches!(container.state(), State::Paused(_)) {
            let live = container.running()?;
            blocking(move || Ok(live.shim.resume()?)).await?;
            container.apply(Transition::Resume)?;
        }
        Ok(())
    }

    async fn signal(self: &Arc<Self>, container: &Arc<Container>, signal: Signal) -> Result<(), Error> {
        let Some(live) = container.live() else { return Ok(()) };
        let sent = blocking(move || Ok(live.shim.signal(None, signal.number())?)).await;
        // It may have ended a moment ago.
        if container.state().run().is_none() { Ok(()) } else { sent }
    }

    async fn kill_all(&self, container: &Arc<Container>) -> Result<(), Error> {
        let Some(live) = container.live() else { return Ok(()) };
        let sent = blocking(move || Ok(live.shim.signal(None, Signal::KILL.number())?)).await;
        if container.state().run().is_none() { Ok(()) } else { sent }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run.
    pub async fn kill(self: &Arc<Self>, container: &str, signal: Signal) -> Result<(), Error> {
        let found = self.find(container)?;
        if found.state().run().is_none() {
            return Err(Error::Conflict(format!(
                "cannot kill container: {container}: container {} is not running",
                found.id
            )));
        }
        let stops = found.with(|record| record.spec.stop_signal.parse().ok()).unwrap_or(Signal::TERM);
        if signal == Signal::KILL || signal == stops {
            // A user who kills does not want it back.
            found.change(|record| record.stopped_by_user = true);
            self.note(&found.record())?;
        }
        if signal == Signal::KILL {
            let ended = self.wait(found.id.as_str(), WaitCondition::NotRunning)?;
            self.kill_all(&found).await?;
            let _ = tokio::time::timeout(Duration::from_secs(10), ended.done()).await;
        } else {
            self.signal(&found, signal).await?;
        }
        self.tell(&found, "kill", &[("signal", signal.number().to_string())]);
        Ok(())
    }

    /// Stops a container, if it runs, and starts it.
    ///
    /// # Errors
    /// As for stop and start.
    pub async fn restart(
        self: &Arc<Self>,
        container: &str,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        if container.state().run().is_some() {
            // It comes back at once: --rm must not remove it in between.
            let auto_remove = container.change(|record| std::mem::take(&mut record.spec.host.auto_remove));
            let stopped = self.stop_locked(&container, timeout, signal).await;
            container.change(|record| record.spec.host.auto_remove = auto_remove);
            stopped?;
        }
        container.change(|record| (record.stopped_by_user, record.restart_count) = (false, 0));
        self.start_locked(&container).await?;
        self.tell(&container, "restart", &[]);
        Ok(())
    }

    /// Stops every process of a container where it stands.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run or is paused.
    pub async fn pause(&self, container: &str) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        container
            .state()
            .apply(Transition::Pause)
            .map_err(|e| Error::Conflict(format!("Container {} {e}", container.id)))?;
        let live = container.running()?;
        blocking(move || Ok(live.shim.pause()?)).await?;
        container.apply(Transition::Pause)?;
        self.note(&container.record())?;
        self.tell(&container, "pause", &[]);
        Ok(())
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not paused.
    pub async fn unpause(&self, container: &str) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        container
            .state()
            .apply(Transition::Resume)
            .map_err(|e| Error::Conflict(format!("Container {} {e}", container.id)))?;
        let live = container.running()?;
        blocking(move || Ok(live.shim.resume()?)).await?;
        container.apply(Transition::Resume)?;
        self.note(&container.record())?;
        self.tell(&container, "unpause", &[]);
        Ok(())
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is taken.
    pub async fn rename(&self, container: &str, name: ContainerName) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        let (old, mut record) = (container.with(|record| record.name.clone()), container.record());
        if old == name {
            return Err(Error::Invalid("Renaming a container with the same name as its current name".into()));
        }
        record.name = name.clone();
        self.index().reserve(name.as_str(), &record.id)?;
        let renamed = self.rename_in_store(&record);
        let stays = if renamed.is_ok() { &old } else { &name };
        self.index().free(stays.as_str());
        renamed?;
        container.change(|record| record.name = name.clone());
        self.note(&container.record())?;
        self.tell(&container, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// A name that was answered for is on disk.
    fn rename_in_store(&self, record: &ContainerRecord) -> Result<(), Error> {
        if record.ephemeral {
            return Ok(());
        }
        self.store.update(Durability::Immediate, |update| {
            Ok::<_, Error>(update.put(&CONTAINERS, record.id.as_str(), record)?)
        })
    }

    /// Removes a container.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs and that is not forced.
    pub async fn remove(self: &Arc<Self>, container: &str, options: RemoveOptions) -> Result<(), Error> {
        let found = self.find(container)?;
        let _operation = found.operation.lock().await;
        match found.state() {
            State::Removing => {
                return Err(Error::Conflict(format!(
                    "removal of container {container} is already in progress"
                )));
            }
            state if state.run().is_some() && options.force => {
                found.change(|record| (record.stopped_by_user, record.spec.host.auto_remove) = (true, false));
                let ended = self.wait(found.id.as_str(), WaitCondition::NotRunning)?;
                self.thaw(&found).await?;
                self.kill_all(&found).await?;
                ended.done().await;
            }
            state if state.run().is_some() => {
                let status = state.status();
                return Err(Error::Conflict(format!(
                    "cannot remove container \"/{}\": container is {status}: stop the container before removing or force remove",
                    found.with(|record| record.name.to_string())
                )));
            }
            _ => {}
        }
        self.remove_locked(&found, options.volumes).await
    }

    /// Removes a container that does not run and whose operation lock is held.
    pub(crate) async fn remove_locked(
        self: &Arc<Self>,
        container: &Arc<Container>,
        volumes: bool,
    ) -> Result<(), Error> {
        passage("remove.begin");
        if volumes {
            // Read by the removal, which knows no options.
            container.change(|record| record.spec.host.auto_remove = true);
        }
        self.forget(container).await?;
        let (engine, held) = (Arc::clone(self), Arc::clone(container));
        // Files go behind the reply; a crash leaves them to the next start.
        drop(tokio::task::spawn_blocking(move || engine.delete(&held)));
        Ok(())
    }

    /// Takes a container out of the tables and the index. From then on it does not exist.
    pub(crate) async fn forget(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        container.apply(Transition::Remove)?;
        let record = container.record();
        self.note_gone(&record.id)?;
        if !record.ephemeral || record.mounts.iter().any(|mount| mount.kind == "volume") {
            let durability = if record.ephemeral { Durability::Eventual } else { Durability::Immediate };
            let (engine, id) = (Arc::clone(self), record.id.clone());
            blocking(move || {
                engine.store.update(durability, |update| {
                    update.remove(&CONTAINERS, id.as_str())?;
                    Volumes::release_in(update, &id)?;
                    Ok::<_, Error>(())
                })
            })
            .await?;
        }
        passage("remove.record");
        self.index().remove(&record.id, record.name.as_str());
        container.progress.send_modify(|progress| progress.removed = true);
        self.tell(container, "destroy", &[]);
        Ok(())
    }

    /// Deletes the files of a container that does not exist any more.
    pub(crate) fn delete(&self, container: &Container) {
        passage("remove.release");
        let record = container.record();
        if record.spec.host.auto_remove {
            for mount in record.mounts.iter().filter(|mount| mount.anonymous) {
                let _ = self.volumes.remove(&mount.name, true);
            }
        }
        if let Err(error) = self.images.snapshot_remove(container.id.as_str()) {
            tracing::warn!(container = container.id.short(), %error, "a snapshot was not removed");
        }
        let _ = std::fs::remove_dir_all(self.container_dir(container));
    }
}
