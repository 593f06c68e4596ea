//! What the engine is told at its start, and what may change by a reload.

use crate::Error;
use crate::spec::Ulimit;
use proa_logs::LogDriver;
use proa_shim::RuntimeChoice;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A runtime other than our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// The program.
    pub path: PathBuf,
    /// Arguments before the command.
    pub args: Vec<String>,
}

/// The engine's configuration.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where data is kept.
    pub data_root: PathBuf,
    /// Where run-time facts are kept.
    pub exec_root: PathBuf,
    /// Cgroup that holds all containers: `/proa`.
    pub cgroup: String,
    /// Log driver of containers that name none.
    pub log_driver: LogDriver,
    /// Its options.
    pub log_options: BTreeMap<String, String>,
    /// Runtimes besides our own.
    pub runtimes: BTreeMap<String, Runtime>,
    /// Runtime of containers that name none.
    pub default_runtime: String,
    /// Limits of containers that name none.
    pub ulimits: Vec<Ulimit>,
    /// Size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Whether process 1 is a reaper where a container says nothing.
    pub init: bool,
    /// Whether `no_new_privs` is set where a container says nothing.
    pub no_new_privileges: bool,
    /// The default system-call profile as JSON, or `unconfined`.
    pub seccomp_profile: Option<String>,
    /// `private` or `host`; by the kind of cgroups if none.
    pub cgroupns: Option<String>,
    /// `private` or `shareable`.
    pub ipc_mode: String,
    /// Name servers of containers.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Whether containers run on when the engine is stopped.
    pub live_restore: bool,
    /// Seconds containers get to stop at shutdown.
    pub shutdown_timeout: u64,
    /// Sandboxes kept ready; none lets the engine choose, 0 prepares each at its start.
    pub prepared: Option<usize>,
    /// Layers fetched at once.
    pub downloads: usize,
    /// Layers sent at once.
    pub uploads: usize,
    /// Labels of the engine.
    pub labels: Vec<String>,
    /// Mirrors of docker.io, for `info`.
    pub mirrors: Vec<String>,
    /// Insecure registries, for `info`.
    pub insecure: Vec<String>,
    /// Name of the bridge, for `network inspect`.
    pub bridge: String,
    /// The users of containers that say nothing else, if they are not the host's (`userns-remap`).
    pub remap: Option<proa_types::IdMap>,
    /// Ids for `--userns auto`, a first one and a number; those of /etc/subuid and /etc/subgid if none.
    pub userns_pool: Option<(u32, u32)>,
    /// Directories of device descriptions (CDI); none switches them off.
    pub cdi_dirs: Vec<PathBuf>,
    /// Whether what happens is counted for `metrics-addr`.
    pub metrics: bool,
    /// Whether debug logging is on, for `info`.
    pub debug: bool,
}

/// Our own runtime's names: the second and third are those that docker's clients know for the default one.
pub const OWN_RUNTIME: [&str; 3] = ["proa", "runc", "io.containerd.runc.v2"];

impl EngineConfig {
    /// The runtime of a name. One that was registered wins over a name that docker gives its own.
    pub(crate) fn runtime(&self, name: &str) -> Result<RuntimeChoice, Error> {
        match self.runtimes.get(name) {
            Some(Runtime { path, args }) => {
                Ok(RuntimeChoice::Foreign { path: path.clone(), args: args.clone() })
            }
            None if OWN_RUNTIME.contains(&name) => Ok(RuntimeChoice::Builtin),
            None => Err(Error::Invalid(format!("unknown or invalid runtime name: {name}"))),
        }
    }
}
