//! A container in the foreground: its terminal, its signals, its end. And terminals handed over to somebody else.

use super::CliError;
use proa_sys::process::{next_signal_within, pidfd_kill};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// The caller's terminal connected with the container's; put back when it ends.
#[derive(Debug)]
pub(super) struct Foreground {
    master: std::sync::Arc<OwnedFd>,
    before: Option<Termios>,
    output: Option<std::thread::JoinHandle<()>>,
}

impl Foreground {
    /// Makes the caller's terminal raw and begins to copy.
    pub(super) fn attach(master: OwnedFd) -> Self {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            let _ = tcsetattr(stdin, OptionalActions::Now, &raw);
        }
        let master = std::sync::Arc::new(master);
        let (input, output) = (master.clone(), master.clone());
        std::thread::spawn(move || copy(rustix::stdio::stdin(), input.as_fd()));
        let output = std::thread::spawn(move || copy(output.as_fd(), rustix::stdio::stdout()));
        let this = Self { master, before, output: Some(output) };
        this.resize();
        this
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&*self.master, size);
        }
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        // What the program wrote is read to its end, unless something it left behind keeps the terminal.
        let end = std::time::Instant::now() + Duration::from_secs(1);
        while self.output.as_ref().is_some_and(|thread| !thread.is_finished())
            && std::time::Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let mut buffer = [0u8; 8192];
    loop {
        match rustix::io::read(from, &mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                let mut rest = buffer.get(..n).unwrap_or_default();
                while !rest.is_empty() {
                    match rustix::io::write(to, rest) {
                        Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                        Err(rustix::io::Errno::INTR) => {}
                        Err(_) => return,
                    }
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Waits for the end of a child, passing signals on to it; its exit status, 128 and the signal's number if one ended it.
/// All signals must be blocked.
pub(super) fn wait(pid: i32, pidfd: BorrowedFd<'_>, terminal: Option<Foreground>) -> Result<i32, CliError> {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    loop {
        let status = waitid(WaitId::PidFd(pidfd), ended)
            .map_err(|error| CliError::failed(format!("cannot wait for process {pid}: {error}")))?;
        if let Some(status) = status {
            drop(terminal);
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            return Ok(status.exit_status().or(signal).unwrap_or(255));
        }
        // A signal that came between is pending, so nothing is missed; the time only guards against a lost one.
        match next_signal_within(Duration::from_secs(5)) {
            None | Some(libc::SIGCHLD | libc::SIGURG) => {}
            Some(libc::SIGWINCH) => {
                if let Some(terminal) = &terminal {
                    terminal.resize();
                }
            }
            Some(signal) => {
                let _ = pidfd_kill(pidfd, signal);
            }
        }
    }
}

/// Waits until a process that need not be a child has ended; false when it has not within the time.
pub(super) fn wait_for_end(pidfd: BorrowedFd<'_>, time: Duration) -> bool {
    let time = rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&time)))
        .is_ok_and(|n| n > 0)
}

/// Sends the master end of a terminal to who listens at the socket.
pub(super) fn send_terminal(socket: &Path, master: &OwnedFd) -> Result<(), CliError> {
    let send = || -> rustix::io::Result<()> {
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        connect(&stream, &SocketAddrUnix::new(socket)?)?;
        let fds = [master.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&stream, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    };
    send().map_err(|error| {
        CliError::failed(format!("cannot send the terminal to {}: {error}", socket.display()))
    })
}
