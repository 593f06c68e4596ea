//! Containers on disk: `<root>/<id>/state.json`, and the fifo at which a created container waits.

use super::CliError;
use crate::Error;
use crate::cgroup::{Cgroup, CgroupPath};
use crate::container::start_time;
use proa_oci::runtime::{Spec, State};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What is known of a container between two commands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) id: String,
    pub(super) pid: i32,
    /// Clock ticks since boot.
    pub(super) start_time: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// RFC 3339.
    pub(super) created: String,
    pub(super) cgroup: CgroupPath,
    pub(super) user_namespace: bool,
    pub(super) keyring: bool,
    pub(super) spec: Spec,
}

/// The directory of all containers.
#[derive(Debug, Clone)]
pub(super) struct Root(pub(super) PathBuf);

/// The directory of one container.
#[derive(Debug)]
pub(super) struct Home {
    id: String,
    path: PathBuf,
}

impl Root {
    /// A container's directory; the id is checked.
    pub(super) fn home(&self, id: &str) -> Result<Home, CliError> {
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
        if id.is_empty() || id.len() > 1024 || !plain || id == "." || id == ".." {
            return Err(CliError::failed(format!("invalid id format: {id:?}")));
        }
        Ok(Home { id: id.to_owned(), path: self.0.join(id) })
    }

    /// All containers that can be read.
    pub(super) fn all(&self) -> Vec<Saved> {
        let names = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<Saved> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|id| self.home(&id).ok()?.load().ok())
            .collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}

impl Home {
    /// Makes the directory; fails when the id is taken.
    pub(super) fn create(&self) -> Result<(), CliError> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let failed = |error| CliError::failed(format!("cannot create {}: {error}", self.path.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(parent).map_err(failed)?;
        match std::fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(CliError::failed(format!("container with given ID already exists: {}", self.id)))
            }
            other => other.map_err(failed),
        }
    }

    /// Removes the directory.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }

    pub(super) fn fifo(&self) -> PathBuf {
        self.path.join("exec.fifo")
    }

    /// Makes the fifo and opens it without access.
    pub(super) fn make_fifo(&self) -> Result<OwnedFd, CliError> {
        let path = self.fifo();
        let failed = |error| CliError::failed(format!("cannot create {}: {error}", path.display()));
        // The container's user opens it for writing.
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o622), 0).map_err(failed)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o622)).map_err(failed)?;
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(failed)
    }

    /// Writes the state, by rename.
    pub(super) fn save(&self, saved: &Saved) -> Result<(), CliError> {
        let (new, path) = (self.path.join("state.json.new"), self.path.join("state.json"));
        let text = serde_json::to_vec(saved).map_err(|error| CliError::failed(error.to_string()))?;
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
    }

    /// Reads the state.
    pub(super) fn load(&self) -> Result<Saved, CliError> {
        let path = self.path.join("state.json");
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| CliError::failed(format!("cannot read {}: {error}", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(CliError::failed(format!("container does not exist: {}", self.id)))
            }
            Err(error) => Err(CliError::failed(format!("cannot read {}: {error}", path.display()))),
        }
    }
}

impl Saved {
    /// Opens its first process, if that still is the one it was.
    pub(super) fn pidfd(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (self.is_alive()).then_some(pidfd)
    }

    fn is_alive(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
            && start_time(self.pid).is_ok_and(|time| time == self.start_time)
    }

    /// `created`, `running`, `paused`, `stopped`.
    pub(super) fn status(&self, root: &Root) -> &'static str {
        if !self.is_alive() {
            return "stopped";
        }
        let waits = root.home(&self.id).is_ok_and(|home| home.fifo().exists());
        match self.cgroup() {
            _ if waits => "created",
            Ok(cgroup) if cgroup.is_frozen().unwrap_or(false) => "paused",
            _ => "running",
        }
    }

    pub(super) fn cgroup(&self) -> Result<Cgroup, Error> {
        Ok(Cgroup::open(&self.cgroup)?)
    }

    /// The state as hooks and `state` have it.
    pub(super) fn state(&self, status: &str) -> State {
        State {
            oci_version: super::OCI_VERSION.to_owned(),
            id: self.id.clone(),
            status: status.to_owned(),
            pid: if status == "stopped" { 0 } else { self.pid },
            bundle: self.bundle.clone(),
            annotations: self.spec.annotations.clone(),
        }
    }
}
