//! What can go wrong with a cgroup.

use proa_types::{ErrorKind, Kinded};
use std::path::PathBuf;

/// A failure of a cgroup operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path cannot name a cgroup.
    #[error("invalid cgroup path {path:?}: {reason}")]
    Path {
        /// What was asked.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The host has no cgroup hierarchy mounted that can be used.
    #[error("no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup and try again")]
    NoHierarchy,
    /// A limit has a value the kernel does not know.
    #[error("invalid {limit}: {reason}")]
    Value {
        /// Which limit, as a user knows it.
        limit: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel or its set-up has no way to do this.
    #[error("{feature} is not supported by this host: {reason}")]
    Unsupported {
        /// What was asked.
        feature: String,
        /// Why it cannot be.
        reason: String,
    },
    /// The kernel refused a value.
    #[error("cannot write {value:?} to {file}: {source}{hint}")]
    Write {
        /// The file, with its cgroup.
        file: PathBuf,
        /// The value.
        value: String,
        /// What the kernel says.
        source: std::io::Error,
        /// What to do about it, beginning with a blank; or nothing.
        hint: &'static str,
    },
    /// A file or directory of a cgroup failed.
    #[error("cannot {action} cgroup {path}: {source}")]
    Io {
        /// `create`, `open`, `read`, `remove` and so on.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// Processes did not stop or end in time.
    #[error("cgroup {path}: {what} within {seconds} s")]
    Timeout {
        /// The cgroup.
        path: PathBuf,
        /// What did not happen.
        what: &'static str,
        /// How long it was awaited, in seconds.
        seconds: u64,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Path { .. } | Self::Value { .. } => ErrorKind::InvalidArgument,
            Self::NoHierarchy | Self::Unsupported { .. } => ErrorKind::NotImplemented,
            Self::Write { source, .. } => match source.raw_os_error() {
                Some(libc::EBUSY) => ErrorKind::Conflict,
                Some(libc::EINVAL | libc::ERANGE) => ErrorKind::InvalidArgument,
                _ => ErrorKind::of_io(source),
            },
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::Timeout { .. } => ErrorKind::Internal,
        }
    }
}
