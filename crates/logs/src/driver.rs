//! The log drivers, and the options each one has.

use crate::Error;
use serde::{Deserialize, Serialize};

/// A log driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's form: one JSON object for each line.
    JsonFile,
    /// A compact framed form.
    Local,
    /// Nothing is kept.
    None,
    /// A syslog daemon (RFC 3164, RFC 5424).
    Syslog,
    /// Graylog Extended Log Format.
    Gelf,
    /// Fluentd's forward protocol.
    Fluentd,
    /// The journal of systemd.
    Journald,
}

/// Options of a driver that writes files.
const FILE: [&str; 3] = ["max-size", "max-file", "compress"];
/// Options that say what is told of the container beside its lines.
const ABOUT: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
/// Options of every driver but `none`.
const ANY: [&str; 2] = ["mode", "max-buffer-size"];
/// Options of what is kept here of a log that is sent away.
pub(crate) const CACHE: [&str; 4] = ["cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"];

const SYSLOG: [&str; 7] = [
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
];
const GELF: [&str; 5] = [
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
];
const FLUENTD: [&str; 11] = [
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-read-timeout",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
];

impl LogDriver {
    /// The drivers that can be asked for, as `docker info` lists them.
    pub const LISTED: [Self; 6] =
        [Self::Fluentd, Self::Gelf, Self::Journald, Self::JsonFile, Self::Local, Self::Syslog];

    /// The driver's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
            Self::Syslog => "syslog",
            Self::Gelf => "gelf",
            Self::Fluentd => "fluentd",
            Self::Journald => "journald",
        }
    }

    /// Whether it sends what it gets to somebody else.
    pub fn is_remote(self) -> bool {
        match self {
            Self::JsonFile | Self::Local | Self::None => false,
            Self::Syslog | Self::Gelf | Self::Fluentd | Self::Journald => true,
        }
    }

    /// Refuses an option that the driver does not have.
    pub(crate) fn check(self, option: &str) -> Result<(), Error> {
        let has = |list: &[&str]| list.contains(&option);
        let known = match self {
            Self::JsonFile => has(&FILE) || has(&ABOUT),
            Self::Local => has(&FILE),
            Self::None => false,
            Self::Syslog => has(&SYSLOG) || has(&ABOUT),
            Self::Gelf => has(&GELF) || has(&ABOUT),
            Self::Fluentd => has(&FLUENTD) || has(&ABOUT),
            Self::Journald => has(&ABOUT),
        };
        // Of a file nothing more is kept than the file: options of a cache are passed over, as docker has it.
        if known || (self != Self::None && (has(&ANY) || has(&CACHE))) {
            return Ok(());
        }
        Err(match self {
            Self::None => Error::value("invalid logging opts for driver none"),
            Self::Local => Error::value(format!("unknown log opt '{option}' for log driver local")),
            Self::Gelf => Error::value(format!("unknown log opt {option:?} for gelf log driver")),
            _ => Error::UnknownOption { driver: self.name(), option: option.into() },
        })
    }
}

impl std::str::FromStr for LogDriver {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "none" => Ok(Self::None),
            "awslogs" | "etwlogs" | "gcplogs" | "logentries" | "splunk" => {
                Err(Error::Unsupported(name.into()))
            }
            other => {
                let found = Self::LISTED.into_iter().find(|driver| driver.name() == other);
                found.ok_or_else(|| Error::UnknownDriver(other.into()))
            }
        }
    }
}
