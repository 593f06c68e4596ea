//! bpf(2): programs that decide about devices of a v2 cgroup (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const FLAG_ALLOW_MULTI: u32 = 2;

/// Most programs the kernel attaches to one cgroup.
const MAX_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replace: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// bpf(2) with the attributes of a command.
///
/// # Safety
/// `T` is the kernel's layout of `command`'s attributes, and every address in it is valid for the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the pointer and the size are those of one live value; the caller vouches for the rest.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), std::mem::size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = libc::c_int::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else has it. It is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a program for device decisions: eight bytes an instruction (`struct bpf_insn`).
///
/// # Errors
/// `EPERM` without `CAP_BPF` (or `CAP_SYS_ADMIN`), `EINVAL` when the kernel's verifier refuses the program.
pub fn load_device_program(code: &[u8]) -> io::Result<OwnedFd> {
    let mut load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(code.len() / 8).map_err(|_| io::ErrorKind::InvalidInput)?,
        code: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        name: *b"proa_devices\0\0\0\0",
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Load::default()
    };
    // SAFETY: `Load` is `union bpf_attr` up to `expected_attach_type` (Linux 4.17; longer than an older kernel
    // knows is fine where the rest is zero); code and licence outlive the call.
    owned(unsafe { bpf(PROG_LOAD, &mut load) }?)
}

/// Attaches a program to a v2 cgroup, beside others (`BPF_F_ALLOW_MULTI`): all must allow.
///
/// # Errors
/// `EPERM` when a program above forbids others, `EBADF` when `cgroup` is not of v2.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    attach(PROG_ATTACH, cgroup, program, FLAG_ALLOW_MULTI)
}

/// Detaches a program from a v2 cgroup.
///
/// # Errors
/// `ENOENT` when it is not attached.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    attach(PROG_DETACH, cgroup, program, 0)
}

fn attach(
    command: libc::c_int,
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    flags: u32,
) -> io::Result<()> {
    let mut attach = Attach {
        target: raw(cgroup),
        program: raw(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags,
        replace: 0,
    };
    // SAFETY: `Attach` is the layout of both commands (Linux 4.10, `replace` 5.6); it holds no address.
    unsafe { bpf(command, &mut attach) }.map(drop)
}

/// The device programs attached to this v2 cgroup itself.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` or `CAP_SYS_ADMIN`.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MAX_PROGRAMS];
    let mut query = Query {
        target: raw(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(ids.len()).unwrap_or_default(),
        padding: 0,
    };
    // SAFETY: `Query` is the layout of the command (Linux 4.16); `ids` has room for `count` and outlives it.
    unsafe { bpf(PROG_QUERY, &mut query) }?;
    let count = usize::try_from(query.count).unwrap_or_default().min(ids.len());
    ids.iter().take(count).map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut by_id = ById { id, next: 0, flags: 0 };
    // SAFETY: `ById` is the layout of the command (Linux 4.13); it holds no address.
    owned(unsafe { bpf(PROG_GET_FD_BY_ID, &mut by_id) }?)
}
