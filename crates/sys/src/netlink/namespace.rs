//! Work inside another network namespace without disturbing this process.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The work's stack: netlink buffers are on the heap.
const STACK: usize = 256 << 10;

/// Runs `work` in the network namespace `netns`, on a thread of its own that does nothing else and ends with it: a
/// namespace is a property of a thread, and no other work may ever run in the wrong one. Sockets opened by `work`, and
/// files opened below `/proc/sys/net`, belong to that namespace.
///
/// setns(2), <https://man7.org/linux/man-pages/man2/setns.2.html>, Linux 3.0. Costs about 0.1 ms.
///
/// # Errors
/// When no thread can be made, or the namespace may not be entered (`CAP_SYS_ADMIN` is needed).
pub fn in_namespace<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| {
        let inside = move || {
            move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
            Ok(work())
        };
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .stack_size(STACK)
            .spawn_scoped(scope, inside)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
