//! The shim process: one loop that waits for requests, output, input, exits and connections to published ports.

mod control;
mod foreign;
mod forward;
mod oom;
mod record;
mod runner;
mod sender;
mod task;

use crate::protocol::{Event, ExitRecord, Facts};
use crate::{Error, wire};
use forward::Forwarder;
use proa_logs::LogWriter;
use proa_runtime::Sandbox;
use proa_runtime::cgroup::OomWatch;
use proa_types::Timestamp;
use record::RecordFile;
use runner::Runner;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use sender::Sender;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use task::{Side, Task};

/// How long output of an ended process is waited for, when something else holds its pipes open.
const DRAIN: Duration = Duration::from_secs(2);
/// How long clients of a released container may take to read what is left.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first process's key among the tasks.
const INIT: u64 = 0;

/// The face `proa shim DIR`: monitors one container until it is released. Its engine is on standard input.
pub fn main(args: Vec<OsString>) -> i32 {
    let Some(dir) = args.first().map(PathBuf::from) else {
        eprintln!("proa shim is started by the engine and is not a command of its own");
        return 2;
    };
    match Monitor::open(dir).and_then(Monitor::run) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Where the container stands.
enum State {
    Empty,
    Parked(Box<Sandbox>),
    Running(Runner),
    Gone,
}

/// Everything this process holds.
struct Monitor {
    dir: PathBuf,
    listener: OwnedFd,
    /// Engines. The one that spawned this process is the first until the container is started.
    connections: Vec<OwnedFd>,
    subscribers: Vec<OwnedFd>,
    state: State,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    log: Option<Box<dyn LogWriter>>,
    /// Who sends the log away.
    sender: Option<Sender>,
    oom: Option<OomWatch>,
    ooms_told: u64,
    facts: Facts,
    /// The facts, for whoever comes after this process.
    facts_file: Option<RecordFile>,
    forwarder: Forwarder,
    buffer: Vec<u8>,
    released: bool,
    /// When clients that still read are given up, after the release.
    patience: Option<Instant>,
}

/// What a descriptor in the poll set is.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener,
    Connection(usize),
    Exit(u64),
    Output(u64, Side),
    Input(u64),
    Client(u64, usize),
    Oom,
    Sender,
    Forward(forward::Token),
}

impl Monitor {
    fn open(dir: PathBuf) -> Result<Self, Error> {
        let failed = |e: rustix::io::Errno| Error::io(&dir, e);
        let _ = rustix::process::setsid();
        rustix::process::chdir("/").map_err(failed)?;
        let engine = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(failed)?;
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).map_err(failed)?;
        rustix::stdio::dup2_stdin(&null).map_err(failed)?;
        let kind = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, kind, None)
            .map_err(failed)?;
        let opened = wire::open_dir(&dir).map_err(failed)?;
        let address = wire::address(opened.as_fd()).map_err(failed)?;
        rustix::net::bind(&listener, &address).map_err(failed)?;
        rustix::net::listen(&listener, 16).map_err(failed)?;
        oom::protect();
        Ok(Self {
            dir,
            listener,
            connections: vec![engine],
            subscribers: Vec::new(),
            state: State::Empty,
            tasks: BTreeMap::new(),
            next_task: INIT + 1,
            log: None,
            sender: None,
            oom: None,
            ooms_told: 0,
            facts: Facts::default(),
            facts_file: None,
            forwarder: Forwarder::default(),
            buffer: Vec::new(),
            released: false,
            patience: None,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        while !self.released || self.is_read() {
            for (source, flags) in self.wait()? {
                self.act(source, flags);
            }
            let now = Instant::now();
            self.tasks.values_mut().for_each(|task| task.enforce_limit(now));
            if let Some(sender) = &mut self.sender {
                sender.revive(now);
            }
            self.finish_tasks();
            if matches!(self.state, State::Running(Runner::Foreign(_))) {
                foreign::reap_strays(|pid| self.tasks.values().any(|task| task.awaits(pid)));
            }
            self.forwarder.prune();
        }
        self.tear_down();
        Ok(())
    }

    /// Whether clients still have output to read of a container that is released; they are given some time.
    fn is_read(&mut self) -> bool {
        let patience = *self.patience.get_or_insert_with(|| Instant::now() + PATIENCE);
        self.tasks.values().any(Task::is_read) && Instant::now() < patience
    }

    /// Waits until something can be done; what it is.
    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, Error> {
        let mut sources = vec![Source::Listener];
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        for (at, connection) in self.connections.iter().enumerate() {
            sources.push(Source::Connection(at));
            fds.push(PollFd::new(connection, PollFlags::IN));
        }
        if let Some(oom) = &self.oom {
            sources.push(Source::Oom);
            fds.push(PollFd::from_borrowed_fd(oom.fd(), PollFlags::IN));
        }
        if let Some(fd) = self.sender.as_ref().and_then(Sender::fd) {
            sources.push(Source::Sender);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        for (key, task) in &self.tasks {
            task.poll(*key, &mut sources, &mut fds);
        }
        self.forwarder.poll(&mut sources, &mut fds);
        let timeout = self.deadline().map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::io(&self.dir, error)),
        }
        Ok(sources
            .into_iter()
            .zip(fds.iter().map(PollFd::revents))
            .filter(|(_, flags)| !flags.is_empty())
            .collect())
    }

    /// Time until an ended process's output is given up, a process has run long enough, or an idle datagram flow is closed.
    fn deadline(&self) -> Option<Duration> {
        let tasks = self.tasks.values().filter_map(Task::deadline);
        tasks
            .chain(self.forwarder.deadline())
            .chain(self.patience)
            .chain(self.sender.as_ref().and_then(Sender::deadline))
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn act(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Connection(at) => self.hear(at),
            Source::Exit(key) => self.reap(key),
            Source::Output(key, side) => drop(self.pass_output(key, side)),
            Source::Input(key) => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    task.write_input();
                }
            }
            Source::Client(key, at) => {
                if let Some(task) = self.tasks.get_mut(&key) {
                    task.serve_client(at, flags, &mut self.buffer);
                }
            }
            Source::Oom => self.tell_ooms(),
            Source::Sender => self.sender.iter_mut().for_each(Sender::hear),
            Source::Forward(token) => self.forwarder.act(token, flags),
        }
    }

    fn accept(&mut self) {
        if let Ok(connection) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
            self.connections.push(connection);
        }
    }

    /// Answers one request, or drops a connection that has ended.
    fn hear(&mut self, at: usize) {
        let Some(connection) = self.connections.get(at) else { return };
        match wire::receive(connection.as_fd()) {
            Ok((request, fds)) => self.answer(at, request, fds),
            Err(Error::Protocol(message)) => {
                let kind = crate::protocol::Kind::InvalidArgument;
                let failed = crate::protocol::Response::Failed { message, kind, exit_code: None };
                let _ = wire::send(connection.as_fd(), &failed, &[], SendFlags::empty());
            }
            Err(_) => {
                self.connections.remove(at);
                // Nobody can start what its engine has left.
                if matches!(self.state, State::Empty | State::Parked(_)) && self.connections.is_empty() {
                    self.released = true;
                }
            }
        }
    }

    fn reap(&mut self, key: u64) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        task.reap(DRAIN);
        // What is in the pipes now is all there is, in the usual case: take it at once.
        for side in [Side::Stdout, Side::Stderr] {
            while self.tasks.get(&key).is_some_and(|task| task.has_output(side)) {
                if !self.pass_output(key, side) {
                    break;
                }
            }
        }
    }

    /// Passes one block of output on; whether there was one.
    fn pass_output(&mut self, key: u64, side: Side) -> bool {
        let Some(task) = self.tasks.get_mut(&key) else { return false };
        self.buffer.resize(task::BLOCK, 0);
        let Some(length) = task.read_output(side, &mut self.buffer) else { return false };
        let bytes = self.buffer.get(..length).unwrap_or_default();
        if let Some(log) = self.log.as_mut().filter(|_| key == INIT) {
            // A full disk must not stop the container; what could be kept is kept.
            let lines = log.write(side.into(), Timestamp::now(), bytes).unwrap_or(0);
            self.sender.iter().for_each(|sender| sender.ring(lines));
        }
        task.give(side, bytes);
        true
    }

    /// Completes the exits whose output is drained.
    fn finish_tasks(&mut self) {
        let now = Instant::now();
        let done = self.tasks.iter().filter(|(_, task)| task.is_finished(now)).map(|(key, _)| *key);
        for key in done.collect::<Vec<_>>() {
            self.finish(key);
        }
        self.tasks.retain(|_, task| !task.is_over());
    }

    fn finish(&mut self, key: u64) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        let Some(code) = task.complete() else { return };
        let exec = task.exec.clone();
        let oom_killed =
            key == INIT && self.oom.as_ref().is_some_and(|oom| oom.count().is_ok_and(|count| count > 0));
        let exit = ExitRecord { code, at: Timestamp::now(), oom_killed };
        if key == INIT {
            if let Some(mut log) = self.log.take() {
                let lines = log.finish(exit.at).unwrap_or(0);
                self.sender.iter().for_each(|sender| sender.ring(lines));
            }
            // The end of its socket tells it that nothing more comes; it ends when everything is sent.
            self.sender = None;
            self.facts.exit = Some(exit.clone());
            self.store_facts();
            self.forwarder.close();
            self.tell_ooms();
        }
        if let Some(task) = self.tasks.get_mut(&key) {
            task.close_clients();
        }
        self.tell(&Event::Exited { exec, exit });
    }

    fn tell_ooms(&mut self) {
        let count = self.oom.as_ref().and_then(|oom| oom.count().ok()).unwrap_or(0);
        if count > self.ooms_told {
            self.ooms_told = count;
            self.tell(&Event::Oom);
        }
        if self.facts.exit.is_some() {
            // The cgroup goes; its descriptor would stay readable.
            self.oom = None;
        }
    }

    fn tell(&mut self, event: &Event) {
        self.subscribers.retain(|socket| wire::send(socket.as_fd(), event, &[], SendFlags::DONTWAIT).is_ok());
    }

    fn store_facts(&mut self) {
        if self.facts_file.is_none() {
            self.facts_file = RecordFile::open(&self.dir.join("facts.json")).ok();
        }
        let _ = self.facts_file.as_mut().map(|file| file.store(&self.facts));
    }

    fn tear_down(mut self) {
        match std::mem::replace(&mut self.state, State::Gone) {
            // A sandbox removes what it made when it is dropped.
            State::Empty | State::Gone | State::Parked(_) => {}
            State::Running(runner) => runner.release(),
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
