//! Freezing and killing all processes of a cgroup.

use super::Error;
use super::dir::Dir;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// How long processes are given to stop. One in an uninterruptible wait (NFS, FUSE) may need longer than any
/// caller wants to wait.
const FREEZE_SECONDS: u64 = 5;

/// After this many looks a v1 freezer is thawed and frozen anew: a task caught in a vfork or being traced can
/// hold it in FREEZING for good otherwise.
const LOOKS_BEFORE_RETRY: u32 = 25;

/// The freezer that serves a cgroup.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Freezer<'a> {
    /// The v1 controller.
    V1(&'a Dir),
    /// `cgroup.freeze` (Linux 5.2).
    V2(&'a Dir),
}

impl Freezer<'_> {
    pub(crate) fn freeze(self) -> Result<(), Error> {
        let stopped = match self {
            Self::V1(dir) => freeze_v1(dir)?,
            Self::V2(dir) => freeze_v2(dir)?,
        };
        if stopped {
            return Ok(());
        }
        self.thaw()?;
        Err(Error::Timeout {
            path: self.dir().path.clone(),
            what: "its processes did not freeze",
            seconds: FREEZE_SECONDS,
        })
    }

    pub(crate) fn thaw(self) -> Result<(), Error> {
        match self {
            Self::V1(dir) => dir.write_or_fail("freezer.state", "THAWED", ""),
            Self::V2(dir) => dir.write_or_fail("cgroup.freeze", "0", ""),
        }
    }

    pub(crate) fn is_frozen(self) -> Result<bool, Error> {
        match self {
            Self::V1(dir) => Ok(dir.read("freezer.state")?.is_some_and(|state| state.trim() != "THAWED")),
            Self::V2(dir) => Ok(dir.number("cgroup.freeze")? == Some(1)),
        }
    }

    fn dir(&self) -> &Dir {
        match self {
            Self::V1(dir) | Self::V2(dir) => dir,
        }
    }
}

fn freeze_v1(dir: &Dir) -> Result<bool, Error> {
    let end = Instant::now() + Duration::from_secs(FREEZE_SECONDS);
    let mut looks = 0u32;
    dir.write_or_fail("freezer.state", "FROZEN", "")?;
    loop {
        if dir.read("freezer.state")?.is_some_and(|state| state.trim() == "FROZEN") {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        looks += 1;
        std::thread::sleep(Duration::from_micros(100));
        if looks.is_multiple_of(LOOKS_BEFORE_RETRY) {
            dir.write_or_fail("freezer.state", "THAWED", "")?;
            std::thread::sleep(Duration::from_millis(1));
        }
        // Also for a process that joined meanwhile.
        dir.write_or_fail("freezer.state", "FROZEN", "")?;
    }
}

fn freeze_v2(dir: &Dir) -> Result<bool, Error> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let events = rustix::fs::openat(&dir.fd, "cgroup.events", flags, rustix::fs::Mode::empty())
        .map_err(|source| Error::io("open", dir.path.join("cgroup.events"), source))?;
    dir.write_or_fail("cgroup.freeze", "1", "")?;
    let end = Instant::now() + Duration::from_secs(FREEZE_SECONDS);
    loop {
        let mut text = [0u8; 256];
        let read = rustix::io::pread(&events, &mut text, 0)
            .map_err(|source| Error::io("read", dir.path.join("cgroup.events"), source))?;
        let text = String::from_utf8_lossy(text.get(..read).unwrap_or_default());
        if super::dir::lookup(&text, "frozen") == Some(1) {
            return Ok(true);
        }
        let now = Instant::now();
        if now >= end {
            return Ok(false);
        }
        // The kernel marks a change of the file as priority data; the reading above has taken the last one.
        let wait = Timespec::try_from((end - now).min(Duration::from_millis(100))).ok();
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], wait.as_ref());
    }
}

/// Sends a signal to each of the processes; those that have gone are passed over.
pub(crate) fn signal_each(pids: &[i32], signal: i32) -> std::io::Result<()> {
    let signal = rustix::process::Signal::from_named_raw(signal)
        .ok_or_else(|| std::io::Error::from(rustix::io::Errno::INVAL))?;
    for pid in pids.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        match rustix::process::kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
