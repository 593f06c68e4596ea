//! Reading back: the last lines, a span of time, and what is still being written.
//!
//! Memory is bounded: files are read in blocks, and `tail` first finds its place by going backwards over the current
//! file. A line that a crash cut short is passed over.

use crate::file::rotated;
use crate::{Error, LogConfig, LogDriver, Record, Stream, json, local};
use proa_types::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

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
    /// Sources still to come, oldest first.
    sources: VecDeque<Box<dyn Read + Send>>,
    /// The current file, read last and followed.
    current: Option<File>,
    buffer: Vec<u8>,
    watch: Option<OwnedFd>,
    at_end: bool,
}

impl Reader {
    /// Opens a log. With `follow`, [`Reader::fd`] becomes readable when there may be more.
    ///
    /// # Errors
    /// [`Error::NotReadable`] for the driver `none`; [`Error::Io`].
    pub fn open(config: &LogConfig, options: ReadOptions) -> Result<Self, Error> {
        if config.driver == LogDriver::None {
            return Err(Error::NotReadable);
        }
        // Watching begins before reading, so that nothing falls between.
        let watch = if options.follow { Some(watch(config)?) } else { None };
        let current = match File::open(&config.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(&config.path)(error)),
        };
        let mut reader = Self {
            config: config.clone(),
            ahead: VecDeque::new(),
            sources: older(config),
            current,
            buffer: Vec::new(),
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
                self.buffer.drain(..length);
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
        match self.config.driver {
            LogDriver::Local => match local::decode(&self.buffer) {
                Some((record, length)) => Some((Some(record), length)),
                None if self.buffer.len() > local::HEAD + crate::LINE + local::TAIL => Some((None, 1)),
                None => None,
            },
            LogDriver::JsonFile | LogDriver::None => {
                let end = self.buffer.iter().position(|byte| *byte == b'\n')? + 1;
                Some((json::decode(self.buffer.get(..end)?), end))
            }
        }
    }

    /// Reads more; whether there was more.
    fn fill(&mut self) -> Result<bool, Error> {
        let mut block = vec![0; BLOCK];
        while let Some(source) = self.sources.front_mut() {
            match source.read(&mut block) {
                Ok(0) | Err(_) => {
                    // A rotated file ends here; what is left of it is a line that a crash cut short.
                    self.sources.pop_front();
                    self.buffer.clear();
                }
                Ok(n) => {
                    self.buffer.extend_from_slice(block.get(..n).unwrap_or_default());
                    return Ok(true);
                }
            }
        }
        loop {
            let Some(file) = self.current.as_mut() else {
                return Ok(self.reopen());
            };
            let n = file.read(&mut block).map_err(Error::io(&self.config.path))?;
            if n > 0 {
                self.buffer.extend_from_slice(block.get(..n).unwrap_or_default());
                return Ok(true);
            }
            if !self.options.follow || !self.was_rotated() {
                return Ok(false);
            }
            self.current = None;
            self.buffer.clear();
        }
    }

    /// Opens the current file anew; whether it is there.
    fn reopen(&mut self) -> bool {
        self.current = if self.options.follow { File::open(&self.config.path).ok() } else { None };
        self.current.is_some()
    }

    /// Whether the file that is read is not the current one any more.
    fn was_rotated(&self) -> bool {
        let open = self.current.as_ref().and_then(|file| file.metadata().ok()).map(|meta| meta.ino());
        let named = std::fs::metadata(&self.config.path).ok().map(|meta| meta.ino());
        named.is_some() && open != named
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
        if self.config.driver != LogDriver::JsonFile || !(self.options.stdout && self.options.stderr) {
            return Ok(());
        }
        let path = self.config.path.clone();
        let Some(file) = self.current.as_mut() else { return Ok(()) };
        let size = file.metadata().map_err(Error::io(&path))?.len();
        let (mut at, mut found) = (size, 0);
        let mut block = vec![0; BLOCK];
        while at > 0 && found <= tail {
            let begin = at.saturating_sub(BLOCK as u64);
            let length = usize::try_from(at - begin).unwrap_or(BLOCK);
            file.seek(SeekFrom::Start(begin)).map_err(Error::io(&path))?;
            let part = block.get_mut(..length).unwrap_or_default();
            file.read_exact(part).map_err(Error::io(&path))?;
            found += part.iter().filter(|byte| **byte == b'\n').count();
            at = begin;
        }
        file.seek(SeekFrom::Start(at)).map_err(Error::io(&path))?;
        if found > tail {
            self.sources.clear();
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

/// Rotated files, oldest first.
fn older(config: &LogConfig) -> VecDeque<Box<dyn Read + Send>> {
    let mut sources: VecDeque<Box<dyn Read + Send>> = VecDeque::new();
    for number in (1..config.max_file.max(1)).rev() {
        if let Ok(file) = File::open(rotated(&config.path, number, "")) {
            sources.push_back(Box::new(file));
        } else if let Ok(file) = File::open(rotated(&config.path, number, ".gz")) {
            sources.push_back(Box::new(flate2::read::GzDecoder::new(file)));
        }
    }
    sources
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
