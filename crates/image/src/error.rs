//! Why an image operation failed.

use proa_oci::Digest;
use proa_oci::reference::InvalidReference;
use proa_types::{ErrorKind, Kinded};

/// The result of an image operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed image operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image goes by this name or id. Docker's own words, which scripts match on.
    #[error("No such image: {0}")]
    NotFound(String),
    /// An id prefix that fits several images.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// Not a reference.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// A target that cannot be tagged.
    #[error("refusing to create a tag with a digest reference: {0}")]
    TagWithDigest(String),
    /// Containers or other names hold the image. Docker's own words.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The archive is not what it should be; `file` is its member at fault.
    #[error("archive member {file}: {problem}")]
    Archive {
        /// The member of the archive.
        file: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The archive as a whole is not an image.
    #[error("{0}")]
    NotAnImage(String),
    /// A layer could not be unpacked.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer, by digest or archive member.
        layer: String,
        /// Why.
        source: crate::tar::Error,
    },
    /// Content is not what its digest says.
    #[error("{what}: digest is {found}, expected {expected}: the content was damaged or changed on its way")]
    Mismatch {
        /// What was checked.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// An image document that cannot be read.
    #[error("{what}: {source}")]
    Document {
        /// Which document.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// An image that contradicts itself.
    #[error("image {image}: {problem}")]
    Inconsistent {
        /// Its id.
        image: String,
        /// What contradicts.
        problem: String,
    },
    /// An instruction of `import --change` or `commit --change` that is wrong.
    #[error("change {instruction:?}: {problem}")]
    Change {
        /// The whole instruction.
        instruction: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A filter of `images` that is wrong.
    #[error("invalid filter '{key}{}{value}'", if value.is_empty() { "" } else { "=" })]
    Filter {
        /// Its key.
        key: String,
        /// Its value; empty when the key itself is unknown.
        value: String,
    },
    /// A storage driver we do not have.
    #[error("storage driver {name:?}: {advice}")]
    Driver {
        /// As asked for.
        name: String,
        /// What to use in its place.
        advice: &'static str,
    },
    /// A blob that is not in the content store.
    #[error("blob {0} is not in the content store: pull the image again")]
    NoBlob(Digest),
    /// The disk or the kernel refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and on which file.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The table store failed.
    #[error(transparent)]
    State(#[from] proa_state::Error),
    /// The caller's stream ended in an error (network, client).
    #[error("{what}: {source}")]
    Stream {
        /// Which stream.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an I/O failure with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoBlob(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Ambiguous(_)
            | Self::Reference(_)
            | Self::TagWithDigest(_)
            | Self::Archive { .. }
            | Self::NotAnImage(_)
            | Self::Mismatch { .. }
            | Self::Document { .. }
            | Self::Inconsistent { .. }
            | Self::Filter { .. }
            | Self::Change { .. } => ErrorKind::InvalidArgument,
            Self::Driver { .. } => ErrorKind::NotImplemented,
            Self::Layer { source, .. } => source.kind(),
            Self::Io { source, .. } if exhausted(source) => ErrorKind::Exhausted,
            Self::Io { .. } => ErrorKind::Internal,
            Self::Stream { .. } => ErrorKind::Unavailable,
            Self::State(source) => source.kind(),
        }
    }
}

impl From<Error> for std::io::Error {
    /// Keeps the kind, where the failure was one of I/O.
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, .. } | Error::Stream { source, .. } => source,
            other => Self::other(other),
        }
    }
}

/// Whether the disk, a quota or memory ran out.
pub(crate) fn exhausted(error: &std::io::Error) -> bool {
    ErrorKind::of_io(error) == ErrorKind::Exhausted
}

/// Whether a layer failed for a reason that lies with the host, not with the layer.
pub(crate) fn fatal(error: &crate::tar::Error) -> bool {
    matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable)
}
