//! The database file, opened again after the disk refused.
//!
//! redb gives up for good when one write fails, a full disk for example; what was committed is whole. So the file is
//! closed and opened again by the next one who needs it, and the commits that had not reached the disk are repeated.

use crate::{Change, Error};
use redb::{Database, Durability, TableDefinition};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Pages kept in memory. The whole store is a few megabytes; the default of 1 GiB is for other users.
const CACHE_BYTES: usize = 4 << 20;
/// Records that are waiting for a commit that reaches the disk; more make the next commit one.
const WAITING: usize = 2048;

/// Values by table and key; none where one was removed.
type Waiting = BTreeMap<(&'static str, String), Option<Vec<u8>>>;

/// The open file.
pub(crate) struct File {
    path: PathBuf,
    open: Mutex<Open>,
    /// Whether it must be opened again. Beside the lock, which who opens it holds until its last user has noted this.
    failed: AtomicBool,
}

struct Open {
    /// None only while it cannot be opened again.
    database: Option<Arc<Database>>,
    waiting: Waiting,
}

impl File {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let database = Some(Arc::new(open(path)?));
        let open = Open { database, waiting: Waiting::new() };
        Ok(Self { path: path.into(), open: Mutex::new(open), failed: AtomicBool::new(false) })
    }

    /// The database; opened again if it failed.
    pub(crate) fn database(&self) -> Result<Arc<Database>, Error> {
        let mut open = self.lock();
        if self.failed.load(Ordering::Relaxed) {
            close(&mut open.database);
        }
        if let Some(database) = &open.database {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(self::open(&self.path)?);
        repeat(&database, &open.waiting).map_err(|source| self.failure(source))?;
        open.database = Some(Arc::clone(&database));
        self.failed.store(false, Ordering::Relaxed);
        Ok(database)
    }

    /// The error for a failure of the database, which is noted if it ends its use.
    pub(crate) fn failed(&self, source: impl Into<redb::Error>) -> Error {
        let source = source.into();
        if matches!(source, redb::Error::Io(_) | redb::Error::PreviousIo) {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.failure(source)
    }

    fn failure(&self, source: redb::Error) -> Error {
        Error::Storage { path: self.path.clone(), source }
    }

    /// Whether so much is waiting for the disk that the next commit must go there.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().waiting.len() >= WAITING
    }

    /// Notes a commit: after one that reached the disk nothing waits any more.
    pub(crate) fn committed(&self, reached: bool, changes: &[Change]) {
        let mut open = self.lock();
        if reached {
            open.waiting.clear();
            return;
        }
        let noted = changes.iter().map(|change| ((change.table, change.key.clone()), change.value.clone()));
        open.waiting.extend(noted);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    builder().create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => Error::Locked { path: path.into() },
        other => Error::Storage { path: path.into(), source: other.into() },
    })
}

/// How every database is opened.
pub(crate) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Closes a database that failed, once nobody uses it any more; leaves it if somebody does for long.
fn close(slot: &mut Option<Arc<Database>>) {
    for _ in 0..100 {
        let Some(database) = slot.take() else { return };
        match Arc::try_unwrap(database) {
            Ok(database) => return drop(database),
            Err(used) => *slot = Some(used),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes commits anew that were lost with the failure.
fn repeat(database: &Database, waiting: &Waiting) -> Result<(), redb::Error> {
    if waiting.is_empty() {
        return Ok(());
    }
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::None)?;
    for ((table, key), value) in waiting {
        let mut open = transaction.open_table(TableDefinition::<&str, &[u8]>::new(table))?;
        match value {
            Some(value) => drop(open.insert(key.as_str(), value.as_slice())?),
            None => drop(open.remove(key.as_str())?),
        }
    }
    Ok(transaction.commit()?)
}
