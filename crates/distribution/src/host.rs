//! Which host a domain means, and how it may be spoken to.

use std::net::IpAddr;
use std::path::PathBuf;

/// What the daemon's configuration says about registries.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Hosts (`host:port`) and networks (`10.0.0.0/8`) where TLS may fail to verify or be absent.
    pub insecure: Vec<String>,
    /// Mirrors of docker.io, tried in order before it: `https://mirror.example`.
    pub mirrors: Vec<String>,
    /// Directories with a subdirectory of certificates for each host: `/etc/docker/certs.d`.
    pub certificate_dirs: Vec<PathBuf>,
}

/// How a host may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// TLS, verified.
    Tls,
    /// TLS without verification if it answers TLS, else plain HTTP.
    Lax,
    /// Plain HTTP, as a mirror's URL says.
    Plain,
}

/// A registry host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// `host` or `host:port`.
    pub(crate) authority: String,
    pub(crate) security: Security,
}

impl Config {
    /// The host of a reference's domain.
    pub(crate) fn host(&self, domain: &str) -> Host {
        let authority = match domain {
            proa_oci::reference::DEFAULT_DOMAIN => "registry-1.docker.io",
            other => other,
        };
        Host { authority: authority.to_owned(), security: self.security(authority) }
    }

    /// The mirrors of docker.io.
    pub(crate) fn mirrors(&self) -> Vec<Host> {
        let host = |url: &String| {
            let (security, rest) = match url.split_once("://") {
                Some(("http", rest)) => (Security::Plain, rest),
                Some((_, rest)) => (self.security(rest.trim_end_matches('/')), rest),
                None => (self.security(url), url.as_str()),
            };
            Host { authority: rest.trim_end_matches('/').to_owned(), security }
        };
        self.mirrors.iter().map(host).collect()
    }

    fn security(&self, authority: &str) -> Security {
        let name = split_port(authority).0;
        let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        let loopback = name == "localhost" || address.is_some_and(|a| a.is_loopback());
        let listed = self.insecure.iter().any(|rule| match rule.split_once('/') {
            Some((net, bits)) => address.is_some_and(|a| in_network(a, net, bits)),
            None => rule == authority || rule == name,
        });
        if loopback || listed { Security::Lax } else { Security::Tls }
    }
}

impl Host {
    /// The URL of a path, for messages.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = if self.security == Security::Plain { "http" } else { "https" };
        format!("{scheme}://{}{path}", self.authority)
    }
}

/// Host and port of an authority; IPv6 addresses keep their brackets.
pub(crate) fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && port.parse::<u16>().is_ok() => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

fn in_network(address: IpAddr, net: &str, bits: &str) -> bool {
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let (a, n, width) = match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let shift = width - bits.min(width);
    a.checked_shr(shift).unwrap_or(0) == n.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_follows_the_configuration() {
        let config = Config { insecure: vec!["10.1.0.0/16".into(), "lab:5000".into()], ..Config::default() };
        for lax in ["localhost:5000", "127.0.0.9", "[::1]:5000", "10.1.2.3:80", "lab:5000"] {
            assert_eq!(config.host(lax).security, Security::Lax, "{lax}");
        }
        for strict in ["docker.io", "10.2.0.1", "lab:5001", "example.com"] {
            assert_eq!(config.host(strict).security, Security::Tls, "{strict}");
        }
        assert_eq!(config.host("docker.io").authority, "registry-1.docker.io");
        let mirrors = Config { mirrors: vec!["http://m:80/".into()], ..Config::default() }.mirrors();
        assert_eq!(mirrors, [Host { authority: "m:80".into(), security: Security::Plain }]);
    }
}
