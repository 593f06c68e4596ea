//! Edits to a container's document, as `toOCI` of the CDI specification describes them.

use crate::document::{Edits, Hook, Mount, Node};
use crate::{Error, Registry};
use proa_oci::runtime::{self as oci, DeviceRule, Spec};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Gives a container these devices. With `bind`, nodes are the host's own, mounted: in a user namespace none can be
/// made.
///
/// # Errors
/// [`Error`]; the document is to be thrown away then.
pub fn apply(registry: &Registry, names: &[String], bind: bool, spec: &mut Spec) -> Result<(), Error> {
    for (device, edits) in registry.edits(names)? {
        one(&device, edits, bind, spec)?;
    }
    Ok(())
}

fn one(device: &str, edits: &Edits, bind: bool, spec: &mut Spec) -> Result<(), Error> {
    let unsupported = |what: &str| Error::Unsupported { device: device.to_owned(), what: what.to_owned() };
    if edits.intel_rdt.is_some() {
        return Err(unsupported("intelRdt (classes of the processor's cache)"));
    }
    if edits.net_devices.as_ref().is_some_and(|list| !list.is_empty()) {
        return Err(unsupported("netDevices (interfaces of the host moved into the container)"));
    }
    let process = spec.process.get_or_insert_default();
    for entry in edits.env.iter().flatten() {
        let name = entry.split('=').next();
        process.env.retain(|known| known.split('=').next() != name);
        process.env.push(entry.clone());
    }
    for gid in edits.additional_gids.iter().flatten().filter(|gid| **gid != 0) {
        if !process.user.additional_gids.contains(gid) {
            process.user.additional_gids.push(*gid);
        }
    }
    for node in edits.device_nodes.iter().flatten() {
        add_node(device, node, bind, spec)?;
    }
    spec.mounts.extend(edits.mounts.iter().flatten().map(mount));
    for hook in edits.hooks.iter().flatten() {
        add_hook(hook, spec).map_err(|what| unsupported(&what))?;
    }
    Ok(())
}

fn add_node(device: &str, node: &Node, bind: bool, spec: &mut Spec) -> Result<(), Error> {
    let host = node.host_path.as_deref().unwrap_or(&node.path);
    let failed = |reason: String| Error::Node { device: device.into(), path: host.into(), reason };
    let asked = node.kind.as_deref().map(|kind| if kind == "u" { "c" } else { kind }).unwrap_or("");
    let numbered = node.major.is_some_and(|major| major != 0) && node.minor.is_some();
    let (kind, major, minor) = match (asked, numbered) {
        ("p", _) => ("p".to_owned(), 0, 0),
        ("b" | "c", true) => (asked.to_owned(), node.major.unwrap_or(0), node.minor.unwrap_or(0)),
        _ => {
            let (kind, major, minor) = found(host).map_err(failed)?;
            if !asked.is_empty() && asked != kind {
                return Err(failed(format!("it is of type {kind}, not {asked}")));
            }
            (kind.to_owned(), major, minor)
        }
    };
    let process = spec.process.as_ref();
    let owner = |id: Option<u32>, own: u32| id.or((own > 0).then_some(own));
    let (uid, gid) = process.map_or((0, 0), |process| (process.user.uid, process.user.gid));
    if kind != "p" {
        let access = node.permissions.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
        let resources = spec.linux.resources.get_or_insert_default();
        resources.devices.push(DeviceRule {
            allow: true,
            kind: kind.clone(),
            major: Some(major),
            minor: Some(minor),
            access: access.to_owned(),
        });
    }
    if bind && kind != "p" {
        let options = ["bind", "rprivate", "nosuid", "noexec"].map(str::to_owned).into();
        let (destination, source) = (node.path.clone(), host.into());
        spec.mounts.push(oci::Mount {
            destination,
            source,
            kind: "bind".into(),
            options,
            ..oci::Mount::default()
        });
        return Ok(());
    }
    spec.linux.devices.retain(|known| known.path != node.path);
    spec.linux.devices.push(oci::Device {
        path: node.path.clone(),
        kind,
        major,
        minor,
        file_mode: node.file_mode.map(|mode| mode & 0o7777),
        uid: owner(node.uid, uid),
        gid: owner(node.gid, gid),
    });
    Ok(())
}

/// Type and numbers of a device of the host.
fn found(host: &Path) -> Result<(&'static str, i64, i64), String> {
    let meta = std::fs::symlink_metadata(host).map_err(|error| error.to_string())?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => "b",
        kind if kind.is_char_device() => "c",
        kind if kind.is_fifo() => "p",
        _ => return Err("it is no device".into()),
    };
    let rdev = meta.rdev();
    Ok((kind, i64::from(rustix::fs::major(rdev)), i64::from(rustix::fs::minor(rdev))))
}

fn mount(mount: &Mount) -> oci::Mount {
    let mut options = mount.options.clone().unwrap_or_default();
    let kind = mount.kind.clone().filter(|kind| kind != "none").unwrap_or_default();
    let binds = options.iter().any(|option| option == "bind" || option == "rbind");
    if kind.is_empty() && !binds {
        options.push("bind".into());
    }
    oci::Mount {
        destination: mount.container_path.clone(),
        source: mount.host_path.clone(),
        kind,
        options,
        ..oci::Mount::default()
    }
}

fn add_hook(hook: &Hook, spec: &mut Spec) -> Result<(), String> {
    let hooks = &mut spec.hooks;
    let list = match hook.hook_name.as_str() {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        other => return Err(format!("a {other} hook")),
    };
    list.push(oci::Hook {
        path: hook.path.clone(),
        args: hook.args.clone().unwrap_or_default(),
        env: hook.env.clone().unwrap_or_default(),
        timeout: hook.timeout,
    });
    Ok(())
}
