//! Identifiers: 256 random bits written as 64 lower-case hexadecimal digits, as docker writes them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Text that is not an identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid id {0:?}: an id is 64 hexadecimal digits")]
pub struct InvalidId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// A new random id from the kernel's generator.
            pub fn random() -> Self {
                Self(random_hex().into())
            }

            /// The 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The first 12 digits, as shown to people.
            pub fn short(&self) -> &str {
                self.0.get(..12).unwrap_or(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                is_id(text).then(|| Self(text.into())).ok_or_else(|| InvalidId(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.short())
            }
        }
    };
}

id!(
    /// A container.
    ContainerId
);
id!(
    /// A process started in a running container by `exec`.
    ExecId
);
id!(
    /// A network.
    NetworkId
);
id!(
    /// A sandbox: the namespaces and cgroups of one container, prepared before or at its start.
    SandboxId
);

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// 64 random hexadecimal digits.
///
/// # Panics
/// If the kernel has no random numbers, without which no id is safe to give out.
pub fn random_hex() -> String {
    use fmt::Write;
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("getrandom(2) failed: {error}"),
        }
    }
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_back_and_differ() {
        let a = ContainerId::random();
        assert_eq!(a.as_str().parse::<ContainerId>().unwrap(), a);
        assert_ne!(a, ContainerId::random());
        assert_eq!(a.short().len(), 12);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65)] {
            assert!(text.parse::<ContainerId>().is_err(), "{text}");
        }
    }
}
