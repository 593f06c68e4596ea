//! Descriptors that were open when this process began (systemd's socket activation, an exec'd monitor's control
//! socket).

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

/// Takes the descriptor `raw` that the parent left open, and marks it close-on-exec. Each may be taken once; none for
/// a number that is not open, or below 3.
pub fn descriptor(raw: i32) -> Option<OwnedFd> {
    if raw < 3 {
        return None;
    }
    // SAFETY: the number is only borrowed for fcntl(2), which answers EBADF where nothing is open; -1 is excluded above.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).ok()?;
    // SAFETY: the descriptor is open (fcntl succeeded) and was inherited, so nothing in this process owns it; the
    // caller takes each number once.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}
