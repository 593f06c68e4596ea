//! What can go wrong with a volume. Docker's texts where scripts match on them.

use proa_types::{ContainerId, ErrorKind, Kinded};
use std::path::PathBuf;

/// A failure of a volume operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such volume.
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// The name is not allowed.
    #[error(
        "create {0}: {0:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    InvalidName(String),
    /// The name is too short.
    #[error("create {0}: volume name is too short, names should be at least two alphanumeric characters")]
    ShortName(String),
    /// The name is too long for a directory.
    #[error("create {0}: volume name is longer than 255 bytes")]
    LongName(String),
    /// No driver of this name.
    #[error("error looking up volume plugin {0}: plugin {0:?} not found")]
    Driver(String),
    /// No driver of this name for a new volume.
    #[error("create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found")]
    CreateDriver {
        /// The volume.
        name: String,
        /// The driver.
        driver: String,
    },
    /// An option the driver does not know, or a wrong set of them.
    #[error("{0}")]
    Option(String),
    /// A volume of this name exists with another driver.
    #[error("create {0}: conflict: volume name must be unique")]
    Differs(String),
    /// A volume that must be new is there already.
    #[error("create {0}: a volume of this name exists: remove it, or choose another name")]
    Exists(String),
    /// Containers use a volume whose data or name must not change meanwhile.
    #[error("{action} {name}: volume is in use - [{}]", list(users))]
    Busy {
        /// What was to be done.
        action: &'static str,
        /// The volume.
        name: String,
        /// The containers.
        users: Vec<ContainerId>,
    },
    /// Containers use it.
    #[error("remove {name}: volume is in use - [{}]", list(users))]
    InUse {
        /// The volume.
        name: String,
        /// The containers.
        users: Vec<ContainerId>,
    },
    /// The volume's own mount failed.
    #[error("error while mounting volume '{}': failed to mount local volume: mount {device}:{}, {what}: {source}", mountpoint.display(), mountpoint.display())]
    Mount {
        /// What was mounted.
        device: String,
        /// Where.
        mountpoint: PathBuf,
        /// Type, flags and data.
        what: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A file failed.
    #[error("volume {name}: cannot {action} {}: {source}", path.display())]
    Io {
        /// The volume.
        name: String,
        /// What was done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    State(#[from] proa_state::Error),
}

fn list(users: &[ContainerId]) -> String {
    users.iter().map(ContainerId::as_str).collect::<Vec<_>>().join(", ")
}

impl Error {
    pub(crate) fn io(
        name: &str,
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io { name: name.to_owned(), action, path: path.into(), source: source.into() }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::Driver(_) | Self::CreateDriver { .. } => ErrorKind::NotFound,
            Self::InvalidName(_) | Self::ShortName(_) | Self::LongName(_) | Self::Option(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Differs(_) | Self::Exists(_) | Self::Busy { .. } | Self::InUse { .. } => {
                ErrorKind::Conflict
            }
            Self::Mount { .. } => ErrorKind::Internal,
            Self::Io { source, .. } => match ErrorKind::of_io(source) {
                ErrorKind::Exhausted => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::State(error) => error.kind(),
        }
    }
}
