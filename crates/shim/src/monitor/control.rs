//! Answers to the engine's requests.

use super::foreign::Foreign;
use super::runner::{self, Begun, Runner};
use super::sender::{self, Sender};
use super::task::{Client, Side, Streams, Task};
use super::{INIT, Monitor, State};
use crate::protocol::{AttachRequest, ExecRequest, Request, Response, RuntimeChoice, StartRequest};
use crate::{Error, Facts, wire};
use proa_runtime::cgroup::CgroupPath;
use proa_runtime::{Sandbox, SandboxSpec, Stdio};
use proa_types::{ErrorKind, ExecId, Kinded, Timestamp};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use std::os::fd::{AsFd, OwnedFd};

type Answer = Result<(Response, Option<OwnedFd>), Failure>;

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) kind: ErrorKind,
    pub(super) exit_code: Option<i32>,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind, exit_code: None }
    }
}

impl From<proa_runtime::Error> for Failure {
    fn from(error: proa_runtime::Error) -> Self {
        let exit_code =
            matches!(error, proa_runtime::Error::Program { .. }).then(|| i32::from(error.exit_code()));
        Self { message: error.to_string(), kind: error.kind(), exit_code }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        let error = std::io::Error::from(errno);
        Self::new(ErrorKind::of_io(&error), error.to_string())
    }
}

impl Monitor {
    /// Carries a request out and answers it.
    pub(super) fn answer(&mut self, at: usize, request: Request, fds: Vec<OwnedFd>) {
        let starting = matches!(request, Request::Start(_));
        let (response, fd) = match self.carry_out(request, fds) {
            Ok(answer) => answer,
            Err(Failure { message, kind, exit_code }) => {
                // A sandbox that could not be started is used up.
                self.released |= starting;
                (Response::Failed { message, kind: kind.into(), exit_code }, None)
            }
        };
        if self.released {
            // Whoever asked may use the container's name and address again once it hears from here.
            self.clean_up();
        }
        if let Some(connection) = self.connections.get(at) {
            let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
            let _ = wire::send(connection.as_fd(), &response, &fds, SendFlags::empty());
        }
    }

    fn carry_out(&mut self, request: Request, fds: Vec<OwnedFd>) -> Answer {
        let done = Ok((Response::Done, None));
        match request {
            Request::Prepare { spec, cgroup } => self.prepare(&spec, &cgroup),
            Request::Start(request) => self.start(*request, fds),
            Request::Exec(request) => self.exec(*request, fds),
            Request::Attach(request) => {
                let behind_log = request.behind_log;
                self.attach(request, fds)?;
                if behind_log { Ok((Response::Attached { at: Timestamp::now() }, None)) } else { done }
            }
            Request::Signal { exec, signal } => {
                self.task(exec.as_ref())?.signal(signal)?;
                done
            }
            Request::KillAll => {
                self.container()?.kill_all()?;
                done
            }
            Request::Resize { exec, size } => {
                self.task(exec.as_ref())?.resize(size)?;
                done
            }
            Request::Pause => {
                self.container()?.pause()?;
                self.set_paused(true);
                done
            }
            Request::Resume => {
                self.container()?.resume()?;
                self.set_paused(false);
                done
            }
            Request::Update(resources) => {
                Ok((Response::Warnings(self.container()?.update(&resources)?), None))
            }
            Request::Pids => Ok((Response::Pids(self.container()?.pids()?), None)),
            Request::Facts => {
                let one_more = matches!(&self.state, State::Running(runner) if runner.is_led());
                Ok((Response::Facts(Facts { one_more, ..self.facts.clone() }), None))
            }
            Request::Events => self.subscribe(),
            Request::Release => {
                self.released = true;
                done
            }
        }
    }

    fn container(&mut self) -> Result<&mut Runner, Failure> {
        match &mut self.state {
            State::Running(runner) => Ok(runner),
            _ => Err(Failure::new(ErrorKind::Conflict, "the container is not running")),
        }
    }

    fn task(&self, exec: Option<&ExecId>) -> Result<&Task, Failure> {
        let found = self.tasks.values().find(|task| task.exec.as_ref() == exec && task.exit.is_none());
        found.ok_or_else(|| Failure::new(ErrorKind::Conflict, "the process is not running"))
    }

    fn set_paused(&mut self, paused: bool) {
        self.facts.paused = paused;
        self.store_facts();
    }

    fn prepare(&mut self, spec: &SandboxSpec, cgroup: &str) -> Answer {
        if !matches!(self.state, State::Empty) {
            return Err(Failure::new(ErrorKind::Conflict, "the sandbox is made already"));
        }
        let path = CgroupPath::new(cgroup).map_err(|e| Failure::from(proa_runtime::Error::from(e)))?;
        // Said before it is made, so that whoever finds this directory knows what to remove.
        self.facts.cgroup = cgroup.into();
        self.store_facts();
        let sandbox = Sandbox::prepare(spec, &path)?;
        let (pid, netns) = (sandbox.init_pid(), sandbox.netns()?);
        self.facts.pid = pid;
        self.state = State::Parked(Box::new(sandbox));
        Ok((Response::Prepared { pid }, Some(netns)))
    }

    fn start(&mut self, request: StartRequest, mut listeners: Vec<OwnedFd>) -> Answer {
        let mounted = if request.mounted { listeners.pop() } else { None };
        if listeners.len() != request.forwards.len() + request.attached.len() {
            return Err(Failure::new(ErrorKind::InvalidArgument, "a descriptor is missing"));
        }
        let sockets = listeners.split_off(request.forwards.len());
        let State::Parked(sandbox) = std::mem::replace(&mut self.state, State::Gone) else {
            return Err(Failure::new(ErrorKind::Conflict, "there is no sandbox to start"));
        };
        let log = proa_logs::open_writer(&request.log, sender::pack);
        let log = log.map_err(|e| Failure::new(e.kind(), e.to_string()))?;
        let sender = Sender::start(&request.log)?;
        let terminal = request.spec.process.as_ref().is_some_and(|process| process.terminal);
        let size = request.spec.process.as_ref().and_then(|process| process.console_size.as_ref());
        let size = size.map(|size| crate::TerminalSize { rows: size.height, columns: size.width });
        let (stdio, mut streams) = make_streams(terminal, request.open_stdin, size)?;
        let Begun { runner, mut process, start_time, at, oom, warnings } = match &request.runtime {
            RuntimeChoice::Builtin => runner::begin(*sandbox, &request, stdio, mounted)?,
            RuntimeChoice::Foreign { path, args } => {
                let (dir, program) = (self.dir.join("runtime"), (path.clone(), args.clone()));
                Foreign::begin(program, &dir, *sandbox, &self.facts.cgroup, (&request, stdio, mounted))?
            }
        };
        if terminal {
            take_terminal(&mut streams, process.terminal.take())?;
        }
        let pid = process.pid;
        let mut task = Task::new(None, (pid, process.pidfd), streams, request.stdin_once);
        let clients =
            sockets.into_iter().zip(request.attached).map(|(socket, wants)| Client::new(socket, wants));
        clients.for_each(|client| task.attach(client, &[]));
        self.tasks.insert(INIT, task);
        self.oom = oom;
        (self.log, self.sender) = (Some(log), sender);
        self.forwarder.open(request.forwards, listeners);
        self.facts.container = Some(request.container);
        (self.facts.pid, self.facts.start_time, self.facts.started_at) = (pid, start_time, at);
        self.store_facts();
        self.state = State::Running(runner);
        // What happens from now on is told on a socket that goes with the answer.
        let (theirs, ours) = pair(SocketType::SEQPACKET)?;
        self.subscribers.push(ours);
        Ok((Response::Started { pid, start_time, at, warnings }, Some(theirs)))
    }

    fn exec(&mut self, request: ExecRequest, sockets: Vec<OwnedFd>) -> Answer {
        if self.facts.exit.is_some() {
            return Err(Failure::new(ErrorKind::Conflict, "the container is not running"));
        }
        let container = self.container()?;
        let terminal = request.process.terminal;
        let size = request.process.console_size.as_ref();
        let size = size.map(|size| crate::TerminalSize { rows: size.height, columns: size.width });
        let (stdio, mut streams) = make_streams(terminal, request.open_stdin, size)?;
        let exec = container.exec(&request, stdio)?;
        if terminal {
            take_terminal(&mut streams, exec.terminal)?;
        }
        let mut task = Task::new(Some(request.id), (exec.pid, exec.pidfd), streams, true);
        task.limit = request.limit.and_then(|limit| std::time::Instant::now().checked_add(limit));
        if let (Some(wants), Some(socket)) = (request.attach, sockets.into_iter().next()) {
            task.attach(Client::new(socket, wants), &[]);
        }
        self.tasks.insert(self.next_task, task);
        self.next_task += 1;
        Ok((Response::Running { pid: exec.pid }, None))
    }

    fn attach(&mut self, wants: AttachRequest, sockets: Vec<OwnedFd>) -> Result<(), Failure> {
        let missing = || Failure::new(ErrorKind::InvalidArgument, "a socket is missing");
        let socket = sockets.into_iter().next().ok_or_else(missing)?;
        let found = self.tasks.values_mut().find(|task| task.exec == wants.exec);
        let log = self.log.as_ref().filter(|_| wants.behind_log && wants.exec.is_none());
        match found {
            Some(task) => {
                let unfinished = |side: Side| log.map_or(&[][..], |log| log.unfinished(side.into()));
                let rest = [Side::Stdout, Side::Stderr].map(|side| (side, unfinished(side)));
                task.attach(Client::new(socket, wants), &rest);
            }
            // An ended process has nothing more to say: the stream ends at once.
            None if wants.exec.is_none() && self.facts.exit.is_some() => drop(socket),
            None => return Err(Failure::new(ErrorKind::Conflict, "the process is not running")),
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Answer {
        let (theirs, ours) = pair(SocketType::SEQPACKET)?;
        if let Some(exit) = &self.facts.exit {
            let event = crate::Event::Exited { exec: None, exit: exit.clone() };
            let _ = wire::send(ours.as_fd(), &event, &[], SendFlags::DONTWAIT);
        }
        self.subscribers.push(ours);
        Ok((Response::Done, Some(theirs)))
    }

    /// Removes everything but this process.
    fn clean_up(&mut self) {
        if let State::Running(runner) = std::mem::replace(&mut self.state, State::Gone) {
            runner.release();
        }
        self.forwarder.close();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Error> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(|e| Error::io("socketpair", e))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// The streams of a process: its ends, and ours.
fn make_streams(
    terminal: bool,
    open_stdin: bool,
    size: Option<crate::TerminalSize>,
) -> Result<(Stdio, Streams), Failure> {
    if terminal {
        return Ok((Stdio::Terminal { size }, Streams { terminal: true, ..Streams::default() }));
    }
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (stdin, our_stdin) = if open_stdin {
        let (theirs, ours) = pipe()?;
        (theirs, Some(ours))
    } else {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        (rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?, None)
    };
    let (our_stdout, stdout) = pipe()?;
    let (our_stderr, stderr) = pipe()?;
    let streams =
        Streams { stdin: our_stdin, stdout: Some(our_stdout), stderr: Some(our_stderr), terminal: false };
    Ok((Stdio::Fds { stdin, stdout, stderr }, streams))
}

/// A terminal is both input and output.
fn take_terminal(streams: &mut Streams, master: Option<OwnedFd>) -> Result<(), Failure> {
    let master = master.ok_or_else(|| Failure::new(ErrorKind::Internal, "the terminal is missing"))?;
    streams.stdin = Some(rustix::io::fcntl_dupfd_cloexec(&master, 3)?);
    streams.stdout = Some(master);
    Ok(())
}
