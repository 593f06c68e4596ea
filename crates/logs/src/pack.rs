//! Compressing rotated files, by a process of its own, so that neither the container nor its monitor waits for it.
//!
//! The process has two open files and knows no names: which name the result gets is settled when it is done, because
//! files may have been rotated meanwhile. One file is compressed at a time, the newest last; until its turn comes a
//! file stays as it is, and reads as well.

use crate::chain;
use crate::file::rotated;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;

/// Starts a process that runs [`compress`] with the first file as its standard input and the second as its output.
pub type Packing = fn(from: File, to: File) -> std::io::Result<Child>;

/// The face `proa log-compress`: standard input, compressed, is its standard output.
///
/// # Errors
/// What reading and writing say.
pub fn compress() -> std::io::Result<()> {
    let own = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map(File::from);
    let (mut from, to) = (own(rustix::stdio::stdin())?, own(rustix::stdio::stdout())?);
    // Whatever else the machine has to do comes first.
    let _ = rustix::process::nice(19);
    let extra = chain::extra(chain::identity(&from.metadata()?));
    let mut encoder = flate2::GzBuilder::new().extra(extra).write(to, flate2::Compression::fast());
    std::io::copy(&mut from, &mut encoder)?;
    encoder.finish().map(drop)
}

/// Has the rotated files of a log compressed.
pub(crate) struct Packer {
    path: PathBuf,
    files: u32,
    packing: Packing,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    child: Child,
    /// The file's number by now.
    number: u32,
}

impl Packer {
    pub(crate) fn new(path: &Path, files: u32, packing: Packing) -> Self {
        let _ = std::fs::remove_file(new(path));
        Self { path: path.into(), files, packing, under_way: None }
    }

    /// Every rotated file has the next number now.
    pub(crate) fn rotated(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.number += 1;
        }
        self.look();
        self.begin();
    }

    /// Settles what is done.
    pub(crate) fn look(&mut self) {
        let Some(under_way) = &mut self.under_way else { return };
        let done = match under_way.child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status.success(),
            // Somebody else has waited for it: whether it is whole cannot be known.
            Err(_) => false,
        };
        let number = under_way.number;
        self.under_way = None;
        let plain = rotated(&self.path, number, "");
        if done && number < self.files && plain.exists() {
            // A reader finds one of the two at every moment.
            let _ = std::fs::rename(new(&self.path), rotated(&self.path, number, ".gz"));
            let _ = std::fs::remove_file(plain);
        } else {
            let _ = std::fs::remove_file(new(&self.path));
        }
        if done {
            self.begin();
        }
    }

    /// Has the oldest file that is not compressed compressed.
    fn begin(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        let plain = |number: u32| File::open(rotated(&self.path, number, "")).ok().map(|file| (number, file));
        let Some((number, from)) = (1..self.files).rev().find_map(plain) else { return };
        let Ok(to) = File::create(new(&self.path)) else { return };
        if let Ok(child) = (self.packing)(from, to) {
            self.under_way = Some(UnderWay { child, number });
        }
    }
}

impl Drop for Packer {
    /// What is not done by the end of the container is not done at all.
    fn drop(&mut self) {
        self.look();
        if let Some(mut under_way) = self.under_way.take() {
            let _ = under_way.child.kill();
            let _ = under_way.child.wait();
            let _ = std::fs::remove_file(new(&self.path));
        }
    }
}

fn new(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz.new");
    name.into()
}
