//! Control groups: limits, accounting, device access, freezing and killing of one container's processes.
//!
//! A [`Cgroup`] is one path in every hierarchy the host has: v1 controllers, the v2 tree, or both (hybrid).
//! It knows no container and no specification beyond the `resources` of one. Which file gets which value is
//! decided in [`plan`], without touching the kernel. Kernel documentation: admin-guide/cgroup-v1/ and
//! admin-guide/cgroup-v2.rst.

mod create;
mod device_program;
mod devices;
mod dir;
mod error;
mod freezer;
pub(crate) mod layout;
mod oom;
mod path;
mod plan;
#[cfg(test)]
mod plan_tests;
mod stats;
#[cfg(test)]
mod tests;
mod texts;
mod units;

pub use error::Error;
pub use oom::OomWatch;
pub use path::CgroupPath;
pub use stats::{BlockStats, CpuStats, HugepageStats, MemoryStats, PidsStats, Stats};

use devices::Access;
use dir::Dir;
use freezer::Freezer;
use plan::{Missing, Place, Places, Write};
use proa_oci::runtime::{DeviceRule, Resources};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// What the kernel or its set-up could not do, in docker's words; for the user to read.
pub type Warnings = Vec<String>;

/// One cgroup, in every hierarchy, with its directories held open.
#[derive(Debug)]
pub struct Cgroup {
    path: CgroupPath,
    v1: Vec<Dir>,
    v2: Option<Dir>,
}

/// Where a cgroup is in one hierarchy.
#[derive(Debug, Clone, Copy)]
pub struct Directory<'a> {
    /// The v1 controllers (or `name=systemd`); empty for v2.
    pub controllers: &'a [String],
    /// Where the hierarchy is mounted, as `/sys/fs/cgroup/cpu,cpuacct`.
    pub mount: &'a Path,
    /// The cgroup's directory.
    pub path: &'a Path,
    /// The same, open.
    pub fd: BorrowedFd<'a>,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy and gives it its device rules, in order; no rule allows all devices.
    /// A directory that is already there is taken over. What was made is removed again on failure.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`], or what the kernel refuses.
    pub fn create(path: &CgroupPath, devices: &[DeviceRule]) -> Result<Self, Error> {
        let access = Access::of(devices)?;
        let layout = layout::Layout::host()?;
        let (mut v1, mut made) = (Vec::new(), Vec::new());
        let mut make = || -> Result<Self, Error> {
            for hierarchy in &layout.v1 {
                v1.extend(create::v1(hierarchy, path, &mut made)?);
            }
            let v2 = match &layout.v2 {
                Some(hierarchy) => create::v2(hierarchy, path, layout.is_unified(), &mut made)?,
                None => None,
            };
            if v1.is_empty() && v2.is_none() {
                return Err(Error::io("create", path.as_str(), rustix::io::Errno::ROFS));
            }
            let cgroup = Self { path: path.clone(), v1: std::mem::take(&mut v1), v2 };
            cgroup.write_devices(&access, true)?;
            Ok(cgroup)
        };
        make().inspect_err(|_| {
            for directory in made.iter().rev() {
                let _ = rustix::fs::rmdir(directory);
            }
        })
    }

    /// Opens a cgroup that exists, after a restart.
    ///
    /// # Errors
    /// [`Error::Io`] with `NotFound` when it is in no hierarchy.
    pub fn open(path: &CgroupPath) -> Result<Self, Error> {
        let layout = layout::Layout::host()?;
        let mut v1 = Vec::new();
        for hierarchy in &layout.v1 {
            v1.extend(create::open(hierarchy, path)?);
        }
        let v2 = match &layout.v2 {
            Some(hierarchy) => create::open(hierarchy, path)?,
            None => None,
        };
        if v1.is_empty() && v2.is_none() {
            return Err(Error::io("open", path.as_str(), rustix::io::Errno::NOENT));
        }
        Ok(Self { path: path.clone(), v1, v2 })
    }

    /// The path given.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Its directories, v1 first.
    pub fn directories(&self) -> impl Iterator<Item = Directory<'_>> {
        self.v1.iter().chain(&self.v2).map(|dir| Directory {
            controllers: &dir.controllers,
            mount: &dir.mount,
            path: &dir.path,
            fd: dir.fd.as_fd(),
        })
    }

    /// Writes the limits that are given; others stay as they are. Device rules replace the former ones if any
    /// are given.
    ///
    /// # Errors
    /// [`Error::Value`] when a value is out of range (nothing is written then), [`Error::Write`] when the kernel
    /// refuses one.
    pub fn set(&self, resources: &Resources) -> Result<Warnings, Error> {
        let plan = plan::plan(resources, self.places()?)?;
        let mut warnings = plan.warnings;
        let mut last = Vec::new();
        for write in &plan.writes {
            match self.apply(write, &mut warnings) {
                Err(Error::Write { .. }) if write.again => last.push(write),
                other => other?,
            }
        }
        for write in last {
            self.apply(write, &mut warnings)?;
        }
        if !resources.devices.is_empty() {
            self.set_devices(&resources.devices)?;
        }
        Ok(warnings)
    }

    /// Replaces the device rules. A device that the former and the new rules allow is allowed throughout.
    ///
    /// # Errors
    /// [`Error::Value`] for a rule that cannot be read, or what the kernel refuses.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<(), Error> {
        self.write_devices(&Access::of(rules)?, false)
    }

    /// Moves a process (all its threads) into the cgroup, in every hierarchy. 0 is the caller.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn join(&self, pid: i32) -> Result<(), Error> {
        let pid = pid.to_string();
        for dir in self.v1.iter().chain(&self.v2) {
            dir.write_or_fail("cgroup.procs", &pid, "")?;
        }
        Ok(())
    }

    /// The directory for `CLONE_INTO_CGROUP`, where that alone puts a process into every hierarchy (pure v2).
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.v2.as_ref().filter(|_| self.v1.is_empty()).map(|dir| dir.fd.as_fd())
    }

    /// Stops every process, and waits until they have stopped.
    ///
    /// # Errors
    /// [`Error::Timeout`] when one does not stop (it hangs in the kernel); the cgroup is thawed again then.
    pub fn freeze(&self) -> Result<(), Error> {
        self.freezer()?.freeze()
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn thaw(&self) -> Result<(), Error> {
        self.freezer()?.thaw()
    }

    /// Whether it is frozen.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        self.freezer()?.is_frozen()
    }

    /// Kills every process, also those it forks meanwhile, also when frozen. They may take a moment to be gone.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn kill(&self) -> Result<(), Error> {
        if let Some(v2) = &self.v2 {
            match v2.write("cgroup.kill", "1") {
                Ok(()) => return self.thaw_v1(),
                // Before Linux 5.14.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("kill the processes of", &v2.path, source)),
            }
        }
        self.kill_frozen()
    }

    /// Sends a signal to every process. One that is forked meanwhile may escape it: see [`Self::kill`].
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        freezer::signal_each(&self.pids()?, signal)
            .map_err(|source| Error::io("signal the processes of", self.path.as_str(), source))
    }

    /// The processes in it and in the cgroups below, ascending.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        if let Some(dir) = self.v2.as_ref().or_else(|| self.controller("pids")).or_else(|| self.v1.first()) {
            dir.pids(&mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// What it used, and its limits. What the host does not account is 0 or absent.
    ///
    /// # Errors
    /// [`Error::Io`] when the cgroup cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        stats::read(self)
    }

    /// Watches for processes killed because memory ran out.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a memory controller.
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        if let Some(dir) = self.controller("memory") {
            return OomWatch::v1(dir.reopen()?);
        }
        match &self.v2 {
            Some(dir) if dir.read("memory.events")?.is_some() => OomWatch::v2(dir.reopen()?),
            _ => Err(Error::Unsupported {
                feature: "detection of out-of-memory kills".into(),
                reason: "no memory controller is available".into(),
            }),
        }
    }

    /// Removes it and the cgroups below. The processes must have ended; they are given a second for it.
    ///
    /// # Errors
    /// [`Error::Io`] with `ResourceBusy` when one still runs. Every hierarchy is tried; the first failure counts.
    pub fn remove(self) -> Result<(), Error> {
        let mut first = Ok(());
        for dir in self.v1.iter().chain(&self.v2) {
            first = first.and(dir.remove());
        }
        first
    }

    fn controller(&self, name: &str) -> Option<&Dir> {
        self.v1.iter().find(|dir| dir.controllers.iter().any(|controller| controller == name))
    }

    fn places(&self) -> Result<Places, Error> {
        let unified = match &self.v2 {
            Some(dir) => dir.read("cgroup.controllers")?.unwrap_or_default(),
            None => String::new(),
        };
        let place = |v1: &str, v2: &str| {
            if self.controller(v1).is_some() {
                Place::V1
            } else if unified.split_whitespace().any(|word| word == v2) {
                Place::V2
            } else {
                Place::Absent
            }
        };
        Ok(Places {
            cpu: place("cpu", "cpu"),
            cpuset: place("cpuset", "cpuset"),
            memory: place("memory", "memory"),
            pids: place("pids", "pids"),
            io: place("blkio", "io"),
            hugetlb: place("hugetlb", "hugetlb"),
        })
    }

    fn apply(&self, write: &Write, warnings: &mut Warnings) -> Result<(), Error> {
        let dir = match write.v1 {
            Some(controller) => self.controller(controller),
            None => self.v2.as_ref(),
        };
        let Some(dir) = dir else { return Ok(()) };
        let (mut file, mut value) = (write.file.as_ref(), write.value.as_str());
        let mut result = dir.write(file, value);
        if let (Err(error), Some((other, other_value))) = (&result, &write.instead)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            (file, value) = (other, other_value);
            result = dir.write(file, value);
        }
        let Err(source) = result else { return Ok(()) };
        if source.kind() == std::io::ErrorKind::NotFound {
            match write.missing {
                Missing::Ignore => return Ok(()),
                Missing::Warn(text) => {
                    if !warnings.iter().any(|warning| warning == text) {
                        warnings.push(text.to_owned());
                    }
                    return Ok(());
                }
                Missing::Fail => {}
            }
        }
        Err(Error::Write { file: dir.path.join(file), value: value.to_owned(), source, hint: write.hint })
    }

    fn write_devices(&self, access: &Access, fresh: bool) -> Result<(), Error> {
        const HINT: &str = " (does the parent cgroup allow this device?)";
        if let Some(dir) = self.controller("devices") {
            let old =
                if fresh { None } else { dir.read("devices.list")?.as_deref().and_then(Access::parse_v1) };
            let writes = old.map_or_else(|| access.v1_writes(), |old| access.v1_changes(&old));
            for (file, value) in writes {
                dir.write_or_fail(file, &value, HINT)?;
            }
            return Ok(());
        }
        match &self.v2 {
            Some(dir) => device_program::replace(&dir.fd, &dir.path, access),
            None => Ok(()),
        }
    }

    fn freezer(&self) -> Result<Freezer<'_>, Error> {
        if let Some(dir) = &self.v2
            && dir.read("cgroup.freeze")?.is_some()
        {
            return Ok(Freezer::V2(dir));
        }
        self.controller("freezer").map(Freezer::V1).ok_or_else(|| Error::Unsupported {
            feature: "pausing".into(),
            reason: "cgroup freezer is not available".into(),
        })
    }

    /// A process frozen by v1 dies of a signal only when thawed; somebody else may have frozen it so.
    fn thaw_v1(&self) -> Result<(), Error> {
        match self.controller("freezer") {
            Some(dir) => Freezer::V1(dir).thaw(),
            None => Ok(()),
        }
    }

    /// Killing without `cgroup.kill`: nothing that is frozen forks. Without a freezer, by persistence.
    fn kill_frozen(&self) -> Result<(), Error> {
        const ROUNDS: u32 = 50;
        for _ in 0..ROUNDS {
            let freezer = self.freezer().ok();
            let frozen = freezer.is_some_and(|freezer| freezer.freeze().is_ok());
            self.signal(libc::SIGKILL)?;
            if let Some(freezer) = freezer {
                freezer.thaw()?;
            }
            self.thaw_v1()?;
            if frozen || self.pids()?.is_empty() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(())
    }
}
