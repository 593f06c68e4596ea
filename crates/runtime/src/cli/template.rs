//! `spec`: a configuration to begin with, as `runc spec` writes it.

use super::CliError;
use super::args::Args;
use proa_oci::runtime::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec,
};
use std::collections::VecDeque;
use std::path::Path;

/// Writes config.json.
pub(super) fn spec(words: VecDeque<String>) -> Result<i32, CliError> {
    let args = Args::parse(words, &[(&["bundle", "b"], true), (&["rootless"], false)])?;
    if args.has("rootless") {
        return Err(CliError::failed(
            "--rootless is not supported: add a user namespace with mappings by hand",
        ));
    }
    let path = Path::new(args.value("bundle").unwrap_or(".")).join("config.json");
    let failed =
        |error: &dyn std::fmt::Display| CliError::failed(format!("cannot write {}: {error}", path.display()));
    let text = serde_json::to_string_pretty(&template()).map_err(|error| failed(&error))?;
    let mut file = std::fs::File::create_new(&path).map_err(|error| failed(&error))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| failed(&error))?;
    Ok(0)
}

/// A shell with a terminal and few rights.
fn template() -> Spec {
    let caps: Vec<String> = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"].map(Into::into).to_vec();
    let process = Process {
        terminal: true,
        args: vec!["sh".into()],
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            "TERM=xterm".into(),
        ],
        cwd: "/".into(),
        capabilities: Some(Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps,
            ..Capabilities::default()
        }),
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 1024, hard: 1024 }],
        no_new_privileges: true,
        ..Process::default()
    };
    Spec {
        oci_version: super::OCI_VERSION.into(),
        process: Some(process),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: "proa".into(),
        mounts: mounts(),
        linux: linux(),
        ..Spec::default()
    }
}

fn mounts() -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.split(',').filter(|option| !option.is_empty()).map(Into::into).collect(),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "proc", ""),
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
    ]
}

fn linux() -> Linux {
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let deny = DeviceRule { allow: false, access: "rwm".into(), ..DeviceRule::default() };
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
    ];
    let readonly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
    Linux {
        namespaces: kinds.iter().map(|kind| Namespace { kind: (*kind).into(), path: None }).collect(),
        resources: Some(Resources { devices: vec![deny], ..Resources::default() }),
        masked_paths: masked.iter().map(Into::into).collect(),
        readonly_paths: readonly.iter().map(Into::into).collect(),
        ..Linux::default()
    }
}
