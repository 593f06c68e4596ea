//! A container that runs, whichever runtime made it.

use super::control::Failure;
use super::foreign::Foreign;
use crate::protocol::{ExecRequest, StartRequest};
use proa_oci::runtime::Resources;
use proa_runtime::cgroup::OomWatch;
use proa_runtime::seccomp::Program;
use proa_runtime::{Container, ExecOptions, Sandbox, StartContainer, Stdio};
use proa_types::{ErrorKind, Timestamp};
use std::os::fd::OwnedFd;

/// The container, as its runtime has it.
pub(super) enum Runner {
    Own(Box<Container>),
    Foreign(Box<Foreign>),
}

/// A container that has just been started.
pub(super) struct Begun {
    pub(super) runner: Runner,
    pub(super) process: Process,
    /// In clock ticks after boot.
    pub(super) start_time: u64,
    pub(super) at: Timestamp,
    pub(super) oom: Option<OomWatch>,
    pub(super) warnings: Vec<String>,
}

/// A process of the container, a child of this one.
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
}

/// Makes a sandbox a container, by our own runtime.
pub(super) fn begin(
    sandbox: Sandbox,
    request: &StartRequest,
    stdio: Stdio,
    mounted: Option<OwnedFd>,
) -> Result<Begun, Failure> {
    let id = request.container.as_str();
    let rootfs = request.rootfs.clone();
    let mut start = StartContainer::new(id, &request.dir, &request.spec, rootfs, stdio);
    start.filter = program(request.filter.as_deref())?;
    start.mounted = mounted;
    start.idmapped = request.idmapped;
    start.init = request.init;
    start.degrade = true;
    let mut container = sandbox.start(start)?;
    let at = Timestamp::now();
    let pidfd = container.pidfd().try_clone_to_owned();
    let pidfd = pidfd.map_err(|e| Failure::new(ErrorKind::Internal, e.to_string()))?;
    let process = Process { pid: container.pid(), pidfd, terminal: container.take_terminal() };
    Ok(Begun {
        process,
        start_time: container.start_time(),
        at,
        oom: container.oom_watch().ok(),
        warnings: container.warnings().to_vec(),
        runner: Runner::Own(Box::new(container)),
    })
}

impl Runner {
    pub(super) fn exec(&mut self, request: &ExecRequest, stdio: Stdio) -> Result<Process, Failure> {
        match self {
            Self::Own(container) => {
                let filter = program(request.filter.as_deref())?;
                let options = ExecOptions { filter, stdio, preserved: Vec::new(), degrade: true };
                let exec = container.exec(&request.process, options)?;
                Ok(Process { pid: exec.pid, pidfd: exec.pidfd, terminal: exec.terminal })
            }
            Self::Foreign(foreign) => foreign.exec(&request.process, stdio),
        }
    }

    pub(super) fn kill_all(&self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => Ok(container.kill_all()?),
            Self::Foreign(foreign) => foreign.kill_all(),
        }
    }

    pub(super) fn pause(&self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => Ok(container.pause()?),
            Self::Foreign(foreign) => foreign.pause(),
        }
    }

    pub(super) fn resume(&self) -> Result<(), Failure> {
        match self {
            Self::Own(container) => Ok(container.resume()?),
            Self::Foreign(foreign) => foreign.resume(),
        }
    }

    pub(super) fn update(&self, resources: &Resources) -> Result<Vec<String>, Failure> {
        match self {
            Self::Own(container) => Ok(container.update(resources)?),
            Self::Foreign(foreign) => foreign.update(resources),
        }
    }

    pub(super) fn pids(&self) -> Result<Vec<i32>, Failure> {
        match self {
            Self::Own(container) => Ok(container.pids()?),
            Self::Foreign(foreign) => foreign.pids(),
        }
    }

    /// Whether a process of ours is in its cgroup beside its own.
    pub(super) fn is_led(&self) -> bool {
        matches!(self, Self::Own(container) if container.is_led())
    }

    /// Whatever still runs is killed, and what was made for it removed.
    pub(super) fn release(self) {
        match self {
            Self::Own(container) => {
                let _ = container.kill_all();
                let _ = container.release();
            }
            // It removes what it made when it is dropped.
            Self::Foreign(foreign) => drop(foreign),
        }
    }
}

fn program(bytes: Option<&[u8]>) -> Result<Option<Program>, Failure> {
    let read = |bytes| Program::from_bytes(bytes).map_err(|e| Failure::from(proa_runtime::Error::from(e)));
    bytes.map(read).transpose()
}
