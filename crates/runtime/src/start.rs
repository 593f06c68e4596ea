//! What a sandbox is given to become a container.

use crate::seccomp::Program;
use proa_oci::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Everything stage 2 needs.
#[derive(Debug)]
pub struct StartContainer<'a> {
    /// The container's id, which hooks read.
    pub id: &'a str,
    /// The bundle directory, which hooks read and relative paths start from.
    pub bundle: &'a Path,
    /// The whole specification; its [`crate::SandboxSpec`] must equal the sandbox's.
    pub spec: &'a Spec,
    /// The container's root.
    pub rootfs: Rootfs,
    /// The root as a mount made ahead of what `rootfs` says, attached nowhere ([`Overlay::mount`]).
    pub mounted: Option<OwnedFd>,
    /// Whether the root belongs to users as the container has them: it is mounted so that the host's are the ones the
    /// container's user namespace maps them to. Without, the root belongs to the host's users already.
    pub idmapped: bool,
    /// The filter of system calls. `None` compiles `linux.seccomp` where the specification has it.
    pub filter: Option<Program>,
    /// Standard streams.
    pub stdio: Stdio,
    /// Whether pid 1 is a small reaper that forwards signals (`docker run --init`), and the program its child.
    pub init: bool,
    /// A fifo, opened `O_PATH`, on which init waits before it executes the program (OCI `create`): it opens the
    /// fifo for writing, which returns when somebody opens it for reading, and writes one byte.
    pub exec_fifo: Option<OwnedFd>,
    /// Descriptors the program finds at 3, 4, …
    pub preserved: Vec<OwnedFd>,
    /// Whether limits and scores that the host's own rights do not allow are left out with a warning, instead of
    /// failing the start.
    pub degrade: bool,
    /// Whether init joins a new session keyring.
    pub keyring: bool,
    /// Whether pivot_root(2) is used to switch roots; without, the root is moved and chroot(2) used (initramfs).
    pub pivot: bool,
}

impl<'a> StartContainer<'a> {
    /// A start with usual settings: no reaper, no fifo, own keyring, pivot_root, strict.
    pub fn new(id: &'a str, bundle: &'a Path, spec: &'a Spec, rootfs: Rootfs, stdio: Stdio) -> Self {
        Self {
            id,
            bundle,
            spec,
            rootfs,
            mounted: None,
            idmapped: false,
            filter: None,
            stdio,
            init: false,
            exec_fifo: None,
            preserved: Vec::new(),
            degrade: false,
            keyring: true,
            pivot: true,
        }
    }
}

/// Where a container's root comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// A directory, used as it is.
    Directory(PathBuf),
    /// An overlay, mounted for this container alone and never attached on the host.
    Overlay(Overlay),
}

/// The directories of an overlay (Documentation/filesystems/overlayfs.rst).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Lower layers, the topmost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go.
    pub upper: PathBuf,
    /// The kernel's work directory, on the same filesystem as `upper`.
    pub work: PathBuf,
    /// Whether nothing is ever synced: for containers whose changes nobody keeps.
    pub volatile: bool,
}

impl Overlay {
    /// Mounts it, attached nowhere: it goes with its last descriptor.
    ///
    /// # Errors
    /// [`crate::Error::Step`]: a directory is missing, or the filesystem cannot carry an overlay.
    pub fn mount(&self) -> Result<OwnedFd, crate::Error> {
        crate::overlay::mount(self, None, None)
    }
}

/// Makes the directories and empty files in a root that mounts are to be put on, where they are missing. Links are
/// followed as the container would see them.
///
/// # Errors
/// [`crate::Error::Step`] names the path that cannot be made.
pub fn make_mount_points(
    root: BorrowedFd<'_>,
    directories: &[&Path],
    files: &[&Path],
) -> Result<(), crate::Error> {
    use crate::inside::{directory, file, relative};
    let failed = |path: &Path| {
        let what = format!("make the mount point {}", path.display());
        move |error| crate::Error::step(what, error)
    };
    for path in directories {
        directory(root, relative(path)).map_err(failed(path))?;
    }
    files.iter().try_for_each(|path| file(root, relative(path)).map(drop).map_err(failed(path)))
}

/// Standard streams of a process.
#[derive(Debug)]
pub enum Stdio {
    /// These descriptors become 0, 1 and 2.
    Fds {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// The caller's own standard streams.
    Inherit,
    /// A new terminal in the container; its master end comes back.
    Terminal {
        /// Its size, if it has one from the beginning.
        size: Option<TerminalSize>,
    },
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}
