//! The pid file: one daemon for each exec root.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// A pid file of ours, removed on drop if it still is.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes the file. A file of a process that is gone, or is not a daemon any more, is replaced.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        if let Some(pid) = running(path) {
            return Err(Error::Running { path: path.into(), pid });
        }
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        }
        let pid = std::process::id();
        std::fs::write(path, format!("{pid}\n")).map_err(Error::io(path))?;
        Ok(Self { path: path.into(), pid })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if read(&self.path) == i32::try_from(self.pid).ok() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn read(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// The process of a pid file if it lives and is a daemon: a reused number is another program.
fn running(path: &Path) -> Option<i32> {
    let pid = read(path).filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id()))?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let daemon = line.split(|byte| *byte == 0).any(|word| word == b"daemon" || word.ends_with(b"dockerd"));
    daemon.then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_replaced_and_ours_is_removed() {
        let path = std::env::temp_dir().join(format!("proa-daemon-pid-{}", std::process::id()));
        std::fs::write(&path, "4194000\n").unwrap();
        let file = PidFile::create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
    }
}
