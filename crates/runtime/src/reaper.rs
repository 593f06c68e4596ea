//! The first process of a container started with `--init`: waits for orphans, passes signals on, and ends as the program
//! does. It is a copy of the runtime that never executes anything; what it was given (user, capabilities, filter) is what
//! the program has.

use proa_sys::process::{block_signals, exit, kill, next_signal};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, setpgid, wait};
use std::os::fd::{AsFd, BorrowedFd};

/// Forks. The child returns, to execute the program; the parent stays here until that has ended, and then ends.
///
/// The child goes on when the parent has its name and holds no descriptor any more, so that no program ever sees it
/// half made.
pub(crate) fn fork() -> std::io::Result<()> {
    block_signals();
    let (ready, getting_ready) = pipe_with(PipeFlags::CLOEXEC)?;
    // Docker's filter, which is in force already, denies clone3(2).
    match proa_sys::process::fork()? {
        0 => {
            drop(getting_ready);
            let _ = retry_on_intr(|| read(&ready, &mut [0u8; 1]));
            // A group of its own in the foreground, as tini(1) does it: ^C is for the program.
            let _ = setpgid(None, None);
            let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
            Ok(())
        }
        pid => {
            let _ = rustix::thread::set_name(c"docker-init");
            detach_streams();
            // The error channel too, whose end says that the program runs; and the pipe, which lets the child go on.
            let _ = proa_sys::fd::close_all_but(&[] as &[BorrowedFd<'_>]);
            exit(stay(pid))
        }
    }
}

/// Lets go of the standard streams: they end when the program and what it left behind have ended.
fn detach_streams() {
    use rustix::fs::{Mode, OFlags, open};
    if let Ok(null) = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(null.as_fd());
        let _ = rustix::stdio::dup2_stdout(null.as_fd());
        let _ = rustix::stdio::dup2_stderr(null.as_fd());
    }
}

fn stay(program: i32) -> i32 {
    loop {
        match next_signal() {
            Ok(libc::SIGCHLD) => {
                if let Some(code) = reap(program) {
                    return code;
                }
            }
            // Of the terminal, and for the process itself.
            Ok(libc::SIGTTIN | libc::SIGTTOU) | Err(_) => {}
            Ok(signal) => {
                let _ = kill(program, signal);
            }
        }
    }
}

/// Waits for everything that has ended; the program's exit status if it is among them.
fn reap(program: i32) -> Option<i32> {
    let mut code = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == Pid::from_raw(program) => {
                code =
                    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return code,
        }
    }
}
