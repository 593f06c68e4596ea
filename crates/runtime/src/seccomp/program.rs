//! A compiled filter.

use super::Error;
use proa_sys::seccomp as sys;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// Instructions of the kernel's filter language, ready to load, and the flags to load them with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    flags: u32,
    code: Vec<u8>,
}

impl Program {
    pub(crate) fn new(flags: u32, code: Vec<u8>) -> Self {
        Self { flags, code }
    }

    /// The program as bytes, for another process of this machine: flags (4 bytes, native order), instructions.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.flags.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&self.code);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is no program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.split_first_chunk::<4>() {
            Some((flags, code))
                if !code.is_empty() && code.len() % 8 == 0 && code.len() / 8 <= sys::MAX_INSTRUCTIONS =>
            {
                Ok(Self { flags: u32::from_ne_bytes(*flags), code: code.to_vec() })
            }
            _ => Err(Error::Damaged),
        }
    }

    /// The instructions, eight bytes each (`struct sock_filter`).
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// `SECCOMP_FILTER_FLAG_…`.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Puts the calling thread under the filter, for good. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
    /// Returns the notification descriptor if the program asks for notifications.
    ///
    /// # Errors
    /// [`Error::Install`].
    pub fn install(&self) -> Result<Option<OwnedFd>, Error> {
        sys::install(&self.code, self.flags).map_err(Error::Install)
    }
}
