//! An overlay as a mount attached nowhere (Documentation/filesystems/overlayfs.rst).

use crate::Error;
use crate::start::Overlay;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Longest value fsconfig(2) takes.
const LONGEST: usize = 255;

/// Mounts it.
pub(crate) fn mount(overlay: &Overlay, label: Option<&str>) -> Result<OwnedFd, Error> {
    match try_mount(overlay, label, true) {
        // Before Linux 6.7 there is no "lowerdir+".
        Err((Errno::INVAL, true)) => try_mount(overlay, label, false),
        other => other,
    }
    .map_err(|(error, _)| Error::step(format!("mount the overlay of {}", overlay.upper.display()), error))
}

/// The error, and whether it may be about "lowerdir+".
fn try_mount(overlay: &Overlay, label: Option<&str>, one_by_one: bool) -> Result<OwnedFd, (Errno, bool)> {
    let plain = |error: Errno| (error, false);
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(plain)?;
    let _ = fsconfig_set_string(&fs, "source", "overlay");
    let mut held = Vec::new();
    if one_by_one {
        for lower in &overlay.lower {
            let value = short(lower, &mut held).map_err(plain)?;
            fsconfig_set_string(&fs, "lowerdir+", value).map_err(|error| (error, true))?;
        }
    } else {
        let lower = joined(&overlay.lower, &mut held).map_err(plain)?;
        fsconfig_set_string(&fs, "lowerdir", lower).map_err(plain)?;
    }
    set_path(fs.as_fd(), "upperdir", &overlay.upper, &mut held).map_err(plain)?;
    set_path(fs.as_fd(), "workdir", &overlay.work, &mut held).map_err(plain)?;
    if overlay.volatile {
        fsconfig_set_flag(&fs, "volatile").map_err(plain)?;
    }
    if let Some(label) = label {
        fsconfig_set_string(&fs, "context", label).map_err(plain)?;
    }
    // Before Linux 6.5 overlay looks at its options here only.
    fsconfig_create(&fs).map_err(|error| (error, one_by_one))?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(plain)
}

fn set_path(fs: BorrowedFd<'_>, key: &str, path: &Path, held: &mut Vec<OwnedFd>) -> Result<(), Errno> {
    fsconfig_set_string(fs, key, short(path, held)?)
}

/// The path, or one by a descriptor when the kernel would not take its length.
fn short(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String, Errno> {
    let text = path.to_str().ok_or(Errno::ILSEQ)?;
    if text.len() <= LONGEST {
        return Ok(text.to_owned());
    }
    by_descriptor(path, held)
}

fn by_descriptor(path: &Path, held: &mut Vec<OwnedFd>) -> Result<String, Errno> {
    let fd = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    held.push(fd);
    Ok(name)
}

/// All lower directories in one value: as they are, escaped, if that fits, else by descriptors.
fn joined(lower: &[std::path::PathBuf], held: &mut Vec<OwnedFd>) -> Result<String, Errno> {
    let plain: Option<Vec<String>> = lower.iter().map(|path| path.to_str().map(escaped)).collect();
    if let Some(text) = plain.map(|list| list.join(":")).filter(|text| text.len() <= LONGEST) {
        return Ok(text);
    }
    let names = lower.iter().map(|path| by_descriptor(path, held)).collect::<Result<Vec<_>, _>>()?;
    let text = names.join(":");
    if text.len() > LONGEST { Err(Errno::NAMETOOLONG) } else { Ok(text) }
}

/// `:` separates layers and `\` escapes.
fn escaped(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len()), |mut text, c| {
        if matches!(c, ':' | '\\') {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped_and_long_lists_go_by_descriptor() {
        let mut held = Vec::new();
        assert_eq!(joined(&["/a:b".into(), "/c\\d".into()], &mut held).unwrap(), "/a\\:b:/c\\\\d");
        let many: Vec<std::path::PathBuf> = (0..8).map(|_| format!("/{}", "./".repeat(60)).into()).collect();
        let text = joined(&many, &mut held).unwrap();
        assert!(text.starts_with("/proc/self/fd/") && text.len() <= LONGEST, "{text}");
        assert_eq!(held.len(), 8);
    }
}
