//! Devices: what is found on the host, and the rules about them.

use super::resources::Numbers;
use crate::Error;
use crate::record::ContainerRecord;
use crate::spec::ResourceSpec;
use proa_oci::runtime::{Device, DeviceRule, Mount};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Devices that were looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeviceFacts {
    /// Nodes to make, with their access.
    pub(crate) nodes: Vec<Device>,
    /// Where each is on the host.
    sources: Vec<PathBuf>,
    access: Vec<String>,
    /// Numbers of block devices that limits name.
    pub(crate) numbers: Numbers,
}

impl DeviceFacts {
    /// The devices as mounts of the host's own, for a container whose users may make none.
    pub(super) fn binds(&self) -> impl Iterator<Item = Mount> {
        self.nodes.iter().zip(&self.sources).map(|(node, source)| Mount {
            destination: node.path.clone(),
            kind: "bind".into(),
            source: source.clone(),
            options: ["bind", "rprivate", "nosuid", "noexec"].map(str::to_owned).into(),
            ..Mount::default()
        })
    }
}

/// Looks the devices of a container up on this host.
pub(crate) fn device_facts(record: &ContainerRecord) -> Result<DeviceFacts, Error> {
    let host = &record.spec.host;
    let mut facts = DeviceFacts::default();
    if host.privileged {
        everything(Path::new("/dev"), &mut facts, 0);
    }
    for device in &host.devices {
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        if access.chars().any(|c| !"rwm".contains(c)) {
            return Err(Error::Invalid(format!("invalid device mode: {access}")));
        }
        let target = if device.container.is_empty() { &device.host } else { &device.container };
        add(Path::new(&device.host), Path::new(target), access, &mut facts)?;
    }
    facts.numbers = numbers(&host.resources)?;
    Ok(facts)
}

fn numbers(resources: &ResourceSpec) -> Result<Numbers, Error> {
    let lists = [
        &resources.blkio_weight_device,
        &resources.read_bps,
        &resources.write_bps,
        &resources.read_iops,
        &resources.write_iops,
    ];
    let mut numbers = Numbers::new();
    for device in lists.into_iter().flatten() {
        let meta = std::fs::metadata(&device.path).map_err(Error::io(device.path.clone()))?;
        if !meta.file_type().is_block_device() {
            return Err(Error::Invalid(format!("{} is not a block device", device.path)));
        }
        let rdev = meta.rdev();
        numbers.insert(device.path.clone(), (rustix::fs::major(rdev), rustix::fs::minor(rdev)));
    }
    Ok(numbers)
}

/// A device, or every device of a directory.
fn add(path: &Path, target: &Path, access: &str, facts: &mut DeviceFacts) -> Result<(), Error> {
    let missing = |e: std::io::Error| {
        Error::Invalid(format!(
            "error gathering device information while adding custom device {:?}: {e}",
            path.display().to_string()
        ))
    };
    let meta = std::fs::metadata(path).map_err(missing)?;
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).map_err(missing)?.flatten() {
            let (inner, name) = (entry.path(), entry.file_name());
            if std::fs::metadata(&inner).is_ok_and(|meta| is_device(&meta)) {
                add(&inner, &target.join(name), access, facts)?;
            }
        }
        return Ok(());
    }
    if !is_device(&meta) {
        return Err(Error::Invalid(format!("{}: not a device node", path.display())));
    }
    push(&meta, (path, target), access, facts);
    Ok(())
}

fn is_device(meta: &std::fs::Metadata) -> bool {
    meta.file_type().is_char_device() || meta.file_type().is_block_device()
}

fn push(meta: &std::fs::Metadata, (source, target): (&Path, &Path), access: &str, facts: &mut DeviceFacts) {
    facts.sources.push(source.into());
    let rdev = meta.rdev();
    facts.nodes.push(Device {
        path: target.into(),
        kind: if meta.file_type().is_block_device() { "b".into() } else { "c".into() },
        major: i64::from(rustix::fs::major(rdev)),
        minor: i64::from(rustix::fs::minor(rdev)),
        file_mode: Some(meta.mode() & 0o777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    });
    facts.access.push(access.to_owned());
}

/// Every device of the host, for a privileged container; what a container has of its own is left out.
fn everything(dir: &Path, facts: &mut DeviceFacts, depth: u32) {
    let own = [
        "pts",
        "shm",
        "fd",
        "mqueue",
        ".lxc",
        ".lxd-mounts",
        ".udev",
        "console",
        "ptmx",
        "tty",
        "null",
        "zero",
        "full",
        "random",
        "urandom",
    ];
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if depth == 0 && own.iter().any(|own| name == *own) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < 4 => everything(&path, facts, depth + 1),
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                if let Ok(meta) = entry.metadata() {
                    push(&meta, (&path, &path), "rwm", facts);
                }
            }
            _ => {}
        }
    }
}

/// The rules of the device controller: docker's defaults, then what was asked for.
pub(super) fn rules(record: &ContainerRecord, facts: &DeviceFacts) -> Result<Vec<DeviceRule>, Error> {
    let rule = |allow, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    if record.spec.host.privileged {
        return Ok(vec![rule(true, "a", None, None, "rwm")]);
    }
    let mut rules = vec![rule(false, "a", None, None, "rwm")];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(false, "c", Some(10), Some(229), "rwm"));
    for (node, access) in facts.nodes.iter().zip(&facts.access) {
        rules.push(rule(true, &node.kind, Some(node.major), Some(node.minor), access));
    }
    for text in &record.spec.host.device_cgroup_rules {
        rules.push(parse_rule(text)?);
    }
    Ok(rules)
}

/// `c 1:3 rwm`, with `*` for any number.
fn parse_rule(text: &str) -> Result<DeviceRule, Error> {
    let bad = || Error::Invalid(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = words[..] else { return Err(bad()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse().map(Some).map_err(|_| bad()),
    };
    let known =
        matches!(kind, "a" | "b" | "c") && !access.is_empty() && access.chars().all(|c| "rwm".contains(c));
    if !known {
        return Err(bad());
    }
    Ok(DeviceRule {
        allow: true,
        kind: kind.into(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = parse_rule("c 42:* rw").unwrap();
        assert_eq!((rule.major, rule.minor, rule.access.as_str()), (Some(42), None, "rw"));
        for bad in ["", "c 1:2", "x 1:2 r", "c 1 r", "c a:b r", "c 1:2 q"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }
}
