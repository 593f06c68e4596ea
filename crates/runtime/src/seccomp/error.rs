//! What can be wrong with a filter.

use proa_types::{ErrorKind, Kinded};

/// A failure to read, compile or install a filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON of either form.
    #[error("seccomp profile cannot be read: {0}")]
    Json(serde_json::Error),
    /// The profile is larger than any honest one.
    #[error("seccomp profile is too large: {what} exceeds {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How much would be accepted.
        limit: usize,
    },
    /// A word of the profile is not known.
    #[error("seccomp profile: unknown {what} {word:?}: {known}")]
    Unknown {
        /// `action`, `operator`, `architecture`, `flag` and so on.
        what: &'static str,
        /// The word.
        word: String,
        /// What is known.
        known: &'static str,
    },
    /// A rule contradicts itself.
    #[error("seccomp profile: {rule}: {reason}")]
    Rule {
        /// The rule, by its first system call.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// The compiled program would be longer than the kernel accepts.
    #[error("seccomp profile compiles to {0} instructions, the kernel accepts 4096: use fewer conditions")]
    TooLong(usize),
    /// Bytes that are no compiled program.
    #[error("seccomp program is damaged")]
    Damaged,
    /// The program cannot be loaded.
    #[error("cannot install seccomp filter: {0}")]
    Install(std::io::Error),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Json(_)
            | Self::TooLarge { .. }
            | Self::Unknown { .. }
            | Self::Rule { .. }
            | Self::TooLong(_) => ErrorKind::InvalidArgument,
            Self::Damaged | Self::Install(_) => ErrorKind::Internal,
        }
    }
}
