//! The driver `gelf`: one JSON document for each line, in datagrams that may be compressed and cut, or on a stream with
//! a zero byte behind each.

use super::address::{Address, has_port, transport};
use super::{About, Message, Packets};
use crate::{Error, Stream};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// Bytes of a datagram that any path carries.
const CHUNK: usize = 1420;
/// Head of a piece: two bytes, eight of an id, number and count.
const CHUNK_HEAD: usize = 12;
/// Most pieces of a message; a longer one is not sent.
const MOST_CHUNKS: usize = 128;

/// Where and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gelf {
    pub(crate) address: Address,
    packing: Packing,
    level: i32,
    pub(crate) pause: Duration,
    /// Tries in a row, until what waits is given up.
    pub(crate) most: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Packing {
    Gzip,
    Zlib,
    None,
}

impl Gelf {
    pub(super) fn new(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let address = address(options.get("gelf-address").map_or("", String::as_str))?;
        let datagrams = matches!(address, Address::Udp(_));
        let mut gelf =
            Self { address, packing: Packing::None, level: 1, pause: Duration::from_secs(1), most: None };
        if datagrams {
            gelf.packing = Packing::Gzip;
        }
        for (name, value) in options {
            let unknown =
                || Error::value(format!("unknown value {value:?} for log opt {name:?} for gelf log driver"));
            match name.as_str() {
                "gelf-compression-level" | "gelf-compression-type" if !datagrams => {
                    return Err(Error::value("compression is only supported on UDP"));
                }
                "gelf-compression-level" => {
                    let level = value.parse().ok().filter(|level| (-1..=9).contains(level));
                    gelf.level = level.ok_or_else(unknown)?;
                }
                "gelf-compression-type" => {
                    gelf.packing = match value.as_str() {
                        "gzip" => Packing::Gzip,
                        "zlib" => Packing::Zlib,
                        "none" => Packing::None,
                        _ => return Err(unknown()),
                    }
                }
                "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay" => {
                    if datagrams {
                        return Err(Error::value(format!("{name:?} is only valid for TCP")));
                    }
                    let number = value
                        .parse()
                        .map_err(|_| Error::value(format!("{name:?} must be a positive integer")));
                    let number: u32 = number?;
                    match name.as_str() {
                        "gelf-tcp-max-reconnect" => gelf.most = Some(u64::from(number)),
                        _ => {
                            gelf.pause =
                                Duration::from_secs(u64::from(number)).max(Duration::from_millis(100))
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(gelf)
    }

    pub(super) fn encode(&self, about: &About, message: Message<'_>, packets: &mut Packets) {
        // A message without text is refused by receivers.
        if message.text.is_empty() {
            return;
        }
        let document = document(about, message);
        if !matches!(self.address, Address::Udp(_)) {
            packets.bytes.extend_from_slice(&document);
            packets.bytes.push(0);
            packets.close();
            return;
        }
        let Ok(packed) = self.pack(&document) else { return };
        if packed.len() <= CHUNK {
            packets.bytes.extend_from_slice(&packed);
            packets.close();
            return;
        }
        cut(&packed, packets);
    }

    fn pack(&self, document: &[u8]) -> std::io::Result<Vec<u8>> {
        let level = u32::try_from(self.level).map_or_else(|_| Compression::default(), Compression::new);
        match self.packing {
            Packing::None => Ok(document.to_vec()),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(document)?;
                encoder.finish()
            }
            Packing::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(document)?;
                encoder.finish()
            }
        }
    }
}

/// Cuts a document into pieces that name what they are pieces of.
fn cut(packed: &[u8], packets: &mut Packets) {
    let pieces = packed.chunks(CHUNK - CHUNK_HEAD);
    let Some(count) = u8::try_from(pieces.len()).ok().filter(|count| usize::from(*count) <= MOST_CHUNKS)
    else {
        return;
    };
    let mut id = [0; 8];
    let _ = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
    for (number, piece) in (0..count).zip(pieces) {
        packets.bytes.extend_from_slice(&[0x1e, 0x0f]);
        packets.bytes.extend_from_slice(&id);
        packets.bytes.extend_from_slice(&[number, count]);
        packets.bytes.extend_from_slice(piece);
        packets.close();
    }
}

fn document(about: &About, message: Message<'_>) -> Vec<u8> {
    let text = |value: &str| Value::String(value.to_owned());
    let millis = message.time.0.div_euclid(1_000_000);
    let mut all = Map::new();
    all.insert("version".into(), text("1.1"));
    all.insert("host".into(), text(&about.host));
    all.insert("short_message".into(), text(&String::from_utf8_lossy(message.text)));
    all.insert("timestamp".into(), Value::from(millis as f64 / 1000.0));
    all.insert("level".into(), Value::from(if message.stream == Stream::Stderr { 3 } else { 6 }));
    for (name, value) in [
        ("_container_id", about.id.as_str()),
        ("_container_name", &about.name),
        ("_image_id", &about.image_id),
        ("_image_name", &about.image),
        ("_command", &about.command),
        ("_tag", &about.tag),
        ("_created", &about.created.to_string()),
    ] {
        all.insert(name.into(), text(value));
    }
    all.extend(about.attributes.iter().map(|(name, value)| (name.clone(), text(value))));
    serde_json::to_vec(&all).unwrap_or_default()
}

fn address(text: &str) -> Result<Address, Error> {
    if text.is_empty() {
        return Err(Error::value("gelf-address is a required parameter"));
    }
    let (scheme, rest) = transport("gelf-address", text)?;
    let host = rest.trim_end_matches('/').to_owned();
    let complete = |address| match has_port(&host) {
        true => Ok(address),
        false => Err(Error::value("gelf: please provide gelf-address as proto://host:port")),
    };
    match scheme {
        "udp" => complete(Address::Udp(host.clone())),
        "tcp" => complete(Address::Tcp(host.clone())),
        _ => Err(Error::value("gelf: endpoint needs to be TCP or UDP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proa_types::Timestamp;

    fn gelf(pairs: &[(&str, &str)]) -> Result<Gelf, Error> {
        Gelf::new(&pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn long_messages_are_cut_and_come_together_again() {
        let gelf = gelf(&[("gelf-address", "udp://h:1"), ("gelf-compression-type", "none")]).unwrap();
        let (mut packets, time) = (Packets::default(), Timestamp(1_700_000_000_500_000_000));
        let text = vec![b'x'; 5000];
        let message = Message { stream: Stream::Stdout, time, text: &text, part: None };
        gelf.encode(&About::default(), message, &mut packets);
        let pieces: Vec<&[u8]> = packets.from(0).collect();
        assert!(pieces.len() == 4 && pieces.iter().all(|piece| piece.len() <= CHUNK && piece[11] == 4));
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece[CHUNK_HEAD..].to_vec()).collect();
        let document: Value = serde_json::from_slice(&whole).unwrap();
        assert_eq!(document["timestamp"], 1_700_000_000.5);
        assert_eq!(document["short_message"].as_str().unwrap().len(), 5000);
    }

    #[test]
    fn options_are_refused_in_dockers_words() {
        let address = ("gelf-address", "udp://h:1");
        for (pairs, text) in [
            (&[][..], "gelf-address is a required parameter"),
            (&[("gelf-address", "h:1")], "gelf-address should be in form proto://address, got h:1"),
            (&[("gelf-address", "unix:///x")], "gelf: endpoint needs to be TCP or UDP"),
            (&[("gelf-address", "udp://h")], "gelf: please provide gelf-address as proto://host:port"),
            (
                &[address, ("gelf-compression-type", "lz")],
                "unknown value \"lz\" for log opt \"gelf-compression-type\" for gelf log driver",
            ),
            (&[address, ("gelf-tcp-max-reconnect", "1")], "\"gelf-tcp-max-reconnect\" is only valid for TCP"),
            (
                &[("gelf-address", "tcp://h:1"), ("gelf-compression-level", "1")],
                "compression is only supported on UDP",
            ),
        ] {
            assert_eq!(gelf(pairs).unwrap_err().to_string(), text);
        }
    }
}
