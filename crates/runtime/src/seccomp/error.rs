//! What can be wrong with a filter.

use proa_types::{ErrorKind, Kinded};

/// A failure to read, compile or install a filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This build cannot do it.
    #[error("seccomp is not supported by this build")]
    Unfinished,
    /// The text is not JSON of either form.
    #[error("seccomp profile cannot be read: {0}")]
    Json(serde_json::Error),
    /// The program cannot be loaded.
    #[error("cannot install seccomp filter: {0}")]
    Install(std::io::Error),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unfinished => ErrorKind::NotImplemented,
            Self::Json(_) => ErrorKind::InvalidArgument,
            Self::Install(_) => ErrorKind::Internal,
        }
    }
}
