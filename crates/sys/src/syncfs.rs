//! Syncing a file system behind everyone's back.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Syncs the file system of `dir` on a thread of its own, then calls `done` on another.
///
/// syncfs(2) can take seconds and cannot be interrupted, not even by SIGKILL: a killed process lingers until it ends.
/// The syncing thread therefore has a descriptor table of its own that holds nothing but `dir`, so that locks and
/// sockets of the process go when its other threads do.
///
/// # Errors
/// When no thread can be started.
pub fn spawn(dir: OwnedFd, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
    let wait = move || {
        let synced = std::thread::scope(|scope| {
            let worker = std::thread::Builder::new().name("syncfs".into());
            let sync = || {
                keep_only(dir.as_fd())?;
                rustix::fs::syncfs(&dir).map_err(Error::from)
            };
            let worker = worker.spawn_scoped(scope, sync)?;
            worker.join().unwrap_or_else(|_| Err(Error::from(ErrorKind::Other)))
        });
        done(synced);
    };
    std::thread::Builder::new().name("syncfs-wait".into()).spawn(wait).map(drop)
}

/// Gives the calling thread a descriptor table of its own with nothing in it but `fd`.
fn keep_only(fd: BorrowedFd<'_>) -> Result<()> {
    let number = u32::try_from(fd.as_raw_fd()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    // Above first, so that the table is unshared whether or not there is a descriptor below.
    close_range(number + 1, u32::MAX, libc::CLOSE_RANGE_UNSHARE)?;
    if number > 0 { close_range(0, number - 1, 0) } else { Ok(()) }
}

/// close_range(2), Linux 5.9.
fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    // SAFETY: the call takes numbers only. The first call unshares the table, so both close descriptors of this thread
    // only; the thread runs nothing but `spawn`'s closure, which uses none of them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_threads_keep_their_descriptors() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let dir = std::fs::File::open("/proc").unwrap().into();
        spawn(dir, move |synced| send.send(synced.is_ok()).unwrap()).unwrap();
        assert!(receive.recv().unwrap());
        assert!(std::io::read_to_string(file).unwrap().contains("Name:"));
    }
}
