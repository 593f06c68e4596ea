//! One process of the container: its streams, those who are attached to it, its end.

use super::Source;
use crate::protocol::AttachRequest;
use proa_logs::Stream;
use proa_types::ExecId;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{WaitId, WaitIdOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes read at once.
pub(super) const BLOCK: usize = 64 << 10;
/// Bytes kept for a client that does not read; then the container has to wait, as with docker.
const CLIENT_LIMIT: usize = 1 << 20;
/// Bytes of input kept for a process that does not read.
const INPUT_LIMIT: usize = 64 << 10;

/// An output stream. A terminal is [`Side::Stdout`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Stdout,
    Stderr,
}

impl From<Side> for Stream {
    fn from(side: Side) -> Self {
        match side {
            Side::Stdout => Self::Stdout,
            Side::Stderr => Self::Stderr,
        }
    }
}

/// The end of a process.
pub(super) struct Exit {
    code: i32,
    /// When its output is given up.
    deadline: Instant,
    told: bool,
}

/// A process, its streams and its clients.
pub(super) struct Task {
    pub(super) exec: Option<ExecId>,
    pid: i32,
    pidfd: OwnedFd,
    terminal: bool,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    input: Vec<u8>,
    input_ends: bool,
    stdin_once: bool,
    clients: Vec<Client>,
    pub(super) exit: Option<Exit>,
    /// When it is killed.
    pub(super) limit: Option<Instant>,
}

/// Someone attached.
pub(super) struct Client {
    socket: OwnedFd,
    wants: AttachRequest,
    queue: Vec<u8>,
    /// Bytes of the queue already sent.
    sent: usize,
    /// No more input comes.
    input_ended: bool,
    /// No more output comes; it goes when its queue is empty.
    closing: bool,
    gone: bool,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, wants: AttachRequest) -> Self {
        let input_ended = !wants.stdin;
        Self { socket, wants, queue: Vec::new(), sent: 0, input_ended, closing: false, gone: false }
    }

    fn pending(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// Queues output, framed unless it is a terminal's, and sends what can be sent.
    fn give(&mut self, side: Side, bytes: &[u8], terminal: bool) {
        let wanted = match side {
            Side::Stdout => self.wants.stdout,
            Side::Stderr => self.wants.stderr,
        };
        if !wanted || self.gone {
            return;
        }
        if !terminal {
            let kind = if side == Side::Stdout { 1 } else { 2 };
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.queue.extend_from_slice(&[kind, 0, 0, 0]);
            self.queue.extend_from_slice(&length);
        }
        self.queue.extend_from_slice(bytes);
        self.flush();
    }

    fn flush(&mut self) {
        while self.pending() > 0 {
            let rest = self.queue.get(self.sent..).unwrap_or_default();
            match rustix::net::send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => self.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
        if self.pending() == 0 {
            self.queue.clear();
            self.queue.shrink_to(BLOCK);
            self.sent = 0;
            self.gone |= self.closing;
        } else if self.sent > CLIENT_LIMIT / 2 {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// The ends of a process's streams that the shim keeps.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) terminal: bool,
}

impl Task {
    /// Of a child of this process.
    pub(super) fn new(
        exec: Option<ExecId>,
        (pid, pidfd): (i32, OwnedFd),
        streams: Streams,
        stdin_once: bool,
    ) -> Self {
        for fd in [&streams.stdin, &streams.stdout, &streams.stderr].into_iter().flatten() {
            let _ = rustix::io::ioctl_fionbio(fd, true);
        }
        Self {
            exec,
            pid,
            pidfd,
            terminal: streams.terminal,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            input: Vec::new(),
            input_ends: false,
            stdin_once,
            clients: Vec::new(),
            exit: None,
            limit: None,
        }
    }

    /// Takes a client in. `before` is output that has passed already and that it is to have first.
    pub(super) fn attach(&mut self, mut client: Client, before: &[(Side, &[u8])]) {
        for (side, bytes) in before.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            client.give(*side, bytes, self.terminal);
        }
        self.clients.push(client);
        if self.exit.as_ref().is_some_and(|exit| exit.told) {
            self.close_clients();
        }
    }

    /// Adds its descriptors to a poll set.
    pub(super) fn poll<'a>(&'a self, key: u64, sources: &mut Vec<Source>, fds: &mut Vec<PollFd<'a>>) {
        let mut add = |source, fd: BorrowedFd<'a>, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if self.exit.is_none() {
            add(Source::Exit(key), self.pidfd.as_fd(), PollFlags::IN);
        }
        // Output waits while a client does not read, unless the process has ended: then it must be drained.
        let stalled = self.clients.iter().any(|client| client.pending() >= CLIENT_LIMIT);
        if !stalled {
            for (side, fd) in [(Side::Stdout, &self.stdout), (Side::Stderr, &self.stderr)] {
                if let Some(fd) = fd {
                    add(Source::Output(key, side), fd.as_fd(), PollFlags::IN);
                }
            }
        }
        if let (Some(stdin), false) = (&self.stdin, self.input.is_empty()) {
            add(Source::Input(key), stdin.as_fd(), PollFlags::OUT);
        }
        for (at, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !client.input_ended && self.input.len() < INPUT_LIMIT);
            flags.set(PollFlags::OUT, client.pending() > 0);
            // Hang-ups are told even when nothing is asked for.
            add(Source::Client(key, at), client.socket.as_fd(), flags);
        }
    }

    pub(super) fn has_output(&self, side: Side) -> bool {
        match side {
            Side::Stdout => self.stdout.is_some(),
            Side::Stderr => self.stderr.is_some(),
        }
    }

    /// Reads a block; none when there is none now or no more at all.
    pub(super) fn read_output(&mut self, side: Side, buffer: &mut [u8]) -> Option<usize> {
        let slot = match side {
            Side::Stdout => &mut self.stdout,
            Side::Stderr => &mut self.stderr,
        };
        let fd = slot.as_ref()?;
        loop {
            match rustix::io::read(fd, &mut *buffer) {
                Ok(n) if n > 0 => return Some(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                // The end of a pipe; a terminal whose other side is closed answers EIO.
                Ok(_) | Err(_) => {
                    *slot = None;
                    return None;
                }
            }
        }
    }

    /// Gives output to those who want it.
    pub(super) fn give(&mut self, side: Side, bytes: &[u8]) {
        for client in &mut self.clients {
            client.give(side, bytes, self.terminal);
        }
        self.drop_gone();
    }

    pub(super) fn serve_client(&mut self, at: usize, flags: PollFlags, buffer: &mut Vec<u8>) {
        let Some(client) = self.clients.get_mut(at) else { return };
        if flags.intersects(PollFlags::OUT) {
            client.flush();
        }
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && !client.input_ended {
            buffer.resize(BLOCK, 0);
            match rustix::io::read(&client.socket, &mut **buffer) {
                Ok(0) => client.input_ended = true,
                Ok(n) => self.input.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => (client.input_ended, client.gone) = (true, true),
            }
            let ended = client.input_ended;
            if self.stdin.is_none() {
                self.input.clear();
            }
            if ended && self.stdin_once && !self.terminal {
                self.input_ends = true;
            }
            self.write_input();
        } else if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
            client.gone = true;
        }
        self.drop_gone();
    }

    /// Writes what is queued for the process.
    pub(super) fn write_input(&mut self) {
        while let (Some(stdin), false) = (&self.stdin, self.input.is_empty()) {
            match rustix::io::write(stdin, &self.input) {
                Ok(n) => drop(self.input.drain(..n)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.stdin = None;
                    self.input.clear();
                }
            }
        }
        if self.input_ends && self.input.is_empty() {
            self.stdin = None;
        }
    }

    /// Changes the size of its terminal.
    pub(super) fn resize(&self, size: crate::TerminalSize) -> rustix::io::Result<()> {
        let Some(master) = self.stdout.as_ref().filter(|_| self.terminal) else { return Err(Errno::NOTTY) };
        let size =
            rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size)
    }

    pub(super) fn signal(&self, signal: i32) -> rustix::io::Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal).ok_or(Errno::INVAL)?;
        rustix::process::pidfd_send_signal(&self.pidfd, signal)
    }

    /// Kills it if it runs longer than it may, and what it has started: a process beside the first is the leader of its
    /// session and of a group, whose number is its own until it is waited for.
    pub(super) fn enforce_limit(&mut self, now: Instant) {
        if self.exit.is_some() || self.limit.is_none_or(|limit| now < limit) {
            return;
        }
        self.limit = None;
        if let Some(group) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// When something is to be done about it that nothing else tells of.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.exit.as_ref().map_or(self.limit, |exit| Some(exit.deadline))
    }

    /// Whether this child is its process, and has yet to be waited for.
    pub(super) fn awaits(&self, child: i32) -> bool {
        self.exit.is_none() && self.pid == child
    }

    /// Takes the exit status.
    pub(super) fn reap(&mut self, drain: Duration) {
        let waited = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        let code = match waited {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                (None, None) => 255,
            },
            Err(Errno::INTR) => return,
            // Somebody else has it: how it ended cannot be known.
            Ok(None) | Err(_) => 255,
        };
        self.exit = Some(Exit { code, deadline: Instant::now() + drain, told: false });
    }

    /// Whether it has ended, its output is drained (or given up), and nobody was told yet.
    pub(super) fn is_finished(&self, now: Instant) -> bool {
        let drained = self.stdout.is_none() && self.stderr.is_none();
        self.exit.as_ref().is_some_and(|exit| !exit.told && (drained || now >= exit.deadline))
    }

    /// Marks the end as told; the exit code.
    pub(super) fn complete(&mut self) -> Option<i32> {
        let exit = self.exit.as_mut().filter(|exit| !exit.told)?;
        exit.told = true;
        // What is still open is given up; the deadline has no more meaning.
        exit.deadline = Instant::now() + Duration::from_secs(365 * 86_400);
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        Some(exit.code)
    }

    /// No more output comes: clients go when they have read what there is.
    pub(super) fn close_clients(&mut self) {
        for client in &mut self.clients {
            client.closing = true;
            client.flush();
        }
        self.drop_gone();
    }

    /// Whether a client has output to read.
    pub(super) fn is_read(&self) -> bool {
        self.clients.iter().any(|client| client.pending() > 0)
    }

    /// Whether nothing is left to do for it.
    pub(super) fn is_over(&self) -> bool {
        self.exit.as_ref().is_some_and(|exit| exit.told) && self.clients.is_empty()
    }

    fn drop_gone(&mut self) {
        let left = self.clients.iter().any(|client| client.gone && client.wants.stdin && !client.input_ended);
        self.clients.retain(|client| !client.gone);
        if left && self.stdin_once && !self.terminal {
            self.input_ends = true;
            self.write_input();
        }
    }
}
