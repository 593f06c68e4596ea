//! Mounts: mount_setattr, which rustix lacks, and the form of paths in the kernel's tables; the rest of the mount API is
//! rustix's.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What [`set_attributes`] changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// `MOUNT_ATTR_…` that are set.
    pub set: u64,
    /// `MOUNT_ATTR_…` that are cleared, before.
    pub clear: u64,
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace whose mapping ids on this mount get (`MOUNT_ATTR_IDMAP`); the mount must be detached.
    pub id_map: Option<BorrowedFd<'a>>,
}

/// Changes properties of the mount a descriptor refers to, or of its whole tree.
///
/// mount_setattr(2), <https://man7.org/linux/man-pages/man2/mount_setattr.2.html>, Linux 5.12.
///
/// # Errors
/// `EPERM` for a flag locked by a parent user namespace, `EINVAL` when a filesystem knows no id mapping or the flags
/// contradict, `EBUSY` when read-only is asked and a file is open for writing.
pub fn set_attributes(mount: BorrowedFd<'_>, recursive: bool, change: Attributes<'_>) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: change.set | if change.id_map.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.id_map.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty string, the structure has the size given, and both live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A path as the kernel's tables of mounts write it, with blanks and the like as `\040`
/// ([proc_pid_mountinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html)).
pub fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.zip(part.get(3..)) {
            Some((code, rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            None => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_escapes_of_paths_are_undone() {
        assert_eq!(unescaped("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescaped("/plain"), "/plain");
    }
}
