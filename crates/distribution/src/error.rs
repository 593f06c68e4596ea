//! What can go wrong between here and a registry, in docker's words where scripts match on them.

use proa_types::{ErrorKind, Kinded};

/// A failure of a registry operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host has no address.
    #[error("Get \"{url}\": dial tcp: lookup {host}: {detail}")]
    Lookup {
        /// What was asked for.
        url: String,
        /// The host.
        host: String,
        /// Why.
        detail: String,
    },
    /// Nothing answers there.
    #[error("Get \"{url}\": dial tcp {address}: connect: {source}")]
    Connect {
        /// What was asked for.
        url: String,
        /// The address tried.
        address: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The TLS handshake failed; often a certificate of an authority this host does not know.
    #[error(
        "Get \"{url}\": tls: {detail}; put the authority's certificate at certs.d/{host}/ca.crt, or list {host} under insecure-registries"
    )]
    Tls {
        /// What was asked for.
        url: String,
        /// The host.
        host: String,
        /// What rustls says.
        detail: String,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("Get \"{url}\": {detail}")]
    Http {
        /// What was asked for.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// An answer that this protocol does not foresee.
    #[error("unexpected answer {status} from {url}: {detail}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words.
        detail: String,
    },
    /// The registry has no such manifest.
    #[error("manifest for {name} not found: manifest unknown: {detail}")]
    ManifestUnknown {
        /// Reference.
        name: String,
        /// The registry's own words.
        detail: String,
    },
    /// The registry has no such blob or repository.
    #[error("{name} not found: {detail}")]
    NotFound {
        /// What.
        name: String,
        /// The registry's own words.
        detail: String,
    },
    /// Credentials are missing or wrong.
    #[error(
        "pull access denied for {name}, repository does not exist or may require 'docker login': {detail}"
    )]
    Denied {
        /// Repository.
        name: String,
        /// The registry's own words.
        detail: String,
    },
    /// The registry refuses the credentials.
    #[error("{name}: unauthorized: {detail}")]
    Unauthorized {
        /// Repository or host.
        name: String,
        /// The registry's own words.
        detail: String,
    },
    /// The registry names a token service that must not see the credentials.
    #[error(
        "registry {host} sends credentials to {realm}, which is neither TLS nor the registry's own host: refused"
    )]
    Realm {
        /// The registry.
        host: String,
        /// The token service it names.
        realm: String,
    },
    /// Bytes do not have the digest that was asked for.
    #[error("{name}: the registry sent bytes with digest {got}, not {wanted}")]
    Digest {
        /// What.
        name: String,
        /// Asked for.
        wanted: String,
        /// Received.
        got: String,
    },
    /// An answer is larger than it may be.
    #[error("{url}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit: u64,
    },
    /// A document of the registry is not what it should be.
    #[error("{name}: {detail}")]
    Document {
        /// What.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// Certificates of a host cannot be read.
    #[error("certificates of {host}: {path}: {detail}")]
    Certificates {
        /// The host.
        host: String,
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The bytes to send could not be read.
    #[error("reading what is to be sent: {0}")]
    Source(#[from] std::io::Error),
}

impl Error {
    /// Whether no registry could be reached at all: no name, no route, nothing listening.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Lookup { .. } | Self::Connect { .. })
    }

    /// Whether trying again may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Http { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ManifestUnknown { .. } | Self::NotFound { .. } | Self::Denied { .. } => ErrorKind::NotFound,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Realm { .. } => ErrorKind::Forbidden,
            Self::Certificates { .. } => ErrorKind::InvalidArgument,
            Self::Lookup { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Status { .. }
            | Self::Digest { .. }
            | Self::TooLarge { .. }
            | Self::Document { .. }
            | Self::Source(_) => ErrorKind::Internal,
        }
    }
}
