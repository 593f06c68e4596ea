//! Ports of containers: `80/tcp`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A transport protocol that ports belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortProtocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortProtocol {
    /// The protocol's lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port and its protocol, as in `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSpec {
    /// The number.
    pub port: u16,
    /// The protocol.
    pub protocol: PortProtocol,
}

/// Text that is not a port.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid port {0:?}: write NUMBER or NUMBER/tcp, /udp or /sctp")]
pub struct InvalidPort(pub String);

impl std::str::FromStr for PortSpec {
    type Err = InvalidPort;
    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let bad = || InvalidPort(text.to_owned());
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => PortProtocol::Tcp,
            "udp" => PortProtocol::Udp,
            "sctp" => PortProtocol::Sctp,
            _ => return Err(bad()),
        };
        let port = port.parse().map_err(|_| bad())?;
        if port == 0 { Err(bad()) } else { Ok(Self { port, protocol }) }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.as_str())
    }
}

impl TryFrom<String> for PortSpec {
    type Error = InvalidPort;
    fn try_from(text: String) -> Result<Self, InvalidPort> {
        text.parse()
    }
}

impl From<PortSpec> for String {
    fn from(port: PortSpec) -> Self {
        port.to_string()
    }
}
