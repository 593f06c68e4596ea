//! Control groups: limits, accounting, device access, freezing and killing of one container's processes.
//!
//! A [`Cgroup`] is one path in every hierarchy the host has: v1 controllers, the v2 tree, or both (hybrid).
//! It knows no container and no specification beyond the `resources` of one. Kernel documentation:
//! admin-guide/cgroup-v1/ and admin-guide/cgroup-v2.rst.

mod error;
mod path;
mod stats;

pub use error::Error;
pub use path::CgroupPath;
pub use stats::{BlockStats, CpuStats, HugepageStats, MemoryStats, PidsStats, Stats};

use proa_oci::runtime::{DeviceRule, Resources};
use std::os::fd::{BorrowedFd, OwnedFd};

/// What the kernel or its set-up could not do, in docker's words; for the user to read.
pub type Warnings = Vec<String>;

/// One cgroup, in every hierarchy, with its directories held open.
#[derive(Debug)]
pub struct Cgroup {
    path: CgroupPath,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy and gives it its device rules, in order; no rule allows all devices.
    /// A directory that is already there is taken over.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`], or what the kernel refuses.
    pub fn create(path: &CgroupPath, devices: &[DeviceRule]) -> Result<Self, Error> {
        let _ = devices;
        Err(unfinished(path))
    }

    /// Opens a cgroup that exists, after a restart.
    ///
    /// # Errors
    /// [`Error::Io`] with `NotFound` when it is in no hierarchy.
    pub fn open(path: &CgroupPath) -> Result<Self, Error> {
        Err(unfinished(path))
    }

    /// The path given.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Writes the limits that are given; others stay as they are. Device rules replace the former ones if any
    /// are given.
    ///
    /// # Errors
    /// [`Error::Value`] when a value is out of range, [`Error::Write`] when the kernel refuses one.
    pub fn set(&self, resources: &Resources) -> Result<Warnings, Error> {
        let _ = resources;
        Err(unfinished(&self.path))
    }

    /// Replaces the device rules.
    ///
    /// # Errors
    /// [`Error::Value`] for a rule that cannot be read, or what the kernel refuses.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<(), Error> {
        let _ = rules;
        Err(unfinished(&self.path))
    }

    /// Moves a process (all its threads) into the cgroup, in every hierarchy. 0 is the caller.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn join(&self, pid: i32) -> Result<(), Error> {
        let _ = pid;
        Err(unfinished(&self.path))
    }

    /// The directory for `CLONE_INTO_CGROUP`, where that alone puts a process into every hierarchy (pure v2).
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Stops every process, and waits until they have stopped.
    ///
    /// # Errors
    /// [`Error::Timeout`] when one does not stop (it hangs in the kernel); the cgroup is thawed again then.
    pub fn freeze(&self) -> Result<(), Error> {
        Err(unfinished(&self.path))
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn thaw(&self) -> Result<(), Error> {
        Err(unfinished(&self.path))
    }

    /// Whether it is frozen.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        Err(unfinished(&self.path))
    }

    /// Kills every process, also those it forks meanwhile, also when frozen.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn kill(&self) -> Result<(), Error> {
        Err(unfinished(&self.path))
    }

    /// Sends a signal to every process.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let _ = signal;
        Err(unfinished(&self.path))
    }

    /// The processes in it and in the cgroups below, ascending.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        Err(unfinished(&self.path))
    }

    /// What it used, and its limits. What the host does not account is 0 or absent.
    ///
    /// # Errors
    /// [`Error::Io`] when the cgroup is gone.
    pub fn stats(&self) -> Result<Stats, Error> {
        Err(unfinished(&self.path))
    }

    /// Watches for processes killed because memory ran out.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a memory controller.
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        Err(unfinished(&self.path))
    }

    /// Removes it and the cgroups below. The processes must have ended.
    ///
    /// # Errors
    /// [`Error::Io`] with `ResourceBusy` when one still runs.
    pub fn remove(self) -> Result<(), Error> {
        Err(unfinished(&self.path))
    }
}

/// A watch over a cgroup's memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl OomWatch {
    /// Readable when something may have happened; call [`Self::count`] then, which also clears it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.fd)
    }

    /// How many processes were killed since the cgroup was made.
    ///
    /// # Errors
    /// [`Error::Io`] when the cgroup is gone.
    pub fn count(&self) -> Result<u64, Error> {
        Ok(0)
    }
}

fn unfinished(path: &CgroupPath) -> Error {
    Error::Unsupported { feature: format!("cgroup {path}"), reason: "this build lacks it".into() }
}
