//! The files of a log, read by the process that sends them away: from where it was left, in order, while they are
//! written and rotated.

use crate::chain::{self, Link};
use crate::file::rotated;
use crate::{Error, LogConfig, Record, local};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes read at once.
const BLOCK: usize = 64 << 10;
/// Bytes of the file that says what has been sent.
const CURSOR: usize = 512;

/// What of a log has been sent, and what never will be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The file that is read.
    inode: u64,
    /// Where in it the first line is that has not been sent.
    offset: u64,
    /// Lines behind that.
    pub(crate) owed: i64,
    /// Lines that have been sent.
    pub sent: u64,
    /// Lines that were lost: the receiver was away, or slower than the container, for too long.
    pub lost: u64,
}

impl Cursor {
    /// Of a log that is sent away; none if nothing has been sent yet.
    pub fn read(log: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(log)).ok()?).ok()
    }
}

fn path(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".cursor");
    name.into()
}

/// The file with the cursor; only one process has it open.
pub(crate) struct CursorFile(File);

impl CursorFile {
    /// Opens it; none while another process sends this log.
    pub(crate) fn open(log: &Path) -> Result<Option<Self>, Error> {
        use rustix::fs::{FlockOperation, flock};
        let path = path(log);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o640);
        let file = options.open(&path).map_err(Error::io(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io(path)(error.into())),
        }
    }

    pub(crate) fn load(&mut self) -> Cursor {
        let mut bytes = Vec::new();
        let _ = (&self.0).take(CURSOR as u64).read_to_end(&mut bytes);
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// One write of less than a page, which a kill does not cut in two.
    pub(crate) fn store(&self, cursor: &Cursor) {
        let mut bytes = serde_json::to_vec(cursor).unwrap_or_default();
        bytes.resize(CURSOR, b' ');
        let _ = self.0.write_all_at(&bytes, 0);
    }
}

/// The files, and where reading stands.
pub(crate) struct Spool {
    path: PathBuf,
    files: u32,
    /// Bytes after which a file is rotated.
    full: u64,
    link: Link,
    /// Bytes of the current file before those that are held.
    before: u64,
    held: Vec<u8>,
    /// Bytes of `held` that were given.
    given: usize,
}

impl Spool {
    /// Opens a log where the cursor stands. The current file is there already.
    pub(crate) fn open(config: &LogConfig, cursor: &Cursor) -> Result<Self, Error> {
        let gone = || Error::io(&config.path)(std::io::ErrorKind::NotFound.into());
        let files = config.max_file;
        let found = chain::number_of(&config.path, files, cursor.inode).filter(|_| cursor.inode != 0);
        let link = found.and_then(|number| chain::open(&config.path, number));
        let known = link.as_ref().is_some_and(|link| link.inode == cursor.inode);
        let link = link.filter(|_| known).or_else(|| chain::oldest(&config.path, files)).ok_or_else(gone)?;
        let mut spool = Self {
            path: config.path.clone(),
            files,
            full: config.max_size,
            link,
            before: 0,
            held: Vec::new(),
            given: 0,
        };
        if known {
            let mut passed = (&mut spool.link.source).take(cursor.offset);
            spool.before =
                std::io::copy(&mut passed, &mut std::io::sink()).map_err(Error::io(&config.path))?;
        }
        Ok(spool)
    }

    /// Where the first record is that was not given.
    pub(crate) fn mark(&self, cursor: &mut Cursor) {
        cursor.inode = self.link.inode;
        cursor.offset = self.before + self.given as u64;
    }

    /// The next records, of about `most` bytes; none when there are no more now.
    pub(crate) fn next(&mut self, most: u64) -> Result<Vec<Record>, Error> {
        loop {
            let mut records = Vec::new();
            let begin = self.given as u64;
            while self.given as u64 - begin < most {
                let rest = self.held.get(self.given..).unwrap_or_default();
                match local::decode(rest) {
                    Some((record, length)) => {
                        self.given += length;
                        records.push(record);
                    }
                    // Damage is passed over byte by byte.
                    None if rest.len() > local::HEAD + crate::LINE + local::TAIL => self.given += 1,
                    None => break,
                }
            }
            if !records.is_empty() {
                return Ok(records);
            }
            if !self.fill()? && !self.advance()? {
                return Ok(Vec::new());
            }
        }
    }

    /// Reads more of the file; whether there was more.
    fn fill(&mut self) -> Result<bool, Error> {
        self.held.drain(..self.given);
        self.before += self.given as u64;
        self.given = 0;
        let held = self.held.len();
        self.held.resize(held + BLOCK, 0);
        let read = self.link.source.read(self.held.get_mut(held..).unwrap_or_default());
        self.held.truncate(held + read.as_ref().map_or(0, |n| *n));
        // What a compressed file has no more of, it has no more of.
        match read {
            Ok(n) => Ok(n > 0),
            Err(_) if self.link.packed => Ok(false),
            Err(error) => Err(Error::io(&self.path)(error)),
        }
    }

    /// Goes on with the next file, or with this one if more has come; whether there is one.
    fn advance(&mut self) -> Result<bool, Error> {
        let Some(next) = chain::successor(&self.path, self.files, self.link.inode) else { return Ok(false) };
        // What was written before the rotation is there now, and nothing comes behind.
        if self.fill()? {
            return Ok(true);
        }
        self.link = next;
        (self.before, self.given) = (0, 0);
        self.held.clear();
        Ok(true)
    }

    /// Bytes that were written and not given yet.
    pub(crate) fn lag(&self) -> u64 {
        let size = |number| {
            let path = if number == 0 { self.path.clone() } else { rotated(&self.path, number, "") };
            // What is compressed was full.
            std::fs::metadata(path).map_or(self.full, |meta| meta.len())
        };
        let Some(number) = chain::number_of(&self.path, self.files, self.link.inode) else { return 0 };
        let own = size(number).saturating_sub(self.before + self.given as u64);
        own + (0..number).map(size).sum::<u64>()
    }
}
