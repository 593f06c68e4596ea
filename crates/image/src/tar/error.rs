//! Why an archive was refused.

use proa_types::{ErrorKind, Kinded};

/// A refused archive, or a disk that refused what it holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a tar archive, or a broken one.
    #[error("not a valid tar archive at byte {at}: {problem}")]
    Broken {
        /// Position of the header at fault.
        at: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// It ends in the middle.
    #[error("the archive ends in the middle of {0}: it was cut short on its way")]
    Truncated(&'static str),
    /// An entry that must not be written.
    #[error("entry {path:?} {problem}")]
    Refused {
        /// Its name in the archive.
        path: String,
        /// Why.
        problem: &'static str,
    },
    /// An entry that would turn a directory of a container into something else, or the reverse.
    #[error("cannot overwrite {old} {path:?} with {new} {into:?}")]
    Kept {
        /// What is there.
        old: &'static str,
        /// Where.
        path: String,
        /// What the entry is.
        new: &'static str,
        /// The directory that is unpacked into.
        into: String,
    },
    /// A limit that keeps archives from exhausting the host.
    #[error("the archive has more than {limit} {what}")]
    TooMuch {
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The compressed stream is broken.
    #[error("cannot decompress: {0}")]
    Compression(std::io::Error),
    /// A form we do not read.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The stream itself failed.
    #[error("cannot read: {0}")]
    Read(std::io::Error),
    /// The disk or the kernel refused an entry.
    #[error("cannot write {path:?}: {source}")]
    Write {
        /// Its name in the archive.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { source, .. } if crate::error::exhausted(source) => ErrorKind::Exhausted,
            Self::Write { .. } => ErrorKind::Internal,
            Self::Read(_) => ErrorKind::Unavailable,
            _ => ErrorKind::InvalidArgument,
        }
    }
}
