//! References to images, as people type them: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, with docker's defaults
//! (`docker.io`, `library/`, `latest`). Grammar: distribution/reference.

use crate::Digest;
use std::fmt;

/// The host that a reference without one means.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// Text that is not a reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidReference {
    /// Broken grammar.
    #[error("invalid reference format: {0:?}")]
    Format(String),
    /// A path with capital letters, docker's own message.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Sixty-four digits, which would be taken for an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
}

/// A normalised reference: it always has a host and a path, and a tag unless a digest was given alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry host, with port if any: `docker.io`, `localhost:5000`.
    pub domain: String,
    /// Repository within it: `library/busybox`.
    pub path: String,
    /// Tag, if named or implied.
    pub tag: Option<String>,
    /// Digest, if named.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The repository as docker shows it: `busybox`, `user/app`, `localhost:5000/app`.
    pub fn familiar_name(&self) -> String {
        match (self.domain.as_str(), self.path.strip_prefix("library/")) {
            (DEFAULT_DOMAIN, Some(short)) if !short.contains('/') => short.to_owned(),
            (DEFAULT_DOMAIN, _) => self.path.clone(),
            (domain, _) => format!("{domain}/{}", self.path),
        }
    }

    /// As docker shows it: `busybox:latest`, `app@sha256:…`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }

    /// The whole repository name: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository at another tag.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// The same repository at a digest, without a tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl std::str::FromStr for Reference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let bad = || InvalidReference::Format(text.chars().take(300).collect());
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidReference::LooksLikeId(text.into()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.is_empty() || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad());
        }
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidReference::Uppercase(name.into()));
        }
        if !is_domain(domain) || !path.split('/').all(is_component) {
            return Err(bad());
        }
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = if official { format!("library/{path}") } else { path.to_owned() };
        let implied = digest.is_none().then(|| "latest".to_owned());
        let reference = Self { domain: domain.into(), path, tag: tag.map(Into::into).or(implied), digest };
        // As in distribution/reference, the limit holds for the whole name.
        if reference.domain.len() + 1 + reference.path.len() > 255 { Err(bad()) } else { Ok(reference) }
    }
}

/// The host and the path of a name. A first part is a host if it has a dot, a colon or a capital, or is `localhost`.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (if first == "index.docker.io" { DEFAULT_DOMAIN } else { first }, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let host_ok = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    host_ok && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(alnum) && bytes.last().is_some_and(alnum);
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators
        .filter(|s| !s.is_empty())
        .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_dockers() {
        let r: Reference = "busybox".parse().unwrap();
        assert_eq!(r.repository(), "docker.io/library/busybox");
        assert_eq!(r.familiar(), "busybox:latest");
        let r: Reference = "localhost:5000/a/b:v1".parse().unwrap();
        assert_eq!((r.domain.as_str(), r.path.as_str()), ("localhost:5000", "a/b"));
        assert_eq!(r.tag.as_deref(), Some("v1"));
        assert_eq!("user/app".parse::<Reference>().unwrap().familiar(), "user/app:latest");
        assert_eq!("docker.io/library/x".parse::<Reference>().unwrap().familiar_name(), "x");
        let pinned = format!("x@sha256:{}", "a".repeat(64));
        assert_eq!(pinned.parse::<Reference>().unwrap().tag, None);
    }

    #[test]
    fn bad_references_are_refused() {
        for bad in [
            "",
            ":",
            "A",
            "a//b",
            "a:",
            "a:b:c",
            "-a",
            "a/",
            "x@sha256:1",
            "a b",
            "a:-x",
            "\u{2013}rm",
            "a._b",
            "http://x/y",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert!("a".repeat(64).parse::<Reference>().is_err());
    }
}
