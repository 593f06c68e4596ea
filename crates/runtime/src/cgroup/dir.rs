//! A directory of one hierarchy, held open; its files are read and written below it.

use super::Error;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a busy directory is tried to be removed: 1+2+4+…+512 ms.
const REMOVE_TRIES: u32 = 10;

/// One cgroup in one hierarchy.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
    /// Name of the directory the hierarchy is mounted at, as `cpu,cpuacct`.
    pub(crate) mount: PathBuf,
    /// The v1 controllers; empty for v2.
    pub(crate) controllers: Vec<String>,
}

impl Dir {
    /// The content of a file; none if there is no such file.
    pub(crate) fn read(&self, file: &str) -> Result<Option<String>, Error> {
        read_at(&self.fd, file).map_err(|source| Error::io("read", self.path.join(file), source))
    }

    /// A file that holds one number; `max` is `u64::MAX`, absent is none.
    pub(crate) fn number(&self, file: &str) -> Result<Option<u64>, Error> {
        Ok(self.read(file)?.and_then(|text| match text.trim() {
            "max" => Some(u64::MAX),
            number => number.parse().ok(),
        }))
    }

    /// The value of `key` in a file of `key value` lines.
    pub(crate) fn value(&self, file: &str, key: &str) -> Result<Option<u64>, Error> {
        Ok(self.read(file)?.and_then(|text| lookup(&text, key)))
    }

    /// Writes a value with one write(2), as these files want it.
    pub(crate) fn write(&self, file: &str, value: &str) -> std::io::Result<()> {
        write_at(&self.fd, file, value)
    }

    /// As [`Self::write`], with the error that names the file.
    pub(crate) fn write_or_fail(&self, file: &str, value: &str, hint: &'static str) -> Result<(), Error> {
        self.write(file, value).map_err(|source| Error::Write {
            file: self.path.join(file),
            value: value.to_owned(),
            source,
            hint,
        })
    }

    /// Adds the processes here and below to `into`.
    pub(crate) fn pids(&self, into: &mut Vec<i32>) -> Result<(), Error> {
        let failed = |source| Error::io("list", &self.path, source);
        pids_below(&self.fd, 0, into).map_err(failed)
    }

    /// The same directory, held on its own.
    pub(crate) fn reopen(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|source| Error::io("open", &self.path, source))?;
        let (path, mount) = (self.path.clone(), self.mount.clone());
        Ok(Self { fd, path, mount, controllers: self.controllers.clone() })
    }

    /// Removes this directory and those below it, waiting a second at most for processes that just ended.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        remove_tree(&self.path)
    }
}

/// Removes a cgroup directory with those below it. A missing one is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    let mut last = rustix::io::Errno::BUSY;
    for attempt in 0..REMOVE_TRIES {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error @ (rustix::io::Errno::BUSY | rustix::io::Errno::NOTEMPTY)) => last = error,
            Err(error) => return Err(Error::io("remove", path, error)),
        }
        match rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => remove_children(&fd, 0),
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Error::io("open", path, error)),
        }
        // The children may have been all that held it.
        if rustix::fs::rmdir(path).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1 << attempt));
    }
    Err(Error::io("remove", path, last))
}

/// Deepest cgroup that is looked at: the kernel's names could go on for a page.
const MAX_DEPTH: u32 = 64;

fn remove_children(fd: &impl AsFd, depth: u32) {
    for name in children(fd).unwrap_or_default() {
        if rustix::fs::unlinkat(fd, &name, AtFlags::REMOVEDIR).is_ok() || depth >= MAX_DEPTH {
            continue;
        }
        if let Ok(child) = open_dir(fd, &name) {
            remove_children(&child, depth + 1);
            let _ = rustix::fs::unlinkat(fd, &name, AtFlags::REMOVEDIR);
        }
    }
}

fn pids_below(fd: &impl AsFd, depth: u32, into: &mut Vec<i32>) -> rustix::io::Result<()> {
    match read_at(fd, "cgroup.procs") {
        Ok(Some(text)) => {
            into.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0))
        }
        // A threaded cgroup has no processes of its own; a removed one has none either.
        Ok(None) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NODEV) => {}
        Err(error) => return Err(error),
    }
    if depth >= MAX_DEPTH {
        return Ok(());
    }
    for name in children(fd)? {
        match open_dir(fd, &name) {
            Ok(child) => pids_below(&child, depth + 1, into)?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Names of the directories directly below.
fn children(fd: &impl AsFd) -> rustix::io::Result<Vec<std::ffi::CString>> {
    // The descriptor may be O_PATH or shared: its own offset must not be used.
    let list = open_dir(fd, c".")?;
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(list, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(rustix::io::Errno::NOENT) => break,
            Err(error) => return Err(error),
        };
        let name = entry.file_name();
        if entry.file_type() == rustix::fs::FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

pub(crate) fn open_dir(fd: &impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(fd, name, flags, Mode::empty())
}

pub(crate) fn read_at(fd: &impl AsFd, file: &str) -> rustix::io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(fd, file, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(&file, &mut buffer) {
            Ok(0) => return Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Ok(n) => text.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn write_at(fd: &impl AsFd, file: &str, value: &str) -> std::io::Result<()> {
    let file = rustix::fs::openat(fd, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    loop {
        match rustix::io::write(&file, value.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The number after `key` in lines of `key value`.
pub(crate) fn lookup(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
