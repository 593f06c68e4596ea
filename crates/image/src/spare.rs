//! Directories for containers, made ahead: a start then renames one instead of making three and a file.
//!
//! It is more than the calls saved: for a minute after inodes were deleted, as `run --rm` does all the time,
//! ext4 takes up to half a millisecond to allocate one (it avoids those just freed). So nothing is allocated
//! at a start: a spare also has the file `layers`, with what the last container stood on.
//!
//! Spares lie beside the containers (a rename within a directory is the cheap one) and are nothing until
//! they are renamed. A worker makes new
//! ones a moment after one was taken, when the start that took it no longer needs the processor.

use crate::{Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, chmodat, mkdirat};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How names of spares begin.
pub(crate) const PREFIX: &str = "spare-";
/// Spares kept ready.
const READY: usize = 8;
/// How long the worker waits after a spare was taken.
const PAUSE: Duration = Duration::from_millis(25);

/// A spare, and what its file `layers` says.
pub(crate) struct Spare {
    pub(crate) dir: PathBuf,
    pub(crate) layers: String,
}

/// What the worker and the starts share.
#[derive(Default)]
struct Shared {
    ready: Vec<Spare>,
    /// Number of the next spare.
    next: u64,
    /// What the last container stood on.
    last: String,
}

/// The spares of one driver.
pub(crate) struct Spares {
    home: PathBuf,
    shared: Arc<Mutex<Shared>>,
    taken: SyncSender<()>,
}

impl Spares {
    /// Starts with no spare: the first start makes its own. Those of an earlier run are swept by the store.
    pub(crate) fn open(home: &Path) -> Result<Self> {
        let dir = home.to_owned();
        let home = home.to_owned();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let (taken, wanted) = sync_channel(1);
        let spares = Arc::clone(&shared);
        let work = move || fill(&dir, &spares, &wanted);
        std::thread::Builder::new()
            .name("spares".into())
            .spawn(work)
            .map_err(Error::io("cannot start a thread"))?;
        Ok(Self { home, shared, taken })
    }

    /// A spare, made now if there is none, and replaced behind the start. One that says `layers` is preferred.
    pub(crate) fn take(&self, layers: &str) -> std::io::Result<Spare> {
        self.ready(layers).map_or_else(|| make(&self.home, &self.shared, layers), Ok)
    }

    fn ready(&self, layers: &str) -> Option<Spare> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = shared.ready.iter().rposition(|spare| spare.layers == layers);
        let spare = match fitting {
            Some(at) => Some(shared.ready.swap_remove(at)),
            None => shared.ready.pop(),
        };
        if shared.last != layers {
            shared.last = layers.to_owned();
        }
        drop(shared);
        // If the worker has been told already, that is enough.
        let _ = self.taken.try_send(());
        spare
    }
}

/// The worker; it ends with the driver.
fn fill(home: &Path, shared: &Mutex<Shared>, wanted: &Receiver<()>) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    while wanted.recv().is_ok() {
        std::thread::sleep(PAUSE);
        while lock().ready.len() < READY {
            let layers = lock().last.clone();
            // A full disk, or the store is gone: starts make their own and tell what is wrong.
            let Ok(spare) = make(home, shared, &layers) else { break };
            lock().ready.push(spare);
        }
    }
}

/// Makes a spare: the directory itself, `upper` (mode 755, whatever the umask) and `work`; and notes in
/// `layers` what it stands on.
fn make(home: &Path, shared: &Mutex<Shared>, layers: &str) -> std::io::Result<Spare> {
    let number = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.next += 1;
        shared.next
    };
    let dir = home.join(format!("{PREFIX}{number}"));
    let made = || -> std::io::Result<()> {
        mkdirat(CWD, &dir, Mode::from_raw_mode(0o710))?;
        let upper = dir.join("upper");
        mkdirat(CWD, &upper, Mode::from_raw_mode(0o755))?;
        chmodat(CWD, &upper, Mode::from_raw_mode(0o755), AtFlags::empty())?;
        mkdirat(CWD, dir.join("work"), Mode::from_raw_mode(0o700))?;
        std::fs::write(dir.join("layers"), layers)
    };
    match made() {
        Ok(()) => Ok(Spare { dir, layers: layers.to_owned() }),
        Err(error) => {
            let _ = crate::snapshot::remove_tree(&dir);
            Err(error)
        }
    }
}
