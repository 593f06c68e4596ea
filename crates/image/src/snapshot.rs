//! Driver `overlay`: a container is an upper and a work directory; the kernel stacks the layers.

use crate::driver::{Driver, LayerDir};
use crate::spare::Spares;
use crate::{DriverData, Error, Result, Snapshot};
use rustix::fs::{AtFlags, CWD, Gid, Mode, RenameFlags, Uid, chmodat, chownat, renameat_with, statat};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The overlay driver, with its home directory.
pub(crate) struct OverlayDriver {
    home: PathBuf,
    spares: Spares,
}

impl OverlayDriver {
    /// A driver whose containers live in `home`.
    pub(crate) fn open(home: PathBuf) -> Result<Self> {
        let spares = Spares::open(&home)?;
        Ok(Self { home, spares })
    }

    fn dir(&self, key: &str) -> PathBuf {
        self.home.join(format!("c-{key}"))
    }
}

impl Driver for OverlayDriver {
    fn name(&self) -> &'static str {
        "overlay2"
    }

    fn prepare(&self, key: &str, layers: &[LayerDir], note: &str) -> Result<Snapshot> {
        let dir = self.dir(key);
        let made = || -> std::io::Result<()> {
            let spare = self.spares.take(note)?;
            if spare.layers != note {
                std::fs::write(spare.dir.join("layers"), note)?;
            }
            // Only whole snapshots ever have a container's name.
            if let Err(errno) = renameat_with(CWD, &spare.dir, CWD, &dir, RenameFlags::NOREPLACE) {
                let _ = remove_tree(&spare.dir);
                return Err(errno.into());
            }
            layers.first().map_or(Ok(()), |top| Ok(copy_root(top, &dir.join("upper"))?))
        };
        made().map_err(Error::io(format!("cannot make the snapshot {}", dir.display())))?;
        Ok(self.paths(key, layers))
    }

    fn paths(&self, key: &str, layers: &[LayerDir]) -> Snapshot {
        let dir = self.dir(key);
        Snapshot::Overlay { lower: layers.to_vec(), upper: dir.join("upper"), work: dir.join("work") }
    }

    fn remove(&self, key: &str) -> Result<()> {
        remove_tree(&self.dir(key))
    }

    fn written(&self, key: &str) -> PathBuf {
        self.dir(key).join("upper")
    }

    fn home(&self) -> &Path {
        &self.home
    }

    fn data(&self, key: Option<&str>, layers: &[LayerDir]) -> DriverData {
        let text = |path: &Path| path.display().to_string();
        let mut data = BTreeMap::new();
        let mut lower: Vec<String> = layers.iter().map(|layer| text(layer)).collect();
        match key {
            Some(key) => {
                data.insert("UpperDir".into(), text(&self.dir(key).join("upper")));
                data.insert("WorkDir".into(), text(&self.dir(key).join("work")));
                data.insert("MergedDir".into(), text(&self.dir(key).join("merged")));
            }
            None if lower.is_empty() => {}
            None => {
                data.insert("UpperDir".into(), lower.remove(0));
            }
        }
        if !lower.is_empty() {
            data.insert("LowerDir".into(), lower.join(":"));
        }
        DriverData { name: self.name().into(), data }
    }
}

/// Gives `upper` mode and owner of the topmost layer's root: overlayfs shows those of `upper` at `/`. It is
/// root's and 755 now, as almost every layer's root is.
fn copy_root(top: &LayerDir, upper: &Path) -> rustix::io::Result<()> {
    let stat = statat(CWD, top, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(CWD, upper, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    match stat.st_mode & 0o7777 {
        0o755 => Ok(()),
        mode => chmodat(CWD, upper, Mode::from_raw_mode(mode), AtFlags::empty()),
    }
}

/// Removes a directory tree, however deep a container made it; absent is fine.
///
/// # Errors
/// [`Error::Io`] naming the directory.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    let what = || format!("cannot remove {}", dir.display());
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { return Ok(()) };
    let parent = std::fs::File::open(parent).map_err(Error::io(what()))?;
    let name = std::ffi::CString::new(name.as_bytes()).map_err(|error| Error::io(what())(error.into()))?;
    proa_sys::tree::remove(parent.as_fd(), &name).map_err(|error| Error::io(what())(error.source))
}
