//! Stage 1: a sandbox, parked until it becomes a container.

use crate::cgroup::CgroupPath;
use crate::{Container, Error, SandboxSpec, StartContainer};
use std::os::fd::OwnedFd;

/// Namespaces, cgroup and kernel filesystems with an init process that waits. Dropping it kills that process and
/// removes the cgroup.
#[derive(Debug)]
pub struct Sandbox {
    pid: i32,
}

impl Sandbox {
    /// Builds one.
    ///
    /// # Errors
    /// [`Error::Cgroup`], or [`Error::Step`] for what the kernel refuses.
    pub fn prepare(spec: &SandboxSpec, cgroup: &CgroupPath) -> Result<Self, Error> {
        let _ = (spec, cgroup);
        Err(Error::Unsupported { feature: "a sandbox".into(), reason: "this build lacks it".into() })
    }

    /// The init process, in the caller's pid namespace.
    pub fn init_pid(&self) -> i32 {
        self.pid
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// [`Error::Step`] when init is gone.
    pub fn netns(&self) -> Result<OwnedFd, Error> {
        Err(Error::Unsupported { feature: "a sandbox".into(), reason: "this build lacks it".into() })
    }

    /// Gives it root, limits and program, and lets it run (or wait at `exec_fifo`).
    ///
    /// # Errors
    /// [`Error::Program`] when the program cannot be executed, [`Error::Spec`], [`Error::Step`] or
    /// [`Error::Hook`] for the rest. The sandbox is gone then.
    pub fn start(self, request: StartContainer<'_>) -> Result<Container, Error> {
        let _ = request;
        Err(Error::Unsupported { feature: "a sandbox".into(), reason: "this build lacks it".into() })
    }
}
