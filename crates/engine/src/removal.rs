//! Removal: the tables and the index first, then whoever waits hears of it, then the files.

use crate::container::Container;
use crate::engine::{blocking, passage};
use crate::record::{CONTAINERS, ContainerRecord};
use crate::state::{State, Transition};
use crate::wait::{Wait, WaitCondition};
use crate::{Engine, Error};
use proa_state::Durability;
use proa_volume::{Retired, Volumes};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest that a prune waits for files that are being deleted.
const DELETIONS: Duration = Duration::from_secs(10);

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also when it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
}

/// What is left of a container that does not exist any more.
pub(crate) struct Remains {
    volumes: Vec<Retired>,
}

impl Engine {
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
                found.change(|record| record.stopped_by_user = true);
                // Removed here, not by its end.
                found.kept.store(true, Ordering::Relaxed);
                let ended = Wait::of(&found, WaitCondition::NotRunning);
                let killed = match self.thaw(&found).await {
                    Ok(()) => self.kill_all(&found).await,
                    refused => refused,
                };
                if killed.is_ok() {
                    ended.done().await;
                }
                found.kept.store(false, Ordering::Relaxed);
                killed?;
                passage("remove.killed");
                if matches!(found.state(), State::Removing) {
                    // It ended by itself a moment before, and removes itself.
                    Wait::of(&found, WaitCondition::Removed).done().await;
                    return Ok(());
                }
            }
            state if state.run().is_some() || state.is_restarting() && !options.force => {
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
        // From before anybody hears of it; where somebody waits for all of them, this one is none of those.
        let deletion = Arc::clone(&self.deletions).try_read_owned();
        let remains = self.forget(container, volumes).await?;
        let (engine, held) = (Arc::clone(self), Arc::clone(container));
        // Files go behind the reply; a crash leaves them to the next start.
        drop(tokio::task::spawn_blocking(move || {
            engine.delete(&held, remains);
            drop(deletion);
        }));
        Ok(())
    }

    /// Takes a container, and perhaps its anonymous volumes, out of the tables and the index. From then on they do not
    /// exist.
    pub(crate) async fn forget(
        self: &Arc<Self>,
        container: &Arc<Container>,
        volumes: bool,
    ) -> Result<Remains, Error> {
        container.apply(Transition::Remove)?;
        let record = container.record();
        self.note_gone(&record.id)?;
        let retired = if !record.ephemeral || record.mounts.iter().any(|mount| mount.kind == "volume") {
            let (engine, record) = (Arc::clone(self), record.clone());
            blocking(move || engine.forget_in_store(&record, volumes)).await?
        } else {
            Vec::new()
        };
        passage("remove.record");
        self.index().remove(&record.id, record.name.as_str());
        self.tell(container, "destroy", &[]);
        container.progress.send_modify(|progress| progress.removed = true);
        Ok(Remains { volumes: retired })
    }

    fn forget_in_store(&self, record: &ContainerRecord, volumes: bool) -> Result<Vec<Retired>, Error> {
        let anonymous = record.mounts.iter().filter(|mount| volumes && mount.anonymous);
        // One that removes itself was never promised to survive a power cut.
        let durability = if record.ephemeral { Durability::Eventual } else { Durability::Immediate };
        let removed = self.store.update(durability, |update| {
            update.remove(&CONTAINERS, record.id.as_str())?;
            Volumes::release_in(update, &record.id)?;
            Ok::<_, Error>(Volumes::remove_in(update, anonymous.map(|mount| mount.name.as_str()))?)
        })?;
        let mut retired = Vec::new();
        for name in &removed {
            match self.volumes.retire(name) {
                Ok(data) => {
                    retired.extend(data);
                    self.events_volume("destroy", name);
                }
                Err(error) => tracing::warn!(volume = name, %error, "a volume stays"),
            }
        }
        Ok(retired)
    }

    /// Waits until the files of containers that were removed are deleted, which hold the layers of their images.
    pub(crate) async fn await_deletions(&self) {
        let _ = tokio::time::timeout(DELETIONS, self.deletions.write()).await;
    }

    /// Deletes the files of a container that does not exist any more.
    pub(crate) fn delete(&self, container: &Container, remains: Remains) {
        passage("remove.release");
        drop(container.set_mounted(None));
        for volume in remains.volumes {
            if let Err(error) = self.volumes.delete(volume) {
                tracing::warn!(container = container.id.short(), %error, "a volume was not deleted");
            }
        }
        if let Err(error) = self.images.snapshot_remove(container.id.as_str()) {
            tracing::warn!(container = container.id.short(), %error, "a snapshot was not removed");
        }
        let _ = std::fs::remove_dir_all(self.container_dir(container));
    }
}
