//! The place of a cgroup in every hierarchy.

use super::Error;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A cgroup's path: absolute (below the hierarchy's root) or relative (below the caller's own cgroup).
///
/// No component is empty, `.` or `..`, and none contains a NUL or a line break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Checks a path such as `/proa/0123456789ab`.
    ///
    /// # Errors
    /// [`Error::Path`] when it is empty, the root itself, too long, or would leave its parent.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::Path { path: text.chars().take(256).collect(), reason });
        if text.len() > 4000 {
            return refuse("it is longer than 4000 bytes");
        }
        if text.contains(['\0', '\n']) {
            return refuse("it contains a NUL or a line break");
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() {
            return refuse("it names the root");
        }
        if parts.contains(&"..") {
            return refuse("it contains '..'");
        }
        if parts.iter().any(|part| part.len() > 255) {
            return refuse("a component is longer than 255 bytes");
        }
        let absolute = if text.starts_with('/') { "/" } else { "" };
        Ok(Self(format!("{absolute}{}", parts.join("/"))))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it counts from the root of the hierarchy rather than from the caller's own cgroup.
    pub fn is_absolute(&self) -> bool {
        self.0.starts_with('/')
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for CgroupPath {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(&text)
    }
}

impl From<CgroupPath> for String {
    fn from(path: CgroupPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_leave_their_parent() {
        assert_eq!(CgroupPath::new("/proa//a/./b/").unwrap().as_str(), "/proa/a/b");
        assert_eq!(CgroupPath::new("a/b").unwrap().components().count(), 2);
        for bad in ["", "/", "/../x", "a/../../b", "a\nb", "a\0b"] {
            assert!(CgroupPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(CgroupPath::new(&"x".repeat(256)).is_err());
    }
}
