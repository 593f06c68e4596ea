//! What a container is asked to be: the domain's form of docker's `Config` and `HostConfig`.

use crate::health::HealthCheck;
use proa_types::{Labels, PortSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

macro_rules! plain {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
            }
        )*
    };
}

plain! {
    /// Everything a container is asked to be.
    pub struct ContainerSpec {
        /// Image, as it was named.
        pub image: String,
        /// Host name; the short id if empty.
        pub hostname: String,
        /// NIS domain.
        pub domainname: String,
        /// User and perhaps group, by name or number.
        pub user: String,
        /// Whether a client attaches standard input, output, error.
        pub attach: [bool; 3],
        /// Ports named.
        pub exposed_ports: BTreeSet<PortSpec>,
        /// How the request writes those that it writes otherwise, as `80` for `80/tcp`.
        pub exposed_as: BTreeMap<PortSpec, String>,
        /// Whether there is a terminal.
        pub tty: bool,
        /// Whether standard input stays open.
        pub open_stdin: bool,
        /// Whether it closes with the first client.
        pub stdin_once: bool,
        /// Environment, `NAME=value`; a bare name removes the image's.
        pub env: Vec<String>,
        /// Arguments; the image's if none.
        pub cmd: Option<Vec<String>>,
        /// Entry point; the image's if none.
        pub entrypoint: Option<Vec<String>>,
        /// Paths that become anonymous volumes.
        pub volumes: BTreeSet<String>,
        /// Working directory.
        pub working_dir: String,
        /// Labels.
        pub labels: Labels,
        /// Signal that stops it.
        pub stop_signal: String,
        /// Seconds it gets to stop.
        pub stop_timeout: Option<i64>,
        /// How health is probed.
        pub healthcheck: Option<HealthCheck>,
        /// Shell, kept as it is.
        pub shell: Option<Vec<String>>,
        /// Hardware address on the bridge.
        pub mac_address: String,
        /// What concerns the host.
        pub host: HostSpec,
    }

    /// What of a container concerns the host.
    pub struct HostSpec {
        /// `SOURCE:TARGET[:OPTIONS]`.
        pub binds: Vec<String>,
        /// Mounts in the long form.
        pub mounts: Vec<MountSpec>,
        /// Memory filesystems: path and options.
        pub tmpfs: BTreeMap<String, String>,
        /// Containers whose volumes are mounted too, `NAME[:ro]`.
        pub volumes_from: Vec<String>,
        /// `bridge`, `none`, `host`, `container:X`.
        pub network_mode: String,
        /// Published ports.
        pub port_bindings: BTreeMap<PortSpec, Vec<HostPort>>,
        /// Whether all named ports are published.
        pub publish_all: bool,
        /// When it is started again.
        pub restart: RestartPolicy,
        /// Whether it is removed when it ends.
        pub auto_remove: bool,
        /// Capabilities added.
        pub cap_add: Vec<String>,
        /// Capabilities removed.
        pub cap_drop: Vec<String>,
        /// Whether it may do what the engine may.
        pub privileged: bool,
        /// `seccomp=…`, `no-new-privileges`, `apparmor=…`, `label=…`.
        pub security_opt: Vec<String>,
        /// Whether its root is read-only.
        pub readonly_rootfs: bool,
        /// Name servers.
        pub dns: Vec<String>,
        /// Resolver options.
        pub dns_options: Vec<String>,
        /// Search domains.
        pub dns_search: Vec<String>,
        /// `NAME:ADDRESS`.
        pub extra_hosts: Vec<String>,
        /// Containers of the default bridge that are named here.
        pub links: Vec<LinkSpec>,
        /// Supplementary groups.
        pub group_add: Vec<String>,
        /// `private`, `shareable`, `none`, `host`, `container:X`.
        pub ipc_mode: String,
        /// Nothing, `host`, `container:X`.
        pub pid_mode: String,
        /// Nothing, `host`.
        pub uts_mode: String,
        /// Nothing, `host`.
        pub userns_mode: String,
        /// `private`, `host`.
        pub cgroupns_mode: String,
        /// Parent cgroup.
        pub cgroup_parent: String,
        /// Size of /dev/shm in bytes.
        pub shm_size: u64,
        /// Kernel parameters.
        pub sysctls: BTreeMap<String, String>,
        /// Limits.
        pub ulimits: Vec<Ulimit>,
        /// Devices.
        pub devices: Vec<DeviceSpec>,
        /// Devices asked of a driver: `--gpus`, and devices by name.
        pub device_requests: Vec<DeviceRequest>,
        /// Device rules, as the v1 devices controller takes them.
        pub device_cgroup_rules: Vec<String>,
        /// Runtime's name.
        pub runtime: String,
        /// Whether process 1 is a reaper.
        pub init: Option<bool>,
        /// Log driver; the engine's if empty.
        pub log_driver: String,
        /// Its options.
        pub log_options: BTreeMap<String, String>,
        /// Out-of-memory score adjustment.
        pub oom_score_adj: i32,
        /// Paths hidden; the default list if none.
        pub masked_paths: Option<Vec<String>>,
        /// Paths made read-only; the default list if none.
        pub readonly_paths: Option<Vec<String>>,
        /// Annotations of the OCI document.
        pub annotations: BTreeMap<String, String>,
        /// Rows and columns of the terminal at the start.
        pub console_size: (u16, u16),
        /// File the client wrote the id to.
        pub cidfile: String,
        /// Options of the storage driver.
        pub storage_opt: BTreeMap<String, String>,
        /// Driver of volumes that are made for it.
        pub volume_driver: String,
        /// `default` or nothing: Linux has one kind.
        pub isolation: String,
        /// Limits.
        pub resources: ResourceSpec,
    }

    /// A link to another container of the default bridge.
    pub struct LinkSpec {
        /// The other: in a request what the user typed, then its id.
        pub container: String,
        /// Its name here.
        pub alias: String,
    }

    /// A mount in the long form.
    pub struct MountSpec {
        /// `bind`, `volume`, `tmpfs`.
        pub kind: String,
        /// Path of the host or name of a volume.
        pub source: String,
        /// Path in the container.
        pub target: String,
        /// Whether it is read-only.
        pub readonly: bool,
        /// Propagation of a bind.
        pub propagation: String,
        /// Whether mounts below a bind are left out.
        pub non_recursive: bool,
        /// Whether a missing source is made.
        pub create_source: bool,
        /// Whether a new volume stays empty.
        pub no_copy: bool,
        /// Path in the volume; the whole of it if empty.
        pub subpath: String,
        /// Labels of a new volume.
        pub labels: Labels,
        /// Driver of a new volume.
        pub driver: String,
        /// Options of a new volume.
        pub driver_options: BTreeMap<String, String>,
        /// Size of a memory filesystem in bytes.
        pub tmpfs_size: i64,
        /// Mode of a memory filesystem.
        pub tmpfs_mode: u32,
    }

    /// Where a port is published: an address and a port or range, either perhaps empty.
    pub struct HostPort {
        /// Address.
        pub ip: String,
        /// Port or range.
        pub port: String,
    }

    /// When a container is started again.
    pub struct RestartPolicy {
        /// `no` or nothing, `always`, `unless-stopped`, `on-failure`.
        pub name: String,
        /// Most attempts of `on-failure`; 0 is no bound.
        pub maximum: u32,
    }

    /// A limit of getrlimit(2).
    pub struct Ulimit {
        /// `nofile` and so on.
        pub name: String,
        /// Soft limit; -1 is none.
        pub soft: i64,
        /// Hard limit; -1 is none.
        pub hard: i64,
    }

    /// A device of the host.
    pub struct DeviceSpec {
        /// Path on the host.
        pub host: String,
        /// Path in the container.
        pub container: String,
        /// Of `rwm`.
        pub permissions: String,
    }

    /// Devices asked of a driver.
    pub struct DeviceRequest {
        /// `cdi`, a vendor's, or nothing: whichever has the capabilities.
        pub driver: String,
        /// How many; -1 is all.
        pub count: i64,
        /// These instead.
        pub ids: Vec<String>,
        /// Sets of capabilities, one of which is enough.
        pub capabilities: Vec<Vec<String>>,
        /// Options of the driver.
        pub options: BTreeMap<String, String>,
    }

    /// Limits.
    pub struct ResourceSpec {
        /// Bytes; 0 is none.
        pub memory: i64,
        /// Soft limit in bytes.
        pub memory_reservation: i64,
        /// Memory and swap in bytes; -1 is none.
        pub memory_swap: i64,
        /// 0 to 100; -1 or none is the host's.
        pub memory_swappiness: Option<i64>,
        /// Kernel memory in bytes; obsolete.
        pub kernel_memory: i64,
        /// Whether the container is stalled and not killed when memory runs out.
        pub oom_kill_disable: Option<bool>,
        /// Billionths of a processor.
        pub nano_cpus: i64,
        /// Weight.
        pub cpu_shares: i64,
        /// Microseconds.
        pub cpu_period: i64,
        /// Microseconds.
        pub cpu_quota: i64,
        /// Microseconds.
        pub cpu_realtime_period: i64,
        /// Microseconds.
        pub cpu_realtime_runtime: i64,
        /// Processors.
        pub cpuset_cpus: String,
        /// Memory nodes.
        pub cpuset_mems: String,
        /// Most processes; 0 or -1 is no limit.
        pub pids_limit: Option<i64>,
        /// 10 to 1000; 0 is the host's.
        pub blkio_weight: u16,
        /// Weight by device.
        pub blkio_weight_device: Vec<DeviceValue>,
        /// Bytes a second by device.
        pub read_bps: Vec<DeviceValue>,
        /// Bytes a second by device.
        pub write_bps: Vec<DeviceValue>,
        /// Operations a second by device.
        pub read_iops: Vec<DeviceValue>,
        /// Operations a second by device.
        pub write_iops: Vec<DeviceValue>,
    }

    /// A number for a device.
    pub struct DeviceValue {
        /// Path of the device.
        pub path: String,
        /// The number.
        pub value: u64,
    }
}

impl RestartPolicy {
    /// Whether a container that ended with `code`, and was started again `count` times, is started once more.
    pub fn wants(&self, code: i32, count: u32, stopped_by_user: bool) -> bool {
        match self.name.as_str() {
            "always" | "unless-stopped" => !stopped_by_user,
            "on-failure" => !stopped_by_user && code != 0 && (self.maximum == 0 || count < self.maximum),
            _ => false,
        }
    }
}

/// The container that a mode `container:X` names.
pub(crate) fn other_container(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}
