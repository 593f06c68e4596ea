//! seccomp(2): filters of system calls (Linux 3.17).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Applies the filter to every thread (Linux 3.17).
pub const FLAG_TSYNC: u32 = 1;
/// Logs every action that is not an allowance (Linux 4.14).
pub const FLAG_LOG: u32 = 1 << 1;
/// Leaves speculative store bypass on (Linux 4.17).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// Returns a notification descriptor (Linux 5.0).
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// Makes `TSYNC` report failure as `ESRCH` (Linux 5.7).
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// Notified calls wait killably (Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Longest program the kernel takes, in instructions (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

const SET_MODE_FILTER: libc::c_uint = 1;

/// Puts the calling thread (with `FLAG_TSYNC` all) under a filter: eight bytes an instruction
/// (`struct sock_filter`). It cannot be taken back. Returns the descriptor with `FLAG_NEW_LISTENER`.
///
/// # Errors
/// `EACCES` without `no_new_privs` and `CAP_SYS_ADMIN`, `EINVAL` when the program or a flag is not accepted.
pub fn install(program: &[u8], flags: u32) -> io::Result<Option<OwnedFd>> {
    let (instructions, rest) = program.as_chunks::<8>();
    if !rest.is_empty() || instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut filters: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|i| libc::sock_filter {
            code: u16::from_ne_bytes([i[0], i[1]]),
            jt: i[2],
            jf: i[3],
            k: u32::from_ne_bytes([i[4], i[5], i[6], i[7]]),
        })
        .collect();
    let fprog = libc::sock_fprog {
        len: u16::try_from(filters.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filters.as_mut_ptr(),
    };
    // SAFETY: seccomp(2) reads `len` instructions from `filter`; both live until it returns.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::from_ref(&fprog)) };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        fd if flags & FLAG_NEW_LISTENER != 0 => {
            let fd = libc::c_int::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel has just returned this descriptor, and nobody else has it. It is close-on-exec.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        0 => Ok(None),
        // With TSYNC alone the kernel names a thread it could not take along.
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// A system call that does nothing but fail, for asking a filter what it thinks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `keyctl` with an operation that does not exist.
    Keyctl,
    /// `add_key` without a type.
    AddKey,
    /// `clone3` without arguments.
    Clone3,
    /// `io_uring_setup` without parameters.
    IoUringSetup,
    /// `bpf` with a command that does not exist.
    Bpf,
    /// `mount` without arguments.
    Mount,
    /// `userfaultfd` with flags that do not exist.
    Userfaultfd,
    /// `open_by_handle_at` without a handle.
    OpenByHandleAt,
    /// `personality` that asks only.
    Personality,
    /// `socket` of the family, whose upper half is as given, too.
    Socket(u64),
    /// `socketcall(SYS_SOCKET)` of 32-bit x86 with an address that is not there.
    Socketcall32,
    /// `keyctl` by the x32 entry.
    KeyctlX32,
}

/// Makes the call; the errno, or 0 if it succeeded (a descriptor it returned is closed), or none where this
/// machine has no such entry.
pub fn probe(call: Probe) -> Option<i32> {
    let zero: libc::c_ulong = 0;
    let wrong: libc::c_ulong = libc::c_ulong::from(u32::MAX);
    let (number, first): (libc::c_long, libc::c_ulong) = match call {
        Probe::Keyctl => (libc::SYS_keyctl, wrong),
        Probe::AddKey => (libc::SYS_add_key, zero),
        Probe::Clone3 => (libc::SYS_clone3, zero),
        Probe::IoUringSetup => (libc::SYS_io_uring_setup, zero),
        Probe::Bpf => (libc::SYS_bpf, wrong),
        Probe::Mount => (libc::SYS_mount, zero),
        Probe::Userfaultfd => (libc::SYS_userfaultfd, wrong),
        Probe::OpenByHandleAt => (libc::SYS_open_by_handle_at, wrong),
        Probe::Personality => (libc::SYS_personality, wrong),
        Probe::Socket(family) => (libc::SYS_socket, family),
        Probe::Socketcall32 => return socketcall32(),
        Probe::KeyctlX32 if cfg!(target_arch = "x86_64") => (libc::SYS_keyctl | 0x4000_0000, wrong),
        Probe::KeyctlX32 => return None,
    };
    let second = if matches!(call, Probe::Socket(_)) { libc::SOCK_DGRAM as libc::c_ulong } else { zero };
    // SAFETY: every call of the list fails or has no effect with these arguments: they hold no address but
    // null, which each of them refuses with EFAULT or EINVAL; `socket` and `personality` take none.
    let result = unsafe { libc::syscall(number, first, second, zero, zero, zero, zero) };
    if result < 0 {
        return io::Error::last_os_error().raw_os_error();
    }
    if let (Probe::Socket(_), Ok(fd)) = (call, libc::c_int::try_from(result)) {
        // SAFETY: the kernel has just returned this descriptor, and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Some(0)
}

/// `socketcall(SYS_SOCKET, null)` by the 32-bit entry; a kernel without it kills the caller with `SIGSEGV`,
/// so it is made only where `/proc/config.gz` or the vdso32 sysctl says that it is there.
#[cfg(target_arch = "x86_64")]
fn socketcall32() -> Option<i32> {
    if !std::path::Path::new("/proc/sys/abi/vsyscall32").exists() {
        return None;
    }
    let result: i64;
    // SAFETY: int 0x80 keeps all registers but rax (r8 to r11 are cleared by some kernels); rbx, which the
    // compiler keeps for itself, is put back. The call reads arguments at address 0 and fails with EFAULT.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) 1u64 => _,
            inlateout("rax") 102i64 => result,
            in("rcx") 0u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    #[expect(clippy::cast_possible_truncation, reason = "a 32-bit call returns 32 bits")]
    let result = result as i32;
    Some(if result < 0 { -result } else { 0 })
}

#[cfg(not(target_arch = "x86_64"))]
fn socketcall32() -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_before_the_kernel_sees_it() {
        for bad in [&[][..], &[1, 2, 3], &[0; 8 * (MAX_INSTRUCTIONS + 1)]] {
            assert_eq!(install(bad, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_thread_under_a_filter_gets_what_it_says() {
        // ld nr; jeq add_key → errno 99, else allow
        let code = |code: u16, jt: u8, jf: u8, k: u32| {
            let mut bytes = code.to_ne_bytes().to_vec();
            bytes.extend([jt, jf]);
            bytes.extend(k.to_ne_bytes());
            bytes
        };
        let number = u32::try_from(libc::SYS_add_key).unwrap();
        let program = [
            code(0x20, 0, 0, 0),
            code(0x15, 0, 1, number),
            code(0x06, 0, 0, 0x0005_0000 | 99),
            code(0x06, 0, 0, 0x7fff_0000),
        ]
        .concat();
        let seen = std::thread::spawn(move || {
            if rustix::thread::set_no_new_privs(true).is_err() || install(&program, 0).is_err() {
                return None;
            }
            probe(Probe::AddKey)
        })
        .join()
        .unwrap();
        assert_eq!(seen, Some(99));
        assert_ne!(probe(Probe::AddKey), Some(99), "other threads are not under it");
    }
}
