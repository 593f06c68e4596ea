//! Processes: clone3, namespaces, identity, signals, execve.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Namespaces as `CLONE_NEW…` bits, for [`clone3`] and [`unshare`].
pub mod namespace {
    /// Time (Linux 5.6).
    pub const TIME: u64 = 0x80;
    /// Mounts.
    pub const MOUNT: u64 = 0x2_0000;
    /// Control groups (Linux 4.6).
    pub const CGROUP: u64 = 0x200_0000;
    /// Host name.
    pub const UTS: u64 = 0x400_0000;
    /// System V IPC and POSIX message queues.
    pub const IPC: u64 = 0x800_0000;
    /// Users.
    pub const USER: u64 = 0x1000_0000;
    /// Process ids.
    pub const PID: u64 = 0x2000_0000;
    /// Network.
    pub const NETWORK: u64 = 0x4000_0000;
}

/// Does not fit libc's constant.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How [`clone3`] makes the child.
#[derive(Debug, Default)]
pub struct Clone3<'a> {
    /// Namespaces the child gets new.
    pub namespaces: u64,
    /// Whether the child's parent is the caller's parent (`CLONE_PARENT`).
    pub sibling: bool,
    /// The v2 cgroup the child is born in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which of the two processes this is after [`clone3`].
#[derive(Debug)]
pub enum Cloned {
    /// The child.
    Child,
    /// The caller.
    Parent {
        /// The child's pid in the caller's pid namespace.
        pid: i32,
        /// Its pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Copies the calling process as fork(2) does. The caller must be single-threaded: a lock another thread holds stays
/// locked in the child forever. The child must end by [`execve`] or [`exit`], never by returning from `main`.
///
/// clone(2), <https://man7.org/linux/man-pages/man2/clone.2.html>, Linux 5.3.
///
/// # Errors
/// `EPERM` without the right to make the namespaces, `EAGAIN` and `ENOMEM` when processes run out or the pid
/// namespace has ended, `ENOSPC` when namespaces are nested too deep.
pub fn clone3(how: &Clone3<'_>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut flags = how.namespaces | libc::CLONE_PIDFD as u64;
    if how.sibling {
        flags |= libc::CLONE_PARENT as u64;
    }
    let cgroup = how.cgroup.map_or(0, |fd| {
        flags |= CLONE_INTO_CGROUP;
        fd.as_raw_fd() as u64
    });
    let exit_signal = if how.sibling { 0 } else { libc::SIGCHLD as u64 };
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    // set_tid_size, cgroup.
    let args: [u64; 11] = [flags, (&raw mut pidfd) as u64, 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup];
    // SAFETY: the arguments have the size given and live until the call returns; without CLONE_VM and a stack the
    // child goes on with a copy of everything, as after fork(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match pid {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has stored a new descriptor there, and nobody else has it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
    }
}

/// Copies the calling process by the old call, for a process whose filter answers clone3(2) with `ENOSYS`. The conditions
/// of [`clone3`] hold. Returns the child's pid to the caller, 0 to the child.
///
/// # Errors
/// `EAGAIN` when processes run out.
pub fn fork() -> io::Result<i32> {
    // SAFETY: without CLONE_VM and a stack the child goes on with a copy of everything; no address is passed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(pid).unwrap_or(i32::MAX)) }
}

/// Gives the calling process new namespaces (of [`namespace`]; pid and time are those of its later children).
///
/// unshare(2), <https://man7.org/linux/man-pages/man2/unshare.2.html>.
///
/// # Errors
/// `EPERM` without the right, `EINVAL` for user namespaces in a process with threads.
pub fn unshare(namespaces: u64) -> io::Result<()> {
    let flags = rustix::thread::UnshareFlags::from_bits_retain(u32::try_from(namespaces).unwrap_or(0));
    // SAFETY: only namespace bits are passed by the callers' constants; descriptors (CLONE_FILES) stay shared.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags & !rustix::thread::UnshareFlags::FILES) }?)
}

/// Ends the process without running anything of the parent it was copied from.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit(2) takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Runs a program in place of this one; returns only what the kernel says against it.
///
/// execve(2), <https://man7.org/linux/man-pages/man2/execve.2.html>.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with null and point to strings that live until the call returns.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Runs the program behind a descriptor in place of this one; returns only what the kernel says against it.
///
/// execveat(2), <https://man7.org/linux/man-pages/man2/execveat.2.html>, Linux 3.19.
pub fn execve_fd(program: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with null and point to strings that live until the call returns; the path is empty,
    // so the descriptor itself is executed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Sets every signal to its default action and unblocks all, as a new program expects (signal(7)). Rust's runtime
/// ignores `SIGPIPE`, and what is ignored stays so over execve(2).
pub fn reset_signals() {
    // struct sigaction of the kernel: handler (0 is the default action), flags, restorer, mask.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // The C library would refuse 32 and 33, which it keeps for itself, but a parent can have ignored them. KILL and
        // STOP cannot be changed.
        // SAFETY: the structure has the kernel's size and lives until the call returns; no handler is set.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8);
        }
    }
    // SAFETY: an all-zero set is a valid empty one, and the old mask is not asked for.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Blocks all signals, so that [`next_signal`] receives them.
pub fn block_signals() {
    // SAFETY: the set is made full before it is used, and the old mask is not asked for.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Waits for a signal; all must be blocked. sigwaitinfo(2).
///
/// # Errors
/// `EINTR` after the process was stopped.
pub fn next_signal() -> io::Result<i32> {
    // SAFETY: the set is made full before it is used, and no information is asked for.
    let signal = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigwaitinfo(&raw const all, std::ptr::null_mut())
    };
    if signal < 0 { Err(io::Error::last_os_error()) } else { Ok(signal) }
}

/// Waits for a signal until the time is over; `None` then. All must be blocked. sigtimedwait(2).
pub fn next_signal_within(time: std::time::Duration) -> Option<i32> {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: the set is made full before it is used; the time lives until the call returns.
    let signal = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigtimedwait(&raw const all, std::ptr::null_mut(), &raw const time)
    };
    (signal > 0).then_some(signal)
}

/// Sends a signal by number, real-time ones too, to a process, its group (negative) or everyone (-1). kill(2).
///
/// # Errors
/// `ESRCH` when there is no such process, `EPERM` without the right, `EINVAL` for a number that is no signal.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) takes any numbers.
    if unsafe { libc::kill(pid, signal) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal by number to exactly this process. pidfd_send_signal(2), Linux 5.1.
///
/// # Errors
/// `ESRCH` when it has ended, `EPERM` without the right, `EINVAL` for a number that is no signal.
pub fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no signal information is passed, flags are zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Joins the session keyring of that name, made if there is none. keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`.
///
/// # Errors
/// `ENOSYS` without keyrings in the kernel, `EDQUOT`, `EPERM` under a filter.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: the name lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, 1, name.as_ptr(), 0, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the execution domain. personality(2).
///
/// # Errors
/// `EINVAL` when the kernel does not know it.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: personality(2) takes any number.
    if unsafe { libc::personality(persona.into()) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the caller's I/O priority: class 1 real-time, 2 best effort, 3 idle; level 0 (highest) to 7. ioprio_set(2).
///
/// # Errors
/// `EPERM` for real-time without the right, `EINVAL`.
pub fn set_io_priority(class: u8, level: u8) -> io::Result<()> {
    let value = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: the call takes numbers only; 1 is IOPRIO_WHO_PROCESS and 0 the caller.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How the caller is scheduled (sched_setattr(2)); times in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scheduling {
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// Of other and batch.
    pub nice: i32,
    /// Of fifo and round robin, 1 to 99.
    pub priority: u32,
    /// Of deadline.
    pub runtime: u64,
    /// Of deadline.
    pub deadline: u64,
    /// Of deadline.
    pub period: u64,
}

/// Sets how the caller is scheduled. sched_setattr(2), Linux 3.14.
///
/// # Errors
/// `EPERM` without the right, `EINVAL` for what the kernel does not know.
pub fn set_scheduling(how: Scheduling) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attr = Attr {
        size: 48,
        policy: how.policy,
        flags: how.flags,
        nice: how.nice,
        priority: how.priority,
        runtime: how.runtime,
        deadline: how.deadline,
        period: how.period,
    };
    // SAFETY: the structure has the size it says (SCHED_ATTR_SIZE_VER0) and lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets this thread act on files as another user and group (`fsuid`, `fsgid`), with all the rights it has. Of use in a
/// thread that ends soon: there is no way back.
///
/// setfsuid(2), <https://man7.org/linux/man-pages/man2/setfsuid.2.html>; `SECBIT_NO_SETUID_FIXUP` of capabilities(7) keeps
/// the rights.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, `CAP_SETUID` and `CAP_SETGID`.
pub fn act_as(uid: u32, gid: u32) -> io::Result<()> {
    const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: it takes no pointers and concerns the calling thread only.
    let kept = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP) };
    if kept < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above. It returns what was before, so what is asked for is read back by an id that is none.
    let group = unsafe {
        libc::setfsgid(gid);
        libc::setfsgid(u32::MAX)
    };
    // SAFETY: as above.
    let user = unsafe {
        libc::setfsuid(uid);
        libc::setfsuid(u32::MAX)
    };
    let is = |now: libc::c_int, id: u32| now.cast_unsigned() == id;
    if is(group, gid) && is(user, uid) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}
