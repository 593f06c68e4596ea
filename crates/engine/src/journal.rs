//! Where containers stand, line by line: what survives the death of this process without a commit for each change.
//!
//! A line is a container's whole record, or says that it is gone; the last line about a container counts. A line is
//! one write, so that a kill leaves it whole or torn at the end, and torn lines are passed over. The journal lies in
//! the exec root and need not survive a power cut: the store has every container that must, and is brought up to date
//! behind the changes ([`Engine::note`]). Containers with `--rm` are in the journal alone.

use crate::record::ContainerRecord;
use crate::state::State;
use crate::{Engine, Error};
use proa_state::Durability;
use proa_types::ContainerId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A journal shorter than this is not worth rewriting, in bytes.
const SHORT: u64 = 4 << 20;
/// How long changes are gathered before they go to the store together.
const GATHER: Duration = Duration::from_millis(500);

/// A line.
#[derive(Debug, Serialize, Deserialize)]
enum Line<R> {
    Is(R),
    Gone(ContainerId),
}

/// The journal, open for appending.
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<Appended>,
    /// Containers whose record in the store is not the last.
    behind: Mutex<HashSet<ContainerId>>,
    changed: tokio::sync::Notify,
}

struct Appended {
    file: File,
    length: u64,
    /// Its length after it was last rewritten.
    fresh: u64,
}

impl Appended {
    fn is_long(&self) -> bool {
        self.length > SHORT.max(self.fresh * 4)
    }
}

impl Journal {
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let file = append_to(&path)?;
        let length = file.metadata().map_or(0, |meta| meta.len());
        let file = Mutex::new(Appended { file, length, fresh: length });
        Ok(Self { path, file, behind: Mutex::default(), changed: tokio::sync::Notify::new() })
    }

    /// The last line about each container: its record, or none if it is gone.
    pub(crate) fn replay(&self) -> Result<BTreeMap<String, Option<ContainerRecord>>, Error> {
        let bytes = std::fs::read(&self.path).map_err(Error::io(self.path.display().to_string()))?;
        let lines = bytes.split(|byte| *byte == b'\n');
        let lines = lines.filter_map(|line| serde_json::from_slice::<Line<ContainerRecord>>(line).ok());
        Ok(lines
            .map(|line| match line {
                Line::Is(record) => (record.id.as_str().to_owned(), Some(record)),
                Line::Gone(id) => (id.as_str().to_owned(), None),
            })
            .collect())
    }

    /// Appends a line; whether the journal has grown so long that it is to be rewritten.
    fn append(&self, line: &Line<&ContainerRecord>) -> Result<bool, Error> {
        let bytes = bytes(line)?;
        let mut appended = self.appended();
        let written = appended.file.write(&bytes).map_err(Error::io(self.path.display().to_string()))?;
        appended.length += written as u64;
        if written < bytes.len() {
            // The rest of a full disk's last block: the next line must not continue this one.
            let _ = appended.file.write(b"\n");
            return Err(Error::io(self.path.display().to_string())(std::io::ErrorKind::StorageFull.into()));
        }
        Ok(appended.is_long())
    }

    /// Replaces the journal by one that has just these records.
    pub(crate) fn rewrite(&self, records: impl FnOnce() -> Vec<Arc<ContainerRecord>>) -> Result<(), Error> {
        let failed = || Error::io(self.path.display().to_string());
        // Held over all of it: what changes meanwhile is appended behind.
        let mut appended = self.appended();
        let mut all = Vec::new();
        for record in records() {
            all.extend(bytes(&Line::Is(&record))?);
        }
        let new = self.path.with_extension("new");
        let _ = std::fs::remove_file(&new);
        let mut file = append_to(&new)?;
        file.write_all(&all).and_then(|()| std::fs::rename(&new, &self.path)).map_err(failed())?;
        let length = all.len() as u64;
        *appended = Appended { file, length, fresh: length };
        Ok(())
    }

    fn appended(&self) -> MutexGuard<'_, Appended> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behind(&self) -> MutexGuard<'_, HashSet<ContainerId>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For root alone: records hold environments, and those hold secrets.
fn append_to(path: &PathBuf) -> Result<File, Error> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.map_err(Error::io(path.display().to_string()))
}

fn bytes(line: &Line<&ContainerRecord>) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec(line).map_err(|e| Error::Internal(e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

impl Engine {
    /// Notes where a container stands: in the journal now, and in the store a little later.
    pub(crate) fn note(&self, record: &ContainerRecord) -> Result<(), Error> {
        let is_long = self.journal.append(&Line::Is(record))?;
        if !record.ephemeral {
            self.journal.behind().insert(record.id.clone());
        }
        if is_long || !record.ephemeral {
            self.journal.changed.notify_one();
        }
        Ok(())
    }

    /// Notes that a container is gone.
    pub(crate) fn note_gone(&self, id: &ContainerId) -> Result<(), Error> {
        self.journal.append(&Line::Gone(id.clone())).map(drop)
    }

    /// The records a fresh journal has. One that is being removed may have been noted as gone.
    pub(crate) fn journalled(&self) -> Vec<Arc<ContainerRecord>> {
        let mut records: Vec<_> = self.all().into_iter().map(|container| container.record()).collect();
        records.retain(|record| record.state != State::Removing);
        records
    }

    /// Brings the store up to date, and the journal to its length.
    pub(crate) fn catch_up(&self) -> Result<(), Error> {
        if self.journal.appended().is_long() {
            self.journal.rewrite(|| self.journalled())?;
        }
        let behind = std::mem::take(&mut *self.journal.behind());
        if behind.is_empty() {
            return Ok(());
        }
        let written = self.store.update(Durability::Immediate, |update| {
            for container in behind.iter().filter_map(|id| self.find(id.as_str()).ok()) {
                let record = container.record();
                // Its removal may have been committed already.
                if record.state != State::Removing {
                    update.put(&crate::record::CONTAINERS, record.id.as_str(), &record)?;
                }
            }
            Ok::<_, Error>(())
        });
        if written.is_err() {
            self.journal.behind().extend(behind);
        }
        written
    }

    /// Keeps the store up to date from now on.
    pub(crate) fn keep_up(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(changed) = engine.upgrade() else { return };
                // Looked at now and then, so that it ends with the engine.
                let _ =
                    tokio::time::timeout(Duration::from_secs(10), changed.journal.changed.notified()).await;
                drop(changed);
                tokio::time::sleep(GATHER).await;
                let Some(engine) = engine.upgrade() else { return };
                let done = crate::engine::blocking(move || engine.catch_up()).await;
                if let Err(error) = done {
                    tracing::warn!(%error, "what containers became is not in the store yet; it is tried again");
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(name: &str) -> Journal {
        let path = std::env::temp_dir().join(format!("proa-engine-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Journal::open(path).unwrap()
    }

    #[test]
    fn the_last_whole_line_counts() {
        let journal = journal("lines");
        let (mut first, second) = (crate::system::plain_record(), crate::system::plain_record());
        first.id = ContainerId::random();
        let mut second = ContainerRecord { id: ContainerId::random(), ..second };
        for record in [&first, &second] {
            journal.append(&Line::Is(record)).unwrap();
        }
        second.restart_count = 7;
        journal.append(&Line::Is(&second)).unwrap();
        journal.append(&Line::Gone(first.id.clone())).unwrap();
        journal.appended().file.write_all(b"{\"Is\":{\"id\":\"torn").unwrap();
        let again = Journal::open(journal.path.clone()).unwrap().replay().unwrap();
        journal.rewrite(|| vec![Arc::new(second.clone())]).unwrap();
        journal.append(&Line::Gone(second.id.clone())).unwrap();
        let rewritten = journal.replay().unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&journal.path.metadata().unwrap().permissions());
        std::fs::remove_file(&journal.path).unwrap();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(again[first.id.as_str()], None);
        assert_eq!(again[second.id.as_str()].as_ref().map(|record| record.restart_count), Some(7));
        assert_eq!(rewritten.len(), 1);
        assert_eq!(rewritten[second.id.as_str()], None);
    }
}
