//! Watching for processes killed because memory ran out.

use super::Error;
use super::dir::Dir;
use rustix::event::EventfdFlags;
use rustix::fs::inotify;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A watch over a cgroup's memory.
///
/// On v1 the descriptor is an eventfd the kernel adds to when the limit is met (and once when the cgroup goes
/// away); on v2 an inotify of `memory.events`. Neither says that a process was killed: the count does.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    dir: Dir,
    file: &'static str,
}

impl OomWatch {
    pub(crate) fn v1(dir: Dir) -> Result<Self, Error> {
        let failed = |source: rustix::io::Errno| Error::io("watch memory of", &dir.path, source);
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let control = rustix::fs::openat(&dir.fd, "memory.oom_control", flags, rustix::fs::Mode::empty())
            .map_err(failed)?;
        let pair = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        dir.write_or_fail("cgroup.event_control", &pair, "")?;
        Ok(Self { fd, dir, file: "memory.oom_control" })
    }

    pub(crate) fn v2(dir: Dir) -> Result<Self, Error> {
        let failed = |source: rustix::io::Errno| Error::io("watch memory of", &dir.path, source);
        let fd =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        let file = dir.path.join("memory.events");
        inotify::add_watch(&fd, &file, inotify::WatchFlags::MODIFY).map_err(failed)?;
        Ok(Self { fd, dir, file: "memory.events" })
    }

    /// Readable when something may have happened; call [`Self::count`] then, which also clears it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How many processes were killed since the cgroup was made; 0 when it is gone.
    ///
    /// # Errors
    /// [`Error::Io`] when the counter cannot be read.
    pub fn count(&self) -> Result<u64, Error> {
        let mut buffer = [0u8; 4096];
        while matches!(rustix::io::read(&self.fd, &mut buffer), Ok(n) if n == buffer.len()) {}
        match self.dir.value(self.file, "oom_kill") {
            Ok(count) => Ok(count.unwrap_or_default()),
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
