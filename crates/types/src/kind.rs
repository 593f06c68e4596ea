//! The kinds of failure the whole product knows. One place (the API edge) maps a kind to an HTTP status,
//! one place (the command line) maps it to an exit code.

/// What sort of failure an error is, whatever crate it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist (404).
    NotFound,
    /// What was asked is malformed or contradicts itself (400).
    InvalidArgument,
    /// The object exists, but its state or another object forbids this (409).
    Conflict,
    /// Nothing to do: the object already is as asked (304).
    NotModified,
    /// Credentials are missing or wrong (401).
    Unauthorized,
    /// The caller may not do this (403).
    Forbidden,
    /// A service this needs does not answer (503).
    Unavailable,
    /// Known, but not supported by this build or host (501).
    NotImplemented,
    /// Something ran out: disk, addresses, processes (500).
    Exhausted,
    /// The caller gave up (499).
    Cancelled,
    /// The host or this program failed (500).
    Internal,
}

/// An error that knows its kind.
pub trait Kinded: std::error::Error {
    /// The kind of this failure.
    fn kind(&self) -> ErrorKind;
}

impl ErrorKind {
    /// The kind of an I/O failure, when nothing better is known.
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Self::NotFound,
            Io::PermissionDenied => Self::Forbidden,
            Io::InvalidInput | Io::InvalidData => Self::InvalidArgument,
            Io::AlreadyExists | Io::AddrInUse => Self::Conflict,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory => Self::Exhausted,
            _ => Self::Internal,
        }
    }
}
