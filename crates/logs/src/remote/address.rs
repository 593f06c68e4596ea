//! Where a receiver of logs is.

use super::tls::TlsFiles;
use crate::Error;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A receiver's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Address {
    /// `HOST:PORT`.
    Udp(String),
    /// `HOST:PORT`.
    Tcp(String),
    /// `HOST:PORT`, and who is trusted.
    Tls(String, TlsFiles),
    Unix(PathBuf),
    UnixDatagram(PathBuf),
    /// The syslog daemon of this machine, wherever it listens.
    LocalSyslog,
    /// The journal of this machine.
    Journal,
}

/// Splits `SCHEME://REST`; the scheme is one of docker's transports.
pub(crate) fn transport<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), Error> {
    let known = ["tcp", "tcp+tls", "udp", "unix", "unixgram"];
    let split = text.split_once("://").filter(|(scheme, _)| known.contains(scheme));
    split.ok_or_else(|| Error::value(format!("{option} should be in form proto://address, got {text}")))
}

/// `HOST:PORT` of an address; `port` where it names none.
pub(crate) fn host_and_port(rest: &str, port: u16) -> String {
    let host = rest.split('/').next().unwrap_or(rest);
    if has_port(host) {
        return host.to_owned();
    }
    // A name or an address, IPv6 in brackets.
    format!("{host}:{port}")
}

/// Whether an address of the form `HOST:PORT` is complete.
pub(crate) fn has_port(host: &str) -> bool {
    let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
    after.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_dockers() {
        assert_eq!(transport("x", "tcp+tls://h:1").unwrap(), ("tcp+tls", "h:1"));
        assert_eq!(
            transport("syslog-address", "h:514").unwrap_err().to_string(),
            "syslog-address should be in form proto://address, got h:514"
        );
        assert_eq!(host_and_port("h", 514), "h:514");
        assert_eq!(host_and_port("[::1]", 514), "[::1]:514");
        assert_eq!(host_and_port("[::1]:9/", 514), "[::1]:9");
    }
}
