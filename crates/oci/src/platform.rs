//! Platforms: `linux/amd64`, `linux/arm/v7` (image-spec, image-index.md).

use serde::{Deserialize, Serialize};
use std::fmt;

/// An operating system, an architecture and perhaps a variant of it, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Go's GOARCH: `amd64`, `arm64`, `arm`, `386`, …
    pub architecture: String,
    /// Go's GOOS: `linux`, `windows`, …
    pub os: String,
    /// For instance `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows only.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// Text that is not a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {0:?}: write OS/ARCH or OS/ARCH/VARIANT, as linux/amd64")]
pub struct InvalidPlatform(pub String);

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        Self::linux(normalize(std::env::consts::ARCH))
    }

    /// `linux/ARCH`.
    pub fn linux(architecture: &str) -> Self {
        Self { architecture: architecture.into(), os: "linux".into(), variant: None, os_version: None }
    }

    /// Whether an image for `self` runs where `host` is: same system and architecture (386 on amd64 too).
    pub fn runs_on(&self, host: &Self) -> bool {
        let narrower = self.architecture == "386" && host.architecture == "amd64";
        self.os == host.os && (self.architecture == host.architecture || narrower)
    }
}

fn normalize(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" | "armv8" => "arm64",
        "i386" | "i686" | "x86" => "386",
        "armhf" | "armv7l" => "arm",
        "powerpc64le" => "ppc64le",
        other => other,
    }
}

impl std::str::FromStr for Platform {
    type Err = InvalidPlatform;
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let bad = || InvalidPlatform(text.chars().take(100).collect());
        let lower = text.to_ascii_lowercase();
        let mut parts = lower.split('/');
        let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let word =
            |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if parts.next().is_some() || !word(first) || !second.is_none_or(word) || !third.is_none_or(word) {
            return Err(bad());
        }
        match second {
            Some(arch) => {
                Ok(Self { os: first.into(), variant: third.map(Into::into), ..Self::linux(normalize(arch)) })
            }
            None if first == "linux" => Ok(Self::host()),
            None => Ok(Self::linux(normalize(first))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_parse_and_print() {
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        assert_eq!("linux/arm/v7".parse::<Platform>().unwrap().to_string(), "linux/arm/v7");
        assert!("linux/386".parse::<Platform>().unwrap().runs_on(&Platform::linux("amd64")));
        for bad in ["", "/", "a/b/c/d", "linux/", "li nux/amd64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
