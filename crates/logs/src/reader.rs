//! Reading back: the last lines, a span of time, and what is still being written.
//!
//! Memory is bounded: files are read in blocks, and `tail` first finds its place by going backwards over the current
//! file. A line that a crash cut short is passed over. Who follows goes from each file to the one that came after it,
//! however often they were rotated meanwhile.

use crate::chain::{self, Link};
use crate::config::Form;
use crate::{Error, LogConfig, Record, Stream, json, local};
use proa_types::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Only records from then on; never (0) means all.
    pub since: Timestamp,
    /// Only records until then; never (0) means all.
    pub until: Timestamp,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Whether more may come.
    pub follow: bool,
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
}

/// Most records of one batch.
const BATCH: usize = 512;
/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// Reads one container's log.
pub struct Reader {
    config: LogConfig,
    options: ReadOptions,
    /// Records found ahead by `tail`.
    ahead: VecDeque<Record>,
    /// Older files still to come, oldest first.
    older: VecDeque<Link>,
    /// The file that is read: at last the current one, which is followed.
    current: Option<Link>,
    /// The file that was read last, to find the one after it.
    inode: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done.
    used: usize,
    watch: Option<OwnedFd>,
    at_end: bool,
}

impl Reader {
    /// Opens a log. With `follow`, [`Reader::fd`] becomes readable when there may be more.
    ///
    /// # Errors
    /// [`Error::NotReadable`] for the driver `none`; [`Error::Io`].
    pub fn open(config: &LogConfig, options: ReadOptions) -> Result<Self, Error> {
        if !config.readable {
            return Err(Error::NotReadable);
        }
        // Watching begins before reading, so that nothing falls between.
        let watch = if options.follow { Some(watch(config)?) } else { None };
        // The current file first: what is rotated meanwhile is then among the older ones, and known by its inode.
        let newest = match File::open(&config.path) {
            Ok(_) => chain::open(&config.path, 0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(&config.path)(error)),
        };
        let mut older: VecDeque<Link> = (1..config.max_file.max(1))
            .rev()
            .filter_map(|number| chain::open(&config.path, number))
            .collect();
        if let Some(newest) = newest {
            older.retain(|link| link.inode != newest.inode);
            older.push_back(newest);
        }
        let mut reader = Self {
            config: config.clone(),
            ahead: VecDeque::new(),
            current: None,
            inode: 0,
            older,
            buffer: Vec::new(),
            used: 0,
            watch,
            at_end: false,
            options,
        };
        if let Some(tail) = reader.options.tail {
            reader.find_tail(tail)?;
        }
        Ok(reader)
    }

    /// Becomes readable when more may have been written; only with `follow`.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// The next records. An empty batch means that there is no more now, and without `follow` that there is no more
    /// at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn next_batch(&mut self) -> Result<Vec<Record>, Error> {
        self.clear_watch();
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(record) = self.next()? else { break };
            if !self.options.until.is_never() && record.time > self.options.until {
                // Records are in the order of time: nothing wanted comes behind.
                self.at_end = true;
                break;
            }
            if self.wanted(&record) {
                batch.push(record);
            }
        }
        Ok(batch)
    }

    /// Whether `until` was passed: nothing wanted can come any more.
    pub fn is_past_end(&self) -> bool {
        self.at_end
    }

    fn wanted(&self, record: &Record) -> bool {
        let stream = match record.stream {
            Stream::Stdout => self.options.stdout,
            Stream::Stderr => self.options.stderr,
        };
        stream && (self.options.since.is_never() || record.time >= self.options.since)
    }

    fn next(&mut self) -> Result<Option<Record>, Error> {
        if let Some(record) = self.ahead.pop_front() {
            return Ok(Some(record));
        }
        loop {
            if let Some((record, length)) = self.parse() {
                self.used += length;
                if let Some(record) = record {
                    return Ok(Some(record));
                }
                continue;
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The record at the beginning of the buffer and its length. A damaged line is passed over as no record.
    fn parse(&self) -> Option<(Option<Record>, usize)> {
        let rest = self.buffer.get(self.used..)?;
        match self.config.form() {
            Form::Framed => match local::decode(rest) {
                Some((record, length)) => Some((Some(record), length)),
                None if rest.len() > local::HEAD + crate::LINE + local::TAIL => Some((None, 1)),
                None => None,
            },
            Form::Json | Form::Nothing => {
                let end = memchr::memchr(b'\n', rest)? + 1;
                Some((json::decode(rest.get(..end)?), end))
            }
        }
    }

    /// Reads more; whether there was more.
    fn fill(&mut self) -> Result<bool, Error> {
        loop {
            if self.current.is_some() && self.read()? {
                return Ok(true);
            }
            if let Some(next) = self.older.pop_front() {
                self.begin(next);
                continue;
            }
            if !self.options.follow {
                return Ok(false);
            }
            let next = match self.inode {
                0 => chain::oldest(&self.config.path, self.config.max_file),
                inode => chain::successor(&self.config.path, self.config.max_file, inode),
            };
            let Some(next) = next else { return Ok(false) };
            // What was written before the rotation is there now, and nothing comes behind.
            if self.current.is_some() && self.read()? {
                return Ok(true);
            }
            self.begin(next);
        }
    }

    /// Goes on with another file. What is left of the one before is a line that a crash cut short.
    fn begin(&mut self, link: Link) {
        self.inode = link.inode;
        self.current = Some(link);
        self.buffer.clear();
        self.used = 0;
    }

    /// Reads more of the file; whether there was more.
    fn read(&mut self) -> Result<bool, Error> {
        let Some(link) = self.current.as_mut() else { return Ok(false) };
        self.buffer.drain(..self.used);
        self.used = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + BLOCK, 0);
        let read = link.source.read(self.buffer.get_mut(held..).unwrap_or_default());
        self.buffer.truncate(held + read.as_ref().map_or(0, |n| *n));
        match read {
            Ok(n) => Ok(n > 0),
            // A compressed file that is damaged ends there.
            Err(_) if link.packed => Ok(false),
            Err(error) => Err(Error::io(&self.config.path)(error)),
        }
    }

    /// Reads everything there is and keeps the last `tail` lines. Pieces of a long line count as one.
    fn find_tail(&mut self, tail: u64) -> Result<(), Error> {
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        if tail > 0 && tail < usize::MAX {
            self.skip_to_tail(tail)?;
        }
        let mut kept: VecDeque<Record> = VecDeque::new();
        let mut lines = 0;
        while let Some(record) = self.next()? {
            if !self.wanted(&record) {
                continue;
            }
            lines += usize::from(record.data.ends_with(b"\n"));
            kept.push_back(record);
            let open_end = kept.back().is_some_and(|record| !record.data.ends_with(b"\n"));
            while lines + usize::from(open_end) > tail {
                let Some(first) = kept.pop_front() else { break };
                lines -= usize::from(first.data.ends_with(b"\n"));
                if kept.is_empty() {
                    break;
                }
            }
        }
        self.ahead = kept;
        Ok(())
    }

    /// Begins near the end where the current file alone surely has enough lines, so that a short tail of a long log
    /// is cheap.
    fn skip_to_tail(&mut self, tail: usize) -> Result<(), Error> {
        use std::io::{Seek, SeekFrom};
        if self.config.form() != Form::Json || !(self.options.stdout && self.options.stderr) {
            return Ok(());
        }
        let path = self.config.path.clone();
        let Ok(mut file) = File::open(&path) else { return Ok(()) };
        let meta = file.metadata().map_err(Error::io(&path))?;
        if self.older.back().is_none_or(|link| link.inode != chain::identity(&meta)) {
            return Ok(());
        }
        let (mut at, mut found) = (meta.len(), 0);
        let mut block = vec![0; BLOCK];
        while at > 0 && found <= tail {
            let begin = at.saturating_sub(BLOCK as u64);
            let length = usize::try_from(at - begin).unwrap_or(BLOCK);
            file.seek(SeekFrom::Start(begin)).map_err(Error::io(&path))?;
            let part = block.get_mut(..length).unwrap_or_default();
            file.read_exact(part).map_err(Error::io(&path))?;
            found += memchr::memchr_iter(b'\n', part).count();
            at = begin;
        }
        if found > tail {
            file.seek(SeekFrom::Start(at)).map_err(Error::io(&path))?;
            self.older.clear();
            self.older.push_back(Link {
                source: Box::new(file),
                inode: chain::identity(&meta),
                packed: false,
            });
        }
        Ok(())
    }

    fn clear_watch(&self) {
        if let Some(watch) = &self.watch {
            let mut events = [0; 4096];
            while rustix::io::read(watch, &mut events).is_ok_and(|n| n > 0) {}
        }
    }
}

/// Watches the directory of the log: writes, and the new file of a rotation.
fn watch(config: &LogConfig) -> Result<OwnedFd, Error> {
    use rustix::fs::inotify;
    let dir = config.path.parent().unwrap_or(&config.path);
    let failed = |errno: rustix::io::Errno| Error::io(dir)(errno.into());
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, dir, flags).map_err(failed)?;
    Ok(fd)
}
