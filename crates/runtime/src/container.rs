//! A container whose program runs.

use crate::cgroup::{Cgroup, OomWatch, Warnings};
use crate::exec::{self, Target};
use crate::leader::Leader;
use crate::sandbox::without_devices;
use crate::seccomp::Program;
use crate::{Error, Stdio, namespace};
use proa_oci::runtime::{Process, Resources};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A running container, as its parent process holds it. Dropping it leaves the container alone, but ends the helper
/// process for `exec`.
#[derive(Debug)]
pub struct Container {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) held: Option<Held>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
    pub(crate) user_namespace: bool,
    pub(crate) keyring: Option<String>,
    /// The filter of its first process, as [`Program::to_bytes`] writes it.
    pub(crate) filter: Option<Vec<u8>>,
    pub(crate) leader: Option<Leader>,
    pub(crate) cgroup: Cgroup,
}

/// Namespaces held open so that the kernel takes down mounts, queues and network only when the end was reported.
#[derive(Debug)]
pub(crate) struct Held {
    start_time: u64,
    _namespaces: [OwnedFd; 3],
}

impl Held {
    pub(crate) fn of(pid: i32) -> Result<Self, Error> {
        let namespaces = [namespace::of(pid, "mnt")?, namespace::of(pid, "ipc")?, namespace::of(pid, "net")?];
        Ok(Self { start_time: start_time(pid)?, _namespaces: namespaces })
    }
}

/// How a process is started in a running container.
#[derive(Debug)]
pub struct ExecOptions {
    /// The filter of system calls; `None` is the container's own.
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
        self.pidfd.as_fd()
    }

    /// When the first process began, in clock ticks since boot (field 22 of /proc/PID/stat): tells it from a later
    /// process with the same pid.
    pub fn start_time(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.start_time)
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
    /// [`Error::Program`], [`Error::State`] when it does not run or is paused, [`Error::Step`].
    pub fn exec(&self, process: &Process, options: ExecOptions) -> Result<Exec, Error> {
        // The leader is stopped with all others and would not answer; on v2 the new process itself would be.
        if self.cgroup.is_frozen()? {
            return Err(Error::State { needed: "running", reason: "it is paused: resume it first".into() });
        }
        let target = Target {
            pidfd: self.pidfd.as_fd(),
            cgroup: &self.cgroup,
            leader: self.leader.as_ref(),
            user_namespace: self.user_namespace,
            keyring: self.keyring.clone(),
            filter: self.filter.as_deref(),
        };
        exec::start(&target, process, options)
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// [`Error::State`] when it has ended, [`Error::Step`] for a number that is no signal.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        signal_process(self.pidfd.as_fd(), signal)
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
        let mut plain = without_devices(resources, self.leader.is_some());
        plain.devices.clone_from(&resources.devices);
        Ok(self.cgroup.set(&plain)?)
    }

    /// Its processes, in the caller's pid namespace, without those of the runtime itself.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = self.cgroup.pids()?;
        if let Some(leader) = &self.leader {
            pids.retain(|pid| *pid != leader.pid());
        }
        Ok(pids)
    }

    /// Whether a process that makes later ones is in its cgroup, which [`Self::pids`] leaves out.
    pub fn is_led(&self) -> bool {
        self.leader.is_some()
    }

    /// Watches for processes killed because memory ran out.
    ///
    /// # Errors
    /// [`Error::Cgroup`].
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        Ok(self.cgroup.oom_watch()?)
    }

    /// Lets go of everything held for it (namespaces, helper, cgroup) after its end was reported. What still runs in the
    /// cgroup (a container in the host's pid namespace can leave something) is killed.
    ///
    /// # Errors
    /// [`Error::Cgroup`] when a process does not end.
    pub fn release(mut self) -> Result<(), Error> {
        self.leader = None;
        self.held = None;
        if self.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
            let _ = self.cgroup.kill();
        }
        Ok(self.cgroup.remove()?)
    }
}

/// Sends a signal to exactly this process.
pub(crate) fn signal_process(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Error> {
    proa_sys::process::pidfd_kill(pidfd, signal).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => Error::State { needed: "running", reason: "its first process has ended".into() },
        _ => Error::step(format!("send signal {signal}"), error),
    })
}

/// When a process began, in clock ticks after boot: with its id it is unique (field 22 of /proc/PID/stat,
/// proc_pid_stat(5); the name in field 2 can hold anything).
///
/// # Errors
/// [`Error::Step`] when there is no such process.
pub fn start_time(pid: i32) -> Result<u64, Error> {
    let failed = |error: std::io::Error| Error::step(format!("read the start time of process {pid}"), error);
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let field = after.split_whitespace().nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
}
