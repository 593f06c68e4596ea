//! Transactional tables behind three verbs: `view` a snapshot, `update` atomically, `watch` what changed.
//!
//! A [`Table`] maps text keys to JSON values. Updates are serial; a failed or panicking update leaves nothing
//! behind. Where something must be unique (a name, an address, a port), keep a table keyed by it and use
//! [`Update::insert`], which refuses a key that is taken. The list of changes of each commit goes to every
//! watcher in commit order. Nothing here knows what the records mean.

mod file;

use file::File;
use proa_types::{ErrorKind, Kinded};
use redb::{Durability as RedbDurability, ReadableTable, TableDefinition};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the file open.
    #[error("state file {path} is in use by another daemon: stop it, or give this one another --data-root")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened, read or written.
    #[error("state file {path}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: redb::Error,
    },
    /// A record is not of the form expected: written by another version, or damaged.
    #[error("record {table}/{key} cannot be read: {source}")]
    Record {
        /// Its table.
        table: &'static str,
        /// Its key.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The key is taken.
    #[error("{key:?} is already in use in {table}")]
    Taken {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Taken { .. } => ErrorKind::Conflict,
            Self::Storage { source: redb::Error::Io(io), .. }
                if io.kind() == std::io::ErrorKind::StorageFull =>
            {
                ErrorKind::Exhausted
            }
            Self::Locked { .. } | Self::Storage { .. } | Self::Record { .. } => ErrorKind::Internal,
        }
    }
}

/// When a commit has reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before `update` returns: survives a power cut.
    Immediate,
    /// With the next immediate commit: survives the death of the daemon only if it is repeated on restart.
    Eventual,
}

/// How often a transaction is begun anew because others' failures end the database.
const TRIES: u32 = 16;

/// A table: text keys, JSON values.
pub struct Table<V> {
    name: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<V> Table<V> {
    /// Names a table. It is made when first written.
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    const fn definition(&self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

/// One changed record of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its table.
    pub table: &'static str,
    /// Its key.
    pub key: String,
    /// Its new value as JSON, or none if it was removed.
    pub value: Option<Vec<u8>>,
}

/// The store: one file, one process.
pub struct Store {
    file: File,
    /// Whose turn it is to write. redb lets one write at a time too, and those who wait there meet the failure of who
    /// went before.
    writing: Mutex<()>,
    watchers: Mutex<Vec<Sender<Vec<Change>>>>,
}

impl Store {
    /// Opens the file, making it if it is absent.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process holds it, [`Error::Storage`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            make(path).map_err(|source| Error::Storage { path: path.into(), source })?;
        }
        Ok(Self { file: File::open(path)?, writing: Mutex::default(), watchers: Mutex::default() })
    }

    /// Reads a consistent snapshot.
    ///
    /// # Errors
    /// [`Error::Storage`], and whatever `read` fails with.
    pub fn view<T, E: From<Error>>(&self, read: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let (_database, transaction) = self.begin(redb::ReadableDatabase::begin_read)?;
        read(&View { store: self, transaction })
    }

    /// Changes records atomically: all of what `change` did, or nothing if it fails.
    ///
    /// # Errors
    /// [`Error::Storage`], and whatever `change` fails with.
    pub fn update<T, E: From<Error>>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Update<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _turn = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (_database, mut transaction) = self.begin(redb::Database::begin_write)?;
        let reaches = durability == Durability::Immediate || self.file.is_behind();
        let level = if reaches { RedbDurability::Immediate } else { RedbDurability::None };
        transaction.set_durability(level).map_err(|e| self.failed(e))?;
        let mut update = Update { store: self, transaction, changes: Vec::new() };
        let value = change(&mut update)?;
        let Update { transaction, changes, .. } = update;
        // The lock is held over the commit, so that watchers see commits in order.
        let mut watchers = self.watchers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        transaction.commit().map_err(|e| self.failed(e))?;
        self.file.committed(reaches, &changes);
        if !changes.is_empty() {
            watchers.retain(|watcher| watcher.send(changes.clone()).is_ok());
        }
        Ok(value)
    }

    /// The changes of every later commit, in order. Dropping the receiver ends it.
    pub fn watch(&self) -> Receiver<Vec<Change>> {
        let (sender, receiver) = channel();
        self.watchers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(sender);
        receiver
    }

    /// Begins a transaction. A database that another's failure ended, while this one waited, is opened again.
    fn begin<T, E: Into<redb::Error>>(
        &self,
        begin: impl Fn(&redb::Database) -> Result<T, E>,
    ) -> Result<(Arc<redb::Database>, T), Error> {
        let mut tries = 0;
        loop {
            let database = self.file.database()?;
            let source = match begin(&database) {
                Ok(transaction) => return Ok((database, transaction)),
                Err(error) => error.into(),
            };
            drop(database);
            let ended_by_other = matches!(source, redb::Error::PreviousIo);
            let error = self.failed(source);
            tries += 1;
            if !ended_by_other || tries == TRIES {
                return Err(error);
            }
        }
    }

    fn failed(&self, source: impl Into<redb::Error>) -> Error {
        self.file.failed(source)
    }
}

/// Makes an empty store without a name and then gives it its name, so that a process killed meanwhile leaves nothing:
/// a file that is not whole would be refused for ever. Where the file system cannot do that (`O_TMPFILE`, open(2)) the
/// file is made in place when it is opened.
fn make(path: &Path) -> Result<(), redb::Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(parent, flags, Mode::from_raw_mode(0o600)) else { return Ok(()) };
    let file = std::fs::File::from(file);
    let backend = redb::backends::FileBackend::new(file.try_clone()?)?;
    drop(file::builder().create_with_backend(backend)?);
    file.sync_all()?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        // Another process was faster; no /proc: it is made in place.
        Ok(()) | Err(Errno::EXIST | Errno::NOENT) => Ok(()),
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}

/// A consistent snapshot of every table.
pub struct View<'a> {
    store: &'a Store,
    transaction: redb::ReadTransaction,
}

impl View<'_> {
    /// The record of `key`, if there is one.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Record`].
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, Error> {
        let Some(open) = self.open(table)? else { return Ok(None) };
        match open.get(key).map_err(|e| self.store.failed(e))? {
            Some(bytes) => decode(table, key, bytes.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Every record whose key starts with `prefix`, by key.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Record`].
    pub fn scan<V: DeserializeOwned>(
        &self,
        table: &Table<V>,
        prefix: &str,
    ) -> Result<Vec<(String, V)>, Error> {
        match self.open(table)? {
            Some(open) => scan(self.store, table, &open, prefix),
            None => Ok(Vec::new()),
        }
    }

    fn open<V>(
        &self,
        table: &Table<V>,
    ) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>, Error> {
        match self.transaction.open_table(table.definition()) {
            Ok(open) => Ok(Some(open)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.store.failed(error)),
        }
    }
}

/// A set of changes that will be committed together.
pub struct Update<'a> {
    store: &'a Store,
    transaction: redb::WriteTransaction,
    changes: Vec<Change>,
}

impl Update<'_> {
    /// The record of `key` as this update sees it.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Record`].
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &str) -> Result<Option<V>, Error> {
        let open = self.transaction.open_table(table.definition()).map_err(|e| self.store.failed(e))?;
        match open.get(key).map_err(|e| self.store.failed(e))? {
            Some(bytes) => decode(table, key, bytes.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Every record whose key starts with `prefix`, by key, as this update sees them.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Record`].
    pub fn scan<V: DeserializeOwned>(
        &self,
        table: &Table<V>,
        prefix: &str,
    ) -> Result<Vec<(String, V)>, Error> {
        let open = self.transaction.open_table(table.definition()).map_err(|e| self.store.failed(e))?;
        scan(self.store, table, &open, prefix)
    }

    /// Writes a record, replacing one that is there.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Record`].
    pub fn put<V: Serialize>(&mut self, table: &Table<V>, key: &str, value: &V) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value).map_err(|source| Error::Record {
            table: table.name,
            key: key.into(),
            source,
        })?;
        let mut open = self.transaction.open_table(table.definition()).map_err(|e| self.store.failed(e))?;
        open.insert(key, bytes.as_slice()).map_err(|e| self.store.failed(e))?;
        drop(open);
        self.changes.push(Change { table: table.name, key: key.into(), value: Some(bytes) });
        Ok(())
    }

    /// Writes a record whose key must be free.
    ///
    /// # Errors
    /// [`Error::Taken`] when it is not; [`Error::Storage`] or [`Error::Record`].
    pub fn insert<V: Serialize>(&mut self, table: &Table<V>, key: &str, value: &V) -> Result<(), Error> {
        let open = self.transaction.open_table(table.definition()).map_err(|e| self.store.failed(e))?;
        let taken = open.get(key).map_err(|e| self.store.failed(e))?.is_some();
        drop(open);
        if taken {
            return Err(Error::Taken { table: table.name, key: key.into() });
        }
        self.put(table, key, value)
    }

    /// Removes a record; whether it was there.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn remove<V>(&mut self, table: &Table<V>, key: &str) -> Result<bool, Error> {
        let mut open = self.transaction.open_table(table.definition()).map_err(|e| self.store.failed(e))?;
        let was = open.remove(key).map_err(|e| self.store.failed(e))?.is_some();
        drop(open);
        if was {
            self.changes.push(Change { table: table.name, key: key.into(), value: None });
        }
        Ok(was)
    }
}

fn scan<V: DeserializeOwned>(
    store: &Store,
    table: &Table<V>,
    open: &impl ReadableTable<&'static str, &'static [u8]>,
    prefix: &str,
) -> Result<Vec<(String, V)>, Error> {
    let mut records = Vec::new();
    for entry in open.range::<&str>(prefix..).map_err(|e| store.failed(e))? {
        let (key, bytes) = entry.map_err(|e| store.failed(e))?;
        if !key.value().starts_with(prefix) {
            break;
        }
        records.push((key.value().to_owned(), decode(table, key.value(), bytes.value())?));
    }
    Ok(records)
}

fn decode<V: DeserializeOwned>(table: &Table<V>, key: &str, bytes: &[u8]) -> Result<V, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Record {
        table: table.name,
        key: key.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Table<String> = Table::new("names");

    fn store(test: &str) -> (Store, PathBuf) {
        let path = std::env::temp_dir().join(format!("proa-state-{test}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        (Store::open(&path).unwrap(), path)
    }

    #[test]
    fn updates_are_atomic_unique_and_watched() {
        let (store, path) = store("atomic");
        let changes = store.watch();
        store
            .update(Durability::Immediate, |u| {
                u.insert(&NAMES, "web", &"1".to_owned())?;
                u.insert(&NAMES, "web2", &"2".to_owned())
            })
            .unwrap();
        let taken = store.update(Durability::Immediate, |u| {
            u.put(&NAMES, "other", &"3".to_owned())?;
            u.insert(&NAMES, "web", &"4".to_owned())
        });
        assert!(matches!(taken, Err(Error::Taken { .. })));
        let all = store.view(|v| v.scan(&NAMES, "w")).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(store.view(|v| v.get(&NAMES, "other")).unwrap(), None);
        assert_eq!(changes.try_recv().unwrap().len(), 2);
        assert!(changes.try_recv().is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_new_store_appears_whole_or_not_at_all() {
        let dir = std::env::temp_dir().join(format!("proa-state-new-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("state");
        make(&path).unwrap();
        // It has no other name, and is a store already.
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert!(redb::Database::open(&path).is_ok());
        make(&path).unwrap();
        let held = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
        drop(held);
        assert!(Store::open(Path::new("/nonexistent/state")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn one_process_holds_the_file_and_records_survive() {
        let (store, path) = store("reopen");
        store.update(Durability::Immediate, |u| u.put(&NAMES, "a", &"b".to_owned())).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.view(|v| v.get(&NAMES, "a")).unwrap().as_deref(), Some("b"));
        store.update(Durability::Eventual, |u| u.remove(&NAMES, "a")).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn on_a_full_disk_every_writer_is_told_so() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a small disk can be mounted by root only");
            return;
        }
        let disk = SmallDisk::mount();
        let store = Store::open(&disk.0.join("state")).unwrap();
        let table: Table<String> = Table::new("table");
        let text = "x".repeat(10_000);
        let errors: Vec<String> = std::thread::scope(|scope| {
            let write = |writer: usize| {
                let store = &store;
                let (table, text) = (&table, &text);
                move || -> Vec<String> {
                    let put = |n: usize| {
                        let level = [Durability::Immediate, Durability::Eventual][n % 2];
                        store.update(level, |u| u.put(table, &format!("{writer}-{n}"), text))
                    };
                    (0..150).filter_map(|n| put(n).err()).map(|error: Error| error.to_string()).collect()
                }
            };
            let writers: Vec<_> = (0..4).map(|writer| scope.spawn(write(writer))).collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        assert!(!errors.is_empty(), "the disk was not full");
        let other = errors.iter().find(|error| !error.contains("No space left on device"));
        assert_eq!(other, None);
    }

    /// A file system of 4 MiB.
    struct SmallDisk(std::path::PathBuf);

    impl SmallDisk {
        fn mount() -> Self {
            let dir = std::env::temp_dir().join(format!("proa-state-{}-disk", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let data = Some(c"size=4m");
            rustix::mount::mount("tmpfs", &dir, "tmpfs", rustix::mount::MountFlags::empty(), data).unwrap();
            Self(dir)
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
            let _ = std::fs::remove_dir(&self.0);
        }
    }
}
