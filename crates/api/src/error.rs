//! Failures as answers: kinds to statuses in one place.

use crate::body::{Answer, json};
use hyper::StatusCode;
use proa_types::{ErrorKind, Kinded};

/// A failure of a request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn answer(&self) -> Answer {
        // 304 has no body.
        if self.status == StatusCode::NOT_MODIFIED {
            return crate::body::empty(self.status);
        }
        json(self.status, &proa_docker_api::ErrorResponse { message: self.message.clone() })
    }
}

/// The status of a kind.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::NotModified => StatusCode::NOT_MODIFIED,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Exhausted | ErrorKind::Cancelled | ErrorKind::Internal => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

impl From<proa_engine::Error> for Failure {
    fn from(error: proa_engine::Error) -> Self {
        let status = match &error {
            // Docker answers a port that is taken, and whatever else keeps a container from starting, with 500.
            proa_engine::Error::Start { kind, exit_code: None, .. } if *kind == ErrorKind::Conflict => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            other => status(other.kind()),
        };
        Self::new(status, error.to_string())
    }
}
