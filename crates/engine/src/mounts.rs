//! Mounts of a container, settled at its creation: binds, volumes, memory filesystems.

use crate::record::MountPoint;
use crate::spec::{ContainerSpec, MountSpec};
use crate::{Engine, Error};
use proa_oci::image::ExecConfig;
use proa_volume::VolumeSpec;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// What a container's mounts are, and volumes to be made for them.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) volumes: Vec<VolumeSpec>,
    /// Places the request itself names, as opposed to those of `--volumes-from`.
    own: BTreeSet<PathBuf>,
}

impl Engine {
    /// Settles the mounts: `--volumes-from`, then `-v` and `--mount`, then `--tmpfs`, then the image's volumes, the
    /// later ones only where nothing is mounted yet.
    pub(crate) fn settle_mounts(&self, spec: &ContainerSpec, image: &ExecConfig) -> Result<Settled, Error> {
        let mut settled = Settled::default();
        for text in &spec.host.volumes_from {
            self.take_from_other(text, &mut settled)?;
        }
        for text in &spec.host.binds {
            let (point, volume) = bind(text)?;
            put(&mut settled, point, volume)?;
        }
        for mount in &spec.host.mounts {
            let (point, volume) = long(mount)?;
            put(&mut settled, point, volume)?;
        }
        for (target, options) in &spec.host.tmpfs {
            put(&mut settled, tmpfs(target, options)?, None)?;
        }
        let wished = spec.volumes.iter().chain(image.volumes.keys());
        for target in wished {
            let target = absolute(target)?;
            if settled.mounts.iter().all(|mount| mount.destination != target) {
                let (point, volume) = anonymous(&target);
                settled.mounts.push(point);
                settled.volumes.push(volume);
            }
        }
        let driver = spec.host.volume_driver.as_str();
        if !settled.volumes.is_empty() && !matches!(driver, "" | "local") {
            let message = format!("error looking up volume plugin {driver}: plugin \"{driver}\" not found");
            return Err(Error::Invalid(message));
        }
        settled.mounts.sort_by_key(|mount| mount.destination.components().count());
        Ok(settled)
    }

    fn take_from_other(&self, text: &str, settled: &mut Settled) -> Result<(), Error> {
        let (name, mode) = text.split_once(':').map_or((text, ""), |(name, mode)| (name, mode));
        if !matches!(mode, "" | "ro" | "rw" | "z" | "Z") {
            return Err(Error::Invalid(format!("invalid mode: {mode}")));
        }
        let other = self.find(name)?;
        let mounts = other.with(|record| record.mounts.clone());
        for mut mount in mounts.into_iter().filter(|mount| mount.kind != "tmpfs") {
            mount.writable &= mode != "ro";
            mount.copy = false;
            settled.mounts.retain(|known| known.destination != mount.destination);
            settled.mounts.push(mount);
        }
        Ok(())
    }
}

/// Adds a mount. Two for one place contradict each other, unless the former came from another container.
fn put(settled: &mut Settled, point: MountPoint, volume: Option<VolumeSpec>) -> Result<(), Error> {
    let same = settled.mounts.iter().position(|mount| mount.destination == point.destination);
    if let Some(at) = same {
        if settled.own.contains(&point.destination) {
            return Err(Error::Invalid(format!("Duplicate mount point: {}", point.destination.display())));
        }
        settled.mounts.remove(at);
    }
    settled.own.insert(point.destination.clone());
    settled.mounts.push(point);
    settled.volumes.extend(volume);
    Ok(())
}

/// A path in the container, cleaned.
fn absolute(text: &str) -> Result<PathBuf, Error> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(Error::Invalid(format!("invalid mount path: '{text}' mount path must be absolute")));
    }
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(Error::Invalid(format!("invalid specification: destination can't be '/': {text}")));
    }
    Ok(clean)
}

/// `-v SOURCE:TARGET[:OPTIONS]`, `-v NAME:TARGET[:OPTIONS]`, `-v TARGET`.
fn bind(text: &str) -> Result<(MountPoint, Option<VolumeSpec>), Error> {
    let bad = |why: &str| Error::Invalid(format!("invalid volume specification: '{text}'{why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => {
            let (point, volume) = anonymous(&absolute(target)?);
            return Ok((point, Some(volume)));
        }
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(bad("")),
    };
    if source.is_empty() || target.is_empty() {
        return Err(bad(": empty section between colons"));
    }
    let mut point = MountPoint {
        destination: absolute(target)?,
        mode: options.to_owned(),
        writable: true,
        ..MountPoint::default()
    };
    let mut copy = true;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => point.writable = false,
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            "nocopy" => copy = false,
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {
                point.propagation = option.into()
            }
            _ => return Err(Error::Invalid(format!("invalid mode: {options}"))),
        }
    }
    if point.mode.is_empty() {
        point.mode = if source.starts_with('/') { String::new() } else { "z".into() };
    }
    if source.starts_with('/') {
        point.kind = "bind".into();
        point.source = source.into();
        if point.propagation.is_empty() {
            point.propagation = "rprivate".into();
        }
        return Ok((point, None));
    }
    Ok(named(
        point,
        source,
        copy,
        VolumeSpec { name: Some(source.into()), driver: "local".into(), ..VolumeSpec::default() },
    ))
}

fn named(
    mut point: MountPoint,
    name: &str,
    copy: bool,
    volume: VolumeSpec,
) -> (MountPoint, Option<VolumeSpec>) {
    point.kind = "volume".into();
    point.name = name.into();
    point.driver = "local".into();
    point.copy = copy;
    (point, Some(volume))
}

fn anonymous(target: &Path) -> (MountPoint, VolumeSpec) {
    let name = proa_types::id::random_hex();
    let point = MountPoint {
        kind: "volume".into(),
        name: name.clone(),
        driver: "local".into(),
        destination: target.into(),
        writable: true,
        copy: true,
        anonymous: true,
        ..MountPoint::default()
    };
    (point, VolumeSpec { name: Some(name), anonymous: true, driver: "local".into(), ..VolumeSpec::default() })
}

/// `--mount`.
fn long(mount: &MountSpec) -> Result<(MountPoint, Option<VolumeSpec>), Error> {
    let bad =
        |why: String| Error::Invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    if mount.target.is_empty() {
        return Err(bad("field Target must not be empty".into()));
    }
    let mut point = MountPoint {
        destination: absolute(&mount.target)?,
        writable: !mount.readonly,
        propagation: mount.propagation.clone(),
        non_recursive: mount.non_recursive,
        ..MountPoint::default()
    };
    if !is_inside(&mount.subpath) {
        return Err(bad("subpath must be a relative path within the volume".into()));
    }
    match mount.kind.as_str() {
        "bind" => {
            let source = Path::new(&mount.source);
            if mount.source.is_empty() {
                return Err(bad("field Source must not be empty".into()));
            }
            if !source.is_absolute() {
                return Err(bad(format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            if !source.exists() && !mount.create_source {
                return Err(bad(format!("bind source path does not exist: {}", mount.source)));
            }
            point.kind = "bind".into();
            point.source = source.into();
            if point.propagation.is_empty() {
                point.propagation = "rprivate".into();
            }
            Ok((point, None))
        }
        "volume" if mount.source.is_empty() => {
            let (base, volume) = anonymous(&point.destination);
            let volume =
                VolumeSpec { labels: mount.labels.clone(), options: mount.driver_options.clone(), ..volume };
            let (writable, subpath, copy) = (point.writable, mount.subpath.clone(), copies(mount));
            Ok((MountPoint { writable, subpath, copy, ..base }, Some(volume)))
        }
        "volume" => {
            let driver = if mount.driver.is_empty() { "local" } else { &mount.driver };
            let volume = VolumeSpec {
                name: Some(mount.source.clone()),
                anonymous: false,
                driver: driver.into(),
                options: mount.driver_options.clone(),
                labels: mount.labels.clone(),
            };
            point.mode = "z".into();
            point.subpath.clone_from(&mount.subpath);
            Ok(named(point, &mount.source, copies(mount), volume))
        }
        "tmpfs" => Ok((long_tmpfs(mount)?, None)),
        "" => Err(Error::Invalid("mount type must not be empty: write type=bind, volume or tmpfs".into())),
        other => {
            Err(Error::Invalid(format!("mount type {other:?} is not supported: use bind, volume or tmpfs")))
        }
    }
}

fn long_tmpfs(mount: &MountSpec) -> Result<MountPoint, Error> {
    let mut options = Vec::new();
    if mount.tmpfs_size > 0 {
        options.push(format!("size={}", mount.tmpfs_size));
    }
    if mount.tmpfs_mode > 0 {
        options.push(format!("mode={:o}", mount.tmpfs_mode));
    }
    let mut made = tmpfs(&mount.target, &options.join(","))?;
    made.options.retain(|option| option != "noexec" || mount.tmpfs_mode == 0);
    made.writable = !mount.readonly;
    Ok(made)
}

/// Whether a path of a volume can only be below it.
fn is_inside(subpath: &str) -> bool {
    let mut depth = 0_i32;
    Path::new(subpath).components().all(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            Component::CurDir => 0,
            Component::RootDir | Component::Prefix(_) => return false,
        };
        depth >= 0
    })
}

/// Whether a new volume takes the image's files: a part of it is there already, and none of them its own.
fn copies(mount: &MountSpec) -> bool {
    !mount.no_copy && mount.subpath.is_empty()
}

/// `--tmpfs TARGET:OPTIONS`, with docker's defaults.
fn tmpfs(target: &str, text: &str) -> Result<MountPoint, Error> {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(Into::into).into();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let name = option.split('=').next().unwrap_or_default();
        let known = [
            "size",
            "mode",
            "uid",
            "gid",
            "nr_inodes",
            "nr_blocks",
            "mpol",
            "ro",
            "rw",
            "exec",
            "noexec",
            "suid",
            "nosuid",
            "dev",
            "nodev",
            "noatime",
            "relatime",
            "strictatime",
            "sync",
            "async",
            "dirsync",
            "remount",
            "mand",
            "nomand",
        ];
        if !known.contains(&name) {
            return Err(Error::Invalid(format!("invalid tmpfs option {option:?}")));
        }
        match name {
            "exec" | "suid" | "dev" => options.retain(|known| *known != format!("no{name}")),
            "sync" | "async" | "dirsync" | "remount" | "mand" | "nomand" => continue,
            _ => {}
        }
        options.push(option.to_owned());
    }
    Ok(MountPoint {
        kind: "tmpfs".into(),
        destination: absolute(target)?,
        writable: true,
        options,
        ..MountPoint::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_read() {
        let (point, volume) = bind("/host:/data:ro,rslave").unwrap();
        assert_eq!(
            (point.kind.as_str(), point.writable, point.propagation.as_str()),
            ("bind", false, "rslave")
        );
        assert!(volume.is_none());
        let (point, volume) = bind("data:/var/lib/../x:nocopy").unwrap();
        assert_eq!((point.destination.as_path(), point.copy), (Path::new("/var/x"), false));
        assert_eq!(volume.unwrap().name.as_deref(), Some("data"));
        assert!(bind("/anon").unwrap().0.anonymous);
        for bad in ["", ":", "/a:", ":/b", "/a:b", "/a:/b:wrong", "/a:/b:ro:x", "x:/", "rel"] {
            assert!(bind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subpath_stays_in_its_volume() {
        for inside in ["", "a", "a/b", "./a", "a/../b", "a/.."] {
            assert!(is_inside(inside), "{inside}");
        }
        for outside in ["/", "/a", "..", "a/../..", "../a", "a/../../b"] {
            assert!(!is_inside(outside), "{outside}");
        }
    }

    #[test]
    fn two_mounts_for_one_place_are_refused() {
        let mut settled = Settled::default();
        // What came from another container gives way.
        settled.mounts.push(bind("/other:/data").unwrap().0);
        put(&mut settled, bind("/one:/data").unwrap().0, None).unwrap();
        assert_eq!(settled.mounts.len(), 1);
        assert_eq!(settled.mounts[0].source, Path::new("/one"));
        let error = put(&mut settled, bind("/two:/data").unwrap().0, None).unwrap_err();
        assert_eq!(error.to_string(), "Duplicate mount point: /data");
    }

    #[test]
    fn tmpfs_options_have_dockers_defaults() {
        let point = tmpfs("/run", "size=1m,exec").unwrap();
        assert_eq!(point.options, ["nosuid", "nodev", "size=1m", "exec"]);
        assert!(tmpfs("/run", "huge=maybe").is_err());
    }
}
