//! An overlay as a mount attached nowhere (Documentation/filesystems/overlayfs.rst).

use crate::start::Overlay;
use crate::{Error, detached};
use proa_sys::process::{act_as, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount_change,
};
use rustix::process::chdir;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Longest value fsconfig(2) takes.
const LONGEST: usize = 255;

/// What is stacked.
struct Stack<'a> {
    lower: &'a [PathBuf],
    /// Where changes go, and the kernel's scratch space.
    own: Option<(&'a Path, &'a Path)>,
    volatile: bool,
    label: Option<&'a str>,
}

/// Mounts it.
///
/// With `users`, a user namespace, the layers hold ids as that namespace has them, and the overlay shows those of the host
/// they are mapped to (idmapped layers, Linux 5.19).
pub(crate) fn mount(
    overlay: &Overlay,
    label: Option<&str>,
    users: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Error> {
    let own = Some((overlay.upper.as_path(), overlay.work.as_path()));
    let stack = Stack { lower: &overlay.lower, own, volatile: overlay.volatile, label };
    let failed = |error| Error::step(format!("mount the overlay of {}", overlay.upper.display()), error);
    match users {
        None => mount_stack(&stack).map_err(failed),
        Some(users) => elsewhere(|| {
            cover_with_mapped(overlay, users)?;
            act_as_owner(&overlay.work)?;
            mount_stack(&stack).map_err(|error| match error {
                // Nothing else is wrong with layers that are there.
                Errno::INVAL => detached::unmapped(&overlay.upper)(error.into()),
                error => failed(error),
            })
        }),
    }
}

/// Calls `action` in a mount namespace of its own, which goes with it; what is mounted attached nowhere stays.
fn elsewhere<T: Send>(action: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let failed = |error: std::io::Error| Error::step("make a mount namespace", error);
    let there = || {
        // CLONE_FS first: a namespace is left by whoever shares its root with others only.
        unshare(libc::CLONE_FS.unsigned_abs().into()).map_err(failed)?;
        unshare(libc::CLONE_NEWNS.unsigned_abs().into()).map_err(failed)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|error| failed(error.into()))?;
        action()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there).map_err(failed)?;
        thread.join().unwrap_or_else(|_| Err(failed(std::io::Error::other("a thread panicked"))))
    })
}

/// The kernel makes files of its own in the work directory, as whoever mounts the overlay: that must be somebody whom the
/// mapping has, and this directory's owner is its root.
fn act_as_owner(work: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::step("act as the root of a user namespace", error);
    let stat = rustix::fs::stat(work).map_err(|error| failed(error.into()))?;
    act_as(stat.st_uid, stat.st_gid).map_err(failed)
}

/// Covers each layer, and the directory that holds those of the changes, by itself with its ids mapped. Their paths stay
/// the same, and the overlay keeps what it finds at them.
fn cover_with_mapped(overlay: &Overlay, users: BorrowedFd<'_>) -> Result<(), Error> {
    // Both must be reached by one mount.
    let own = overlay.upper.parent().filter(|own| overlay.work.parent() == Some(*own));
    let own = own.ok_or_else(|| Error::spec("the overlay", "its upper and work directories lie apart"))?;
    for path in overlay.lower.iter().map(PathBuf::as_path).chain([own]) {
        let failed = |error: Errno| Error::step(format!("mount {} with other ids", path.display()), error);
        let copy = detached::copy_of(path, false).map_err(failed)?;
        detached::map_users(copy.as_fd(), users, false).map_err(detached::unmapped(path))?;
        let place = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        detached::attach(copy.as_fd(), place.map_err(failed)?.as_fd()).map_err(failed)?;
    }
    Ok(())
}

/// Mounts layers (topmost first, at least two) as one tree that cannot be written, attached nowhere.
///
/// # Errors
/// [`Error::Step`] when the kernel refuses.
pub fn mount_layers(lower: &[PathBuf]) -> Result<OwnedFd, Error> {
    mount_stack(&Stack { lower, own: None, volatile: false, label: None })
        .map_err(|error| Error::step("mount the layers of an image", error))
}

fn mount_stack(stack: &Stack<'_>) -> Result<OwnedFd, Errno> {
    match try_mount(stack, appends(rustix::system::uname().release().to_bytes())) {
        Err((Errno::INVAL, true)) => try_mount(stack, false),
        other => other,
    }
    .map_err(|(error, _)| error)
}

/// Whether a kernel of this release has "lowerdir+" (Linux 6.7). An older one would say in its log that it was asked.
fn appends(release: &[u8]) -> bool {
    let release = String::from_utf8_lossy(release);
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// The error, and whether it may be about "lowerdir+".
fn try_mount(stack: &Stack<'_>, one_by_one: bool) -> Result<OwnedFd, (Errno, bool)> {
    let plain = |error: Errno| (error, false);
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(plain)?;
    let _ = fsconfig_set_string(&fs, "source", "overlay");
    let mut held = Vec::new();
    let mut numbers = false;
    if one_by_one {
        for lower in stack.lower {
            let value = short(lower, &mut held).map_err(plain)?;
            fsconfig_set_string(&fs, "lowerdir+", value).map_err(|error| (error, true))?;
        }
    } else {
        let lower = joined(stack.lower, &mut held).map_err(plain)?;
        numbers = lower.starts_with(|c: char| c.is_ascii_digit());
        let set = || fsconfig_set_string(&fs, "lowerdir", lower);
        if numbers { among_descriptors(set) } else { set() }.map_err(plain)?;
    }
    if let Some((upper, work)) = stack.own {
        set_path(fs.as_fd(), "upperdir", upper, &mut held).map_err(plain)?;
        set_path(fs.as_fd(), "workdir", work, &mut held).map_err(plain)?;
    }
    if stack.volatile {
        fsconfig_set_flag(&fs, "volatile").map_err(plain)?;
    }
    if let Some(label) = stack.label {
        fsconfig_set_string(&fs, "context", label).map_err(plain)?;
    }
    // Kernels before 6.5 look the directories up at creation, later ones when they are set.
    let create = || fsconfig_create(&fs);
    let created = if numbers { among_descriptors(create) } else { create() };
    created.map_err(|error| (error, one_by_one))?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(plain)
}

fn set_path(fs: BorrowedFd<'_>, key: &str, path: &Path, held: &mut Vec<OwnedFd>) -> Result<(), Errno> {
    fsconfig_set_string(fs, key, short(path, held)?)
}

/// The path, or one by a descriptor when the kernel would not take its length.
fn short(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String, Errno> {
    let text = path.to_str().ok_or(Errno::ILSEQ)?;
    if text.len() <= LONGEST {
        return Ok(text.to_owned());
    }
    by_descriptor(path, held)
}

fn by_descriptor(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String, Errno> {
    let fd = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    held.push(fd);
    Ok(name)
}

/// Calls `action` where the numbers of descriptors are paths. The working directory is a thread's own.
fn among_descriptors(action: impl FnOnce() -> Result<(), Errno> + Send) -> Result<(), Errno> {
    let there = || {
        unshare(libc::CLONE_FS.unsigned_abs().into()).map_err(|error| from_io(&error))?;
        chdir("/proc/self/fd")?;
        action()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, there);
        thread.map_err(|error| from_io(&error))?.join().unwrap_or(Err(Errno::NOTRECOVERABLE))
    })
}

fn from_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// All lower directories in one value: as they are, escaped, if that fits, else by numbers of descriptors.
fn joined(lower: &[PathBuf], held: &mut Vec<OwnedFd>) -> Result<String, Errno> {
    let plain: Option<Vec<String>> = lower.iter().map(|path| path.to_str().map(escaped)).collect();
    if let Some(text) =
        plain.map(|list| list.join(":")).filter(|text| text.len() <= LONGEST && !text.contains(','))
    {
        return Ok(text);
    }
    let number = |path: &PathBuf| {
        by_descriptor(path, held).map(|name| name.rsplit('/').next().unwrap_or_default().to_owned())
    };
    let names = lower.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let text = names.join(":");
    if text.len() > LONGEST { Err(Errno::NAMETOOLONG) } else { Ok(text) }
}

/// `:` separates layers and `\` escapes.
fn escaped(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len()), |mut text, c| {
        if matches!(c, ':' | '\\') {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped_and_long_lists_go_by_descriptor() {
        let mut held = Vec::new();
        assert_eq!(joined(&["/a:b".into(), "/c\\d".into()], &mut held).unwrap(), "/a\\:b:/c\\\\d");
        let many: Vec<PathBuf> = (0..40).map(|_| format!("/{}", "./".repeat(60)).into()).collect();
        let text = joined(&many, &mut held).unwrap();
        assert_eq!(text.split(':').filter_map(|number| number.parse::<i32>().ok()).count(), 40);
        assert_eq!(held.len(), 40);
    }

    #[test]
    fn only_kernels_that_have_it_are_asked_to_append() {
        for (release, has) in [
            ("6.1.0-56-cloud-amd64", false),
            ("6.6.9", false),
            ("6.7.0-rc1", true),
            ("6.18.44", true),
            ("7.0", true),
        ] {
            assert_eq!(appends(release.as_bytes()), has, "{release}");
        }
        assert!(!appends(b"5.15.0-generic") && !appends(b""));
    }

    #[test]
    fn forty_layers_fit_without_appending_them_one_by_one() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: needs root");
        }
        let dir = std::env::temp_dir().join(format!("proa-runtime-{}-layers", std::process::id()));
        let layer = |n: usize| dir.join(format!("a-layer-with-a-name-as-long-as-those-of-snapshots-{n}"));
        let lower: Vec<_> = (0..40).map(layer).collect();
        for path in lower.iter().chain([&dir.join("upper"), &dir.join("work")]) {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(lower[39].join("file"), "the lowest").unwrap();
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        let own = Some((upper.as_path(), work.as_path()));
        let mounted = try_mount(&Stack { lower: &lower, own, volatile: false, label: None }, false);
        let read = mounted
            .as_ref()
            .ok()
            .and_then(|root| crate::inside::read_text(root.as_fd(), Path::new("file"), 100));
        std::fs::remove_dir_all(&dir).unwrap();
        if let Err((Errno::PERM | Errno::INVAL, _)) = mounted {
            return println!("skipped: {} cannot hold an overlay", dir.display());
        }
        assert_eq!(read.as_deref(), Some("the lowest"), "{mounted:?}");
    }
}
