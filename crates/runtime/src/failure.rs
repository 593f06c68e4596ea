//! An [`Error`] on its way from init to the process that reports it.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The errors that can happen in a container's processes before their program runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Spec { field: String, reason: String },
    Program { program: String, cause: String, exit: u8 },
    Step { step: String, errno: Option<i32>, text: String },
    Hook { path: PathBuf, cause: String },
    Unsupported { feature: String, reason: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Spec { field, reason } => Self::Spec { field, reason },
            Error::Program { program, cause, exit } => Self::Program { program, cause, exit },
            Error::Step { step, source } => {
                Self::Step { step, errno: source.raw_os_error(), text: source.to_string() }
            }
            Error::Hook { path, cause, .. } => Self::Hook { path, cause },
            Error::Unsupported { feature, reason } => Self::Unsupported { feature, reason },
            other => Self::Step { step: "start the container".into(), errno: None, text: other.to_string() },
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Spec { field, reason } => Self::Spec { field, reason },
            Failure::Program { program, cause, exit } => Self::Program { program, cause, exit },
            Failure::Step { step, errno, text } => {
                let source =
                    errno.map_or_else(|| std::io::Error::other(text), std::io::Error::from_raw_os_error);
                Self::Step { step, source }
            }
            Failure::Hook { path, cause } => Self::Hook { point: "container", path, cause },
            Failure::Unsupported { feature, reason } => Self::Unsupported { feature, reason },
        }
    }
}
