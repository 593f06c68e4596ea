//! The file tree of a container as whoever copies sees it: its root, with its volumes and binds where they belong, and
//! without the kernel's filesystems and `tmpfs` mounts, as docker shows it.
//!
//! The container is hostile and may change the tree at any moment. So the tree is put together in a thread of its own,
//! in a mount namespace of its own, whose root it becomes: a path that leads anywhere leads into the tree, whatever
//! links say (CVE-2018-15664), nothing of the container is executed or loaded (CVE-2019-14271), and mounts are made by
//! descriptor (CVE-2026-42306). Devices cannot be opened. The kernel takes the namespace down with the thread, also when
//! the engine is killed.
//!
//! An overlay must not be mounted twice. Of a container that runs, the mount it has is cloned; one made for a container
//! that does not run is what its next start takes.

use crate::container::Container;
use crate::record::ContainerRecord;
use crate::root::Root;
use crate::state::{Run, State};
use crate::{Engine, Error};
use proa_runtime::make_mount_points;
use proa_sys::mount::{Attributes, set_attributes};
use proa_types::{ContainerId, IdMap};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Stack of a thread that looks at a tree.
const STACK: usize = 8 << 20;
/// How often a path is walked while others rename.
const MAX_TRIES: usize = 10_000;

/// A container's tree. Of use in the thread that made it only.
pub(crate) struct View {
    /// Its root, which is the thread's root too.
    pub(crate) root: OwnedFd,
    /// `/proc/self/fd`, from outside.
    descriptors: OwnedFd,
    /// The host's mount namespace.
    host: OwnedFd,
    /// Which ids of the host the container's are, where its tree shows the host's.
    pub(crate) ids: Option<IdMap>,
}

/// A mount that is to be put into a tree.
struct Part {
    mount: OwnedFd,
    destination: PathBuf,
    writable: bool,
}

/// What a tree is made of.
struct Parts {
    root: Source,
    mounts: Vec<Part>,
    readonly: bool,
    /// Which ids of the host the container's are, where its tree shows the host's.
    ids: Option<IdMap>,
    /// Whether the root is what the container's next start is to take.
    shared: bool,
}

/// Where the root comes from.
pub(crate) enum Source {
    /// A mount attached nowhere.
    Mount(OwnedFd),
    /// A directory of the host (the `vfs` driver).
    Directory(OwnedFd),
    /// The root of a process, in its mount namespace.
    Process { root: OwnedFd, namespace: OwnedFd },
}

impl Engine {
    /// Does `work` with a container's tree, with its volumes and binds in it or without.
    pub(crate) async fn look_into<T: Send + 'static>(
        self: &Arc<Self>,
        container: &Arc<Container>,
        with_mounts: bool,
        work: impl FnOnce(&View, &ContainerRecord) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // Nothing starts, ends or goes while the tree is put together.
        let operation = container.operation.lock().await;
        drop(container.releasing.lock().await);
        let record = container.record();
        if matches!(record.state, State::Removing) {
            return Err(Error::Conflict(format!(
                "container {} is marked for removal and has no files",
                record.id
            )));
        }
        // One whose users are others has another mount when it runs: there must not be two at once.
        let apart = record.userns.is_some() && record.state.run().is_none();
        let (made, ready) = oneshot::channel::<()>();
        let (done, outcome) = oneshot::channel();
        let (engine, held) = (Arc::clone(self), Arc::clone(container));
        let look = move || {
            let viewed = Viewed::begin(&held);
            let view = engine.parts(&held, &record, with_mounts).and_then(|parts| join(parts, &viewed));
            // Whoever waits may have gone.
            let _ = made.send(());
            let result = view.and_then(|view| {
                let result = work(&view, &record);
                view.leave();
                result
            });
            drop(viewed);
            let _ = done.send(result);
        };
        let name = format!("files-{}", container.id.short());
        let thread = std::thread::Builder::new().name(name).stack_size(STACK).spawn(look);
        thread.map_err(Error::io("cannot start a thread"))?;
        let _ = ready.await;
        let operation = Some(operation).filter(|_| apart);
        let outcome = outcome.await;
        drop(operation);
        outcome.map_err(|_| Error::Internal("a worker failed".into()))?
    }

    /// What a container's tree is made of, opened on the host.
    fn parts(
        &self,
        container: &Container,
        record: &ContainerRecord,
        with_mounts: bool,
    ) -> Result<Parts, Error> {
        let mut readonly = false;
        let mut mounts = Vec::new();
        let source = match record.state.run() {
            Some(run) => {
                if with_mounts {
                    mounts = self.mounts_of(container, record, None)?;
                }
                process_root(record, run)?
            }
            None => {
                let mut root = Root::of(&self.images, container, record)?;
                if with_mounts {
                    mounts = self.mounts_of(container, record, Some(&mut root))?;
                }
                root.into_source()?
            }
        };
        if with_mounts {
            readonly = record.spec.host.readonly_rootfs;
        }
        // Seen through a container that runs, files have the ids that its users have on the host.
        let users = record.userns.as_ref().filter(|_| record.state.run().is_some());
        let (ids, shared) = (users.map(|users| users.map.clone()), record.userns.is_none());
        Ok(Parts { root: source, mounts, readonly, ids, shared })
    }

    /// A container's binds and volumes, and its network files, as mounts attached nowhere.
    fn mounts_of(
        &self,
        container: &Container,
        record: &ContainerRecord,
        mut root: Option<&mut Root>,
    ) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        let users = users_of(record)?;
        let mapped = |mount: OwnedFd| map_users(mount, users.as_ref());
        let files = self.container_dir(container);
        let taken = |at: &Path| record.mounts.iter().any(|mount| mount.destination == at);
        for name in crate::trees::FILES {
            let (source, destination) = (files.join(name), Path::new("/etc").join(name));
            // Written when the container starts.
            if taken(&destination) || std::fs::metadata(&source).map_or(0, |meta| meta.len()) == 0 {
                continue;
            }
            let mount = mapped(clone(&source, false)?)?;
            parts.push(Part { mount, destination, writable: !record.spec.host.readonly_rootfs });
        }
        for point in &record.mounts {
            let mount = match point.kind.as_str() {
                "bind" if point.source.exists() => clone(&point.source, !point.non_recursive)?,
                "volume" => {
                    // A user of its own: the container's mount is not to be undone with this one.
                    let user = ContainerId::random();
                    let path = match root.as_deref_mut() {
                        Some(root) => self.mount_volume(&user, point, root)?,
                        None => self.volumes.mount(&point.name, &user)?,
                    };
                    let mount = clone(&path, true);
                    let _ = self.volumes.unmount(&point.name, &user);
                    mapped(mount?)?
                }
                _ => continue,
            };
            parts.push(Part { mount, destination: point.destination.clone(), writable: point.writable });
        }
        Ok(parts)
    }
}

/// A look at a container's tree that is under way.
struct Viewed<'a>(&'a Container);

impl<'a> Viewed<'a> {
    fn begin(container: &'a Container) -> Self {
        container.view_begins();
        Self(container)
    }
}

impl Drop for Viewed<'_> {
    fn drop(&mut self) {
        self.0.view_ends();
    }
}

/// The root of a container that runs.
fn process_root(record: &ContainerRecord, run: &Run) -> Result<Source, Error> {
    let gone = || Error::Conflict(format!("Container {} is not running", record.id));
    let open = |name: &str, flags: OFlags| {
        openat(CWD, format!("/proc/{}/{name}", run.pid), flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|_| gone())
    };
    let root = open("root", OFlags::PATH | OFlags::DIRECTORY)?;
    let namespace = open("ns/mnt", OFlags::RDONLY)?;
    // The number may have become another process's.
    match proa_runtime::start_time(run.pid) {
        Ok(time) if time == run.start_time => Ok(Source::Process { root, namespace }),
        _ => Err(gone()),
    }
}

/// The user namespace of a container that runs and has its own.
fn users_of(record: &ContainerRecord) -> Result<Option<OwnedFd>, Error> {
    let Some(run) = record.state.run().filter(|_| record.userns.is_some()) else { return Ok(None) };
    let path = format!("/proc/{}/ns/user", run.pid);
    let opened = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    opened.map(Some).map_err(|_| Error::Conflict(format!("Container {} is not running", record.id)))
}

/// Lets a mount show the ids of the host that a container's are.
fn map_users(mount: OwnedFd, users: Option<&OwnedFd>) -> Result<OwnedFd, Error> {
    if let Some(users) = users {
        let change = Attributes { id_map: Some(users.as_fd()), ..Attributes::default() };
        set_attributes(mount.as_fd(), false, change).map_err(Error::io("cannot map the users of a mount"))?;
    }
    Ok(mount)
}

/// A mount of a path of the host, attached nowhere.
fn clone(path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let recursion = if recursive { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursion;
    open_tree(CWD, path, flags).map_err(|errno| Error::io(path.display().to_string())(errno.into()))
}

fn clone_of(mount: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(mount, c"", flags | OpenTreeFlags::AT_EMPTY_PATH)
}

/// Puts a tree together and makes it the root of this thread, which is of no other use from then on.
fn join(parts: Parts, viewed: &Viewed<'_>) -> Result<View, Error> {
    let step = |what: &'static str| move |errno: Errno| Error::io(format!("cannot {what}"))(errno.into());
    let here = openat(CWD, "/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let here = here.map_err(step("open the own mount namespace"))?;
    let descriptors =
        openat(CWD, "/proc/self/fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let descriptors = descriptors.map_err(step("open the own descriptors"))?;
    let unshare = |flags: i32| {
        proa_sys::process::unshare(flags.unsigned_abs().into()).map_err(Error::io("cannot unshare"))
    };
    // CLONE_FS and CLONE_NEWNS (linux/sched.h).
    unshare(0x200)?;
    let mount = match parts.root {
        Source::Mount(mount) => mount,
        Source::Directory(directory) => clone_of(directory.as_fd()).map_err(step("open the root"))?,
        Source::Process { root, namespace } => {
            let enter = |namespace: BorrowedFd<'_>| {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
            };
            enter(namespace.as_fd()).map_err(step("enter the container's mounts"))?;
            // Nothing is looked up there.
            let mount = clone_of(root.as_fd());
            enter(here.as_fd()).map_err(step("leave the container's mounts"))?;
            mount.map_err(step("take the container's root"))?
        }
    };
    unshare(0x2_0000)?;
    rustix::process::umask(Mode::empty());
    if let Some((uid, gid)) = parts.ids.as_ref().and_then(IdMap::root) {
        // What is made must belong to somebody whom the container has.
        proa_sys::process::act_as(uid, gid).map_err(Error::io("cannot act as the container's root"))?;
    }
    let viewed = Some(viewed).filter(|_| parts.shared);
    let root = attach(mount, parts.mounts, parts.readonly, viewed)?;
    Ok(View { root, descriptors, host: here, ids: parts.ids })
}

/// Makes `mount` the root of this thread's namespace and puts the others into it.
fn attach(
    mount: OwnedFd,
    others: Vec<Part>,
    readonly: bool,
    viewed: Option<&Viewed<'_>>,
) -> Result<OwnedFd, Error> {
    let step = |what: &'static str| move |errno: Errno| Error::io(format!("cannot {what}"))(errno.into());
    let top = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(step("open /"))?;
    // What the host unmounts goes here too; nothing goes back.
    let slave = Attributes { propagation: 1 << 19, ..Attributes::default() };
    set_attributes(top.as_fd(), true, slave).map_err(Error::io("cannot part from the host's mounts"))?;
    let into = |mount: &OwnedFd, place: BorrowedFd<'_>| {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(mount, c"", place, c"", flags)
    };
    into(&mount, top.as_fd()).map_err(step("attach the container's root"))?;
    let private = Attributes { propagation: 1 << 18, ..Attributes::default() };
    set_attributes(mount.as_fd(), false, private).map_err(Error::io("cannot make a mount private"))?;
    // Another start must take this mount, not make a second one of the same files.
    if let Some(viewed) = viewed {
        viewed.0.share(clone_of(mount.as_fd()).map_err(step("clone the container's root"))?);
    }
    for part in others {
        let limits = limits(!part.writable);
        set_attributes(part.mount.as_fd(), true, limits).map_err(Error::io("cannot limit a mount"))?;
        let Some(place) = mount_point(mount.as_fd(), &part)? else { continue };
        into(&part.mount, place.as_fd()).map_err(step("attach a mount of the container"))?;
    }
    set_attributes(mount.as_fd(), false, limits(readonly)).map_err(Error::io("cannot limit the root"))?;
    rustix::process::fchdir(&mount).map_err(step("enter the container's root"))?;
    rustix::process::chroot(".").map_err(step("enter the container's root"))?;
    Ok(mount)
}

/// No devices, no programs with other rights; perhaps no writing.
fn limits(readonly: bool) -> Attributes<'static> {
    // MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC (linux/mount.h).
    Attributes { set: 0xe | u64::from(readonly), ..Attributes::default() }
}

/// Where a mount goes, made if it is missing; none where a container has put something else.
fn mount_point(root: BorrowedFd<'_>, part: &Part) -> Result<Option<OwnedFd>, Error> {
    let path = part.destination.as_path();
    let kind = |fd: &OwnedFd| fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    let wanted = kind(&part.mount).map_err(|errno| Error::io(path.display().to_string())(errno.into()))?;
    let made = match wanted {
        true => make_mount_points(root, &[path], &[]),
        false => make_mount_points(root, &[], &[path]),
    };
    if let Err(error) = made {
        tracing::debug!(%error, "a mount is not shown");
        return Ok(None);
    }
    let opened = open_in(root, path, OFlags::PATH);
    Ok(opened.ok().filter(|fd| kind(fd).is_ok_and(|kind| kind == wanted)))
}

/// Opens a path below `root`; links lead from there on.
fn open_in(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let inner = path.strip_prefix("/").unwrap_or(path);
    let inner = if inner.as_os_str().is_empty() { Path::new(".") } else { inner };
    for _ in 0..MAX_TRIES {
        match openat2(root, inner, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something was renamed while the kernel looked.
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

impl View {
    /// Opens a path of the container; links are followed, inside only.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_in(self.root.as_fd(), path, flags)
    }

    /// Leaves the tree: its mounts are gone before anyone is told that the look is over.
    fn leave(self) {
        let Self { root, host, .. } = self;
        drop(root);
        let _ = move_into_link_name_space(host.as_fd(), Some(LinkNameSpaceType::Mount));
    }

    /// The path of what is open, as the container has it.
    pub(crate) fn path_of(&self, file: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
        use std::os::unix::ffi::OsStringExt;
        let name = file.as_raw_fd().to_string();
        let path = rustix::fs::readlinkat(&self.descriptors, name, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(path.into_bytes()).into())
    }
}
