//! The end of a run: told to those who wait first, then recorded, then everything it held is released.

use crate::container::{Container, Live};
use crate::engine::{blocking, passage};
use crate::state::{Impossible, State, Transition};
use crate::{Engine, Error, health};
use proa_shim::{Event, ExitRecord};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The first pause before a restart, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length makes the next pause short again.
const LONG_RUN: Duration = Duration::from_secs(10);

impl Engine {
    /// Follows a container's monitor until the run ends. `socket` is where it tells, from the start or of
    /// [`proa_shim::Shim::events`].
    pub(crate) fn watch(self: &Arc<Self>, container: &Arc<Container>, socket: OwnedFd) -> Result<(), Error> {
        let live = container.running()?;
        let socket = listening(socket)?;
        self.check_health(container);
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        tokio::spawn(async move { engine.follow(&container, &live, socket).await });
        Ok(())
    }

    async fn follow(
        self: &Arc<Self>,
        container: &Arc<Container>,
        live: &Arc<Live>,
        mut socket: UnixDatagram,
    ) {
        loop {
            if socket.readable().await.is_err() {
                return;
            }
            let mut event = Ok(None);
            let _ = socket.try_io(Interest::READABLE, || {
                event = proa_shim::events(socket.as_fd());
                if matches!(event, Ok(None)) { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match event {
                Ok(Some(Event::Exited { exec: None, exit })) => {
                    return self.ended(container, live, Some(exit)).await;
                }
                Ok(Some(Event::Exited { exec: Some(id), exit })) => {
                    self.exec_ended(container, &id, exit.code)
                }
                Ok(Some(Event::Oom)) => self.tell(container, "oom", &[]),
                Ok(None) => {}
                // A monitor drops listeners that do not keep up, and tells an end again to those who come back.
                Err(_) => match listen_again(live).await {
                    Ok(again) => socket = again,
                    // The monitor died, and with it the container.
                    Err(_) => return self.ended(container, live, None).await,
                },
            }
        }
    }

    /// A run has ended.
    async fn ended(self: &Arc<Self>, container: &Arc<Container>, live: &Arc<Live>, exit: Option<ExitRecord>) {
        passage("exit.seen");
        let exit = exit.unwrap_or_else(|| ExitRecord {
            code: 137,
            at: proa_types::Timestamp::now(),
            oom_killed: false,
        });
        let (policy, count, stopped, started, auto_remove) = container.with(|record| {
            let started = record.state.run().map(|run| run.started_at);
            let host = &record.spec.host;
            (host.restart.clone(), record.restart_count, record.stopped_by_user, started, host.auto_remove)
        });
        let auto_remove = auto_remove && !container.kept.load(Ordering::Relaxed);
        let healing = container.with(health::restarts);
        let restarting = (healing || policy.wants(exit.code, count, stopped)) && !self.is_closing();
        let transition =
            Transition::End { code: exit.code, at: exit.at, oom_killed: exit.oom_killed, restarting };
        // Taken before anybody hears of the end, so that a start that follows waits for the release.
        let releasing = Arc::clone(&container.releasing).lock_owned().await;
        let (endpoint, published) = container.with(|r| (r.endpoint.clone(), r.published.clone()));
        let departure = self.leaving.begin(&published);
        let ended = container.change(|record| {
            record.state = record.state.apply(transition)?;
            // Counted now, as docker does: the pause belongs to the restart that follows it.
            record.restart_count += u32::from(restarting);
            Ok::<_, Impossible>(())
        });
        if ended.is_err() {
            return;
        }
        // Nobody is shown an address or a port that is about to be another's.
        container.change(|record| (record.endpoint, record.published) = (None, Vec::new()));
        self.leave_health(container);
        container.set_live(None);
        if !auto_remove {
            let _ = self.note(&container.record());
        }
        passage("exit.record");
        self.execs.forget(&container.id);
        // Told before those who wait go on and do what is told next.
        self.tell(container, "die", &[("exitCode", exit.code.to_string())]);
        container.progress.send_modify(|progress| {
            progress.ends += 1;
            progress.running = false;
            (progress.code, progress.error) = (exit.code, String::new());
        });
        let (mut remains, mut deletion) = (None, None);
        if auto_remove && !restarting {
            deletion = Arc::clone(&self.deletions).try_read_owned().ok();
            // The name is free before anybody who waits for the removal hears of it; the rest is behind.
            remains = self.forget(container, true).await.ok();
        }
        let (engine, held, live) = (Arc::clone(self), Arc::clone(container), Arc::clone(live));
        let released = blocking(move || {
            engine.release(&held, &live, endpoint.is_some());
            drop(departure);
            if let Some(remains) = remains {
                engine.delete(&held, remains);
            }
            drop(deletion);
            Ok(())
        });
        let _ = released.await;
        drop(releasing);
        if restarting {
            let ran = started.map_or(Duration::ZERO, |at| {
                Duration::from_nanos(u64::try_from(exit.at.0.saturating_sub(at.0)).unwrap_or(0))
            });
            if ran >= LONG_RUN {
                container.short_runs.store(0, Ordering::Relaxed);
            }
            self.again(container);
        }
    }

    /// Releases what a run held: monitor, cgroup, namespaces, address, ports, volumes.
    fn release(&self, container: &Container, live: &Live, connected: bool) {
        if let Err(error) = live.shim.release() {
            tracing::warn!(container = container.id.short(), %error, "the monitor did not go");
        }
        if let (Some(bridge), true) = (&self.bridge, connected)
            && let Err(error) = bridge.disconnect(&live.sandbox)
        {
            tracing::warn!(container = container.id.short(), %error, "an address was not released");
        }
        self.index().released(&live.sandbox);
        self.unmount_volumes(&container.record());
        self.spawner.reap();
    }

    /// Starts a container again after a pause, unless a user decides otherwise meanwhile. Each pause is twice as long as
    /// the one before.
    pub(crate) fn again(self: &Arc<Self>, container: &Arc<Container>) {
        let pause = pause(container.short_runs.fetch_add(1, Ordering::Relaxed));
        let (engine, container) = (Arc::clone(self), Arc::clone(container));
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            engine.start_again(&container).await;
        });
    }

    /// Boxed: a failed start may lead here again.
    fn start_again<'a>(
        self: &'a Arc<Self>,
        container: &'a Arc<Container>,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let _operation = container.operation.lock().await;
            let due = matches!(container.state(), State::Exited(exit) if exit.restarting);
            if !due || self.is_closing() {
                return;
            }
            // `always` starts also what a user had stopped before the engine ended.
            container.change(|record| (record.healing, record.stopped_by_user) = (false, false));
            if let Err(error) = self.start_locked(container).await {
                tracing::warn!(container = container.id.short(), %error, "a restart failed");
                let (policy, count) =
                    container.with(|record| (record.spec.host.restart.clone(), record.restart_count));
                if policy.wants(128, count, false) {
                    container.change(|record| {
                        record.restart_count += 1;
                        if let State::Exited(exit) = &mut record.state {
                            exit.restarting = true;
                        }
                    });
                    self.again(container);
                }
            }
        })
    }
}

fn pause(short_runs: u32) -> Duration {
    PAUSE.saturating_mul(1 << short_runs.min(10)).min(LONGEST)
}

fn listening(socket: OwnedFd) -> Result<UnixDatagram, Error> {
    let socket = std::os::unix::net::UnixDatagram::from(socket);
    socket.set_nonblocking(true).map_err(Error::io("events"))?;
    UnixDatagram::from_std(socket).map_err(Error::io("events"))
}

async fn listen_again(live: &Arc<Live>) -> Result<UnixDatagram, Error> {
    let live = Arc::clone(live);
    listening(blocking(move || Ok(live.shim.events()?)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<_> = [0, 1, 2, 8, 9, 10, u32::MAX].map(|runs| pause(runs).as_millis()).into();
        assert_eq!(pauses, [100, 200, 400, 25_600, 51_200, 60_000, 60_000]);
    }
}
