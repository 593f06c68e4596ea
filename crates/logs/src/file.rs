//! Writing to files: one write for each batch, rotation by size.

use crate::config::Form;
use crate::pack::{Packer, Packing};
use crate::split::Splitter;
use crate::{Error, LogConfig, LogWriter, Stream, json, local};
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
    packer: Option<Packer>,
}

impl Writer {
    pub(crate) fn open(config: &LogConfig, packing: Packing) -> Result<Self, Error> {
        let file = open(&config.path)?;
        let size = file.metadata().map_err(Error::io(&config.path))?.len();
        let packer = config.compress.then(|| Packer::new(&config.path, config.max_file, packing));
        Ok(Self {
            config: config.clone(),
            file,
            size,
            splitter: Splitter::default(),
            batch: Vec::new(),
            packer,
        })
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
        if let Some(packer) = &mut self.packer {
            packer.look();
        }
        if self.size >= self.config.max_size { self.rotate() } else { Ok(()) }
    }

    /// A new file takes the place of the current one, which those who read it keep open.
    fn rotate(&mut self) -> Result<(), Error> {
        let path = &self.config.path;
        if self.config.max_file <= 1 {
            std::fs::remove_file(path).map_err(Error::io(path))?;
        } else {
            for number in (1..self.config.max_file.saturating_sub(1)).rev() {
                for suffix in ["", ".gz"] {
                    let (from, to) = (rotated(path, number, suffix), rotated(path, number + 1, suffix));
                    let _ = std::fs::remove_file(&to);
                    let _ = std::fs::rename(&from, &to);
                }
            }
            let _ = std::fs::remove_file(rotated(path, 1, ".gz"));
            std::fs::rename(path, rotated(path, 1, "")).map_err(Error::io(path))?;
        }
        self.file = open(path)?;
        self.size = 0;
        if let Some(packer) = &mut self.packer {
            packer.rotated();
        }
        Ok(())
    }
}

impl LogWriter for Writer {
    fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<u64, Error> {
        let Self { config, splitter, batch, .. } = self;
        let mut records = 0;
        let form = config.form();
        // The same for every line of the batch.
        let end = if form == Form::Json { json::end(stream, time, &config.attributes) } else { Vec::new() };
        splitter.feed(stream, bytes, |line| {
            records += 1;
            match form {
                Form::Framed => local::encode(batch, stream, time, line),
                Form::Json | Form::Nothing => json::encode(batch, line, &end),
            }
        });
        if !self.batch.is_empty() {
            self.flush()?;
        }
        Ok(records)
    }

    fn unfinished(&self, stream: Stream) -> &[u8] {
        self.splitter.held(stream)
    }

    fn finish(&mut self, time: Timestamp) -> Result<u64, Error> {
        let mut records = 0;
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = self.splitter.take(stream);
            if rest.is_empty() {
                continue;
            }
            records += 1;
            match self.config.form() {
                Form::Framed => local::encode(&mut self.batch, stream, time, &rest),
                Form::Json | Form::Nothing => {
                    json::encode(&mut self.batch, &rest, &json::end(stream, time, &self.config.attributes));
                }
            }
        }
        if !self.batch.is_empty() {
            self.flush()?;
        }
        Ok(records)
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
