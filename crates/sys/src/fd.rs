//! Descriptors by number, which only processes before and after execve(2) deal with.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Marks every descriptor from `first` up close-on-exec.
///
/// close_range(2), <https://man7.org/linux/man-pages/man2/close_range.2.html>, `CLOSE_RANGE_CLOEXEC` is of Linux 5.11.
///
/// # Errors
/// `EINVAL` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from 3 up but those of `keep`. For a process that has just been copied from another and
/// uses nothing of what it inherited but these: an `OwnedFd` of the original must not be used or dropped after.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX, 0)
}

/// Bytes that were sent on a socket and are still on their way: not read by the peer of a unix socket, not acknowledged
/// by that of TCP.
///
/// unix(7) and tcp(7), `SIOCOUTQ`.
///
/// # Errors
/// `EINVAL` for a listening socket, `ENOTTY` where it is no socket.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int, for which there is room.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(u32::try_from(count).unwrap_or(0)) }
}

/// Puts copies of descriptors at 3, 4, …, without close-on-exec, whatever was there.
///
/// # Errors
/// `EMFILE` when there are more than the limit allows.
pub fn place_from_three(descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    // First out of each other's way, above all places.
    let above = 3 + descriptors.len();
    let floor = libc::c_int::try_from(above).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut moved: Vec<RawFd> = Vec::with_capacity(descriptors.len());
    for fd in descriptors {
        // SAFETY: the descriptor is open, as its type says; the copy is a new number.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, floor) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        moved.push(copy);
    }
    for (place, fd) in (3..).zip(moved) {
        // SAFETY: the number was just made above. What is at the place is given up: the caller execs next.
        if unsafe { libc::dup2(fd, place) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: descriptors are closed that nothing in this process uses any more; see the callers' conditions.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
