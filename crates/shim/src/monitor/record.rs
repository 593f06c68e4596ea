//! A small file that is rewritten in place.
//!
//! The file is made once, while nobody waits; from then on a change is one write of less than a page at its
//! beginning, which a kill cannot cut in two. It need not survive a power cut: no process of this boot does. A new
//! file under another name and a rename would make two changes of a directory and a new inode each time, which on
//! ext4 can cost half a millisecond in a container's start.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The file, open.
pub(super) struct RecordFile {
    file: OwnedFd,
    length: usize,
}

impl RecordFile {
    /// Makes the file, or opens the one there is.
    pub(super) fn open(path: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        Ok(Self { file: rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?, length: 0 })
    }

    /// Replaces its content by a JSON document. A shorter one is followed by blanks.
    pub(super) fn store<T: Serialize>(&mut self, value: &T) -> rustix::io::Result<()> {
        let mut bytes = serde_json::to_vec(value).map_err(|_| Errno::INVAL)?;
        bytes.resize(bytes.len().max(self.length), b' ');
        let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, &bytes, 0))?;
        self.length = bytes.len();
        if written == bytes.len() { Ok(()) } else { Err(Errno::NOSPC) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_document_leaves_nothing_of_the_longer_one() {
        let path = std::env::temp_dir().join(format!("proa-shim-record-{}", std::process::id()));
        let mut file = RecordFile::open(&path).unwrap();
        file.store(&vec!["a long text"; 9]).unwrap();
        file.store(&[7]).unwrap();
        let read: Vec<i32> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read, [7]);
    }
}
