//! After a restart: the store, the journal, the monitors and the kernel are made to agree.
//!
//! The store says which containers there are; the journal, where each stood; its monitor, what became of it.
//! What none of them accounts for is removed.

use crate::container::{Container, Live};
use crate::engine::{blocking, passage};
use crate::record::{CONTAINERS, ContainerRecord, ENGINE};
use crate::state::{Exit, State};
use crate::{Engine, Error, HealthStatus};
use proa_network::EndpointRecord;
use proa_shim::{Facts, Shim};
use proa_state::Durability;
use proa_types::{ContainerId, SandboxId, Timestamp};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Containers.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
}

impl Engine {
    /// Restores everything, and begins to prepare sandboxes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn restore(self: &Arc<Self>) -> Result<Restored, Error> {
        passage("restore.begin");
        let engine = Arc::clone(self);
        let (running, again, gone) = blocking(move || engine.restore_now()).await?;
        passage("restore.adopted");
        for container in &running {
            let events = container.running()?.shim.events()?;
            self.watch(container, events)?;
            self.limit_again(container);
            self.heal_again(container);
        }
        for container in gone {
            let _operation = container.operation.lock().await;
            let _ = self.remove_locked(&container, true).await;
        }
        for container in again {
            container.change(|record| {
                if let State::Exited(exit) = &mut record.state {
                    exit.restarting = true;
                }
            });
            self.again(&container);
        }
        self.keep_up();
        self.open_pool();
        Ok(Restored { containers: self.all().len(), running: running.len() })
    }

    #[expect(clippy::type_complexity, reason = "three lists of containers, named where they are taken apart")]
    fn restore_now(&self) -> Result<(Vec<Arc<Container>>, Vec<Arc<Container>>, Vec<Arc<Container>>), Error> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known = self.store.view(|view| Ok::<_, Error>(view.get(&ENGINE, "boot")?))?;
        let rebooted = known.is_some_and(|known| known != boot);
        let mut records = self.records()?;
        let mut shims = self.monitors(&mut records);
        let (mut running, mut again, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (_, mut record) in records {
            let was_up = record.state.run().cloned();
            let shim = shims.remove(record.id.as_str());
            let live = settle(&mut record, shim, was_up.is_some());
            let ended_meanwhile = was_up.is_some() && live.is_none();
            let container = Container::new(record);
            let reserved =
                self.index().reserve(&container.with(|record| record.name.to_string()), &container.id);
            if let Err(error) = reserved {
                tracing::warn!(container = container.id.short(), %error, "found by its id alone");
            }
            self.index().insert(Arc::clone(&container));
            match live {
                Some(live) => {
                    self.index().began(live.sandbox.clone(), &container);
                    container.set_live(Some(Arc::new(live)));
                    running.push(Arc::clone(&container));
                }
                None => {
                    if let Some(found) = was_up {
                        self.clear_sandbox(&found.sandbox);
                    }
                    sort(&container, ended_meanwhile, rebooted, &mut again, &mut gone);
                }
            }
        }
        self.journal.rewrite(|| self.journalled())?;
        self.reconcile_kernel(&running)?;
        let records = self.journalled();
        self.store.update(Durability::Immediate, |update| {
            for record in records.iter().filter(|record| !record.ephemeral) {
                update.put(&CONTAINERS, record.id.as_str(), record)?;
            }
            Ok::<_, Error>(update.put(&ENGINE, "boot", &boot)?)
        })?;
        Ok((running, again, gone))
    }

    /// Records of the store, with the journal over them.
    fn records(&self) -> Result<BTreeMap<String, ContainerRecord>, Error> {
        let stored = self.store.view(|view| Ok::<_, Error>(view.scan(&CONTAINERS, "")?))?;
        let mut records: BTreeMap<String, ContainerRecord> = stored.into_iter().collect();
        let mut gone = Vec::new();
        for (id, noted) in self.journal.replay()? {
            match noted {
                Some(record) => drop(records.insert(id, record)),
                None => gone.extend(records.remove(&id).map(|_| id)),
            }
        }
        if !gone.is_empty() {
            self.store.update(Durability::Eventual, |update| {
                gone.iter().try_for_each(|id| update.remove(&CONTAINERS, id).map(drop))?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(records)
    }

    /// Monitors by the container they hold. Those that hold none, or one that does not exist, are ended.
    fn monitors(
        &self,
        records: &mut BTreeMap<String, ContainerRecord>,
    ) -> BTreeMap<String, (Shim, Facts, SandboxId)> {
        let mut found = BTreeMap::new();
        for id in self.spawner.known() {
            let dir = self.spawner.dir(&id);
            let shim = Shim::connect(&dir).ok();
            let facts = shim.as_ref().and_then(|shim| shim.facts().ok());
            match (shim, facts) {
                (Some(shim), Some(facts)) => {
                    match facts.container.clone().filter(|held| records.contains_key(held.as_str())) {
                        Some(held) => drop(found.insert(held.as_str().to_owned(), (shim, facts, id))),
                        None => drop(shim.release()),
                    }
                }
                (shim, _) => {
                    drop(shim);
                    self.clear_sandbox(&id);
                }
            }
        }
        found
    }

    /// Removes what a monitor that is gone has left: its cgroup and its directory.
    fn clear_sandbox(&self, id: &SandboxId) {
        let dir = self.spawner.dir(id);
        let facts: Option<Facts> =
            std::fs::read(dir.join("facts.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(path) = facts.and_then(|facts| proa_runtime::cgroup::CgroupPath::new(&facts.cgroup).ok())
            && let Ok(cgroup) = proa_runtime::cgroup::Cgroup::open(&path)
        {
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        let _ = std::fs::remove_dir_all(dir);
    }

    /// Network, snapshots, volumes and directories of containers that are gone.
    fn reconcile_kernel(&self, running: &[Arc<Container>]) -> Result<(), Error> {
        if let Some(bridge) = &self.bridge {
            let live = running.iter().filter_map(|container| {
                container.with(|record| {
                    Some(EndpointRecord {
                        endpoint: record.endpoint.clone()?,
                        published: record.published.clone(),
                    })
                })
            });
            bridge.reconcile(&live.collect::<Vec<_>>())?;
        }
        let all = self.all();
        let ids: HashSet<String> = all.iter().map(|container| container.id.as_str().to_owned()).collect();
        for key in self.images.snapshots() {
            if !ids.contains(&key) {
                let _ = self.images.snapshot_remove(&key);
            }
        }
        let dir = self.config().data_root.join("containers");
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !ids.contains(&*entry.file_name().to_string_lossy()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let runs: HashSet<String> =
            running.iter().map(|container| container.id.as_str().to_owned()).collect();
        let exists = |id: &ContainerId| ids.contains(id.as_str());
        for record in all.iter().map(|container| container.record()).filter(|record| record.ephemeral) {
            // The store may have lost that it uses them with the daemon that was killed.
            for mount in record.mounts.iter().filter(|mount| mount.kind == "volume") {
                let _ = self.volumes.acquire(&mount.name, &record.id);
            }
        }
        self.volumes.reconcile(&exists, &|id: &ContainerId| runs.contains(id.as_str()))?;
        Ok(())
    }
}

/// Makes a record agree with what its monitor says; the monitor, if the container runs.
fn settle(
    record: &mut ContainerRecord,
    shim: Option<(Shim, Facts, SandboxId)>,
    was_up: bool,
) -> Option<Live> {
    let Some((shim, facts, sandbox)) = shim else {
        if was_up {
            // Nobody saw the end: a power cut, or the monitor was killed.
            let started_at = record.state.run().map(|run| run.started_at).unwrap_or_default();
            record.state = State::Exited(Exit {
                code: 255,
                started_at,
                finished_at: Timestamp::now(),
                ..Exit::default()
            });
            leave(record);
        }
        return None;
    };
    if let Some(exit) = facts.exit {
        record.state = State::Exited(Exit {
            code: exit.code,
            started_at: facts.started_at,
            finished_at: exit.at,
            oom_killed: exit.oom_killed,
            ..Exit::default()
        });
        leave(record);
        let _ = shim.release();
        return None;
    }
    let run = crate::state::Run {
        pid: facts.pid,
        start_time: facts.start_time,
        started_at: facts.started_at,
        sandbox: sandbox.clone(),
    };
    // A step that needed it to stand still was cut short.
    let goes_on = facts.paused && std::mem::take(&mut record.stands_still) && shim.resume().is_ok();
    record.state = if facts.paused && !goes_on { State::Paused(run) } else { State::Running(run) };
    Some(Live { shim, sandbox })
}

/// What an ended run has no more.
fn leave(record: &mut ContainerRecord) {
    (record.endpoint, record.published) = (None, Vec::new());
    if let Some(health) = &mut record.health {
        health.status = HealthStatus::Unhealthy;
    }
}

/// What becomes of a container that does not run.
fn sort(
    container: &Arc<Container>,
    ended_meanwhile: bool,
    rebooted: bool,
    again: &mut Vec<Arc<Container>>,
    gone: &mut Vec<Arc<Container>>,
) {
    let (state, policy, count, stopped, auto_remove) = container.with(|record| {
        let host = &record.spec.host;
        (
            record.state.clone(),
            host.restart.clone(),
            record.restart_count,
            record.stopped_by_user,
            host.auto_remove,
        )
    });
    let (code, was_restarting) = match &state {
        State::Exited(exit) => (exit.code, exit.restarting),
        State::Removing => {
            container.change(|record| record.state = State::Created);
            return gone.push(Arc::clone(container));
        }
        _ => (0, false),
    };
    if auto_remove && !matches!(state, State::Created) {
        return gone.push(Arc::clone(container));
    }
    if auto_remove && rebooted {
        return gone.push(Arc::clone(container));
    }
    let has_run = matches!(&state, State::Exited(exit) if !exit.started_at.is_never());
    let back = match policy.name.as_str() {
        // When the engine starts, `always` starts also what a user had stopped.
        "always" => has_run,
        // The engine may have stopped it when it ended.
        "unless-stopped" => has_run && !stopped,
        _ => (ended_meanwhile || was_restarting) && policy.wants(code, count, stopped),
    };
    let healing = (ended_meanwhile || was_restarting) && container.with(crate::health::restarts);
    if back || healing {
        again.push(Arc::clone(container));
    }
}
