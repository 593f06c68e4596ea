//! What can go wrong between a client and an engine.

use std::io;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host text names no transport known here.
    #[error("unable to parse docker host `{0}`")]
    Host(String),
    /// What follows `ssh://` names no host.
    #[error("ssh host connection is not valid: {0}")]
    SshHost(String),
    /// There is no ssh program here.
    #[error(
        "error during connect: the program ssh is needed for a host that begins with ssh:// and is not installed here"
    )]
    SshMissing,
    /// ssh ended before the engine answered.
    #[error(
        "error during connect: command [{line}] has exited with {status}, make sure the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr={complaint}"
    )]
    Ssh {
        /// The command.
        line: String,
        /// Its exit status.
        status: String,
        /// What it said.
        complaint: String,
    },
    /// Nothing answers there.
    #[error("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")]
    Connect {
        /// Where.
        host: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The socket refuses this user.
    #[error("permission denied while trying to connect to the Docker daemon socket at {host}")]
    Denied {
        /// Where.
        host: String,
    },
    /// The certificates or the handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke.
    #[error("error during connect: {0}")]
    Http(#[from] hyper::Error),
    /// The bytes of a stream broke off.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The daemon answered with an error.
    #[error("Error response from daemon: {message}")]
    Daemon {
        /// HTTP status.
        status: u16,
        /// The daemon's words.
        message: String,
    },
    /// The answer is not the document expected.
    #[error("unexpected answer of the daemon: {0}")]
    Answer(#[from] serde_json::Error),
    /// The request could not be built.
    #[error("invalid request: {0}")]
    Request(#[from] hyper::http::Error),
}

impl Error {
    /// The HTTP status, where the daemon answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon says that the object does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The daemon's words alone, or the whole message.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Daemon { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
