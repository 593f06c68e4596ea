//! The process that sends the log away, seen from the monitor: started before the container, told of every batch,
//! started again if it dies. The monitor never waits for it, but for its first word.

use super::oom;
use crate::Error;
use proa_logs::LogConfig;
use proa_types::ErrorKind;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the first word may take: a connection has five seconds, for each address of its receiver.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// The first pause before another is started, doubled with each.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// This binary, also where its file has been replaced.
const SELF: &str = "/proc/self/exe";

/// The process, and what to do about it.
pub(super) struct Sender {
    assignment: Vec<u8>,
    /// An eventfd(2) that counts the lines written.
    bell: OwnedFd,
    process: Option<(Child, UnixStream)>,
    pause: Duration,
    again: Option<Instant>,
}

impl Sender {
    /// Starts one if the log is to be sent away, and waits until it can send; why it cannot.
    pub(super) fn start(config: &LogConfig) -> Result<Option<Self>, Error> {
        if config.remote.is_none() {
            return Ok(None);
        }
        let assignment = proa_logs::sender::assignment(config).map_err(|e| Error::Protocol(e.to_string()))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = rustix::event::eventfd(0, flags).map_err(|e| Error::io("eventfd", e))?;
        let mut sender = Self { assignment, bell, process: None, pause: PAUSE, again: None };
        sender.spawn()?;
        sender.first_word()?;
        Ok(Some(sender))
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::io(SELF, e);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let bell = self.bell.try_clone().map_err(failed)?;
        let mut command = Command::new(SELF);
        command.arg0("proa").arg("log-sender").env_clear();
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(bell)).stderr(Stdio::null());
        // Where memory runs out, it goes before the monitor.
        let child = oom::unprotected(|| command.spawn()).map_err(failed)?;
        drop(command);
        let mut socket = ours;
        socket.set_write_timeout(Some(FIRST_WORD)).map_err(failed)?;
        let told = socket.write_all(&self.assignment);
        self.process = Some((child, socket));
        told.map_err(failed)
    }

    /// Waits for `ok`.
    fn first_word(&mut self) -> Result<(), Error> {
        let Some((_, socket)) = &mut self.process else { return Ok(()) };
        let end = Instant::now() + FIRST_WORD;
        let mut word = Vec::new();
        while !word.ends_with(b"\n") {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(socket, PollFlags::IN)];
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let ready = rustix::event::poll(&mut fds, Some(&timeout));
            let mut block = [0; 4096];
            let n = match ready {
                Ok(0) => return Err(cannot("no answer from its receiver")),
                Err(rustix::io::Errno::INTR) => continue,
                _ => socket.read(&mut block).unwrap_or(0),
            };
            if n == 0 {
                return Err(cannot("what sends the log has ended"));
            }
            word.extend_from_slice(block.get(..n).unwrap_or_default());
        }
        match String::from_utf8_lossy(&word).trim_end() {
            "ok" => Ok(()),
            why => Err(cannot(why)),
        }
    }

    /// Tells of lines that were written.
    pub(super) fn ring(&self, lines: u64) {
        if lines > 0 {
            // The counter has room for more lines than there will ever be.
            let _ = rustix::io::write(&self.bell, &lines.to_ne_bytes());
        }
    }

    /// Readable when the process has ended.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|(_, socket)| socket.as_fd())
    }

    /// When another is to be started.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// It has something to say, which only its end can be, or its first word as a later one.
    pub(super) fn hear(&mut self) {
        let Some((child, socket)) = &mut self.process else { return };
        if socket.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
            return;
        }
        let _ = child.try_wait();
        self.process = None;
        self.again = Instant::now().checked_add(self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// Starts another when it is time.
    pub(super) fn revive(&mut self, now: Instant) {
        if self.again.is_some_and(|again| now >= again) {
            self.again = None;
            if self.spawn().is_err() {
                self.process = None;
                self.again = now.checked_add(self.pause);
            }
        }
    }
}

fn cannot(why: &str) -> Error {
    Error::Reported {
        message: format!("failed to initialize logging driver: {why}"),
        kind: ErrorKind::Internal,
        exit_code: None,
    }
}

/// Starts what compresses a rotated file of the log.
pub(super) fn pack(from: std::fs::File, to: std::fs::File) -> std::io::Result<Child> {
    let mut command = Command::new(SELF);
    command.arg0("proa").arg("log-compress").env_clear();
    command.stdin(from).stdout(to).stderr(Stdio::null());
    oom::unprotected(|| command.spawn())
}
