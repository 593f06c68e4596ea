//! Logs that are sent away: where to, in which form, and what is told of the container with each line.
//!
//! What is here is data and pure encoding. The lines are kept in a file first, whoever receives them; the process that
//! sends them reads that file ([`crate::sender`]).

pub(crate) mod address;
pub(crate) mod connection;
mod fluentd;
mod gelf;
mod journald;
mod msgpack;
mod options;
mod syslog;
mod tls;

use crate::source::{Source, host_name};
use crate::{Error, LogDriver, Stream};
use address::Address;
use proa_types::Timestamp;
use proa_types::units::parse_ram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a container's log is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    form: Form,
    about: About,
    /// Bytes that may wait to be sent; what is older is lost. None: as much as is kept here.
    pub(crate) limit: Option<u64>,
}

/// The driver, with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    Syslog(syslog::Syslog),
    Gelf(gelf::Gelf),
    Fluentd(fluentd::Fluentd),
    Journald,
}

/// What is told of the container with each line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image_id: String,
    pub(crate) image: String,
    pub(crate) command: String,
    pub(crate) created: Timestamp,
    pub(crate) tag: String,
    pub(crate) host: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// One line, or a piece of one, to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) stream: Stream,
    pub(crate) time: Timestamp,
    /// Without its newline.
    pub(crate) text: &'a [u8],
    /// Of a line that is too long for one message.
    pub(crate) part: Option<Part>,
}

/// Which piece of a long line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The same for all pieces of the line.
    pub(crate) line: u64,
    /// From 1.
    pub(crate) ordinal: u32,
    pub(crate) last: bool,
}

/// Encoded messages: one run of bytes for a stream, single packets for a datagram socket.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    pub(crate) bytes: Vec<u8>,
    /// Where each packet ends.
    ends: Vec<usize>,
    /// What the receiver is to acknowledge.
    pub(crate) tokens: Vec<String>,
}

impl Packets {
    /// Ends a packet.
    pub(crate) fn close(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// The packets from the one of this number on.
    pub(crate) fn from(&self, first: usize) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let all = begins.zip(self.ends.iter().copied());
        all.skip(first).filter_map(|(begin, end)| self.bytes.get(begin..end))
    }
}

/// How often a receiver is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// The first pause; later ones grow.
    pub(crate) pause: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
    /// How many times in a row, until what waits is given up.
    pub(crate) most: u64,
}

impl Remote {
    /// A remote driver's destination from its options.
    ///
    /// # Errors
    /// An option has a bad value; the texts are docker's.
    pub(crate) fn new(
        driver: LogDriver,
        options: &BTreeMap<String, String>,
        source: &Source,
    ) -> Result<Self, Error> {
        let form = match driver {
            LogDriver::Syslog => Form::Syslog(syslog::Syslog::new(options)?),
            LogDriver::Gelf => Form::Gelf(gelf::Gelf::new(options)?),
            LogDriver::Fluentd => Form::Fluentd(fluentd::Fluentd::new(options)?),
            _ => Form::Journald,
        };
        let about = About {
            id: source.id.clone(),
            name: source.name.clone(),
            image_id: source.image_id.clone(),
            image: source.image.clone(),
            command: source.command.join(" "),
            created: source.created,
            tag: source.tag(options, "{{.ID}}")?,
            host: host_name(),
            attributes: source.attributes(options, |name| match driver {
                LogDriver::Gelf if !name.starts_with('_') => format!("_{name}"),
                LogDriver::Journald => journald::field(name),
                _ => name.to_owned(),
            })?,
        };
        Ok(Self { limit: form.limit().or(ring(options)?), form, about })
    }

    /// Where it is sent to.
    pub(crate) fn address(&self) -> Address {
        match &self.form {
            Form::Syslog(syslog) => syslog.address.clone(),
            Form::Gelf(gelf) => gelf.address.clone(),
            Form::Fluentd(fluentd) => fluentd.address.clone(),
            Form::Journald => Address::Journal,
        }
    }

    /// Whether a container is started only when the receiver can be reached.
    pub(crate) fn must_connect(&self) -> bool {
        !matches!(&self.form, Form::Fluentd(fluentd) if fluentd.asynchronous)
    }

    pub(crate) fn retry(&self) -> Retry {
        let longest = Duration::from_secs(10);
        match &self.form {
            Form::Gelf(gelf) => Retry {
                pause: gelf.pause,
                longest: longest.max(gelf.pause),
                most: gelf.most.unwrap_or(u64::MAX),
            },
            Form::Fluentd(fluentd) => fluentd.retry(),
            Form::Syslog(_) | Form::Journald => {
                Retry { pause: Duration::from_millis(100), longest, most: u64::MAX }
            }
        }
    }

    /// Time a receiver gets for an answer.
    pub(crate) fn answer_within(&self) -> Duration {
        match &self.form {
            Form::Fluentd(fluentd) => fluentd.read_timeout,
            _ => Duration::from_secs(10),
        }
    }

    /// Time after which a receiver that takes nothing is given up for another connection.
    pub(crate) fn write_within(&self) -> Option<Duration> {
        match &self.form {
            Form::Fluentd(fluentd) => fluentd.write_timeout,
            _ => None,
        }
    }

    /// Appends a message as the receiver takes it.
    pub(crate) fn encode(&self, message: Message<'_>, packets: &mut Packets) {
        match &self.form {
            Form::Syslog(syslog) => syslog.encode(&self.about, message, packets),
            Form::Gelf(gelf) => gelf.encode(&self.about, message, packets),
            Form::Fluentd(fluentd) => fluentd.encode(&self.about, message, packets),
            Form::Journald => journald::encode(&self.about, message, packets),
        }
    }
}

impl Form {
    fn limit(&self) -> Option<u64> {
        match self {
            Self::Fluentd(fluentd) => fluentd.limit,
            _ => None,
        }
    }
}

/// Bytes that wait in the mode `non-blocking`.
fn ring(options: &BTreeMap<String, String>) -> Result<Option<u64>, Error> {
    if options.get("mode").is_none_or(|mode| mode != "non-blocking") {
        return Ok(None);
    }
    let Some(size) = options.get("max-buffer-size") else { return Ok(Some(1 << 20)) };
    let size =
        parse_ram(size).map_err(|e| Error::value(format!("error parsing option max-buffer-size: {e}")))?;
    Ok(Some(u64::try_from(size).unwrap_or(0)))
}
