//! Names of containers: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as docker accepts them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Text that cannot name a container.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct InvalidName(pub String);

/// The name of a container, without docker's leading slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

impl ContainerName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` may name a container, a volume or a network.
pub fn is_valid(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first
        && (2..=255).contains(&text.len())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl std::str::FromStr for ContainerName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = text.strip_prefix('/').unwrap_or(text);
        is_valid(name).then(|| Self(name.to_owned())).ok_or_else(|| InvalidName(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> Self {
        name.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_names_pass_and_others_do_not() {
        for good in ["web", "/web", "a1", "x_y.z-1"] {
            assert!(good.parse::<ContainerName>().is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-a", "a b", "a/b", "\u{2013}name", "é1"] {
            assert!(bad.parse::<ContainerName>().is_err(), "{bad}");
        }
    }
}
