//! The engine's side: spawning shims, talking to them, hearing from them. All calls wait for the answer; one shim
//! answers its requests in order.

use crate::protocol::{Request, Response};
use crate::{AttachRequest, Error, Event, ExecRequest, Facts, StartRequest, TerminalSize, wire};
use proa_oci::runtime::Resources;
use proa_runtime::SandboxSpec;
use proa_types::{ExecId, SandboxId, Timestamp};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Starts shims.
pub struct Spawner {
    /// This binary, held open: it stays the same program when the file is replaced by an upgrade.
    exe: OwnedFd,
    run_root: PathBuf,
    /// Shims that are children of this process, to be reaped.
    children: Mutex<Vec<Child>>,
}

impl Spawner {
    /// Shims of this binary, with their directories below `run_root`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn new(run_root: &Path) -> Result<Self, Error> {
        let own = Path::new("/proc/self/exe");
        // On a read-only mount of its own: a container cannot write to it through its init's link (CVE-2019-5736).
        let exe = proa_runtime::exe::read_only(own)
            .map_err(|e| Error::io(own, std::io::Error::other(e.to_string())))?;
        let dir = run_root.join("shims");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| Error::io(&dir, e))?;
        Ok(Self { exe, run_root: run_root.into(), children: Mutex::default() })
    }

    /// The directory of a shim.
    pub fn dir(&self, id: &SandboxId) -> PathBuf {
        self.run_root.join("shims").join(id.as_str())
    }

    /// Sandboxes that have a directory.
    pub fn known(&self) -> Vec<SandboxId> {
        let entries = std::fs::read_dir(self.run_root.join("shims")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Starts a shim. It ends by itself if this process ends before the container is started.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn spawn(&self, id: &SandboxId) -> Result<Shim, Error> {
        self.reap();
        let dir = self.dir(id);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|e| Error::io(&dir, e))?;
        let pair =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.map_err(|e| Error::io(&dir, e))?;
        let mut command = Command::new(format!("/proc/self/fd/{}", self.exe.as_raw_fd()));
        command.arg0("proa").arg("shim").arg(&dir).env_clear();
        // Nothing here asks for work between fork and exec: the child then borrows this process's memory until it
        // execs (posix_spawn), where a fork would copy the tables of all its pages with every thread waiting.
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => {
                self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
                Ok(Shim { socket: Mutex::new(ours), dir })
            }
            Err(error) => {
                let _ = std::fs::remove_dir(&dir);
                Err(Error::io(dir, error))
            }
        }
    }

    /// Reaps shims that have ended.
    pub fn reap(&self) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

/// A connection to a shim.
pub struct Shim {
    socket: Mutex<OwnedFd>,
    dir: PathBuf,
}

/// A sandbox that is ready.
#[derive(Debug)]
pub struct Prepared {
    /// Its first process, on the host.
    pub pid: i32,
    /// Its network namespace.
    pub netns: OwnedFd,
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// Its first process, on the host.
    pub pid: i32,
    /// That process's start time in clock ticks after boot.
    pub start_time: u64,
    /// When the program began.
    pub at: Timestamp,
    /// What could not be done as asked.
    pub warnings: Vec<String>,
    /// A socket from which [`events`] reads what has happened since the start.
    pub events: OwnedFd,
}

impl Shim {
    /// Connects to the shim of a directory, after a restart of the engine.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing answers there.
    pub fn connect(dir: &Path) -> Result<Self, Error> {
        let failed = |e: rustix::io::Errno| Error::io(dir, e);
        let kind = SocketType::SEQPACKET;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        let opened = wire::open_dir(dir).map_err(failed)?;
        let address = wire::address(opened.as_fd()).map_err(failed)?;
        rustix::net::connect(&socket, &address).map_err(failed)?;
        Ok(Self { socket: Mutex::new(socket), dir: dir.into() })
    }

    /// The shim's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the sandbox.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn prepare(&self, spec: &SandboxSpec, cgroup: &str) -> Result<Prepared, Error> {
        let request = Request::Prepare { spec: Box::new(spec.clone()), cgroup: cgroup.into() };
        match self.call(&request, &[])? {
            (Response::Prepared { pid }, mut fds) if !fds.is_empty() => {
                Ok(Prepared { pid, netns: fds.remove(0) })
            }
            other => Err(unexpected(other.0)),
        }
    }

    /// Starts the container. `sockets` are those of its published ports, then those of the streams attached, in the
    /// order of the request.
    ///
    /// # Errors
    /// What the shim reports; the sandbox is gone then, and the shim with it.
    pub fn start(&self, request: StartRequest, sockets: &[BorrowedFd<'_>]) -> Result<Started, Error> {
        match self.call(&Request::Start(Box::new(request)), sockets)? {
            (Response::Started { pid, start_time, at, warnings }, mut fds) if !fds.is_empty() => {
                Ok(Started { pid, start_time, at, warnings, events: fds.remove(0) })
            }
            other => Err(unexpected(other.0)),
        }
    }

    /// Runs a process beside the first, with `socket` attached if the request says so; its id on the host.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn exec(&self, request: ExecRequest, socket: Option<BorrowedFd<'_>>) -> Result<i32, Error> {
        let fds: Vec<BorrowedFd<'_>> = socket.into_iter().collect();
        match self.call(&Request::Exec(Box::new(request)), &fds)?.0 {
            Response::Running { pid } => Ok(pid),
            other => Err(unexpected(other)),
        }
    }

    /// Connects streams to `socket`, a stream socket: framed as docker's multiplexed stream without a terminal and raw
    /// with one. Shutting its other end down for writing ends standard input; its end means that the process is gone
    /// and its output drained. When it was, if the request says that the log comes before.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn attach(&self, request: AttachRequest, socket: BorrowedFd<'_>) -> Result<Option<Timestamp>, Error> {
        match self.call(&Request::Attach(request), &[socket])?.0 {
            Response::Done => Ok(None),
            Response::Attached { at } => Ok(Some(at)),
            other => Err(unexpected(other)),
        }
    }

    /// Sends a signal to a process; none is the first.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn signal(&self, exec: Option<ExecId>, signal: i32) -> Result<(), Error> {
        self.done(&Request::Signal { exec, signal })
    }

    /// Kills every process of the container.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn kill_all(&self) -> Result<(), Error> {
        self.done(&Request::KillAll)
    }

    /// Changes the size of a terminal.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn resize(&self, exec: Option<ExecId>, size: TerminalSize) -> Result<(), Error> {
        self.done(&Request::Resize { exec, size })
    }

    /// Stops every process where it stands.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn pause(&self) -> Result<(), Error> {
        self.done(&Request::Pause)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn resume(&self) -> Result<(), Error> {
        self.done(&Request::Resume)
    }

    /// Changes limits; what could not be changed as asked.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn update(&self, resources: &Resources) -> Result<Vec<String>, Error> {
        match self.call(&Request::Update(Box::new(resources.clone())), &[])?.0 {
            Response::Warnings(warnings) => Ok(warnings),
            other => Err(unexpected(other)),
        }
    }

    /// The container's processes, on the host.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        match self.call(&Request::Pids, &[])?.0 {
            Response::Pids(pids) => Ok(pids),
            other => Err(unexpected(other)),
        }
    }

    /// What the shim knows.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn facts(&self) -> Result<Facts, Error> {
        match self.call(&Request::Facts, &[])?.0 {
            Response::Facts(facts) => Ok(facts),
            other => Err(unexpected(other)),
        }
    }

    /// A socket from which [`events`] reads what happens from now on. An exit that has happened is told again.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn events(&self) -> Result<OwnedFd, Error> {
        match self.call(&Request::Events, &[])? {
            (Response::Done, mut fds) if !fds.is_empty() => Ok(fds.remove(0)),
            other => Err(unexpected(other.0)),
        }
    }

    /// The container is not needed any more: whatever runs is killed, everything is removed, and the shim ends.
    ///
    /// # Errors
    /// What the shim reports.
    pub fn release(&self) -> Result<(), Error> {
        match self.done(&Request::Release) {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }

    fn done(&self, request: &Request) -> Result<(), Error> {
        match self.call(request, &[])?.0 {
            Response::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn call(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Response, Vec<OwnedFd>), Error> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(socket.as_fd(), request, fds, SendFlags::empty())?;
        match wire::receive(socket.as_fd())? {
            (Response::Failed { message, kind, exit_code }, _) => {
                Err(Error::Reported { message, kind: kind.into(), exit_code })
            }
            answer => Ok(answer),
        }
    }
}

fn unexpected(response: Response) -> Error {
    Error::Protocol(format!("{response:?}"))
}

/// The next event of an event socket, which the caller has found readable; none when there is none now.
///
/// # Errors
/// [`Error::Gone`] when the shim is.
pub fn events(socket: BorrowedFd<'_>) -> Result<Option<Event>, Error> {
    match wire::receive(socket) {
        Ok((event, _)) => Ok(Some(event)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
