//! What a command ends with when it fails: a text and an exit code.

/// A failed command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The whole text for the user; empty when it was printed already.
    pub(crate) message: String,
    /// The exit code.
    pub(crate) code: i32,
    /// Whether it is printed as it is, without the program's name and the way to help.
    pub(crate) bare: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, bare: false }
    }
    pub(crate) fn code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }
    /// The same, printed as it is.
    pub(crate) fn bare(self) -> Self {
        Self { bare: true, ..self }
    }
    /// An exit code without a text.
    pub(crate) fn silent(code: i32) -> Self {
        Self { message: String::new(), code, bare: true }
    }
}

impl From<proa_client::Error> for Failure {
    fn from(error: proa_client::Error) -> Self {
        Self::new(error.to_string())
    }
}
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// `fail!("…")`: returns a failure with exit code 1.
macro_rules! fail {
    ($($part:tt)*) => { return Err($crate::error::Failure::new(format!($($part)*))) };
}
pub(crate) use fail;
