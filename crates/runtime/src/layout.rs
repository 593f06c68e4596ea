//! What a container's root looks like: planned outside, where the host's files are in reach, and carried out by init
//! ([`crate::rootfs`]).

use crate::mount_options::{MountOptions, root_propagation};
use crate::spec::Split;
use crate::start::Rootfs;
use crate::{Error, StartContainer, detached, device, mask, namespace, overlay, sysctl};
use proa_oci::runtime::{Device, Hook, Mount, State};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One mount of stage 2, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The next tree of stage 1; whether it must be on an ordinary directory (procfs, sysfs).
    Tree { destination: PathBuf, plain: bool },
    /// The next descriptor; whether it is a directory.
    Attach { destination: PathBuf, directory: bool },
    /// A filesystem made by init.
    Filesystem { destination: PathBuf, kind: String, source: String, options: MountOptions },
}

/// The plan. Its descriptors: the root, those of the steps, those of the devices.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Layout {
    pub(crate) steps: Vec<Step>,
    /// Devices, and whether a descriptor of the host's device comes with each.
    pub(crate) devices: Vec<(Device, bool)>,
    /// Whether the root's own /dev gets the default devices.
    pub(crate) populate_dev: bool,
    /// Whether /dev/console is made, for a terminal to be mounted on.
    pub(crate) console: bool,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) readonly: Vec<PathBuf>,
    pub(crate) root_readonly: bool,
    pub(crate) root_propagation: Option<(u64, bool)>,
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) sysctl: BTreeMap<String, String>,
    pub(crate) pivot: bool,
    /// `createContainer` hooks and the state they read; the bounding set is kept until they have run.
    pub(crate) hooks: Vec<Hook>,
    pub(crate) state: State,
}

/// Plans the root of a container and opens what it is made from. `init` is the sandbox's init process.
pub(crate) fn plan(
    request: &StartContainer<'_>,
    init: i32,
    state: &State,
) -> Result<(Layout, Vec<OwnedFd>), Error> {
    let spec = request.spec;
    sysctl::check(&spec.linux)?;
    let has_uts = spec.linux.namespaces.iter().any(|n| n.kind == "uts");
    let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
    if named && !has_uts {
        return Err(Error::spec(
            "hostname",
            "without a UTS namespace it would be the host's; add \"uts\" or leave it out",
        ));
    }
    let split = Split::of(spec)?;
    let mut fds = vec![root(request, init)?];
    let mut steps = Vec::new();
    let mut trees: Vec<&Path> = Vec::new();
    for ((mount, destination), staged) in spec.mounts.iter().zip(&split.destinations).zip(&split.staged) {
        if !staged {
            steps.push(step(request, mount, destination, init, &mut fds)?);
        } else if !trees.iter().any(|tree| destination.starts_with(tree)) {
            trees.push(destination);
            let plain = matches!(mount.kind.as_str(), "proc" | "sysfs");
            steps.push(Step::Tree { destination: destination.clone(), plain });
        }
    }
    let in_user_namespace = spec.linux.namespaces.iter().any(|n| n.kind == "user");
    let devices = devices(&spec.linux.devices, in_user_namespace, &mut fds)?;
    let later = |paths: &[PathBuf]| -> Vec<PathBuf> {
        paths
            .iter()
            .map(|path| crate::inside::clean(path))
            .filter(|path| !split.is_staged_path(path))
            .collect()
    };
    let terminal = matches!(request.stdio, crate::Stdio::Terminal { .. });
    let layout = Layout {
        steps,
        devices,
        populate_dev: !split.destinations.iter().any(|d| d == Path::new("/dev")),
        console: terminal,
        masked: later(&spec.linux.masked_paths),
        readonly: later(&spec.linux.readonly_paths),
        root_readonly: spec.root.as_ref().is_some_and(|root| root.readonly),
        root_propagation: propagation(&spec.linux.rootfs_propagation)?,
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        sysctl: spec.linux.sysctl.clone(),
        pivot: request.pivot,
        hooks: spec.hooks.create_container.clone(),
        state: state.clone(),
    };
    Ok((layout, fds))
}

fn propagation(text: &str) -> Result<Option<(u64, bool)>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = root_propagation(text);
    found.map(Some).ok_or_else(|| Error::spec("linux.rootfsPropagation", format!("{text:?} is none")))
}

/// The container's root as a detached mount.
fn root(request: &StartContainer<'_>, init: i32) -> Result<OwnedFd, Error> {
    let asked = propagation(&request.spec.linux.rootfs_propagation)?;
    if let Some(mounted) = &request.mounted {
        return mounted.try_clone().map_err(|error| Error::step("copy a descriptor", error));
    }
    let users = if request.idmapped { Some(namespace::of(init, "user")?) } else { None };
    let users = users.as_ref().map(AsFd::as_fd);
    match &request.rootfs {
        Rootfs::Overlay(overlay) => {
            overlay::mount(overlay, mask::label_option(&request.spec.linux.mount_label).as_deref(), users)
        }
        Rootfs::Directory(path) => {
            let path = request.bundle.join(path);
            let failed =
                |error: std::io::Error| Error::step(format!("open the root {}", path.display()), error);
            let copy = detached::copy_of(&path, true).map_err(|e| failed(e.into()))?;
            // What the container mounts never gets to the host; what the host mounts gets in only if it is asked for.
            let kind = match asked {
                Some((kind, _)) if kind == libc::MS_SHARED || kind == libc::MS_SLAVE => libc::MS_SLAVE,
                _ => libc::MS_PRIVATE,
            };
            detached::set_propagation(copy.as_fd(), kind, true).map_err(failed)?;
            if let Some(users) = users {
                detached::map_users(copy.as_fd(), users, false).map_err(detached::unmapped(&path))?;
            }
            Ok(copy)
        }
    }
}

fn step(
    request: &StartContainer<'_>,
    mount: &Mount,
    destination: &Path,
    init: i32,
    fds: &mut Vec<OwnedFd>,
) -> Result<Step, Error> {
    let mut options = MountOptions::parse(&mount.options);
    let destination = destination.to_owned();
    if mount.kind == "bind" || options.bind.is_some() {
        let source = request.bundle.join(&mount.source);
        let (copy, directory) = bind(&source, mount, &options, init)?;
        fds.push(copy);
        return Ok(Step::Attach { destination, directory });
    }
    if let (Some(label), "tmpfs") = (mask::label_option(&request.spec.linux.mount_label), mount.kind.as_str())
    {
        options.data.push(format!("context={label}"));
    }
    if mount.kind.is_empty() {
        return Err(Error::spec(format!("mount {}", destination.display()), "it has no type and is no bind"));
    }
    let source = mount.source.to_str().filter(|source| !source.is_empty()).unwrap_or(&mount.kind).to_owned();
    Ok(Step::Filesystem { destination, kind: mount.kind.clone(), source, options })
}

/// A copy of the source's mount with the options applied, and whether it is a directory.
fn bind(source: &Path, mount: &Mount, options: &MountOptions, init: i32) -> Result<(OwnedFd, bool), Error> {
    let failed = |error: std::io::Error| {
        let (from, to) = (source.display(), mount.destination.display());
        Error::step(format!("bind {from} to {to}"), error)
    };
    let copy = detached::copy_of(source, options.bind == Some(true)).map_err(|e| failed(e.into()))?;
    let stat = statat(&copy, "", AtFlags::EMPTY_PATH).map_err(|e| failed(e.into()))?;
    detached::apply(copy.as_fd(), options, libc::MS_PRIVATE).map_err(failed)?;
    if options.id_map.is_some() || !mount.uid_mappings.is_empty() {
        let users = match mount.uid_mappings.is_empty() {
            true => namespace::of(init, "user")?,
            false => namespace::id_map(&mount.uid_mappings, &mount.gid_mappings)?,
        };
        let all = options.id_map == Some(true);
        detached::map_users(copy.as_fd(), users.as_fd(), all).map_err(detached::unmapped(source))?;
    }
    Ok((copy, FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

/// Devices, with the host's own beside them where the container cannot make nodes.
fn devices(devices: &[Device], bound: bool, fds: &mut Vec<OwnedFd>) -> Result<Vec<(Device, bool)>, Error> {
    let mut planned = Vec::new();
    // /dev/ptmx is a link into the container's own devpts; the host's would open terminals of the host.
    for device in devices.iter().filter(|device| device.path != Path::new("/dev/ptmx")) {
        device::file_type(device)?;
        if bound {
            let fd = openat(CWD, &device.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| Error::step(format!("open device {}", device.path.display()), error))?;
            let copy = detached::copy_of_fd(fd.as_fd(), false)
                .map_err(|error| Error::step(format!("bind device {}", device.path.display()), error))?;
            fds.push(copy);
        }
        planned.push((device.clone(), bound));
    }
    Ok(planned)
}
