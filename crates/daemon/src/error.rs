//! Why a daemon does not start.

use std::path::PathBuf;

/// A failure of starting or configuring the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line.
    #[error("{0}")]
    Flag(String),
    /// The configuration file.
    #[error("unable to configure the daemon with file {}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        detail: String,
    },
    /// A value that cannot be used.
    #[error("{option}: {detail}")]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A right is missing.
    #[error("the daemon needs to be run as root: {0}")]
    Root(String),
    /// Another daemon runs.
    #[error("process {pid} of {} is still running: another daemon uses this exec root; stop it, or give this one --pidfile, --exec-root and --data-root of its own", path.display())]
    Running {
        /// The pid file.
        path: PathBuf,
        /// The process.
        pid: i32,
    },
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A socket.
    #[error("cannot listen on {address}: {detail}")]
    Listen {
        /// As it was given.
        address: String,
        /// What is wrong.
        detail: String,
    },
    /// A part of the engine.
    #[error("{part}: {detail}")]
    Part {
        /// Which.
        part: &'static str,
        /// What it says.
        detail: String,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
