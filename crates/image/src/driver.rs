//! Which storage driver turns layers into a container's root file system.

use crate::{DriverData, Error, Result, Snapshot};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::path::{Path, PathBuf};

/// A storage driver, by its name on the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DriverKind {
    /// Layers are stacked by the kernel (overlayfs). The default.
    #[default]
    Overlay,
    /// Layers are copied into one directory for each container: slow, but works on any file system.
    Vfs,
}

impl DriverKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay2",
            Self::Vfs => "vfs",
        }
    }
}

impl std::str::FromStr for DriverKind {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        let advice = match name {
            "overlay" | "overlay2" => return Ok(Self::Overlay),
            "vfs" => return Ok(Self::Vfs),
            "aufs" => "it left the kernel's distributions years ago; use overlay",
            "devicemapper" => "it was retired in favour of overlay; use overlay, on ext4 or xfs",
            "btrfs" | "zfs" => "not supported yet; overlay works on this file system, vfs on any",
            "fuse-overlayfs" => "not needed: kernels since 5.11 mount overlay without root; use overlay",
            _ => "unknown; use overlay, or vfs where the file system cannot carry overlay",
        };
        Err(Error::Driver { name: name.into(), advice })
    }
}

/// A layer as drivers see it: a directory in overlay's own form (whiteouts are 0:0 character devices).
pub(crate) type LayerDir = PathBuf;

/// Makes root file systems of layers. Keys are names of files; callers have checked them.
pub(crate) trait Driver: Send + Sync {
    /// Its name, as `info` shows it.
    fn name(&self) -> &'static str;
    /// Makes the writable part of a container over `layers` (topmost first), and keeps `note` in the file
    /// `c-KEY/layers` of its home. Fast: nothing is synced.
    fn prepare(&self, key: &str, layers: &[LayerDir], note: &str) -> Result<Snapshot>;
    /// The paths of a container prepared before.
    fn paths(&self, key: &str, layers: &[LayerDir]) -> Snapshot;
    /// Gives it another key.
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.home().join(format!("c-{from}")), self.home().join(format!("c-{to}")));
        let renamed = renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE);
        renamed.map_err(|e| Error::io(format!("cannot rename {}", from.display()))(e.into()))
    }
    /// Removes it; absent is fine.
    fn remove(&self, key: &str) -> Result<()>;
    /// The directory that has been written to.
    fn written(&self, key: &str) -> PathBuf;
    /// The directory that holds one directory for each container.
    fn home(&self) -> &Path;
    /// What `inspect` shows.
    fn data(&self, key: Option<&str>, layers: &[LayerDir]) -> DriverData;
}
