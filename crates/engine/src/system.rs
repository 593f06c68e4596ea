//! The engine as a whole: shutdown, networks, processes of a container, and small facts.

use crate::engine::blocking;
use crate::record::{ContainerRecord, ENGINE};
use crate::spec::ContainerSpec;
use crate::state::State;
use crate::{Engine, Error};
use proa_network::Addressing;
use proa_oci::Digest;
use proa_state::{Durability, Store};
use proa_types::{ContainerId, Timestamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest that a shutdown waits for what is released behind the ends of containers.
const RELEASES: Duration = Duration::from_secs(10);

/// A network.
#[derive(Debug, Clone)]
pub struct NetworkView {
    /// Name: `bridge`, `host`, `none`.
    pub name: String,
    /// Id.
    pub id: String,
    /// Driver.
    pub driver: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its addresses.
    pub addressing: Option<Addressing>,
    /// Name of the bridge on the host.
    pub bridge: String,
    /// Containers on it.
    pub containers: Vec<Arc<ContainerRecord>>,
}

impl Engine {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Ends: containers are stopped unless they are to run on, prepared sandboxes are given back, the network is removed
    /// if nothing needs it.
    pub async fn shutdown(self: &Arc<Self>) {
        self.closing.store(true, Ordering::Relaxed);
        let config = self.config();
        if !config.live_restore {
            let limit = i64::try_from(config.shutdown_timeout).unwrap_or(i64::MAX);
            let running: Vec<_> =
                self.all().into_iter().filter(|container| container.state().run().is_some()).collect();
            let stops = running.into_iter().map(|container| {
                let engine = Arc::clone(self);
                tokio::spawn(async move {
                    let _operation = container.operation.lock().await;
                    let stopped = container.with(|record| record.stopped_by_user);
                    let seconds = container.with(|record| record.spec.stop_timeout).unwrap_or(10).min(limit);
                    let _ = engine.stop_locked(&container, Some(seconds), None).await;
                    // The engine stopped it, not a user: its policy holds at the next start.
                    container.change(|record| record.stopped_by_user = stopped);
                    let _ = engine.note(&container.record());
                })
            });
            for stop in stops.collect::<Vec<_>>() {
                let _ = stop.await;
            }
        }
        let engine = Arc::clone(self);
        let _ = blocking(move || {
            engine.close_trees();
            for ready in engine.pool.close() {
                engine.discard(ready);
            }
            engine.await_releases();
            if let Some(bridge) = &engine.bridge
                && let Err(error) = bridge.shutdown_if_unused()
            {
                tracing::warn!(%error, "the network stays");
            }
            if engine.spawner.known().is_empty() {
                engine.remove_cgroup();
            }
            engine.catch_up()
        })
        .await;
    }

    /// What ended containers and sandboxes given back had is released behind their ends: waits for it, unless containers
    /// run on and hold some of it themselves.
    fn await_releases(&self) {
        let end = Instant::now() + RELEASES;
        while Instant::now() < end {
            let used = self.bridge.as_ref().is_some_and(|bridge| bridge.is_used()) || self.pool.is_making();
            let live = self.config().live_restore && self.all().iter().any(|c| c.live().is_some());
            if live || !used && self.spawner.known().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Removes the cgroup that held all containers, if it holds none any more.
    fn remove_cgroup(&self) {
        use proa_runtime::cgroup::{Cgroup, CgroupPath};
        let opened = CgroupPath::new(&self.config().cgroup).and_then(|path| Cgroup::open(&path));
        if let Ok(cgroup) = opened {
            let _ = cgroup.remove();
        }
    }

    /// The networks there are: `bridge` (unless switched off), `host`, `none`.
    pub fn networks(&self) -> Vec<NetworkView> {
        NETWORKS.into_iter().filter_map(|(name, driver)| self.look_at(name, driver)).collect()
    }

    /// A network by name or id.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`].
    pub fn network(&self, text: &str) -> Result<NetworkView, Error> {
        let meant = |name: &str| {
            let id = self.network_id(name).unwrap_or_default();
            name == text || (text.len() >= 4 && id.starts_with(text))
        };
        let found = NETWORKS.into_iter().find(|(name, _)| meant(name));
        let found = found.and_then(|(name, driver)| self.look_at(name, driver));
        found.ok_or_else(|| Error::NoSuchNetwork(text.into()))
    }

    /// A network's id by its name, without a look at who is on it.
    pub fn network_id(&self, name: &str) -> Option<String> {
        let there =
            NETWORKS.iter().any(|(known, _)| *known == name) && (name != "bridge" || self.bridge.is_some());
        there.then(|| Digest::of(format!("{}\n{name}", self.id).as_bytes()).hex().to_owned())
    }

    fn look_at(&self, name: &str, driver: &str) -> Option<NetworkView> {
        let id = self.network_id(name)?;
        let bridge = self.bridge.as_ref().filter(|_| name == "bridge");
        let on =
            |record: &ContainerRecord| record.spec.host.network_mode == name && record.state.run().is_some();
        let containers = self.all().into_iter().filter(|container| container.with(on));
        Some(NetworkView {
            name: name.into(),
            id,
            driver: driver.into(),
            created: Timestamp(0),
            addressing: bridge.and_then(|bridge| bridge.addressing().ok()),
            bridge: self.config().bridge.clone(),
            containers: containers.map(|container| container.record()).collect(),
        })
    }
}

/// Networks by name, with their drivers.
const NETWORKS: [(&str, &str); 3] = [("bridge", "bridge"), ("host", "host"), ("none", "null")];

/// The engine's own id: made once, kept in the store.
pub(crate) fn engine_id(store: &Store) -> Result<String, Error> {
    store.update(Durability::Immediate, |update| {
        if let Some(id) = update.get(&ENGINE, "id")? {
            return Ok(id);
        }
        let hex = proa_types::id::random_hex();
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or("0").to_owned();
        let id = format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
        update.put(&ENGINE, "id", &id)?;
        Ok::<_, Error>(id)
    })
}

/// How many processors this process may use. Counted once: it takes some ten system calls.
pub(crate) fn processors() -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The capabilities this process may hand on.
pub(crate) fn bounding() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0)
}

/// A record of a container without wishes, to learn which sandbox it needs.
pub(crate) fn plain_record() -> ContainerRecord {
    ContainerRecord {
        id: ContainerId::random(),
        name: random_name().parse().unwrap_or_else(|_| unreachable!("random names are valid")),
        created: Timestamp(0),
        image: Digest::of(b""),
        spec: ContainerSpec::default(),
        command: vec!["true".into()],
        mounts: Vec::new(),
        state: State::Created,
        ephemeral: false,
        userns: None,
        restart_count: 0,
        stopped_by_user: false,
        health: None,
        healing: false,
        stands_still: false,
        limits_due: false,
        endpoint: None,
        published: Vec::new(),
    }
}

const FIRST: [&str; 24] = [
    "able", "amber", "brisk", "calm", "clear", "deft", "eager", "fair", "fond", "glad", "keen", "kind",
    "lively", "lucid", "mellow", "nimble", "plain", "quick", "ready", "steady", "swift", "tidy", "warm",
    "wise",
];
const SECOND: [&str; 24] = [
    "anchor",
    "beacon",
    "bow",
    "cove",
    "current",
    "deck",
    "delta",
    "gull",
    "harbor",
    "helm",
    "hull",
    "island",
    "keel",
    "lagoon",
    "mast",
    "oar",
    "outrigger",
    "reef",
    "rudder",
    "sail",
    "shore",
    "stern",
    "tide",
    "wave",
];

/// Two words and, so that names rarely meet, two digits.
pub(crate) fn random_name() -> String {
    let hex = proa_types::id::random_hex();
    let number = |range: std::ops::Range<usize>| {
        hex.get(range).and_then(|h| usize::from_str_radix(h, 16).ok()).unwrap_or(0)
    };
    let pick = |list: &[&str], n: usize| list.get(n % list.len()).copied().unwrap_or("proa").to_owned();
    format!("{}_{}{:02}", pick(&FIRST, number(0..4)), pick(&SECOND, number(4..8)), number(8..12) % 100)
}
