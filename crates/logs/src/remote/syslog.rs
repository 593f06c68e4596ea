//! The driver `syslog`: RFC 3164 and RFC 5424, and the form of a machine's own daemon.

use super::address::{Address, host_and_port, transport};
use super::tls::TlsFiles;
use super::{About, Message, Packets, options};
use crate::{Error, Stream};
use proa_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;

/// Where and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Syslog {
    pub(crate) address: Address,
    facility: u8,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    /// As syslog(3) writes to the daemon of its machine: without a host.
    Local,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Syslog {
    pub(super) fn new(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = |name: &str| options.get(name).map_or("", String::as_str);
        let path = |name: &str| Some(text(name)).filter(|text| !text.is_empty()).map(Into::into);
        let address = match text("syslog-address") {
            "" => Address::LocalSyslog,
            given => {
                let (scheme, rest) = transport("syslog-address", given)?;
                match scheme {
                    "unix" => Address::Unix(rest.into()),
                    "unixgram" => Address::UnixDatagram(rest.into()),
                    "udp" => Address::Udp(host_and_port(rest, 514)),
                    "tcp" => Address::Tcp(host_and_port(rest, 514)),
                    _ => Address::Tls(
                        host_and_port(rest, 514),
                        TlsFiles {
                            authority: path("syslog-tls-ca-cert"),
                            certificate: path("syslog-tls-cert"),
                            key: path("syslog-tls-key"),
                            // Docker takes any value for yes, `false` too.
                            skip_verify: options::truth(options, "syslog-tls-skip-verify", false)?,
                        },
                    ),
                }
            }
        };
        Ok(Self {
            address,
            facility: facility(text("syslog-facility"))?,
            format: match text("syslog-format") {
                "" => Format::Local,
                "rfc3164" => Format::Rfc3164,
                "rfc5424" => Format::Rfc5424,
                "rfc5424micro" => Format::Rfc5424Micro,
                _ => return Err(Error::value("Invalid syslog format")),
            },
        })
    }

    pub(super) fn encode(&self, about: &About, message: Message<'_>, packets: &mut Packets) {
        let severity = if message.stream == Stream::Stderr { 3 } else { 6 };
        let priority = self.facility * 8 + severity;
        let (pid, tag, host) = (std::process::id(), &about.tag, &about.host);
        let time = message.time;
        let head = match self.format {
            Format::Local => format!("<{priority}>{} {tag}[{pid}]: ", stamp(time)),
            Format::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(time)),
            Format::Rfc5424 => {
                format!(
                    "<{priority}>1 {} {host} {tag} {pid} {tag} - ",
                    Timestamp(time.seconds() * 1_000_000_000)
                )
            }
            Format::Rfc5424Micro => {
                let micros = time.fixed_nanos();
                let micros = micros.get(..micros.len() - 4).unwrap_or(&micros);
                format!("<{priority}>1 {micros}Z {host} {tag} {pid} {tag} - ")
            }
        };
        let out = &mut packets.bytes;
        if self.counts_bytes() {
            // RFC 5425: over TLS a message is told by its length.
            let _ = write!(out, "{} ", head.len() + message.text.len() + 1);
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(message.text);
        out.push(b'\n');
        packets.close();
    }

    fn counts_bytes(&self) -> bool {
        matches!(self.format, Format::Rfc5424 | Format::Rfc5424Micro)
            && matches!(self.address, Address::Tls(..))
    }
}

fn facility(text: &str) -> Result<u8, Error> {
    if text.is_empty() {
        return Ok(3);
    }
    if let Some((_, number)) = FACILITIES.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    let number = text.parse().ok().filter(|number: &u8| *number <= 23);
    number.ok_or_else(|| Error::value("invalid syslog facility"))
}

/// `Jan  2 15:04:05`, in the zone of this machine, as RFC 3164 has it.
fn stamp(time: Timestamp) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(time.0)) else { return String::new() };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month =
        usize::try_from(zoned.month() - 1).ok().and_then(|at| month.get(at)).copied().unwrap_or("Jan");
    format!("{month} {:2} {:02}:{:02}:{:02}", zoned.day(), zoned.hour(), zoned.minute(), zoned.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syslog(pairs: &[(&str, &str)]) -> Result<Syslog, Error> {
        Syslog::new(&pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn line(pairs: &[(&str, &str)]) -> String {
        let mut packets = Packets::default();
        let about = About { tag: "tag".into(), host: "box".into(), ..About::default() };
        let time = Timestamp(1_700_000_000_123_456_789);
        let message = Message { stream: Stream::Stderr, time, text: b"hello", part: None };
        syslog(pairs).unwrap().encode(&about, message, &mut packets);
        String::from_utf8(packets.bytes).unwrap().replace(&std::process::id().to_string(), "PID")
    }

    #[test]
    fn lines_are_of_their_format() {
        let local = line(&[("syslog-facility", "local7")]);
        assert!(local.starts_with("<187>Nov 1") && local.ends_with(" tag[PID]: hello\n"), "{local}");
        assert!(line(&[("syslog-format", "rfc3164")]).ends_with(" box tag[PID]: hello\n"));
        assert_eq!(
            line(&[("syslog-format", "rfc5424")]),
            "<27>1 2023-11-14T22:13:20Z box tag PID tag - hello\n"
        );
        let tls = [("syslog-format", "rfc5424micro"), ("syslog-address", "tcp+tls://h")];
        let text = line(&tls);
        assert!(text.ends_with("<27>1 2023-11-14T22:13:20.123456Z box tag PID tag - hello\n"), "{text}");
        assert!(text.split(' ').next().is_some_and(|count| count.parse::<u32>().is_ok()));
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        assert_eq!(syslog(&[("syslog-address", "udp://h")]).unwrap().address, Address::Udp("h:514".into()));
        for (name, value, text) in [
            (
                "syslog-address",
                "corrupted",
                "syslog-address should be in form proto://address, got corrupted",
            ),
            ("syslog-facility", "local8", "invalid syslog facility"),
            ("syslog-facility", "24", "invalid syslog facility"),
            ("syslog-format", "rfc1", "Invalid syslog format"),
        ] {
            assert_eq!(syslog(&[(name, value)]).unwrap_err().to_string(), text);
        }
    }
}
