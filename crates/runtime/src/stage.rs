//! Stage 1, inside init: the kernel filesystems, built in an empty tmpfs that becomes init's root until the container's
//! own root is there.
//!
//! Each filesystem that is attached by itself later (with what is mounted in it) is a tree at `/<number>` of that tmpfs.
//! Everything is reached by descriptors: until the switch the tmpfs lies on top of the host's root, out of every path.

use crate::cgroup::CgroupPath;
use crate::device::HostDevices;
use crate::mask::{self, Masks};
use crate::mount_options::MountOptions;
use crate::{Error, SandboxSpec, cgroup_mount, detached, device, inside};
use proa_oci::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The result: what stage 2 builds on.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The tmpfs.
    pub(crate) root: OwnedFd,
    /// Where the container's root is attached in it.
    pub(crate) new_root: OwnedFd,
    /// A procfs of the container's pid namespace for the runtime's own writes, attached nowhere: nothing can be mounted
    /// over its files (CVE-2019-19921, CVE-2025-52881), and read-only paths do not matter to it.
    pub(crate) proc: OwnedFd,
    /// The trees, in order, and whether each is made read-only when it has been filled.
    pub(crate) trees: Vec<(OwnedFd, bool)>,
    /// For paths of stage 2.
    pub(crate) masks: Masks,
    /// Bound where nodes cannot be made.
    pub(crate) host_devices: HostDevices,
}

impl Stage {
    /// Makes the tmpfs and the filesystems that do not depend on the cgroup.
    pub(crate) fn begin(spec: &SandboxSpec) -> Result<Self, Error> {
        // What is mounted here must not appear on the host; what the host mounts may still appear here.
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", slave).map_err(|error| Error::step("leave the host's mounts", error))?;
        let host_devices = match spec.has_user_namespace() {
            true => HostDevices::open(),
            false => HostDevices::default(),
        };
        let hidden = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let proc = detached::configured("proc", "proc", &[], hidden)?;
        let data = [("mode", Some("700")), ("size", Some("64k"))];
        let root = detached::configured("tmpfs", "tmpfs", &data, libc::MOUNT_ATTR_NOSUID)?;
        let failed = |error: Errno| Error::step("set up the sandbox's root", error);
        let new_root = place(root.as_fd(), "root").map_err(failed)?;
        let host_root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        detached::attach(root.as_fd(), host_root.map_err(failed)?.as_fd()).map_err(failed)?;
        let empty = place(root.as_fd(), "empty").map_err(failed)?;
        let masks = Masks::new(null_device(root.as_fd(), &host_devices)?, empty, &spec.mount_label)?;
        let mut stage = Self { root, new_root, proc, trees: Vec::new(), masks, host_devices };
        for mount in spec.mounts.iter().filter(|m| !is_cgroup(m)) {
            stage.mount(spec, mount)?;
        }
        Ok(stage)
    }

    /// Makes the cgroup filesystems, then hides paths, and leaves the host's root.
    pub(crate) fn finish(&mut self, spec: &SandboxSpec, cgroup: &CgroupPath) -> Result<(), Error> {
        for mount in spec.mounts.iter().filter(|m| is_cgroup(m)) {
            let options = MountOptions::parse(&mount.options);
            let built = cgroup_mount::build(&options)?;
            self.attach(spec, mount, built.as_fd(), false)?;
            cgroup_mount::fill(cgroup, built.as_fd(), &options)?;
        }
        for path in &spec.readonly {
            self.in_tree(spec, path, |tree, rest, _| mask::make_read_only(tree, rest))?;
        }
        for path in &spec.masked {
            self.in_tree(spec, path, |tree, rest, masks| masks.hide(tree, rest))?;
        }
        if !spec.host_root {
            self.leave_host()?;
        }
        Ok(())
    }

    /// Calls `action` with the tree a path is in, and the path below it.
    fn in_tree(
        &mut self,
        spec: &SandboxSpec,
        path: &Path,
        action: impl FnOnce(BorrowedFd<'_>, &Path, &mut Masks) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let trees = spec.trees();
        let found = trees.iter().zip(&self.trees).find_map(|(destination, (tree, _))| {
            path.strip_prefix(destination).ok().map(|rest| (tree.as_fd(), rest))
        });
        match found {
            Some((tree, rest)) => action(tree, rest, &mut self.masks),
            None => Ok(()),
        }
    }

    fn mount(&mut self, spec: &SandboxSpec, mount: &Mount) -> Result<(), Error> {
        let mut options = MountOptions::parse(&mount.options);
        let read_only = options.take_read_only();
        if let (Some(label), true) = (mask::label_option(&spec.mount_label), takes_label(&mount.kind)) {
            options.data.push(format!("context={label}"));
        }
        let source = mount.source.to_str().unwrap_or(&mount.kind);
        let made = detached::filesystem(&mount.kind, source, &options)?;
        let is_dev = mount.kind == "tmpfs" && mount.destination == Path::new("/dev");
        if read_only && !is_dev {
            detached::make_read_only(made.as_fd(), false).map_err(|error| {
                Error::step(format!("make {} read-only", mount.destination.display()), error)
            })?;
        }
        self.attach(spec, mount, made.as_fd(), read_only && is_dev)?;
        if is_dev {
            // Attached by now: devices may be mounted in it, which a detached mount takes since Linux 6.15 only.
            device::populate(made.as_fd(), &self.host_devices)?;
        }
        Ok(())
    }

    /// Attaches a filesystem as a tree of its own, or inside the tree it belongs to.
    fn attach(
        &mut self,
        spec: &SandboxSpec,
        mount: &Mount,
        made: BorrowedFd<'_>,
        read_only_later: bool,
    ) -> Result<(), Error> {
        let failed = |error: Errno| Error::step(format!("mount {}", mount.destination.display()), error);
        let trees = spec.trees();
        let number = trees.iter().position(|tree| mount.destination.starts_with(tree)).unwrap_or(0);
        let inner = trees.get(number).and_then(|tree| mount.destination.strip_prefix(tree).ok());
        match (self.trees.get(number), inner) {
            (Some((tree, _)), Some(rest)) if !rest.as_os_str().is_empty() => {
                let target = inside::directory(tree.as_fd(), rest).map_err(failed)?;
                detached::attach(made, target.as_fd()).map_err(failed)
            }
            _ => {
                let target = place(self.root.as_fd(), &self.trees.len().to_string()).map_err(failed)?;
                detached::attach(made, target.as_fd()).map_err(failed)?;
                self.trees.push((
                    made.try_clone_to_owned().map_err(|e| Error::step("copy a descriptor", e))?,
                    read_only_later,
                ));
                Ok(())
            }
        }
    }

    /// Makes the tmpfs the root of init, and lets go of the host's mounts.
    pub(crate) fn leave_host(&self) -> Result<(), Error> {
        let failed = |error: Errno| Error::step("leave the host's root", error);
        fchdir(&self.root).map_err(failed)?;
        match pivot_root(".", ".") {
            Ok(()) => unmount(".", UnmountFlags::DETACH).map_err(failed),
            // The initial ramfs cannot be left so; but the tmpfs lies on top of it already.
            Err(Errno::INVAL) => chroot(".").and_then(|()| chdir("/")).map_err(failed),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A cgroup mount needs the process to be in its cgroup first, so it comes last; a tree of its own or inside /sys.
fn is_cgroup(mount: &Mount) -> bool {
    mount.kind == "cgroup" || mount.kind == "cgroup2"
}

/// Filesystems that SELinux labels as a whole.
fn takes_label(kind: &str) -> bool {
    matches!(kind, "tmpfs" | "devpts" | "mqueue")
}

/// A new directory to mount on.
fn place(root: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    mkdirat(root, name, Mode::from_raw_mode(0o755))?;
    openat(root, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A null device in the tmpfs, or the host's where no node can be made.
fn null_device(root: BorrowedFd<'_>, host: &HostDevices) -> Result<OwnedFd, Error> {
    let failed = |error: Errno| Error::step("make a null device", error);
    match mknodat(root, "null", FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)) {
        Ok(()) => openat(root, "null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed),
        Err(error) => match host.find("null") {
            Some(null) => null.try_clone_to_owned().map_err(|error| Error::step("copy a descriptor", error)),
            None => Err(failed(error)),
        },
    }
}
