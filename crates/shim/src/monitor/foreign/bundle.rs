//! The bundle of a foreign runtime: `config.json` and a mounted root, in the monitor's private directory.
//!
//! The root is mounted in a mount namespace of the monitor's own, so that it goes with the monitor, however that
//! ends, and nothing ever stays mounted on the host.

use super::super::control::Failure;
use proa_oci::runtime::{Root, Spec};
use proa_runtime::Rootfs;
use proa_types::ErrorKind;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The version written: that of the runtimes in the field. Everything used here is in it.
const VERSION: &str = "1.0.2";

/// The directory, and its root if that is mounted.
#[derive(Debug)]
pub(super) struct Bundle {
    dir: PathBuf,
    root: PathBuf,
    mounted: bool,
}

impl Bundle {
    /// Mounts the root.
    ///
    /// `mounted` is the overlay, attached nowhere, if there is one already.
    pub(super) fn mount(dir: &Path, rootfs: &Rootfs, mounted: Option<OwnedFd>) -> Result<Self, Failure> {
        let mut bundle = Self { dir: dir.into(), root: dir.join("rootfs"), mounted: false };
        match rootfs {
            Rootfs::Directory(path) => bundle.root.clone_from(path),
            Rootfs::Overlay(overlay) => {
                own_namespace(dir)?;
                std::fs::create_dir_all(&bundle.root).map_err(failed(&bundle.root))?;
                let mount = mounted.map_or_else(|| overlay.mount(), Ok)?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                rustix::mount::move_mount(&mount, "", CWD, &bundle.root, flags)?;
                bundle.mounted = true;
            }
        }
        Ok(bundle)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `config.json`.
    pub(super) fn write(&self, mut spec: Spec) -> Result<(), Failure> {
        spec.oci_version = VERSION.into();
        let readonly = spec.root.as_ref().is_some_and(|root| root.readonly);
        spec.root = Some(Root { path: self.root.clone(), readonly });
        let path = self.dir.join("config.json");
        write_json(&path, &whole(serde_json::to_value(&spec).map_err(unwritable)?))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.mounted && rustix::mount::unmount(&self.root, UnmountFlags::DETACH).is_ok() {
            // Never more than an empty directory: what is below a mount that stayed is the container's.
            let _ = std::fs::remove_dir(&self.root);
        }
    }
}

/// Writes a document for the runtime to read.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(value).map_err(unwritable)?;
    std::fs::write(path, bytes).map_err(failed(path))
}

/// Fills in the fields that the specification requires and that are left out when they are zero; crun insists.
pub(super) fn whole(mut document: serde_json::Value) -> serde_json::Value {
    let process = &mut document["process"];
    if process.is_object() {
        *process = whole_process(process.take());
    } else {
        document.as_object_mut().map(|fields| fields.remove("process"));
    }
    let linux = |path: &str| format!("/linux/{path}");
    each(&mut document, &linux("resources/devices"), |rule| default(rule, "allow", false.into()));
    each(&mut document, &linux("seccomp/syscalls"), |rule| {
        each(rule, "/args", |arg| {
            default(arg, "index", 0.into());
            default(arg, "value", 0.into());
        });
    });
    document
}

/// The same for a process alone.
pub(super) fn whole_process(mut process: serde_json::Value) -> serde_json::Value {
    if !process["user"].is_object() {
        process["user"] = serde_json::json!({});
    }
    default(&mut process["user"], "uid", 0.into());
    default(&mut process["user"], "gid", 0.into());
    each(&mut process, "/rlimits", |limit| {
        default(limit, "soft", 0.into());
        default(limit, "hard", 0.into());
    });
    process
}

fn each(document: &mut serde_json::Value, pointer: &str, change: impl Fn(&mut serde_json::Value)) {
    let list = document.pointer_mut(pointer).and_then(serde_json::Value::as_array_mut);
    list.into_iter().flatten().for_each(change);
}

fn default(object: &mut serde_json::Value, key: &str, value: serde_json::Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.entry(key).or_insert(value);
    }
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::new(ErrorKind::Internal, error.to_string())
}

pub(super) fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_owned();
    move |error| Failure::new(ErrorKind::of_io(&error), format!("{}: {error}", path.display()))
}

/// Gives this process a mount namespace of its own. What is mounted and unmounted on the host still arrives where the
/// host shares its mounts, and binds that propagate still do; only what is mounted beside `dir` stays here.
fn own_namespace(dir: &Path) -> Result<(), Failure> {
    proa_sys::process::unshare(proa_sys::process::namespace::MOUNT).map_err(failed(dir))?;
    let point = mount_point(dir)?;
    Ok(rustix::mount::mount_change(&point, MountPropagationFlags::DOWNSTREAM)?)
}

/// Where the mount that holds `path` is attached (proc_pid_mountinfo(5)).
fn mount_point(path: &Path) -> Result<PathBuf, Failure> {
    let unknown =
        || Failure::new(ErrorKind::Internal, format!("{}: its mount is not listed", path.display()));
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
    let id = stat.stx_mnt_id.to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed(path))?;
    let line = table.lines().find(|line| line.split(' ').next() == Some(&id)).ok_or_else(unknown)?;
    Ok(PathBuf::from(proa_sys::mount::unescaped(line.split(' ').nth(4).ok_or_else(unknown)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_fields_are_written_though_they_are_zero() {
        let spec: Spec = serde_json::from_str(
            r#"{"process":{"cwd":"/","rlimits":[{"type":"RLIMIT_CORE"}]},"linux":{"resources":{"devices":[{"access":"rwm"}]},
            "seccomp":{"defaultAction":"x","syscalls":[{"names":["a"],"action":"x","args":[{"op":"SCMP_CMP_EQ"}]}]}}}"#,
        )
        .unwrap();
        let whole = whole(serde_json::to_value(spec).unwrap());
        for (pointer, wanted) in [
            ("/process/user/uid", serde_json::json!(0)),
            ("/process/rlimits/0/hard", serde_json::json!(0)),
            ("/linux/resources/devices/0/allow", serde_json::json!(false)),
            ("/linux/seccomp/syscalls/0/args/0/index", serde_json::json!(0)),
        ] {
            assert_eq!(whole.pointer(pointer), Some(&wanted), "{pointer} in {whole}");
        }
    }

    #[test]
    fn mount_points_are_found() {
        assert!(mount_point(Path::new("/proc")).is_ok_and(|at| at == Path::new("/proc")));
    }
}
