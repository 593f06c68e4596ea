//! Writing to files: one write for each batch, rotation by size.

use crate::split::Splitter;
use crate::{Error, LogConfig, LogDriver, LogWriter, Stream, json, local};
use proa_types::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The writer of the drivers that keep files.
pub(crate) struct Writer {
    config: LogConfig,
    file: File,
    size: u64,
    splitter: Splitter,
    batch: Vec<u8>,
}

impl Writer {
    pub(crate) fn open(config: &LogConfig) -> Result<Self, Error> {
        let file = open(&config.path)?;
        let size = file.metadata().map_err(Error::io(&config.path))?.len();
        Ok(Self { config: config.clone(), file, size, splitter: Splitter::default(), batch: Vec::new() })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let written = self.file.write_all(&batch).map_err(Error::io(&self.config.path));
        match &written {
            Ok(()) => self.size += batch.len() as u64,
            // A torn record would spoil the next one, which comes when the disk has room again.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        // The buffer is kept for the next batch, unless a burst made it large.
        self.batch = batch;
        self.batch.clear();
        self.batch.shrink_to(64 << 10);
        written?;
        if self.size >= self.config.max_size { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> Result<(), Error> {
        let path = &self.config.path;
        if self.config.max_file <= 1 {
            self.file.set_len(0).map_err(Error::io(path))?;
            self.size = 0;
            return Ok(());
        }
        for number in (1..self.config.max_file.saturating_sub(1)).rev() {
            for suffix in ["", ".gz"] {
                let (from, to) = (rotated(path, number, suffix), rotated(path, number + 1, suffix));
                let _ = std::fs::remove_file(&to);
                let _ = std::fs::rename(&from, &to);
            }
        }
        let first = rotated(path, 1, "");
        std::fs::rename(path, &first).map_err(Error::io(path))?;
        if self.config.compress {
            // A failure leaves the plain file, which reads as well.
            let _ = compress(&first, &rotated(path, 1, ".gz"));
        }
        self.file = open(path)?;
        self.size = 0;
        Ok(())
    }
}

impl LogWriter for Writer {
    fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<(), Error> {
        let Self { config, splitter, batch, .. } = self;
        let _ = splitter.feed(stream, bytes, |line| {
            append(config, batch, stream, time, line);
            Ok::<_, std::convert::Infallible>(())
        });
        if self.batch.is_empty() { Ok(()) } else { self.flush() }
    }

    fn unfinished(&self, stream: Stream) -> &[u8] {
        self.splitter.held(stream)
    }

    fn finish(&mut self, time: Timestamp) -> Result<(), Error> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.splitter.take(stream);
            if !rest.is_empty() {
                append(&self.config, &mut self.batch, stream, time, &rest);
            }
        }
        if self.batch.is_empty() { Ok(()) } else { self.flush() }
    }
}

fn append(config: &LogConfig, batch: &mut Vec<u8>, stream: Stream, time: Timestamp, line: &[u8]) {
    match config.driver {
        LogDriver::Local => local::encode(batch, stream, time, line),
        LogDriver::JsonFile | LogDriver::None => json::encode(batch, stream, time, line, &config.attributes),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640);
    options.open(path).map_err(Error::io(path))
}

/// The name of a rotated file.
pub(crate) fn rotated(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{suffix}"));
    name.into()
}

fn compress(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut encoder = flate2::write::GzEncoder::new(File::create(&new)?, flate2::Compression::fast());
    std::io::copy(&mut File::open(from)?, &mut encoder)?;
    encoder.finish()?;
    std::fs::rename(&new, to)?;
    std::fs::remove_file(from)
}
