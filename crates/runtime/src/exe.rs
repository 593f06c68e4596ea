//! The runtime's own binary, kept out of containers' reach (CVE-2019-5736).
//!
//! A process in a container can open `/proc/PID/exe` of the runtime while it enters the container, and write to the
//! host's binary when nobody executes it any more. Executed from a read-only mount that is attached nowhere, the binary
//! cannot be opened for writing that way; the runtime's processes are not dumpable either, so that only a container with
//! `CAP_SYS_PTRACE` could open it at all.

use crate::{Error, detached};
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A program as a file on a read-only mount of its own, to be executed by descriptor.
///
/// # Errors
/// [`Error::Step`] without the right to mount.
pub fn read_only(program: &Path) -> Result<OwnedFd, Error> {
    let failed = |error: std::io::Error| Error::step(format!("protect {}", program.display()), error);
    let copy = detached::copy_of(program, false).map_err(|error| failed(error.into()))?;
    detached::make_read_only(copy.as_fd(), false).map_err(failed)?;
    Ok(copy)
}

/// Executes this program again from a read-only mount, unless it was. Without the right to do so (then no container of
/// it has the right to harm the binary either) it returns.
pub fn protect() {
    let own = Path::new("/proc/self/exe");
    if statvfs(own).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return;
    }
    let Ok(program) = read_only(own) else { return };
    let text = |text: std::ffi::OsString| CString::new(text.as_bytes()).ok();
    let args: Vec<CString> = std::env::args_os().filter_map(text).collect();
    let env: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    let _ = proa_sys::process::execve_fd(program.as_fd(), &args, &env);
}
