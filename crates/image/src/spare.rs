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
    /// What the last container stood on.
    last: String,
}

/// The spares of one driver.
pub(crate) struct Spares {
    shared: Arc<Mutex<Shared>>,
    taken: SyncSender<()>,
}

impl Spares {
    /// Starts with no spare: the first start makes its own. Those of an earlier run are swept by the store.
    pub(crate) fn open(home: &Path) -> Result<Self> {
        let dir = home.to_owned();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let (taken, wanted) = sync_channel(1);
        let spares = Arc::clone(&shared);
        let work = move || fill(&dir, &spares, &wanted);
        std::thread::Builder::new()
            .name("spares".into())
            .spawn(work)
            .map_err(Error::io("cannot start a thread"))?;
        Ok(Self { shared, taken })
    }

    /// Takes a spare, if there is one, and has it replaced. One that says `layers` is preferred.
    pub(crate) fn take(&self, layers: &str) -> Option<Spare> {
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
fn fill(dir: &Path, shared: &Mutex<Shared>, wanted: &Receiver<()>) {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = 0u64;
    while wanted.recv().is_ok() {
        std::thread::sleep(PAUSE);
        loop {
            let layers = {
                let shared = lock();
                if shared.ready.len() >= READY {
                    break;
                }
                shared.last.clone()
            };
            let spare = Spare { dir: dir.join(format!("{PREFIX}{next}")), layers };
            next += 1;
            if make(&spare.dir, &spare.layers).is_err() {
                // A full disk, or the store is gone: starts make their own and tell what is wrong.
                let _ = crate::snapshot::remove_tree(&spare.dir);
                break;
            }
            lock().ready.push(spare);
        }
    }
}

/// Makes the directories of one container: itself, `upper` (mode 755, whatever the umask) and `work`; and
/// notes in `layers` what it stands on.
pub(crate) fn make(dir: &Path, layers: &str) -> std::io::Result<()> {
    mkdirat(CWD, dir, Mode::from_raw_mode(0o710))?;
    let upper = dir.join("upper");
    mkdirat(CWD, &upper, Mode::from_raw_mode(0o755))?;
    chmodat(CWD, &upper, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    mkdirat(CWD, dir.join("work"), Mode::from_raw_mode(0o700))?;
    std::fs::write(dir.join("layers"), layers)
}
