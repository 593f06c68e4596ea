//! What can go wrong in the engine, in docker's words where scripts match on them.

use proa_types::{ErrorKind, Kinded};

/// A failure of an engine operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The container does not exist.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// A prefix fits several containers.
    #[error("Multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The exec does not exist.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// The network does not exist.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// A container has nothing at a path.
    #[error("Could not find the file {path} in container {container}")]
    NoSuchPath {
        /// The path.
        path: String,
        /// The container, as it was named.
        container: String,
    },
    /// The object's owner does not want it.
    #[error("{0}")]
    Forbidden(String),
    /// An archive that was to be unpacked into a container.
    #[error(transparent)]
    Archive(proa_image::tar::Error),
    /// The request contradicts itself or is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The object's state or another object forbids it.
    #[error("{0}")]
    Conflict(String),
    /// There is nothing to do.
    #[error("{0}")]
    NotModified(String),
    /// Known, and not part of this version.
    #[error("{0} is not supported by this version of Proa")]
    Unsupported(String),
    /// The container could not be started.
    #[error("{message}")]
    Start {
        /// In docker's words.
        message: String,
        /// The kind.
        kind: ErrorKind,
        /// 126 or 127 where the program could not be executed.
        exit_code: Option<i32>,
    },
    /// A file or directory of the engine.
    #[error("{what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The state store.
    #[error(transparent)]
    State(#[from] proa_state::Error),
    /// An image.
    #[error(transparent)]
    Image(#[from] proa_image::Error),
    /// A volume.
    #[error(transparent)]
    Volume(#[from] proa_volume::Error),
    /// The network.
    #[error(transparent)]
    Network(#[from] proa_network::Error),
    /// A monitor.
    #[error(transparent)]
    Shim(#[from] proa_shim::Error),
    /// A log.
    #[error(transparent)]
    Log(#[from] proa_logs::Error),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] proa_distribution::Error),
    /// The worker that did it panicked: a bug.
    #[error("internal failure: {0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer(_) | Self::NoSuchExec(_) | Self::NoSuchNetwork(_) => ErrorKind::NotFound,
            Self::NoSuchPath { .. } => ErrorKind::NotFound,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::Archive(error) => error.kind(),
            Self::Ambiguous(_) | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::NotModified(_) => ErrorKind::NotModified,
            Self::Unsupported(_) => ErrorKind::NotImplemented,
            Self::Start { kind, .. } => *kind,
            Self::Io { source, .. } => ErrorKind::of_io(source),
            Self::State(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Volume(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Shim(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}
