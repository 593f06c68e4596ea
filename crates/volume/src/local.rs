//! The driver `local`: a directory on the host, or with options whatever mount(8) can mount.
//!
//! `<root>/<name>/_data` is the data; `_copy` beside it is an image's content on its way there; `.trash-…` in the
//! root is what is being deleted. Only root may look into the directories above the data, so that a file with the
//! set-user-id bit in a volume is of no use to the host's users (CVE-2021-41091).

use crate::driver::{Driver, Options};
use crate::{Error, name, options};
use proa_sys::failpoint::passage;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The directory with the data.
const DATA: &str = "_data";
/// The directory data is copied to before it becomes the data.
const COPY: &str = "_copy";
/// How names of what is being deleted begin; no volume's name can.
const TRASH: &str = ".trash-";

/// Volumes below one directory.
#[derive(Debug)]
pub(crate) struct Local {
    root: PathBuf,
}

impl Local {
    /// Opens `root`, making it if it is absent.
    pub(crate) fn open(root: PathBuf) -> Result<Self, Error> {
        make_dir(&root, 0o701).map_err(|source| Error::io("*", "create", &root, source))?;
        Ok(Self { root })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The data's directory, open.
    pub(crate) fn directory(&self, name: &str) -> Result<OwnedFd, Error> {
        let path = self.mountpoint(name);
        open_dir(&path).map_err(|source| Error::io(name, "open", path, source))
    }

    /// Makes a copy of `source` the data of an empty volume; false if it was not empty.
    ///
    /// With `swap` the copy is made beside and takes the place of the empty directory in one step, so that a crash
    /// leaves either nothing or all of it. Without, it is made in place, for those who already look at it.
    pub(crate) fn populate(&self, name: &str, source: impl AsFd, swap: bool) -> Result<bool, Error> {
        let data = self.directory(name)?;
        let failed = |source| Error::io(name, "read", self.mountpoint(name), source);
        if !proa_sys::tree::is_empty(data.as_fd()).map_err(failed)? {
            return Ok(false);
        }
        if !swap {
            return self.copied(name, source, &data, DATA).map(|()| true);
        }
        let place = open_dir(&self.place(name)).map_err(failed)?;
        self.clear_copy(name, &place)?;
        let swapped = || -> Result<bool, Error> {
            rustix::fs::mkdirat(&place, COPY, Mode::RWXU)
                .map_err(|source| Error::io(name, "create", self.place(name).join(COPY), source))?;
            let path = self.place(name).join(COPY);
            let copy = open_dir(&path).map_err(|source| Error::io(name, "open", &path, source))?;
            self.copied(name, source, &copy, COPY)?;
            passage("volume.populated");
            match rustix::fs::renameat(&place, COPY, &place, DATA) {
                Ok(()) => Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
                Err(source) => Err(Error::io(name, "rename", path, source)),
            }
        };
        let result = swapped();
        if !matches!(result, Ok(true)) {
            let _ = self.clear_copy(name, &place);
        }
        result
    }

    fn copied(&self, name: &str, source: impl AsFd, target: &OwnedFd, part: &str) -> Result<(), Error> {
        proa_sys::tree::copy(source.as_fd(), target.as_fd()).map_err(|error| {
            Error::io(
                name,
                "copy the image's data to",
                self.place(name).join(part).join(error.path),
                error.source,
            )
        })
    }

    fn clear_copy(&self, name: &str, place: &OwnedFd) -> Result<(), Error> {
        proa_sys::tree::remove(place.as_fd(), c"_copy")
            .map_err(|error| Error::io(name, "remove", self.place(name).join(error.path), error.source))
    }

    fn is_mounted(&self, name: &str) -> Result<bool, Error> {
        let path = self.mountpoint(name);
        match rustix::fs::statx(rustix::fs::CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(stat) => Ok(stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT)),
            Err(Errno::NOENT) => Ok(false),
            Err(source) => Err(Error::io(name, "look at", path, source)),
        }
    }

    /// Takes a volume's data out of reach; its name until it is deleted, if there is any.
    pub(crate) fn retire(&self, name: &str, options: &Options) -> Result<Option<String>, Error> {
        self.unmount(name, options)?;
        if self.is_mounted(name)? {
            let path = self.mountpoint(name);
            return Err(Error::io(name, "remove (something is mounted there)", path, Errno::BUSY));
        }
        let trash = format!("{TRASH}{}", proa_types::id::random_hex());
        match rustix::fs::rename(self.place(name), self.root.join(&trash)) {
            Ok(()) => Ok(Some(trash)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(Error::io(name, "remove", self.place(name), source)),
        }
    }

    /// Whether there is a directory of that name.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.place(name).join(DATA).is_dir()
    }

    /// Gives a volume's directory another name, which nothing may have.
    pub(crate) fn rename(&self, from: &str, to: &str, options: &Options) -> Result<(), Error> {
        self.create(from, options)?;
        self.unmount(from, options)?;
        let failed = |source| Error::io(from, "rename", self.place(from), source);
        if self.is_mounted(from)? {
            return Err(failed(Errno::BUSY));
        }
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let (cwd, target) = (rustix::fs::CWD, self.place(to));
        rustix::fs::renameat_with(cwd, self.place(from), cwd, target, flags).map_err(failed)
    }

    /// Deletes a directory in the root, whose name is our own.
    pub(crate) fn delete(&self, name: &str, trash: &str) -> Result<(), Error> {
        let path = self.root.join(trash);
        let failed = |source: std::io::Error| Error::io(name, "remove", &path, source);
        let root = open_dir(&self.root).map_err(|errno| failed(errno.into()))?;
        let trash = CString::new(trash).map_err(|_| failed(std::io::ErrorKind::InvalidInput.into()))?;
        proa_sys::tree::remove(root.as_fd(), &trash)
            .map_err(|error| Error::io(name, "remove", self.root.join(error.path), error.source))
    }
}

impl Driver for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check(&self, options: &Options) -> Result<(), Error> {
        options::check(options)
    }

    fn create(&self, name: &str, _: &Options) -> Result<(), Error> {
        for (path, mode) in [(self.place(name), 0o701), (self.mountpoint(name), 0o755)] {
            make_dir(&path, mode).map_err(|source| Error::io(name, "create", path, source))?;
        }
        Ok(())
    }

    fn mountpoint(&self, name: &str) -> PathBuf {
        self.place(name).join(DATA)
    }

    fn mount(&self, name: &str, options: &Options) -> Result<(), Error> {
        // A directory that somebody has taken away comes back empty.
        self.create(name, options)?;
        let Some(plan) = options::plan(options) else { return Ok(()) };
        if self.is_mounted(name)? {
            return Ok(());
        }
        let target = self.mountpoint(name);
        mount(&plan, &target).map_err(|source| Error::Mount {
            device: plan.device.clone(),
            mountpoint: target.clone(),
            what: format!("type: {}, flags: {:#x}, data: {}", plan.kind, plan.flags.bits(), plan.data),
            source: source.into(),
        })
    }

    fn unmount(&self, name: &str, options: &Options) -> Result<(), Error> {
        if options::plan(options).is_none() || !self.is_mounted(name)? {
            return Ok(());
        }
        let target = self.mountpoint(name);
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH)
            .map_err(|source| Error::io(name, "unmount", target, source))
    }

    fn remove(&self, name: &str, options: &Options) -> Result<(), Error> {
        let Some(trash) = self.retire(name, options)? else { return Ok(()) };
        passage("volume.retired");
        self.delete(name, &trash).inspect_err(|_| {
            // What is left of it keeps its name, so that the user sees that it is there.
            let _ = rustix::fs::rename(self.root.join(&trash), self.place(name));
        })
    }

    fn recover(&self) -> Result<Vec<String>, Error> {
        let failed = |source| Error::io("*", "list", &self.root, source);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(entry_name) = entry.file_name().into_string() else { continue };
            if entry_name.starts_with(TRASH) {
                self.delete("*", &entry_name)?;
            } else if name::check(&entry_name).is_ok() && entry.path().join(DATA).is_dir() {
                if let Ok(place) = open_dir(&entry.path()) {
                    self.clear_copy(&entry_name, &place)?;
                }
                found.push(entry_name);
            }
        }
        Ok(found)
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Makes a directory with exactly this mode; one that is there stays as it is.
fn make_dir(path: &Path, mode: u32) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(mode)),
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn mount(plan: &options::Plan, target: &Path) -> Result<(), Errno> {
    if plan.bind {
        let recursive = plan.flags.contains(rustix::mount::MountFlags::REC);
        if recursive {
            rustix::mount::mount_bind_recursive(&plan.device, target)?;
        } else {
            rustix::mount::mount_bind(&plan.device, target)?;
        }
        let flags = plan.flags - rustix::mount::MountFlags::REC;
        if !flags.is_empty() {
            let all = flags | rustix::mount::MountFlags::BIND;
            rustix::mount::mount_remount(target, all, "").inspect_err(|_| {
                let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
            })?;
        }
    } else {
        let data = CString::new(plan.data.as_str()).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount(&plan.device, target, &plan.kind, plan.flags, &*data)?;
    }
    match plan.propagation {
        Some(propagation) => rustix::mount::mount_change(target, propagation),
        None => Ok(()),
    }
}
