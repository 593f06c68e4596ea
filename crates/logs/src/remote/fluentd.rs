//! The driver `fluentd`: the forward protocol, one message for each line.

use super::address::{Address, has_port};
use super::tls::TlsFiles;
use super::{About, Message, Packets, Retry, msgpack, options};
use crate::{Error, Stream};
use proa_types::units::parse_ram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const PORT: u16 = 24224;

/// Where and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fluentd {
    pub(crate) address: Address,
    /// Whether the container starts before the receiver is reached.
    pub(crate) asynchronous: bool,
    pub(crate) limit: Option<u64>,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Option<Duration>,
    pause: Duration,
    most: u64,
    nanos: bool,
    acknowledged: bool,
}

impl Fluentd {
    pub(super) fn new(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = |name: &str| options.get(name).filter(|text| !text.is_empty());
        let limit = text("fluentd-buffer-limit").map(|size| parse_ram(size)).transpose();
        let limit = limit.map_err(|e| Error::value(e.to_string()))?;
        let pause = options::duration(options, "fluentd-retry-wait", Duration::from_secs(1))?;
        let between = options::duration(options, "fluentd-async-reconnect-interval", Duration::ZERO)?;
        if !between.is_zero() && !(Duration::from_millis(100)..=Duration::from_secs(10)).contains(&between) {
            let given = text("fluentd-async-reconnect-interval").map_or("", String::as_str);
            return Err(Error::value(format!(
                "invalid fluentd-async-reconnect-interval: value ({given}) must be between 100ms and 10s"
            )));
        }
        let most = text("fluentd-max-retries").map(|text| {
            let bad = || Error::value(format!("strconv.ParseUint: parsing {text:?}: invalid syntax"));
            text.parse().map_err(|_| bad())
        });
        let (connect, new) = ("fluentd-async-connect", "fluentd-async");
        if text(connect).is_some() && text(new).is_some() {
            return Err(Error::value(format!(
                "conflicting options: cannot specify both '{new}' and '{connect}'"
            )));
        }
        let write_timeout = options::duration(options, "fluentd-write-timeout", Duration::ZERO)?;
        Ok(Self {
            address: address(text("fluentd-address").map_or("", String::as_str))?,
            asynchronous: options::truth(options, new, false)? || options::truth(options, connect, false)?,
            limit: limit.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
            read_timeout: options::duration(options, "fluentd-read-timeout", Duration::ZERO)
                .map(|timeout| if timeout.is_zero() { Duration::from_secs(10) } else { timeout })?,
            pause: if between.is_zero() { pause } else { between }.max(Duration::from_millis(50)),
            write_timeout: Some(write_timeout).filter(|timeout| !timeout.is_zero()),
            most: most.transpose()?.unwrap_or(u64::MAX),
            nanos: options::truth(options, "fluentd-sub-second-precision", false)?,
            acknowledged: options::truth(options, "fluentd-request-ack", false)?,
        })
    }

    pub(super) fn retry(&self) -> Retry {
        Retry { pause: self.pause, longest: self.pause.max(Duration::from_secs(10)), most: self.most }
    }

    /// `[tag, time, record, option]`.
    pub(super) fn encode(&self, about: &About, message: Message<'_>, packets: &mut Packets) {
        let out = &mut packets.bytes;
        msgpack::list(out, if self.acknowledged { 4 } else { 3 });
        msgpack::text(out, about.tag.as_bytes());
        match self.nanos {
            true => msgpack::event_time(out, message.time.seconds(), message.time.nanos()),
            false => msgpack::number(out, message.time.seconds()),
        }
        let part = message.part.map_or(0, |_| 4);
        msgpack::map(out, 4 + about.attributes.len() + part);
        let mut pair = |name: &str, value: &[u8]| {
            msgpack::text(out, name.as_bytes());
            msgpack::text(out, value);
        };
        pair("container_id", about.id.as_bytes());
        pair("container_name", format!("/{}", about.name).as_bytes());
        pair("source", if message.stream == Stream::Stdout { b"stdout" } else { b"stderr" });
        pair("log", message.text);
        for (name, value) in &about.attributes {
            pair(name, value.as_bytes());
        }
        if let Some(part) = message.part {
            pair("partial_message", b"true");
            pair("partial_id", format!("{:016x}", part.line).as_bytes());
            pair("partial_ordinal", part.ordinal.to_string().as_bytes());
            pair("partial_last", part.last.to_string().as_bytes());
        }
        if self.acknowledged {
            let token = token();
            msgpack::map(&mut packets.bytes, 1);
            msgpack::text(&mut packets.bytes, b"chunk");
            msgpack::text(&mut packets.bytes, token.as_bytes());
            packets.tokens.push(token);
        }
        packets.close();
    }
}

/// What a message is acknowledged by: 128 random bits.
fn token() -> String {
    use base64::Engine;
    let mut bits = [0; 16];
    let _ = rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty());
    base64::engine::general_purpose::STANDARD.encode(bits)
}

fn address(text: &str) -> Result<Address, Error> {
    let bad = |why: &str| Error::value(format!("invalid fluentd-address ({text}): {why}"));
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    if scheme == "unix" {
        return match rest {
            "" | "/" => Err(bad("path is empty")),
            path => Ok(Address::Unix(path.into())),
        };
    }
    if rest.contains('/') {
        return Err(bad("should not contain a path element"));
    }
    let host = match rest {
        "" => format!("127.0.0.1:{PORT}"),
        // A port alone is one of this machine.
        port if port.starts_with(':') => format!("127.0.0.1{port}"),
        host if has_port(host) => host.to_owned(),
        host if host.ends_with(']') || !host.contains(':') => format!("{host}:{PORT}"),
        _ => return Err(bad("invalid port")),
    };
    match scheme {
        "tcp" => Ok(Address::Tcp(host)),
        "tls" => Ok(Address::Tls(host, TlsFiles::default())),
        _ => Err(bad(&format!("unsupported scheme: '{scheme}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proa_types::Timestamp;

    fn fluentd(pairs: &[(&str, &str)]) -> Result<Fluentd, Error> {
        Fluentd::new(&pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn a_message_is_a_list_of_tag_time_and_record() {
        let mut packets = Packets::default();
        let about = About { id: "i".into(), name: "n".into(), tag: "t".into(), ..About::default() };
        let message = Message { stream: Stream::Stdout, time: Timestamp(0), text: b"x", part: None };
        fluentd(&[]).unwrap().encode(&about, message, &mut packets);
        let mut wanted = b"\x93\xa1t\xd3\0\0\0\0\0\0\0\0\x84\xaccontainer_id\xa1i".to_vec();
        wanted.extend_from_slice(b"\xaecontainer_name\xa2/n\xa6source\xa6stdout\xa3log\xa1x");
        assert_eq!(packets.bytes, wanted);
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        let at = |text: &str| fluentd(&[("fluentd-address", text)]).map(|fluentd| fluentd.address);
        assert_eq!(at("").unwrap(), Address::Tcp("127.0.0.1:24224".into()));
        assert_eq!(at("h").unwrap(), Address::Tcp("h:24224".into()));
        assert_eq!(at("[::1]").unwrap(), Address::Tcp("[::1]:24224".into()));
        assert_eq!(at("unix:///run/f").unwrap(), Address::Unix("/run/f".into()));
        for (address, why) in [
            ("unix://", "path is empty"),
            ("h:1/x", "should not contain a path element"),
            ("udp://h", "unsupported scheme: 'udp'"),
            ("h:x", "invalid port"),
        ] {
            assert_eq!(
                at(address).unwrap_err().to_string(),
                format!("invalid fluentd-address ({address}): {why}")
            );
        }
        assert!(fluentd(&[("fluentd-async", "yes")]).is_err());
        assert!(fluentd(&[("fluentd-async", "true"), ("fluentd-async-connect", "true")]).is_err());
        assert!(fluentd(&[("fluentd-async-reconnect-interval", "20s")]).is_err());
    }
}
