//! The part of a specification that a sandbox is made from before its image, program and limits are known. Pure.
//!
//! A mount belongs to stage 1 when it is a kernel filesystem and no mount of stage 2 that comes before it in the
//! specification's order is at, above or below its place; so the result is the same as mounting all in order.

use crate::Error;
use crate::inside::clean;
use crate::namespace;
use proa_oci::runtime::{DeviceRule, IdMapping, Mount, Namespace, Spec, TimeOffset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What stage 1 builds. Two containers whose `SandboxSpec` is equal can take each other's sandbox.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Namespaces made or joined.
    pub(crate) namespaces: Vec<Namespace>,
    /// User mapping.
    pub(crate) uid_mappings: Vec<IdMapping>,
    /// Group mapping.
    pub(crate) gid_mappings: Vec<IdMapping>,
    /// Clock offsets of the time namespace.
    pub(crate) time_offsets: BTreeMap<String, TimeOffset>,
    /// Kernel filesystems, their destinations cleaned.
    pub(crate) mounts: Vec<Mount>,
    /// Paths hidden in them.
    pub(crate) masked: Vec<PathBuf>,
    /// Paths made read-only in them.
    pub(crate) readonly: Vec<PathBuf>,
    /// Device rules of the cgroup.
    pub(crate) devices: Vec<DeviceRule>,
    /// The bounding set.
    pub(crate) bounding: Vec<String>,
    /// Whether the host's root stays in reach until the container's root is there (`createContainer` hooks).
    pub(crate) host_root: bool,
    /// SELinux label of mounts.
    pub(crate) mount_label: String,
}

impl SandboxSpec {
    /// The sandbox a container with this specification needs. Pure.
    ///
    /// # Errors
    /// [`Error::Spec`] for namespaces or mappings that contradict each other.
    pub fn of(spec: &Spec) -> Result<Self, Error> {
        let linux = &spec.linux;
        namespace::check(linux)?;
        let split = Split::of(spec)?;
        let bounding =
            spec.process.as_ref().and_then(|p| p.capabilities.as_ref()).map(|c| c.bounding.clone());
        Ok(Self {
            namespaces: linux.namespaces.clone(),
            uid_mappings: linux.uid_mappings.clone(),
            gid_mappings: linux.gid_mappings.clone(),
            time_offsets: linux.time_offsets.clone(),
            mounts: split.staged_mounts(spec),
            masked: linux.masked_paths.iter().map(|p| clean(p)).filter(|p| split.is_staged_path(p)).collect(),
            readonly: linux
                .readonly_paths
                .iter()
                .map(|p| clean(p))
                .filter(|p| split.is_staged_path(p))
                .collect(),
            devices: device_rules(linux.resources.as_ref().map_or(&[][..], |r| &r.devices)),
            bounding: bounding.unwrap_or_default(),
            host_root: !spec.hooks.create_container.is_empty(),
            mount_label: linux.mount_label.clone(),
        })
    }

    /// Whether the container has a user namespace that is not the caller's.
    pub(crate) fn has_user_namespace(&self) -> bool {
        self.namespaces.iter().any(|n| n.kind == "user")
    }

    /// Destinations of the filesystems that are attached by themselves, in order; the others are inside these.
    pub(crate) fn trees(&self) -> Vec<&Path> {
        let mut trees: Vec<&Path> = Vec::new();
        for mount in &self.mounts {
            if !trees.iter().any(|tree| mount.destination.starts_with(tree)) {
                trees.push(&mount.destination);
            }
        }
        trees
    }
}

/// Which mounts of a specification are made in which stage.
#[derive(Debug)]
pub(crate) struct Split {
    /// Cleaned destinations, in the specification's order.
    pub(crate) destinations: Vec<PathBuf>,
    /// Whether the mount belongs to stage 1.
    pub(crate) staged: Vec<bool>,
}

impl Split {
    pub(crate) fn of(spec: &Spec) -> Result<Self, Error> {
        let mut split = Self { destinations: Vec::new(), staged: Vec::new() };
        for (i, mount) in spec.mounts.iter().enumerate() {
            if mount.destination.as_os_str().is_empty() {
                return Err(Error::spec(format!("mounts[{i}].destination"), "a mount needs a destination"));
            }
            let destination = clean(&mount.destination);
            if destination == Path::new("/") {
                return Err(Error::spec(
                    format!("mounts[{i}].destination"),
                    "the root cannot be mounted over",
                ));
            }
            let staged = is_kernel_filesystem(mount, &destination) && !split.comes_in_between(&destination);
            split.destinations.push(destination);
            split.staged.push(staged);
        }
        Ok(split)
    }

    /// Whether an earlier mount has to come first: any of stage 2 around it, or one of stage 1 that it would cover.
    fn comes_in_between(&self, destination: &Path) -> bool {
        self.destinations.iter().zip(&self.staged).any(|(earlier, staged)| match staged {
            true => earlier.starts_with(destination),
            false => earlier.starts_with(destination) || destination.starts_with(earlier),
        })
    }

    /// Whether a path is in a filesystem of stage 1, and no mount of stage 2 has to do with it.
    pub(crate) fn is_staged_path(&self, path: &Path) -> bool {
        let mut inside = false;
        for (destination, staged) in self.destinations.iter().zip(&self.staged) {
            match staged {
                true => inside |= path.starts_with(destination),
                false if path.starts_with(destination) || destination.starts_with(path) => return false,
                false => {}
            }
        }
        inside
    }

    fn staged_mounts(&self, spec: &Spec) -> Vec<Mount> {
        let staged =
            spec.mounts.iter().zip(&self.destinations).zip(&self.staged).filter(|(_, staged)| **staged);
        staged
            .map(|((mount, destination), _)| Mount { destination: destination.clone(), ..mount.clone() })
            .collect()
    }
}

fn is_kernel_filesystem(mount: &Mount, destination: &Path) -> bool {
    let plain = !mount
        .options
        .iter()
        .any(|o| matches!(o.as_str(), "bind" | "rbind" | "tmpcopyup" | "idmap" | "ridmap"));
    let kind = match mount.kind.as_str() {
        "proc" | "sysfs" | "mqueue" | "devpts" | "cgroup" | "cgroup2" => true,
        "tmpfs" => destination == Path::new("/dev") || destination == Path::new("/dev/shm"),
        _ => false,
    };
    kind && plain
}

/// The rules, and after them those for the devices every container has. No rule stays no rule: all is allowed.
fn device_rules(asked: &[DeviceRule]) -> Vec<DeviceRule> {
    if asked.is_empty() {
        return Vec::new();
    }
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow: true,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    let mut rules = asked.to_vec();
    rules.extend([rule("c", None, None, "m"), rule("b", None, None, "m")]);
    for minor in [3, 5, 7, 8, 9] {
        rules.push(rule("c", Some(1), Some(minor), "rwm"));
    }
    for minor in [0, 2] {
        rules.push(rule("c", Some(5), Some(minor), "rwm"));
    }
    rules.push(rule("c", Some(136), None, "rwm"));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
        Mount {
            destination: destination.into(),
            kind: kind.into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Mount::default()
        }
    }

    fn spec(mounts: Vec<Mount>) -> Spec {
        let namespace = Namespace { kind: "mount".into(), path: None };
        let mut spec = Spec { mounts, ..Spec::default() };
        spec.linux.namespaces = vec![namespace];
        spec
    }

    #[test]
    fn kernel_filesystems_are_staged_unless_order_forbids() {
        let mut spec = spec(vec![
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["mode=755"]),
            mount("/dev/pts", "devpts", &[]),
            mount("/data", "bind", &["rbind"]),
            mount("/data/proc", "proc", &[]),
            mount("/sys", "sysfs", &["ro"]),
            mount("/dev/shm", "bind", &["rbind"]),
            mount("/dev/mqueue", "mqueue", &[]),
            mount("/proc/", "proc", &[]),
        ]);
        spec.linux.masked_paths = vec!["/sys/firmware".into(), "/data/x".into(), "/proc/x".into()];
        let sandbox = SandboxSpec::of(&spec).unwrap();
        let staged: Vec<_> = sandbox.mounts.iter().map(|m| m.destination.to_str().unwrap()).collect();
        assert_eq!(staged, ["/proc", "/dev", "/dev/pts", "/sys", "/dev/mqueue"]);
        assert_eq!(sandbox.trees(), [Path::new("/proc"), Path::new("/dev"), Path::new("/sys")]);
        assert_eq!(sandbox.masked, [PathBuf::from("/sys/firmware")], "/proc is mounted over later");
    }

    #[test]
    fn a_mask_near_a_bind_waits_for_it() {
        let mut spec = spec(vec![
            mount("/proc", "proc", &[]),
            mount("/proc/uptime", "bind", &["bind"]),
            mount("/sys", "sysfs", &[]),
            mount("/sys/firmware/efi", "bind", &["bind"]),
        ]);
        spec.linux.masked_paths = vec!["/proc/uptime".into(), "/sys/firmware".into(), "/sys/x".into()];
        assert_eq!(SandboxSpec::of(&spec).unwrap().masked, [PathBuf::from("/sys/x")]);
    }

    #[test]
    fn image_and_program_do_not_matter() {
        let one = spec(vec![mount("/proc", "proc", &[]), mount("/a", "bind", &["bind"])]);
        let mut other = spec(vec![mount("/proc", "proc", &[]), mount("/b", "bind", &["bind"])]);
        other.hostname = "x".into();
        assert_eq!(SandboxSpec::of(&one).unwrap(), SandboxSpec::of(&other).unwrap());
    }

    #[test]
    fn no_destination_and_the_root_are_refused() {
        assert!(SandboxSpec::of(&spec(vec![mount("", "proc", &[])])).is_err());
        assert!(SandboxSpec::of(&spec(vec![mount("/x/..", "proc", &[])])).is_err());
    }
}
