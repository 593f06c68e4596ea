//! What can go wrong with a log.

use proa_types::{ErrorKind, Kinded};
use std::path::PathBuf;

/// A failure of a log. The texts of what is refused are docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such driver.
    #[error("logger: no log driver named '{0}' is registered")]
    UnknownDriver(String),
    /// A driver of docker's that there is not.
    #[error(
        "logger: no log driver named '{0}' is registered: it is not supported; use json-file, local, syslog, gelf, \
         fluentd, journald or none (a collector that speaks fluentd, gelf or syslog can pass the log on)"
    )]
    Unsupported(String),
    /// A driver does not have this option.
    #[error("unknown log opt '{option}' for {driver} log driver")]
    UnknownOption {
        /// The driver.
        driver: &'static str,
        /// The option.
        option: String,
    },
    /// An option's value is refused.
    #[error("{0}")]
    Value(String),
    /// A tag or a label's expression that is none.
    #[error("{0}")]
    Template(#[from] proa_template::TemplateError),
    /// The driver keeps nothing that could be read.
    #[error("configured logging driver does not support reading")]
    NotReadable,
    /// A log's receiver.
    #[error("{peer}: {source}")]
    Peer {
        /// As docker names it: `dial tcp 10.0.0.1:514`.
        peer: String,
        /// What the kernel says.
        source: std::io::Error,
    },
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

    pub(crate) fn value(text: impl Into<String>) -> Self {
        Self::Value(text.into())
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownDriver(_)
            | Self::Unsupported(_)
            | Self::UnknownOption { .. }
            | Self::Value(_)
            | Self::Template(_) => ErrorKind::InvalidArgument,
            Self::NotReadable => ErrorKind::NotImplemented,
            Self::Peer { source, .. } | Self::Io { source, .. } => ErrorKind::of_io(source),
        }
    }
}
