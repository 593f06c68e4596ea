//! A container whose program runs.

use crate::cgroup::{Cgroup, OomWatch, Warnings};
use crate::seccomp::Program;
use crate::{Error, Stdio};
use proa_oci::runtime::{Process, Resources};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A running container, as its parent process holds it. Dropping it leaves the container alone.
#[derive(Debug)]
pub struct Container {
    pid: i32,
    pidfd: OwnedFd,
    start_time: u64,
    terminal: Option<OwnedFd>,
    warnings: Vec<String>,
    cgroup: Cgroup,
}

/// How a process is started in a running container.
#[derive(Debug)]
pub struct ExecOptions {
    /// The filter of system calls.
    pub filter: Option<Program>,
    /// Standard streams.
    pub stdio: Stdio,
    /// Descriptors the program finds at 3, 4, …
    pub preserved: Vec<OwnedFd>,
    /// As [`crate::StartContainer::degrade`].
    pub degrade: bool,
}

/// A process started in a running container; a child of the caller, who must wait for it.
#[derive(Debug)]
pub struct Exec {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
    /// The master end of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// What was left out.
    pub warnings: Vec<String>,
}

impl Container {
    /// Its first process, in the caller's pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when the first process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.pidfd)
    }

    /// When the first process began, in clock ticks since boot (field 22 of /proc/PID/stat): tells it from a later
    /// process with the same pid.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Takes the master end of its terminal, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// What was left out because the host lacks the right or the feature; for the user to read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Its cgroup: statistics, limits.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Starts a process in it.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::State`] when it does not run, [`Error::Step`].
    pub fn exec(&self, process: &Process, options: ExecOptions) -> Result<Exec, Error> {
        let _ = (process, options);
        Err(Error::Unsupported { feature: "exec".into(), reason: "this build lacks it".into() })
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// [`Error::State`] when it has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let _ = signal;
        Err(Error::Unsupported { feature: "signal".into(), reason: "this build lacks it".into() })
    }

    /// Kills every process of it.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn kill_all(&self) -> Result<(), Error> {
        Ok(self.cgroup.kill()?)
    }

    /// Stops all processes.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn pause(&self) -> Result<(), Error> {
        Ok(self.cgroup.freeze()?)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn resume(&self) -> Result<(), Error> {
        Ok(self.cgroup.thaw()?)
    }

    /// Changes the limits that are given.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn update(&self, resources: &Resources) -> Result<Warnings, Error> {
        Ok(self.cgroup.set(resources)?)
    }

    /// Its processes, in the caller's pid namespace, without those of the runtime itself.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        Ok(self.cgroup.pids()?)
    }

    /// Watches for processes killed because memory ran out.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        Ok(self.cgroup.oom_watch()?)
    }

    /// Lets go of everything held for it (namespaces, helper, cgroup) after its end was reported.
    ///
    /// # Errors
    /// [`Error::Cgroup`] when a process still runs in it.
    pub fn release(self) -> Result<(), Error> {
        Ok(self.cgroup.remove()?)
    }
}
