//! From what was asked to the OCI document: pure functions of the request and facts about the host. What the image
//! wishes became a part of the request when the container was made: the image may go.
//!
//! Nothing here touches the host; what must be looked up (user tables, device numbers) comes in as [`Facts`].

mod devices;
mod process;
mod resources;
mod security;
#[cfg(test)]
mod tests;

pub(crate) use devices::{DeviceFacts, device_facts};
pub(crate) use process::{Identity, command, environment, exec};
pub(crate) use resources::resources as limits;
pub(crate) use security::{Filter, Security, security};
pub use security::{masked_paths, readonly_paths};

use crate::Error;
use crate::record::{ContainerRecord, MountPoint};
use crate::spec::other_container;
use crate::userns::mappings;
use proa_oci::runtime::{Linux, Mount, Namespace, Root, Spec};
use std::path::PathBuf;

/// What a plan needs to know besides the record.
pub(crate) struct Facts<'a> {
    /// Who the program runs as.
    pub(crate) identity: Identity,
    /// Devices that were found.
    pub(crate) devices: &'a DeviceFacts,
    /// Namespaces of other containers: kind and path.
    pub(crate) joined: Vec<(&'static str, PathBuf)>,
    /// Directory of the files `hosts`, `hostname`, `resolv.conf`.
    pub(crate) files: PathBuf,
    /// Whether the host's cgroups are v1, whose namespace docker shares by default.
    pub(crate) cgroup_v1: bool,
    /// Whether the host has its message queues mounted, which `--ipc host` shares.
    pub(crate) host_queues: bool,
    /// Limits of containers that name none.
    pub(crate) default_ulimits: &'a [crate::spec::Ulimit],
    /// Variables that tell of containers it is linked to.
    pub(crate) links: Vec<String>,
    /// Capabilities that the engine may hand on, as a mask.
    pub(crate) bounding: u64,
}

/// The OCI document of a container.
pub(crate) fn plan(record: &ContainerRecord, facts: &Facts<'_>) -> Result<Spec, Error> {
    let host = &record.spec.host;
    let security = security(record, facts.bounding)?;
    let mut spec = Spec {
        oci_version: "1.2.0".into(),
        process: Some(process::process(record, facts, &security)?),
        root: Some(Root { path: "rootfs".into(), readonly: host.readonly_rootfs }),
        hostname: if host.uts_mode == "host" { String::new() } else { hostname(record) },
        domainname: record.spec.domainname.clone(),
        annotations: host.annotations.clone(),
        ..Spec::default()
    };
    spec.mounts = kernel_mounts(record, facts.host_queues);
    spec.mounts.extend(file_mounts(record, facts));
    spec.mounts.extend(record.mounts.iter().map(|point| user_mount(point, record.userns.is_some())));
    if record.userns.is_some() {
        spec.mounts.extend(facts.devices.binds());
    }
    let (uid_mappings, gid_mappings) =
        record.userns.as_ref().map(|users| mappings(&users.map)).unwrap_or_default();
    let mut resources = resources::resources(&host.resources, &facts.devices.numbers);
    resources.devices = devices::rules(record, facts.devices)?;
    spec.linux = Linux {
        namespaces: namespaces(record, facts),
        resources: Some(resources),
        devices: if record.userns.is_some() { Vec::new() } else { facts.devices.nodes.clone() },
        uid_mappings,
        gid_mappings,
        sysctl: sysctls(record)?,
        masked_paths: security.masked,
        readonly_paths: security.readonly,
        rootfs_propagation: propagation(record),
        ..Linux::default()
    };
    Ok(spec)
}

/// The container's host name.
pub(crate) fn hostname(record: &ContainerRecord) -> String {
    match record.spec.hostname.as_str() {
        "" => record.id.short().to_owned(),
        name => name.to_owned(),
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}

/// Docker's default mounts (security reference D2).
fn kernel_mounts(record: &ContainerRecord, host_queues: bool) -> Vec<Mount> {
    let host = &record.spec.host;
    let access = if host.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", access]),
    ];
    if host.ipc_mode == "host" {
        if host_queues {
            mounts.push(mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind", "nosuid", "noexec", "nodev"]));
        }
        mounts.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
        return mounts;
    }
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if host.ipc_mode != "none" && other_container(&host.ipc_mode).is_none() {
        let size = format!("size={}k", host.shm_size.div_ceil(1024));
        mounts.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]));
    }
    mounts
}

/// `hosts`, `hostname` and `resolv.conf`, unless something else is mounted there.
fn file_mounts(record: &ContainerRecord, facts: &Facts<'_>) -> Vec<Mount> {
    let taken = |at: &str| record.mounts.iter().any(|mount| mount.destination == std::path::Path::new(at));
    let names = ["resolv.conf", "hostname", "hosts"];
    let wanted = names.into_iter().filter(|name| !taken(&format!("/etc/{name}")));
    let access = if record.spec.host.readonly_rootfs { "ro" } else { "rw" };
    wanted
        .map(|name| {
            let source = facts.files.join(name);
            let options = ["rbind", "rprivate", access, "idmap"];
            let used = if record.userns.is_some() { &options[..] } else { &options[..3] };
            mount(&format!("/etc/{name}"), "bind", &source.to_string_lossy(), used)
        })
        .collect()
}

/// A bind shows the host's ids also to a container with others, as docker's do; a volume shows the container's.
fn user_mount(point: &MountPoint, idmapped: bool) -> Mount {
    if point.kind == "tmpfs" {
        return Mount {
            destination: point.destination.clone(),
            kind: "tmpfs".into(),
            source: "tmpfs".into(),
            options: point.options.clone(),
            ..Mount::default()
        };
    }
    let recursion = if point.non_recursive { "bind" } else { "rbind" };
    let propagation = if point.propagation.is_empty() { "rprivate" } else { &point.propagation };
    let access = if point.writable { "rw" } else { "ro" };
    let mut options = vec![recursion.to_owned(), propagation.to_owned(), access.to_owned()];
    if !point.writable && !point.non_recursive {
        // Docker makes mounts below a read-only bind read-only too.
        options.push("rro".into());
    }
    if idmapped && point.kind == "volume" {
        options.push("idmap".into());
    }
    Mount {
        destination: point.destination.clone(),
        kind: "bind".into(),
        source: point.source.clone(),
        options,
        ..Mount::default()
    }
}

/// A bind that propagates needs a root that does.
fn propagation(record: &ContainerRecord) -> String {
    let has = |word: &str| record.mounts.iter().any(|mount| mount.propagation.contains(word));
    if has("shared") {
        "rshared".into()
    } else if has("slave") {
        "rslave".into()
    } else {
        String::new()
    }
}

fn namespaces(record: &ContainerRecord, facts: &Facts<'_>) -> Vec<Namespace> {
    let host = &record.spec.host;
    let cgroup = match host.cgroupns_mode.as_str() {
        "host" => "host",
        "private" => "",
        _ if facts.cgroup_v1 || host.privileged => "host",
        _ => "",
    };
    let wanted = [
        ("mount", ""),
        ("network", host.network_mode.as_str()),
        ("uts", host.uts_mode.as_str()),
        ("pid", host.pid_mode.as_str()),
        ("ipc", host.ipc_mode.as_str()),
        ("cgroup", cgroup),
    ];
    let user = record.userns.is_some().then_some(("user", ""));
    let made = wanted.into_iter().chain(user).filter(|(_, mode)| *mode != "host");
    made.map(|(kind, _)| Namespace {
        kind: kind.into(),
        path: facts.joined.iter().find(|(joined, _)| *joined == kind).map(|(_, path)| path.clone()),
    })
    .collect()
}

/// Parameters of the container's own namespaces; docker lets everyone ping and bind low ports in a network of its own.
fn sysctls(record: &ContainerRecord) -> Result<std::collections::BTreeMap<String, String>, Error> {
    let host = &record.spec.host;
    let own_network = host.network_mode != "host" && other_container(&host.network_mode).is_none();
    let own_ipc = host.ipc_mode != "host" && other_container(&host.ipc_mode).is_none();
    for name in host.sysctls.keys() {
        let ipc = [
            "kernel.msgmax",
            "kernel.msgmnb",
            "kernel.msgmni",
            "kernel.sem",
            "kernel.shmall",
            "kernel.shmmax",
            "kernel.shmmni",
            "kernel.shm_rmid_forced",
        ];
        let allowed = match name.as_str() {
            name if name.starts_with("net.") => own_network,
            name if name.starts_with("fs.mqueue.") || ipc.contains(&name) => own_ipc,
            "kernel.domainname" | "kernel.hostname" => host.uts_mode != "host",
            _ => false,
        };
        if !allowed {
            return Err(Error::Invalid(format!(
                "sysctl {name:?} is not in a separate kernel namespace: it would change the whole host"
            )));
        }
    }
    let mut all = host.sysctls.clone();
    if own_network && !record.spec.host.privileged {
        all.entry("net.ipv4.ping_group_range".into()).or_insert_with(|| {
            // The kernel takes groups of the namespace only.
            let last =
                record.userns.as_ref().map_or(i32::MAX as u32, |users| users.map.groups().saturating_sub(1));
            format!("0 {}", last.min(i32::MAX as u32))
        });
        all.entry("net.ipv4.ip_unprivileged_port_start".into()).or_insert_with(|| "0".into());
    }
    Ok(all)
}
