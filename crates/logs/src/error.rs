//! What can go wrong with a log.

use proa_types::{ErrorKind, Kinded};
use std::path::PathBuf;

/// A failure of a log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such driver.
    #[error("logger: no log driver named '{0}' is registered")]
    UnknownDriver(String),
    /// An option is unknown or has a bad value.
    #[error("unknown log opt '{option}' for {driver} log driver{detail}")]
    Option {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
        /// What is wrong with its value, beginning with `: `; or nothing.
        detail: String,
    },
    /// The driver keeps nothing that could be read.
    #[error("configured logging driver does not support reading")]
    NotReadable,
    /// A file.
    #[error("log file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownDriver(_) | Self::Option { .. } => ErrorKind::InvalidArgument,
            Self::NotReadable => ErrorKind::NotImplemented,
            Self::Io { source, .. } => ErrorKind::of_io(source),
        }
    }
}
