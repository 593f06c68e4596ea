//! What can go wrong with a container.

use proa_types::{ErrorKind, Kinded};
use std::path::PathBuf;

/// A failure to build, start or steer a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification asks for something that is malformed or contradicts itself.
    #[error("invalid {field}: {reason}")]
    Spec {
        /// Which field, as `linux.namespaces`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The program cannot be executed. The text is the one clients match with.
    #[error("exec: {program:?}: {cause}")]
    Program {
        /// The program as it was asked for.
        program: String,
        /// Why not, in Go's words: `executable file not found in $PATH`, `permission denied`.
        cause: String,
        /// The exit status docker gives such a container: 127 when there is no such program, else 126.
        exit: u8,
    },
    /// A step of the set-up was refused.
    #[error("cannot {step}: {source}")]
    Step {
        /// What was tried, with the object: `mount /data`.
        step: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A hook failed.
    #[error("{point} hook {path}: {cause}")]
    Hook {
        /// Which point of the life cycle, as `createRuntime`.
        point: &'static str,
        /// The program.
        path: PathBuf,
        /// How it failed.
        cause: String,
    },
    /// Init ended before it could say why.
    #[error(
        "the container's init process ended during its set-up ({how}); see dmesg, or try without a seccomp profile"
    )]
    InitDied {
        /// Exit status or signal.
        how: String,
    },
    /// The container is in no state to do this.
    #[error("container is not {needed}: {reason}")]
    State {
        /// The state needed, as `running`.
        needed: &'static str,
        /// Why not.
        reason: String,
    },
    /// This host cannot do it.
    #[error("{feature} is not supported by this host: {reason}")]
    Unsupported {
        /// What was asked for.
        feature: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// The filter of system calls.
    #[error(transparent)]
    Seccomp(#[from] crate::seccomp::Error),
}

impl Error {
    pub(crate) fn step(step: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Step { step: step.into(), source: source.into() }
    }

    pub(crate) fn spec(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Spec { field: field.into(), reason: reason.into() }
    }

    /// The exit status a container that failed so has (docker: 127 not found, 126 not executable, else 125 is
    /// the client's business and this is 128).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Program { exit, .. } => *exit,
            _ => 128,
        }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Spec { .. } => ErrorKind::InvalidArgument,
            Self::Program { exit: 127, .. } => ErrorKind::NotFound,
            Self::Program { .. } => ErrorKind::InvalidArgument,
            Self::Step { source, .. } => ErrorKind::of_io(source),
            Self::Hook { .. } | Self::InitDied { .. } => ErrorKind::Internal,
            Self::State { .. } => ErrorKind::Conflict,
            Self::Unsupported { .. } => ErrorKind::NotImplemented,
            Self::Cgroup(error) => error.kind(),
            Self::Seccomp(error) => error.kind(),
        }
    }
}
