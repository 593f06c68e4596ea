//! The form of `local`: for each record a head of 13 bytes, the data, and its length again, so that a reader can
//! also go backwards. Numbers are little-endian.
//!
//! ```text
//! length: u32 of the data | stream: u8, 1 or 2 | time: i64 ns | data | length: u32 again
//! ```

use crate::{Record, Stream};
use proa_types::Timestamp;
use std::collections::BTreeMap;

/// Bytes before the data.
pub(crate) const HEAD: usize = 13;
/// Bytes behind it.
pub(crate) const TAIL: usize = 4;

/// Appends one record.
pub(crate) fn encode(out: &mut Vec<u8>, stream: Stream, time: Timestamp, data: &[u8]) {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&length);
    out.push(if stream == Stream::Stdout { 1 } else { 2 });
    out.extend_from_slice(&time.0.to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&length);
}

/// Reads the record at the beginning of `bytes`, and its whole length; none if it is cut short or damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    if length > crate::LINE {
        return None;
    }
    let stream = match bytes.get(4)? {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    let time = Timestamp(i64::from_le_bytes(bytes.get(5..HEAD)?.try_into().ok()?));
    let data = bytes.get(HEAD..HEAD + length)?.to_vec();
    let tail = bytes.get(HEAD + length..HEAD + length + TAIL)?;
    (tail == bytes.get(..4)?)
        .then_some((Record { stream, time, data, attributes: BTreeMap::new() }, HEAD + length + TAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_damage_is_seen() {
        let mut out = Vec::new();
        encode(&mut out, Stream::Stdout, Timestamp(7), b"\xff\x00line\n");
        let (record, length) = decode(&out).unwrap();
        assert_eq!(
            (record.data.as_slice(), record.time, length),
            (&b"\xff\x00line\n"[..], Timestamp(7), out.len())
        );
        for end in 0..out.len() {
            assert!(decode(&out[..end]).is_none());
        }
    }
}
