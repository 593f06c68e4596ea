//! Content digests: `sha256:` and 64 hexadecimal digits (image-spec, descriptor.md#digests).

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;

/// Text that is not a digest we accept.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid digest {0:?}: write sha256: and 64 hexadecimal digits")]
pub struct InvalidDigest(pub String);

/// A SHA-256 digest. Other algorithms are refused: every registry and client in use speaks this one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Hasher::default().update_all(bytes).finish()
    }

    /// `sha256:…`, the whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.get(7..).unwrap_or_default()
    }

    /// The first 12 digits, as shown to people.
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or_default()
    }

    /// The digest with these 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidDigest`] for anything else.
    pub fn from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        format!("sha256:{hex}").parse()
    }
}

/// Computes a digest piece by piece.
#[derive(Default, Clone)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn update_all(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        use fmt::Write;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text.into())
    }
}

impl std::str::FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match hex {
            Some(hex) if hex.bytes().all(lower_hex) => Ok(Self(text.into())),
            _ => Err(InvalidDigest(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_known_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
        for bad in ["", "sha256:", "sha512:00", "sha256:ABC", &empty.to_uppercase()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
