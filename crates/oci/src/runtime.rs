//! The runtime configuration, `config.json` of a bundle (runtime-spec 1.2, config.md and config-linux.md).
//!
//! Every field is optional in the JSON unless the specification requires it, and absent fields are left out
//! when written. Unknown fields are ignored, as the specification demands.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

macro_rules! documents {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            pub struct $name {
                $($(#[$field_meta])* #[serde(skip_serializing_if = "is_default", deserialize_with = "nullable")] pub $field: $type,)*
            }
        )*
    };
}

documents! {
    /// The whole document.
    pub struct Spec {
        /// Version of the specification, `1.2.0`.
        pub oci_version: String,
        /// The container's first process.
        pub process: Option<Process>,
        /// The container's root.
        pub root: Option<Root>,
        /// The container's host name.
        pub hostname: String,
        /// The container's NIS domain.
        pub domainname: String,
        /// Mounts in order.
        pub mounts: Vec<Mount>,
        /// Programs run at points of the life cycle.
        pub hooks: Hooks,
        /// Free annotations.
        pub annotations: BTreeMap<String, String>,
        /// What is particular to Linux.
        pub linux: Linux,
    }

    /// A process to run.
    pub struct Process {
        /// Whether it has a terminal.
        pub terminal: bool,
        /// Size of that terminal.
        pub console_size: Option<ConsoleSize>,
        /// Who it runs as.
        pub user: User,
        /// Program and arguments.
        pub args: Vec<String>,
        /// Environment, as `NAME=value`.
        pub env: Vec<String>,
        /// Working directory, absolute.
        pub cwd: PathBuf,
        /// Capability sets.
        pub capabilities: Option<Capabilities>,
        /// Resource limits.
        pub rlimits: Vec<Rlimit>,
        /// Whether `no_new_privs` is set.
        pub no_new_privileges: bool,
        /// AppArmor profile.
        pub apparmor_profile: String,
        /// Out-of-memory score adjustment.
        pub oom_score_adj: Option<i32>,
        /// SELinux label.
        pub selinux_label: String,
        /// I/O priority.
        pub io_priority: Option<serde_json::Value>,
        /// Scheduling policy.
        pub scheduler: Option<serde_json::Value>,
    }

    /// Size of a terminal in characters.
    pub struct ConsoleSize {
        /// Rows.
        pub height: u16,
        /// Columns.
        pub width: u16,
    }

    /// Who a process runs as.
    pub struct User {
        /// User id.
        pub uid: u32,
        /// Group id.
        pub gid: u32,
        /// File mode creation mask.
        pub umask: Option<u32>,
        /// Supplementary groups.
        pub additional_gids: Vec<u32>,
    }

    /// The five capability sets, as `CAP_CHOWN` names.
    pub struct Capabilities {
        /// Bounding set.
        pub bounding: Vec<String>,
        /// Effective set.
        pub effective: Vec<String>,
        /// Inheritable set.
        pub inheritable: Vec<String>,
        /// Permitted set.
        pub permitted: Vec<String>,
        /// Ambient set.
        pub ambient: Vec<String>,
    }

    /// A resource limit (getrlimit(2)).
    pub struct Rlimit {
        /// `RLIMIT_NOFILE` and so on.
        #[serde(rename = "type")]
        pub kind: String,
        /// Soft limit; 2^64-1 is none.
        pub soft: u64,
        /// Hard limit; 2^64-1 is none.
        pub hard: u64,
    }

    /// The container's root.
    pub struct Root {
        /// Path, absolute or relative to the bundle.
        pub path: PathBuf,
        /// Whether it is read-only.
        pub readonly: bool,
    }

    /// A mount.
    pub struct Mount {
        /// Where in the container, absolute.
        pub destination: PathBuf,
        /// Filesystem type; `bind` or nothing for a bind.
        #[serde(rename = "type")]
        pub kind: String,
        /// Device name or path on the host.
        pub source: PathBuf,
        /// Options, as fstab(5) and mount(8) write them.
        pub options: Vec<String>,
        /// User mapping of an idmapped mount.
        pub uid_mappings: Vec<IdMapping>,
        /// Group mapping of an idmapped mount.
        pub gid_mappings: Vec<IdMapping>,
    }

    /// Programs run at points of the life cycle.
    pub struct Hooks {
        /// Deprecated: after creation, before start.
        pub prestart: Vec<Hook>,
        /// In the runtime's namespaces, at creation.
        pub create_runtime: Vec<Hook>,
        /// In the container's namespaces, at creation.
        pub create_container: Vec<Hook>,
        /// In the container, before the program.
        pub start_container: Vec<Hook>,
        /// After the program started.
        pub poststart: Vec<Hook>,
        /// After deletion.
        pub poststop: Vec<Hook>,
    }

    /// One hook.
    pub struct Hook {
        /// Program, absolute.
        pub path: PathBuf,
        /// Arguments, the name first.
        pub args: Vec<String>,
        /// Environment.
        pub env: Vec<String>,
        /// Seconds until it is given up.
        pub timeout: Option<u32>,
    }

    /// What is particular to Linux.
    pub struct Linux {
        /// User mapping of the user namespace.
        pub uid_mappings: Vec<IdMapping>,
        /// Group mapping of the user namespace.
        pub gid_mappings: Vec<IdMapping>,
        /// Kernel parameters of the container's namespaces.
        pub sysctl: BTreeMap<String, String>,
        /// Limits.
        pub resources: Option<Resources>,
        /// Cgroup: a path, or `slice:prefix:name` for systemd.
        pub cgroups_path: String,
        /// Namespaces to make or join.
        pub namespaces: Vec<Namespace>,
        /// Devices to make.
        pub devices: Vec<Device>,
        /// Filter of system calls.
        pub seccomp: Option<Seccomp>,
        /// Propagation of the root: `private`, `slave`, `shared`, `unbindable`, each perhaps with `r` before.
        pub rootfs_propagation: String,
        /// Paths hidden.
        pub masked_paths: Vec<PathBuf>,
        /// Paths made read-only.
        pub readonly_paths: Vec<PathBuf>,
        /// SELinux label of mounts.
        pub mount_label: String,
        /// Offsets of the time namespace by clock: `monotonic`, `boottime`.
        pub time_offsets: BTreeMap<String, TimeOffset>,
        /// Execution domain.
        pub personality: Option<serde_json::Value>,
    }

    /// A range of ids.
    pub struct IdMapping {
        /// First id inside.
        #[serde(rename = "containerID")]
        pub container_id: u32,
        /// First id outside.
        #[serde(rename = "hostID")]
        pub host_id: u32,
        /// How many.
        pub size: u32,
    }

    /// An offset of a clock.
    pub struct TimeOffset {
        /// Seconds.
        pub secs: i64,
        /// Nanoseconds.
        pub nanosecs: u32,
    }

    /// A namespace to make, or to join where `path` is given.
    pub struct Namespace {
        /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup`, `time`.
        #[serde(rename = "type")]
        pub kind: String,
        /// An existing namespace, `/proc/PID/ns/…`.
        pub path: Option<PathBuf>,
    }

    /// A device node.
    pub struct Device {
        /// Path in the container.
        pub path: PathBuf,
        /// `c`, `b`, `u` or `p`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Major number.
        pub major: i64,
        /// Minor number.
        pub minor: i64,
        /// Permissions.
        pub file_mode: Option<u32>,
        /// Owner.
        pub uid: Option<u32>,
        /// Group.
        pub gid: Option<u32>,
    }

    /// Limits of a container (cgroups).
    pub struct Resources {
        /// Device access, in order.
        pub devices: Vec<DeviceRule>,
        /// Memory.
        pub memory: Memory,
        /// Processor time.
        pub cpu: Cpu,
        /// Number of processes.
        pub pids: Option<Pids>,
        /// Block devices.
        #[serde(rename = "blockIO")]
        pub block_io: BlockIo,
        /// Huge pages.
        pub hugepage_limits: Vec<HugepageLimit>,
        /// Network classes and priorities.
        pub network: Option<serde_json::Value>,
        /// Files of cgroup v2 by name.
        pub unified: BTreeMap<String, String>,
    }

    /// A rule of device access.
    pub struct DeviceRule {
        /// Allow or deny.
        pub allow: bool,
        /// `a`, `c` or `b`; nothing is `a`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Major number; none is all.
        pub major: Option<i64>,
        /// Minor number; none is all.
        pub minor: Option<i64>,
        /// Of `rwm`.
        pub access: String,
    }

    /// Memory limits in bytes; -1 is none.
    pub struct Memory {
        /// Hard limit.
        pub limit: Option<i64>,
        /// Soft limit.
        pub reservation: Option<i64>,
        /// Memory and swap together.
        pub swap: Option<i64>,
        /// Kernel memory (obsolete in the kernel).
        pub kernel: Option<i64>,
        /// Kernel TCP memory.
        #[serde(rename = "kernelTCP")]
        pub kernel_tcp: Option<i64>,
        /// 0 to 100.
        pub swappiness: Option<u64>,
        /// Do not kill when memory runs out (v1).
        #[serde(rename = "disableOOMKiller")]
        pub disable_oom_killer: Option<bool>,
    }

    /// Limits of processor time.
    pub struct Cpu {
        /// Weight, 2 to 262144.
        pub shares: Option<u64>,
        /// Microseconds in each period; -1 is none.
        pub quota: Option<i64>,
        /// Microseconds.
        pub burst: Option<u64>,
        /// Microseconds.
        pub period: Option<u64>,
        /// Microseconds of real-time in each real-time period (v1).
        pub realtime_runtime: Option<i64>,
        /// Microseconds (v1).
        pub realtime_period: Option<u64>,
        /// Processors, as `0-2,4`.
        pub cpus: String,
        /// Memory nodes.
        pub mems: String,
        /// 1 makes the cgroup idle.
        pub idle: Option<i64>,
    }

    /// Number of processes.
    pub struct Pids {
        /// Most at once; 0 or less is no limit.
        pub limit: i64,
    }

    /// Limits of block devices.
    pub struct BlockIo {
        /// Weight, 10 to 1000.
        pub weight: Option<u16>,
        /// Weight of leaves (v1, CFQ).
        pub leaf_weight: Option<u16>,
        /// Weights by device.
        pub weight_device: Vec<WeightDevice>,
        /// Bytes read in a second.
        pub throttle_read_bps_device: Vec<ThrottleDevice>,
        /// Bytes written in a second.
        pub throttle_write_bps_device: Vec<ThrottleDevice>,
        /// Reads in a second.
        #[serde(rename = "throttleReadIOPSDevice")]
        pub throttle_read_iops_device: Vec<ThrottleDevice>,
        /// Writes in a second.
        #[serde(rename = "throttleWriteIOPSDevice")]
        pub throttle_write_iops_device: Vec<ThrottleDevice>,
    }

    /// The weight of one device.
    pub struct WeightDevice {
        /// Major number.
        pub major: i64,
        /// Minor number.
        pub minor: i64,
        /// 10 to 1000.
        pub weight: Option<u16>,
        /// Weight of leaves.
        pub leaf_weight: Option<u16>,
    }

    /// The rate of one device.
    pub struct ThrottleDevice {
        /// Major number.
        pub major: i64,
        /// Minor number.
        pub minor: i64,
        /// Per second.
        pub rate: u64,
    }

    /// A limit of huge pages.
    pub struct HugepageLimit {
        /// As `2MB`.
        pub page_size: String,
        /// Bytes.
        pub limit: u64,
    }

    /// A filter of system calls (seccomp(2)).
    pub struct Seccomp {
        /// `SCMP_ACT_…` for calls without a rule.
        pub default_action: String,
        /// The error of that action.
        pub default_errno_ret: Option<u32>,
        /// `SCMP_ARCH_…`.
        pub architectures: Vec<String>,
        /// `SECCOMP_FILTER_FLAG_…`.
        pub flags: Vec<String>,
        /// Socket that is sent the notification descriptor.
        pub listener_path: String,
        /// Passed with it.
        pub listener_metadata: String,
        /// The rules.
        pub syscalls: Vec<SyscallRule>,
    }

    /// One rule of a filter.
    pub struct SyscallRule {
        /// Names of calls.
        pub names: Vec<String>,
        /// `SCMP_ACT_…`.
        pub action: String,
        /// The error of that action.
        pub errno_ret: Option<u32>,
        /// Conditions; all must hold.
        pub args: Vec<SyscallArg>,
    }

    /// A condition on an argument.
    pub struct SyscallArg {
        /// Which, 0 to 5.
        pub index: u32,
        /// Compared with this.
        pub value: u64,
        /// Second value (mask comparison).
        pub value_two: u64,
        /// `SCMP_CMP_…`.
        pub op: String,
    }

    /// What `state` prints, and hooks read.
    pub struct State {
        /// Version of the specification.
        pub oci_version: String,
        /// Container.
        pub id: String,
        /// `creating`, `created`, `running`, `stopped`, and `paused` beyond the specification.
        pub status: String,
        /// First process, on the host; 0 when there is none.
        pub pid: i32,
        /// Bundle directory.
        pub bundle: PathBuf,
        /// Annotations of the configuration.
        pub annotations: BTreeMap<String, String>,
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads `null` as the default, as Go does.
fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_runc_survives_the_round_trip() {
        let text = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":0,"gid":0},"args":["sh"],
            "cwd":"/","noNewPrivileges":true},"root":{"path":"rootfs","readonly":true},"hostname":"x",
            "linux":{"namespaces":[{"type":"pid"}],"resources":{"devices":[{"allow":false,"access":"rwm"}],
            "blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":5}]}}}}"#;
        let spec: Spec = serde_json::from_str(text).unwrap();
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(spec, again);
        let resources = spec.linux.resources.unwrap();
        assert_eq!(resources.block_io.throttle_read_iops_device.len(), 1);
        assert!(!resources.devices.first().unwrap().allow);
    }
}
