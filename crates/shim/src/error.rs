//! What can go wrong between engine and shim.

use proa_types::{ErrorKind, Kinded};
use std::path::PathBuf;

/// A failure of a shim.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shim could not be started or reached.
    #[error("monitor {}: {source}", path.display())]
    Io {
        /// Its directory, or the file concerned.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The shim is gone.
    #[error("the container's monitor is gone")]
    Gone,
    /// It speaks another protocol.
    #[error("the container's monitor does not understand: {0}")]
    Protocol(String),
    /// The shim reports a failure.
    #[error("{message}")]
    Reported {
        /// Its words.
        message: String,
        /// The kind of failure.
        kind: ErrorKind,
        /// The exit code that docker gives a container that failed so: 126 or 127.
        exit_code: Option<i32>,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<std::io::Error>) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }

    /// 126 or 127, when the program could not be executed.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Reported { exit_code, .. } => *exit_code,
            _ => None,
        }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Gone => ErrorKind::Unavailable,
            Self::Protocol(_) => ErrorKind::Internal,
            Self::Reported { kind, .. } => *kind,
        }
    }
}
