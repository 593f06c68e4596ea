//! Stop, kill, restart, pause, rename, remove.

use crate::container::Container;
use crate::engine::{blocking, passage};
use crate::record::{CONTAINERS, ContainerRecord};
use crate::state::{State, Transition};
use crate::wait::{Wait, WaitCondition};
use crate::{Engine, Error};
use proa_state::Durability;
use proa_types::{ContainerName, ErrorKind, Kinded, Signal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Seconds a container gets to stop where nothing else is said.
const STOP: i64 = 10;
/// How long a killed container may take to end before its killer is answered.
const PATIENCE: Duration = Duration::from_secs(10);

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
            if self.give_up(&container)? {
                self.tell(&container, "stop", &[]);
                return Ok(());
            }
            container.change(|record| record.stopped_by_user = true);
            return Err(Error::NotModified(format!("container {} is already stopped", container.id)));
        }
        self.stop_locked(&container, timeout, signal).await?;
        self.tell(&container, "stop", &[]);
        self.gone(&container).await;
        Ok(())
    }

    /// Does not start again one that was about to be; whether it was.
    fn give_up(&self, container: &Arc<Container>) -> Result<bool, Error> {
        let restarting = container.change(|record| {
            let given_up = record.state.is_restarting().then(|| record.state.apply(Transition::GiveUp));
            let Some(Ok(state)) = given_up else { return false };
            (record.state, record.stopped_by_user, record.healing) = (state, true, false);
            true
        });
        if restarting {
            self.note(&container.record())?;
        }
        Ok(restarting)
    }

    /// Stops a running container whose operation lock is held.
    pub(crate) async fn stop_locked(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<(), Error> {
        container.change(|record| record.stopped_by_user = true);
        self.note(&container.record())?;
        self.end_run(container, timeout, signal).await
    }

    /// The same, where it is no user who wishes it.
    pub(crate) async fn end_run(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Option<i64>,
        signal: Option<Signal>,
    ) -> Result<(), Error> {
        let (own, seconds) =
            container.with(|record| (record.spec.stop_signal.parse().ok(), record.spec.stop_timeout));
        let signal = signal.or(own).unwrap_or(Signal::TERM);
        let seconds = timeout.or(seconds).unwrap_or(STOP);
        passage("stop.signal");
        let ended = Wait::of(container, WaitCondition::NotRunning);
        self.thaw(container).await?;
        if seconds != 0 {
            self.signal(container, signal).await?;
        }
        let limit =
            u64::try_from(seconds).map_or(Duration::from_secs(u64::from(u32::MAX)), Duration::from_secs);
        if seconds == 0 || tokio::time::timeout(limit, ended.done()).await.is_err() {
            let ended = Wait::of(container, WaitCondition::NotRunning);
            self.kill_all(container).await?;
            ended.done().await;
        }
        Ok(())
    }

    /// One that removes itself is gone, and its name free, before it is said that it has stopped.
    async fn gone(&self, container: &Arc<Container>) {
        if container.with(|record| record.spec.host.auto_remove) {
            let removed = Wait::of(container, WaitCondition::Removed).done();
            let _ = tokio::time::timeout(PATIENCE, removed).await;
        }
    }

    /// A stopped process cannot obey a signal.
    pub(crate) async fn thaw(&self, container: &Arc<Container>) -> Result<(), Error> {
        if matches!(container.state(), State::Paused(_)) {
            let live = container.running()?;
            blocking(move || Ok(live.shim.resume()?)).await?;
            container.apply(Transition::Resume)?;
        }
        Ok(())
    }

    /// Sends a signal to the first process. That is told before: its end must not be told first.
    async fn signal(&self, container: &Arc<Container>, signal: Signal) -> Result<(), Error> {
        let Some(live) = container.live() else { return Ok(()) };
        self.tell(container, "kill", &[("signal", signal.number().to_string())]);
        let sent = blocking(move || Ok(live.shim.signal(None, signal.number())?)).await;
        match sent {
            // It ended a moment ago, whether that is known here already or not.
            Err(error) if container.state().run().is_none() || error.kind() == ErrorKind::Conflict => {
                tracing::debug!(container = container.id.short(), %error, "a signal came late");
                Ok(())
            }
            sent => sent,
        }
    }

    pub(crate) async fn kill_all(&self, container: &Arc<Container>) -> Result<(), Error> {
        self.signal(container, Signal::KILL).await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run.
    pub async fn kill(self: &Arc<Self>, container: &str, signal: Signal) -> Result<(), Error> {
        let found = self.find(container)?;
        if found.state().is_restarting() {
            // It may be starting right now.
            let _operation = found.operation.lock().await;
            if self.give_up(&found)? {
                return Ok(());
            }
        }
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
        passage("kill.signal");
        if signal != Signal::KILL {
            return self.signal(&found, signal).await;
        }
        let ended = Wait::of(&found, WaitCondition::NotRunning);
        self.kill_all(&found).await?;
        if tokio::time::timeout(PATIENCE, ended.done()).await.is_ok() {
            self.gone(&found).await;
        }
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
            container.kept.store(true, Ordering::Relaxed);
            let stopped = self.stop_locked(&container, timeout, signal).await;
            container.kept.store(false, Ordering::Relaxed);
            stopped?;
            passage("restart.stopped");
            self.tell(&container, "stop", &[]);
        }
        container.change(|record| {
            (record.stopped_by_user, record.restart_count, record.healing) = (false, 0, false);
        });
        container.short_runs.store(0, Ordering::Relaxed);
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
        container.not_restarting()?;
        container
            .state()
            .apply(Transition::Pause)
            .map_err(|e| Error::Conflict(format!("Container {} {e}", container.id)))?;
        let live = container.running()?;
        blocking(move || Ok(live.shim.pause()?)).await?;
        passage("pause.frozen");
        container.apply(Transition::Pause)?;
        self.leave_health(&container);
        self.note(&container.record())?;
        self.tell(&container, "pause", &[]);
        Ok(())
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not paused.
    pub async fn unpause(self: &Arc<Self>, container: &str) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        container
            .state()
            .apply(Transition::Resume)
            .map_err(|e| Error::Conflict(format!("Container {} {e}", container.id)))?;
        let live = container.running()?;
        blocking(move || Ok(live.shim.resume()?)).await?;
        passage("unpause.thawed");
        container.apply(Transition::Resume)?;
        self.check_health(&container);
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
        let mut record = ContainerRecord::clone(&container.record());
        let old = record.name.clone();
        if old == name {
            return Err(Error::Invalid("Renaming a container with the same name as its current name".into()));
        }
        record.name = name.clone();
        self.index().reserve(name.as_str(), &record.id)?;
        passage("rename.reserved");
        let renamed = self.record_in_store(&record);
        let stays = if renamed.is_ok() { &old } else { &name };
        self.index().free(stays.as_str());
        renamed?;
        passage("rename.record");
        container.change(|record| record.name = name.clone());
        self.note(&container.record())?;
        self.tell(&container, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// What was answered for is on disk.
    pub(crate) fn record_in_store(&self, record: &ContainerRecord) -> Result<(), Error> {
        if record.ephemeral {
            return Ok(());
        }
        self.store.update(Durability::Immediate, |update| {
            Ok::<_, Error>(update.put(&CONTAINERS, record.id.as_str(), record)?)
        })
    }
}
