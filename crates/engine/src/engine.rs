//! The engine itself: what it holds, and how its parts are reached.

use crate::Error;
use crate::config::EngineConfig;
use crate::container::Container;
use crate::events::Events;
use crate::execs::Execs;
use crate::health::Schedule;
use crate::index::Index;
use crate::journal::Journal;
use crate::leaving::Leaving;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::pull::Fetching;
use crate::record::ContainerRecord;
use crate::trees::Trees;
use proa_distribution::Registry;
use proa_image::ImageStore;
use proa_network::Bridge;
use proa_oci::runtime::Seccomp;
use proa_runtime::seccomp::{self, Conditions};
use proa_shim::Spawner;
use proa_state::Store;
use proa_types::ContainerId;
use proa_volume::Volumes;
use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

/// What the engine is composed of.
pub struct Parts {
    /// The state store.
    pub store: Arc<Store>,
    /// Images.
    pub images: Arc<ImageStore>,
    /// Volumes.
    pub volumes: Arc<Volumes>,
    /// The default network; none with `--bridge none`.
    pub bridge: Option<Arc<Bridge>>,
    /// Starts monitors.
    pub spawner: Arc<Spawner>,
    /// Registries.
    pub registry: Arc<Registry>,
}

/// The engine.
pub struct Engine {
    pub(crate) config: RwLock<Arc<EngineConfig>>,
    pub(crate) store: Arc<Store>,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) bridge: Option<Arc<Bridge>>,
    pub(crate) spawner: Arc<Spawner>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) index: RwLock<Index>,
    pub(crate) journal: Journal,
    pub(crate) leaving: Leaving,
    pub(crate) execs: Execs,
    pub(crate) health: Schedule,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) fetching: Fetching,
    pub(crate) pool: Pool,
    pub(crate) trees: Trees,
    /// Held by each deletion of a removed container's files, which goes on behind the reply.
    pub(crate) deletions: Arc<tokio::sync::RwLock<()>>,
    /// Compiled filters by what they depend on.
    filters: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) cgroup_v1: bool,
    pub(crate) bounding: u64,
    pub(crate) id: String,
    /// Set when it ends: nothing is started again then.
    pub(crate) closing: AtomicBool,
}

impl Engine {
    /// Composes the engine. Call [`Engine::restore`] before it is used.
    ///
    /// # Errors
    /// When a directory cannot be made or the store cannot be read.
    pub fn open(config: EngineConfig, parts: Parts) -> Result<Arc<Self>, Error> {
        let dir = config.data_root.join("containers");
        let made = DirBuilder::new().recursive(true).mode(0o710).create(&dir);
        made.map_err(Error::io(dir.display().to_string()))?;
        let journal = Journal::open(config.exec_root.join("containers.journal"))?;
        let id = crate::system::engine_id(&parts.store)?;
        let (prepared, metrics) = (config.prepared, Metrics::new(config.metrics));
        Ok(Arc::new(Self {
            config: RwLock::new(Arc::new(config)),
            store: parts.store,
            images: parts.images,
            volumes: parts.volumes,
            bridge: parts.bridge,
            spawner: parts.spawner,
            registry: parts.registry,
            index: RwLock::default(),
            journal,
            leaving: Leaving::default(),
            execs: Execs::default(),
            health: Schedule::default(),
            events: Events::default(),
            metrics,
            fetching: Fetching::default(),
            pool: Pool::new(prepared),
            trees: Trees::default(),
            deletions: Arc::default(),
            filters: Mutex::default(),
            cgroup_v1: std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists(),
            bounding: crate::system::bounding(),
            id,
            closing: AtomicBool::new(false),
        }))
    }

    /// The configuration now.
    pub fn config(&self) -> Arc<EngineConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the configuration, as a reload does.
    pub fn reload(&self, config: EngineConfig) {
        self.registry.reload(config.mirrors.clone(), config.insecure.clone());
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Images.
    pub fn images(&self) -> &Arc<ImageStore> {
        &self.images
    }

    pub(crate) fn find(&self, text: &str) -> Result<Arc<Container>, Error> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).find(text)
    }

    pub(crate) fn index(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is linked to a container.
    pub(crate) fn linking(&self, id: &ContainerId) -> Vec<ContainerId> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).linking(id)
    }

    /// A container has other links than before.
    pub(crate) fn relink(&self, before: &ContainerRecord, after: &ContainerRecord) {
        self.index().relink(before, after);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// Directory of a container's files.
    pub(crate) fn container_dir(&self, container: &Container) -> PathBuf {
        self.config().data_root.join("containers").join(container.id.as_str())
    }

    /// The compiled filter of a container, or none if it is unconfined.
    pub(crate) fn filter(&self, security: &crate::plan::Security) -> Result<Option<Vec<u8>>, Error> {
        let Some(profile) = self.filter_profile(security) else { return Ok(None) };
        let key = format!("{}\n{}", security.names().join(","), profile.as_deref().unwrap_or_default());
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = filters.get(&key) {
            return Ok(Some(program.clone()));
        }
        let document = filter_document(profile.as_deref(), security)?;
        let program = seccomp::compile(&document).map_err(bad_profile)?.to_bytes();
        // A handful of combinations is in use; a stream of odd ones must not fill memory.
        if filters.len() >= 64 {
            filters.clear();
        }
        filters.insert(key, program.clone());
        Ok(Some(program))
    }

    /// The same as a document, for a runtime that compiles it itself.
    pub(crate) fn filter_rules(&self, security: &crate::plan::Security) -> Result<Option<Seccomp>, Error> {
        let profile = self.filter_profile(security);
        profile.map(|profile| filter_document(profile.as_deref(), security)).transpose()
    }

    /// The profile of a container as JSON, which is none for the default one; none at all if it is unconfined.
    #[expect(clippy::option_option, reason = "unconfined, the default profile, another one")]
    fn filter_profile(&self, security: &crate::plan::Security) -> Option<Option<String>> {
        use crate::plan::Filter;
        let profile = match &security.filter {
            Filter::Unconfined => return None,
            Filter::Custom(json) => Some(json.clone()),
            Filter::Default => self.config().seccomp_profile.clone(),
        };
        (profile.as_deref() != Some("unconfined")).then_some(profile)
    }
}

fn filter_document(profile: Option<&str>, security: &crate::plan::Security) -> Result<Seccomp, Error> {
    let conditions = Conditions::host(security.names());
    match profile {
        Some(json) => seccomp::parse_profile(json.as_bytes(), &conditions),
        None => seccomp::default_profile(&conditions),
    }
    .map_err(bad_profile)
}

fn bad_profile(error: seccomp::Error) -> Error {
    Error::Invalid(format!("seccomp profile: {error}"))
}

/// Runs work that waits for the kernel where it does not hold other work up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Internal(format!("a worker failed: {error}"))),
    }
}

pub(crate) use proa_sys::failpoint::passage;

/// Where the engine can be told to die.
const FAILPOINTS: &[&str] = &[
    "create.snapshot",
    "create.record",
    "start.begin",
    "start.sandbox",
    "start.network",
    "start.publish",
    "start.shim",
    "start.record",
    "exec.begin",
    "exec.started",
    "pause.frozen",
    "unpause.thawed",
    "rename.reserved",
    "rename.record",
    "update.record",
    "update.limits",
    "commit.begin",
    "commit.derived",
    "extract.begin",
    "extract.done",
    "exit.seen",
    "exit.record",
    "stop.signal",
    "restart.stopped",
    "kill.signal",
    "remove.killed",
    "remove.begin",
    "remove.record",
    "remove.release",
    "restore.begin",
    "restore.adopted",
    "volume.made",
    "volume.removed",
];

/// Every place where the process can be told to die, here and in the stores below.
pub fn failpoints() -> impl Iterator<Item = &'static str> {
    [FAILPOINTS, proa_volume::FAILPOINTS, proa_image::FAILPOINTS].into_iter().flatten().copied()
}
