//! Container logs: drivers, rotation, reading back.
//!
//! A [`LogWriter`] is held by one container's monitor; a [`Reader`] reads what it wrote, also while it writes, and
//! also after a crash cut the last line short. Drivers: `json-file` in docker's form, `local` in a compact framed
//! form, `none`, and those that send the log away: `syslog`, `gelf`, `fluentd`, `journald`. Files are bounded by
//! default.
//!
//! What is sent away is written to files first, as for `local`; a process of its own reads them and speaks to the
//! receiver ([`sender`]).

mod chain;
mod config;
mod driver;
mod error;
mod file;
#[cfg(test)]
mod fuzz;
mod json;
mod local;
mod pack;
mod reader;
mod remote;
pub mod sender;
mod source;
mod split;
mod spool;

pub use config::LogConfig;
pub use driver::LogDriver;
pub use error::Error;
pub use pack::{Packing, compress};
pub use reader::{ReadOptions, Reader};
pub use remote::Remote;
pub use source::Source;
pub use split::LINE;
pub use spool::Cursor;

use proa_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A stream of a container's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line, or a piece of a long one, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was written.
    pub stream: Stream,
    /// When.
    pub time: Timestamp,
    /// Its bytes; a whole line ends with a newline.
    pub data: Vec<u8>,
    /// Labels and variables kept with it.
    pub attributes: BTreeMap<String, String>,
}

/// Keeps what a container writes.
pub trait LogWriter {
    /// Keeps a piece of output as it came: any bytes, any length. How many records it made.
    ///
    /// # Errors
    /// When the disk refuses; what could be kept is kept.
    fn write(&mut self, stream: Stream, time: Timestamp, bytes: &[u8]) -> Result<u64, Error>;

    /// What is held of a line that is not finished yet: it has been written, and cannot be read back.
    fn unfinished(&self, stream: Stream) -> &[u8];

    /// Keeps an unfinished last line of each stream: nothing more will come.
    ///
    /// # Errors
    /// As for [`LogWriter::write`].
    fn finish(&mut self, time: Timestamp) -> Result<u64, Error>;
}

/// Opens the writer of a configuration. Existing files are continued. `packing` starts what compresses files.
///
/// # Errors
/// When a file cannot be opened.
pub fn open_writer(config: &LogConfig, packing: Packing) -> Result<Box<dyn LogWriter>, Error> {
    Ok(match config.driver {
        LogDriver::None => Box::new(Nothing),
        _ => Box::new(file::Writer::open(config, packing)?),
    })
}

/// The driver `none`.
struct Nothing;

impl LogWriter for Nothing {
    fn write(&mut self, _: Stream, _: Timestamp, _: &[u8]) -> Result<u64, Error> {
        Ok(0)
    }

    fn unfinished(&self, _: Stream) -> &[u8] {
        &[]
    }

    fn finish(&mut self, _: Timestamp) -> Result<u64, Error> {
        Ok(0)
    }
}
