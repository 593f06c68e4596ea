//! Whole plans as text, reviewed by eye: a change of a plan shows as a change of a file in `golden/`. To write them
//! anew: `PROA_BLESS=1 cargo test -p proa-engine golden`, then read the difference.

use super::*;
use crate::spec::{DeviceSpec, Ulimit};
use proa_oci::runtime::Resources;
use std::fmt::Write;

static NO_DEVICES: std::sync::LazyLock<DeviceFacts> = std::sync::LazyLock::new(DeviceFacts::default);

/// Facts of a host with cgroup v2, for a container that runs as root.
pub(super) fn facts() -> Facts<'static> {
    Facts {
        identity: Identity { home: "/root".into(), ..Identity::default() },
        devices: &NO_DEVICES,
        joined: Vec::new(),
        files: "/files".into(),
        cgroup_v1: false,
        host_queues: true,
        default_ulimits: &[],
        links: Vec::new(),
        bounding: (1 << 41) - 1,
    }
}

/// What `run busybox sh` asks for, after the engine has filled in its defaults.
fn plain() -> ContainerRecord {
    let mut record = crate::system::plain_record();
    record.id = "0123456789ab".repeat(6).get(..64).unwrap().parse().unwrap();
    record.command = vec!["sh".into()];
    let host = &mut record.spec.host;
    (host.network_mode, host.ipc_mode) = ("bridge".into(), "private".into());
    (host.cgroupns_mode, host.shm_size) = ("private".into(), 64 << 20);
    record
}

fn words(list: &[String]) -> String {
    list.join(" ")
}

fn paths(text: &mut String, title: &str, list: &[PathBuf]) {
    for path in list {
        // As many as the machine has processors: one stands for all.
        let path = path.to_string_lossy();
        match path.strip_prefix("/sys/devices/system/cpu/cpu") {
            Some(rest) if !rest.starts_with("0/") => {}
            _ => writeln!(text, "{title} {path}").unwrap(),
        }
    }
}

fn text_of(spec: &Spec) -> String {
    let mut text = String::new();
    let process = spec.process.as_ref().unwrap();
    writeln!(text, "run {}", words(&process.args)).unwrap();
    writeln!(text, "  in {} on {:?}", process.cwd.display(), spec.hostname).unwrap();
    let user = &process.user;
    writeln!(text, "  as {}:{} groups {:?}", user.uid, user.gid, user.additional_gids).unwrap();
    writeln!(text, "  terminal {} new-privileges {}", process.terminal, !process.no_new_privileges).unwrap();
    process.env.iter().for_each(|entry| writeln!(text, "  env {entry}").unwrap());
    for limit in &process.rlimits {
        writeln!(text, "  {} {}:{}", limit.kind, limit.soft, limit.hard).unwrap();
    }
    let capabilities = process.capabilities.as_ref().unwrap();
    let sets = [
        ("bounding", &capabilities.bounding),
        ("permitted", &capabilities.permitted),
        ("effective", &capabilities.effective),
        ("inheritable", &capabilities.inheritable),
        ("ambient", &capabilities.ambient),
    ];
    for (name, set) in sets {
        let shown = if set.len() == 41 { "all".to_owned() } else { words(set).replace("CAP_", "") };
        writeln!(text, "  {name}: {shown}").unwrap();
    }
    let root = spec.root.as_ref().unwrap();
    writeln!(text, "root read-only {} {}", root.readonly, spec.linux.rootfs_propagation).unwrap();
    for mount in &spec.mounts {
        let (at, from) = (mount.destination.display(), mount.source.display());
        writeln!(text, "mount {at} {} {from} {}", mount.kind, mount.options.join(",")).unwrap();
    }
    for namespace in &spec.linux.namespaces {
        let path = namespace.path.as_ref().map(|path| format!(" of {}", path.display()));
        writeln!(text, "namespace {}{}", namespace.kind, path.unwrap_or_default()).unwrap();
    }
    spec.linux.sysctl.iter().for_each(|(name, value)| writeln!(text, "sysctl {name}={value}").unwrap());
    paths(&mut text, "masked", &spec.linux.masked_paths);
    paths(&mut text, "read-only", &spec.linux.readonly_paths);
    limits(&mut text, spec.linux.resources.as_ref().unwrap());
    text
}

fn limits(text: &mut String, resources: &Resources) {
    for rule in &resources.devices {
        let number = |part: Option<i64>| part.map_or("*".to_owned(), |part| part.to_string());
        let (kind, word) = (&rule.kind, if rule.allow { "allow" } else { "deny" });
        let (major, minor) = (number(rule.major), number(rule.minor));
        writeln!(text, "device {word} {kind} {major}:{minor} {}", rule.access).unwrap();
    }
    let memory = &resources.memory;
    for (name, value) in [("memory", memory.limit), ("with swap", memory.swap), ("soft", memory.reservation)]
    {
        value.iter().for_each(|value| writeln!(text, "{name} {value}").unwrap());
    }
    let cpu = &resources.cpu;
    if let (Some(quota), Some(period)) = (cpu.quota, cpu.period) {
        writeln!(text, "processor {quota} of {period}").unwrap();
    }
    resources.pids.iter().for_each(|pids| writeln!(text, "processes {}", pids.limit).unwrap());
}

/// Compares a plan with its file.
fn golden(name: &str, record: &ContainerRecord, facts: &Facts<'_>) {
    let text = text_of(&plan(record, facts).unwrap());
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("src/plan/golden/{name}.txt"));
    if std::env::var_os("PROA_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&file).unwrap();
    for (number, (got, wanted)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(got, wanted, "{}:{}", file.display(), number + 1);
    }
    assert_eq!(text.lines().count(), wanted.lines().count(), "{}", file.display());
}

#[test]
fn golden_plain() {
    golden("plain", &plain(), &facts());
}

#[test]
fn golden_privileged() {
    let mut record = plain();
    record.spec.host.privileged = true;
    record.spec.host.cgroupns_mode = "host".into();
    golden("privileged", &record, &facts());
}

#[test]
fn golden_everything_named() {
    let mut record = plain();
    record.command = vec!["serve".into(), "--all".into()];
    record.spec.env = vec!["PATH=/bin".into(), "HOME=/srv".into(), "A=1".into()];
    (record.spec.working_dir, record.spec.hostname) = ("/srv".into(), "web".into());
    record.spec.tty = true;
    let host = &mut record.spec.host;
    host.readonly_rootfs = true;
    host.cap_drop = vec!["ALL".into()];
    host.cap_add = vec!["CAP_NET_BIND_SERVICE".into()];
    host.security_opt = vec!["no-new-privileges".into()];
    host.sysctls.insert("net.core.somaxconn".into(), "512".into());
    host.ulimits = vec![Ulimit { name: "nofile".into(), soft: 64, hard: 128 }];
    (host.resources.memory, host.resources.nano_cpus) = (64 << 20, 1_500_000_000);
    host.resources.pids_limit = Some(100);
    record.mounts = vec![
        MountPoint {
            kind: "bind".into(),
            source: "/host/data".into(),
            destination: "/data".into(),
            propagation: "rslave".into(),
            ..MountPoint::default()
        },
        MountPoint {
            kind: "volume".into(),
            source: "/volumes/v/_data".into(),
            destination: "/etc/hosts".into(),
            writable: true,
            ..MountPoint::default()
        },
        MountPoint {
            kind: "tmpfs".into(),
            destination: "/run".into(),
            options: vec!["nosuid".into(), "size=1m".into()],
            writable: true,
            ..MountPoint::default()
        },
    ];
    let identity = Identity { uid: 1000, gid: 50, groups: vec![7], home: "/home/user".into() };
    golden("everything", &record, &Facts { identity, ..facts() });
}

#[test]
fn golden_namespaces_of_others() {
    let mut record = plain();
    let host = &mut record.spec.host;
    (host.network_mode, host.uts_mode) = ("container:other".into(), "host".into());
    (host.ipc_mode, host.pid_mode) = ("host".into(), "container:other".into());
    host.devices =
        vec![DeviceSpec { host: "/dev/null".into(), permissions: "r".into(), ..DeviceSpec::default() }];
    let devices = device_facts(&record).unwrap();
    let joined = vec![("network", "/proc/7/ns/net".into()), ("pid", "/proc/7/ns/pid".into())];
    golden("joined", &record, &Facts { joined, devices: &devices, ..facts() });
}
