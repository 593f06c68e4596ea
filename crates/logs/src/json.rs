//! The form of `json-file`: `{"log":"…\n","stream":"stdout","time":"…"}` and a newline, as docker writes it.

use crate::{Record, Stream};
use proa_types::Timestamp;
use std::collections::BTreeMap;

/// Appends one record. Bytes that are not UTF-8 become U+FFFD, as Go's encoder has it.
pub(crate) fn encode(out: &mut Vec<u8>, data: &[u8], end: &[u8]) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, data);
    out.extend_from_slice(end);
}

/// What comes behind the text of a record.
pub(crate) fn end(stream: Stream, time: Timestamp, attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
    let attributes = match attributes.is_empty() {
        true => String::new(),
        false => format!(",\"attrs\":{}", serde_json::to_string(attributes).unwrap_or_else(|_| "{}".into())),
    };
    format!("\",\"stream\":\"{name}\"{attributes},\"time\":\"{time}\"}}\n").into_bytes()
}

fn escape(out: &mut Vec<u8>, data: &[u8]) {
    for chunk in data.utf8_chunks() {
        escape_valid(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Escapes what JSON needs, and what Go's encoder escapes besides: `<`, `>`, `&`, and the two line separators.
fn escape_valid(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain..at).unwrap_or_default());
        if escaped.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escaped);
        }
        plain = at + 1;
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
}

/// Reads one line; none if it is damaged.
pub(crate) fn decode(line: &[u8]) -> Option<Record> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(default)]
        log: String,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
        stream: Stream,
        time: String,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let time = Timestamp::parse(&line.time).ok()?;
    Some(Record { stream: line.stream, time, data: line.log.into_bytes(), attributes: line.attrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_look_as_dockers() {
        let mut out = Vec::new();
        let time = Timestamp(1_700_000_000_500_000_000);
        encode(&mut out, b"a\"b\\<\x01\xff\n", &end(Stream::Stderr, time, &BTreeMap::new()));
        let text = String::from_utf8(out.clone()).unwrap();
        assert_eq!(
            text,
            "{\"log\":\"a\\\"b\\\\\\u003c\\u0001\\ufffd\\n\",\"stream\":\"stderr\",\"time\":\"2023-11-14T22:13:20.5Z\"}\n"
        );
        let record = decode(&out).unwrap();
        assert_eq!((record.stream, record.time), (Stream::Stderr, time));
        assert_eq!(record.data, "a\"b\\<\u{1}\u{fffd}\n".as_bytes());
        assert!(decode(&out[..out.len() - 5]).is_none());
    }
}
