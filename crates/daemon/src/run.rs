//! The daemon's life: parts composed, the past restored, sockets served, signals obeyed.

use crate::LogLevel;
use crate::config::Config;
use crate::error::Error;
use crate::listen::{self, Listener};
use crate::metrics::Metrics;
use crate::pidfile::PidFile;
use proa_api::{Api, Authorization, Peer};
use proa_distribution::Registry;
use proa_engine::spec::Ulimit;
use proa_engine::{Engine, EngineConfig, Parts, Runtime};
use proa_image::{DriverKind, ImageStore};
use proa_logs::{LogConfig, LogDriver};
use proa_network::{Bridge, BridgeConfig};
use proa_shim::Spawner;
use proa_state::Store;
use proa_volume::Volumes;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

/// Descriptors this process may hold: two for each published port, some for each container.
const DESCRIPTORS: u64 = 1 << 20;

/// Runs the daemon until it is told to end.
pub(crate) fn run(args: &[String], config: Config, level: &LogLevel) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Root("it makes namespaces, mounts and networks; try sudo".into()));
    }
    more_descriptors();
    if let Some(score) = config.oom_score
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        tracing::warn!(%error, "the out-of-memory score stays as it is");
    }
    // Two threads carry the sockets; work that waits for the kernel has threads of its own, which go when idle.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .thread_stack_size(1 << 20)
        .thread_name("proa")
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| Error::Io { path: "tokio".into(), source })?;
    let result = runtime.block_on(serve(args, config, level));
    // Connections that only wait for news end here.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// Raises the soft limit of open files to the hard one.
fn more_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(DESCRIPTORS, |hard| hard.min(DESCRIPTORS));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
}

async fn serve(args: &[String], mut config: Config, level: &LogLevel) -> Result<(), Error> {
    // Signals are caught before anything is there that they could leave behind.
    let stream = |kind| signal(kind).map_err(|source| Error::Io { path: "signals".into(), source });
    let (mut term, mut interrupt, mut hup) =
        (stream(SignalKind::terminate())?, stream(SignalKind::interrupt())?, stream(SignalKind::hangup())?);
    directory(&config.data_root, 0o710)?;
    directory(&config.exec_root, 0o711)?;
    let _pid = PidFile::create(&config.pidfile)?;
    // Before anything is there that would stay behind if a socket is taken; clients wait until they are served.
    let listeners = listen::open(&config)?;
    let metrics = config.metrics.map(Metrics::open).transpose()?;
    let authorization = Authorization::default();
    authorization.load(&config.authorization).await.map_err(part("authorization"))?;
    let engine = compose(&config)?;
    let failed = |e: proa_engine::Error| Error::Part { part: "restoring containers", detail: e.to_string() };
    let restored = engine.restore().await.map_err(failed)?;
    let api =
        Arc::new(Api { engine: Arc::clone(&engine), version: env!("CARGO_PKG_VERSION"), authorization });
    let shown: Vec<&str> = listeners.iter().map(|listener| listener.address.as_str()).collect();
    tracing::info!(
        "Proa {} serves {}; data in {}, {} containers, {} running",
        env!("CARGO_PKG_VERSION"),
        shown.join(" and "),
        config.data_root.display(),
        restored.containers,
        restored.running
    );
    let listeners: Vec<Arc<Listener>> = listeners.into_iter().map(Arc::new).collect();
    let accepting: Vec<_> = listeners
        .iter()
        .map(|listener| tokio::spawn(accept(Arc::clone(listener), Arc::clone(&api))))
        .collect();
    if let Some(metrics) = metrics {
        tokio::spawn(metrics.serve(Arc::clone(&engine)));
    }
    notify("READY=1");
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            _ = hup.recv() => {
                reload(args, &mut config, &engine, level);
                // The plugins that there were stay where one of the new is not there.
                if let Err(error) = api.authorization.load(&config.authorization).await {
                    tracing::error!("authorization plugins kept as they are: {error}");
                }
            }
        }
    }
    tracing::info!("ending");
    notify("STOPPING=1");
    for task in &accepting {
        task.abort();
    }
    for task in accepting {
        let _ = task.await;
    }
    drop(listeners);
    tokio::select! {
        () = engine.shutdown() => {}
        _ = term.recv() => tracing::warn!("told to end again: ending at once, containers may run on"),
        _ = interrupt.recv() => tracing::warn!("told to end again: ending at once, containers may run on"),
    }
    Ok(())
}

async fn accept(listener: Arc<Listener>, api: Arc<Api>) {
    loop {
        match listener.accept().await {
            Ok(incoming) => {
                let api = Arc::clone(&api);
                tokio::spawn(async move {
                    match incoming.stream().await {
                        Ok(stream) => {
                            let peer = Peer { certificates: stream.certificates() };
                            if let Err(error) = proa_api::serve(api, stream, peer).await {
                                tracing::debug!(%error, "a connection broke");
                            }
                        }
                        Err(error) => tracing::info!("a client was refused: {error}"),
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                // Out of descriptors: a moment later there may be some.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
}

fn directory(path: &Path, mode: u32) -> Result<(), Error> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::io(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(Error::io(path))
}

/// Tells systemd (sd_notify(3)), if it wants to know.
fn notify(text: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        let _ = socket.send_to(text.as_bytes(), path);
    }
}

fn part(part: &'static str) -> impl Fn(String) -> Error {
    move |detail| Error::Part { part, detail }
}

fn compose(config: &Config) -> Result<Arc<Engine>, Error> {
    let store = open_store(&config.data_root.join("state")).map_err(|e| part("state")(e.to_string()))?;
    let store = Arc::new(store);
    let driver: DriverKind = driver(&config.storage_driver)?;
    let images = ImageStore::open_with(&config.data_root, Arc::clone(&store), driver);
    let images = images.map_err(|e| part("images")(e.to_string()))?;
    let volumes =
        Volumes::open(&config.data_root, Arc::clone(&store)).map_err(|e| part("volumes")(e.to_string()))?;
    let spawner = Spawner::new(&config.exec_root).map_err(|e| part("monitors")(e.to_string()))?;
    let bridge = bridge(config)?;
    let registry = Registry::new(proa_distribution::Config {
        insecure: config.insecure.clone(),
        mirrors: config.mirrors.clone(),
        certificate_dirs: vec!["/etc/proa/certs.d".into(), "/etc/docker/certs.d".into()],
    });
    let parts = Parts {
        store,
        images: Arc::new(images),
        volumes: Arc::new(volumes),
        bridge: bridge.map(Arc::new),
        spawner: Arc::new(spawner),
        registry: Arc::new(registry),
    };
    Engine::open(engine_config(config)?, parts).map_err(|e| part("engine")(e.to_string()))
}

fn driver(name: &str) -> Result<DriverKind, Error> {
    name.parse()
        .map_err(|e: proa_image::Error| Error::Value { option: "storage-driver", detail: e.to_string() })
}

fn bridge(config: &Config) -> Result<Option<Bridge>, Error> {
    let bad = |option: &'static str| move |detail: String| Error::Value { option, detail };
    if config.bridge.as_deref() == Some("none") {
        return Ok(None);
    }
    let mut wanted = BridgeConfig::named(&bridge_name(config));
    wanted.table = config.suffix().map_or_else(|| "proa".to_owned(), |suffix| format!("proa-{suffix}"));
    wanted.existing = config.bridge.is_some();
    if let Some(bip) = &config.bip {
        let (address, prefix) = bip
            .split_once('/')
            .ok_or_else(|| bad("bip")(format!("{bip:?}: write an address and a prefix, as 172.17.0.1/16")))?;
        let address =
            address.parse().map_err(|_| bad("bip")(format!("{bip:?} is no IPv4 address and prefix")))?;
        let subnet: proa_network::Subnet = format!("{address}/{prefix}")
            .parse()
            .map_err(|_| bad("bip")(format!("{bip:?} is no IPv4 address and prefix")))?;
        wanted.subnet = Some(subnet);
        wanted.gateway = Some(address);
    }
    if let Some(std::net::IpAddr::V4(gateway)) = config.default_gateway {
        wanted.gateway = Some(gateway);
    }
    if let Some(mtu) = config.mtu {
        wanted.mtu = mtu;
    }
    wanted.inter_container = config.icc;
    wanted.masquerade = config.ip_masq;
    wanted.forward = config.ip_forward;
    if let Some(ip) = config.ip {
        wanted.default_bind = ip;
    }
    Bridge::open(wanted).map(Some).map_err(|e| part("network")(e.to_string()))
}

fn bridge_name(config: &Config) -> String {
    match (&config.bridge, config.suffix()) {
        (Some(name), _) => name.clone(),
        (None, Some(suffix)) => format!("proa-{suffix}"),
        (None, None) => "proa0".into(),
    }
}

/// The engine's part of the configuration.
fn engine_config(config: &Config) -> Result<EngineConfig, Error> {
    let log_driver: LogDriver = config
        .log_driver
        .parse()
        .map_err(|e: proa_logs::Error| Error::Value { option: "log-driver", detail: e.to_string() })?;
    LogConfig::new(log_driver, "/".into(), &config.log_options, &proa_logs::Source::default())
        .map_err(|e| Error::Value { option: "log-opt", detail: e.to_string() })?;
    let profile = match config.seccomp_profile.as_deref() {
        None | Some("builtin") => None,
        Some("unconfined") => Some("unconfined".to_owned()),
        Some(path) => Some(std::fs::read_to_string(path).map_err(Error::io(path))?),
    };
    let runtimes = config.runtimes.iter();
    let runtimes = runtimes.map(|(name, runtime)| {
        (name.clone(), Runtime { path: runtime.path.clone(), args: runtime.args.clone() })
    });
    let ulimits = config.ulimits.iter();
    Ok(EngineConfig {
        data_root: config.data_root.clone(),
        exec_root: config.exec_root.clone(),
        cgroup: match (&config.cgroup_parent, config.suffix()) {
            (Some(parent), _) => parent.clone(),
            (None, Some(suffix)) => format!("/proa-{suffix}"),
            (None, None) => "/proa".into(),
        },
        log_driver,
        log_options: config.log_options.clone(),
        runtimes: runtimes.collect(),
        default_runtime: config.default_runtime.clone(),
        ulimits: ulimits
            .map(|(name, (soft, hard))| Ulimit { name: name.clone(), soft: *soft, hard: *hard })
            .collect(),
        shm_size: config.shm_size.unwrap_or(64 << 20),
        init: config.init,
        no_new_privileges: config.no_new_privileges,
        seccomp_profile: profile,
        cgroupns: config.cgroupns.clone(),
        ipc_mode: config.ipc_mode.clone().unwrap_or_else(|| "private".into()),
        dns: config.dns.clone(),
        dns_options: config.dns_options.clone(),
        dns_search: config.dns_search.clone(),
        live_restore: config.live_restore,
        shutdown_timeout: config.shutdown_timeout,
        prepared: config.prepared,
        downloads: config.downloads,
        uploads: config.uploads,
        labels: config.labels.clone(),
        mirrors: config.mirrors.clone(),
        insecure: config.insecure.clone(),
        bridge: bridge_name(config),
        remap: config.userns_remap.as_deref().map(remap).transpose()?,
        userns_pool: config.userns_pool,
        cdi_dirs: config.cdi_dirs.clone(),
        metrics: config.metrics.is_some(),
        debug: config.log_level >= tracing::Level::DEBUG,
    })
}

fn remap(text: &str) -> Result<proa_types::IdMap, Error> {
    let bad = |error: proa_engine::Error| Error::Value { option: "userns-remap", detail: error.to_string() };
    proa_engine::userns::remap(text).map_err(bad)
}

/// Reads flags and file anew. What may change while the daemon runs changes; the rest is named and needs a restart.
fn reload(args: &[String], config: &mut Config, engine: &Engine, level: &LogLevel) {
    let loaded = Config::load(args).and_then(|newer| {
        let (reloaded, kept) = config.reloaded(&newer)?;
        Ok((engine_config(&reloaded)?, reloaded, kept))
    });
    match loaded {
        Ok((settings, reloaded, kept)) => {
            engine.reload(settings);
            if level.reload(LevelFilter::from_level(reloaded.log_level)).is_err() {
                tracing::warn!("the level of the log stays as it is");
            }
            *config = reloaded;
            tracing::info!("configuration read anew from {}", config.file.display());
            if !kept.is_empty() {
                tracing::warn!("changed, and kept as it was until a restart: {}", kept.join(", "));
            }
        }
        Err(error) => tracing::error!("configuration kept as it is: {error}"),
    }
}

/// Checks what can be checked without starting anything.
pub(crate) fn validate(config: &Config) -> Result<(), Error> {
    driver(&config.storage_driver)?;
    // Ids of `default` are set aside by the start, not by a look.
    let userns_remap = config.userns_remap.clone().filter(|text| text != "default");
    engine_config(&Config { userns_remap, ..config.clone() })?;
    bridge(config).map(drop)
}

/// Opens the store. A daemon that was killed a moment ago may still hold it: by a child that has not executed its
/// program yet, or because the kernel is not done with its threads.
fn open_store(path: &Path) -> Result<Store, proa_state::Error> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match Store::open(path) {
            Err(proa_state::Error::Locked { .. }) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}
