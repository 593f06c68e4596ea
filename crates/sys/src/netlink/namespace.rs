//! Work inside another network namespace without disturbing this process.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::thread::{Scope, ScopedJoinHandle};

/// The work's stack: netlink buffers are on the heap.
const STACK: usize = 1 << 20;

/// Starts `work` in the network namespace `netns`, on a thread of its own that does nothing else and ends with it: a
/// namespace is a property of a thread, and no other work may ever run in the wrong one. Sockets opened by `work`, and
/// files and directories opened below `/proc/sys/net`, belong to that namespace for good, whoever uses them later.
///
/// setns(2), <https://man7.org/linux/man-pages/man2/setns.2.html>, Linux 3.0. Costs about 0.2 ms, most of it on the
/// other thread.
///
/// # Errors
/// When no thread can be made; the thread's own result is an error when the namespace may not be entered
/// (`CAP_SYS_ADMIN` is needed).
pub fn spawn_in_namespace<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    netns: BorrowedFd<'scope>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, Result<T, Errno>>, Errno> {
    let inside = move || {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        Ok(work())
    };
    let thread = std::thread::Builder::new().name("netns".into()).stack_size(STACK);
    thread.spawn_scoped(scope, inside).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
}

/// Runs `work` in the network namespace `netns` as [`spawn_in_namespace`] does, and waits for it.
///
/// # Errors
/// When no thread can be made, or the namespace may not be entered.
pub fn in_namespace<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let thread = spawn_in_namespace(scope, netns, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes a new network namespace, which lives as long as the descriptor.
///
/// unshare(2), <https://man7.org/linux/man-pages/man2/unshare.2.html>, Linux 2.6.29.
///
/// # Errors
/// When no thread or no namespace can be made (`CAP_SYS_ADMIN` is needed).
pub fn new_namespace() -> Result<OwnedFd, Errno> {
    let inside = || {
        // SAFETY: a new network namespace for this thread alone, which has no sockets and ends with this closure; no
        // memory and no descriptor table is unshared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let thread = std::thread::Builder::new().name("netns".into()).stack_size(STACK).spawn(inside);
    let thread = thread.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
