//! As much of MessagePack as Fluentd's forward protocol needs.

/// Appends the head of a list.
pub(crate) fn list(out: &mut Vec<u8>, length: usize) {
    head(out, length, (0x90, 15), None, 0xdc);
}

/// Appends the head of a map.
pub(crate) fn map(out: &mut Vec<u8>, length: usize) {
    head(out, length, (0x80, 15), None, 0xde);
}

/// Appends text, or any bytes in its place: receivers take them as they come.
pub(crate) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, bytes.len(), (0xa0, 31), Some(0xd9), 0xda);
    out.extend_from_slice(bytes);
}

/// Appends a whole number.
pub(crate) fn number(out: &mut Vec<u8>, number: i64) {
    out.push(0xd3);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a point in time as Fluentd's `EventTime`, with nanoseconds.
pub(crate) fn event_time(out: &mut Vec<u8>, seconds: i64, nanos: i64) {
    out.extend_from_slice(&[0xd7, 0x00]);
    out.extend_from_slice(&u32::try_from(seconds).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&u32::try_from(nanos).unwrap_or(0).to_be_bytes());
}

/// The head of something with a length: in its first byte, in one byte, in two (`wide`), or in four (`wide` + 1).
fn head(out: &mut Vec<u8>, length: usize, (fixed, most): (u8, u8), byte: Option<u8>, wide: u8) {
    match (u8::try_from(length), u16::try_from(length), byte) {
        (Ok(length), _, _) if length <= most => out.push(fixed | length),
        (Ok(length), _, Some(byte)) => out.extend_from_slice(&[byte, length]),
        (_, Ok(length), _) => {
            out.push(wide);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(wide + 1);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

/// Reads a map of texts, as receivers answer with; the value of `key`. Bytes that are not one yet are none.
pub(crate) fn value_of(bytes: &[u8], key: &str) -> Option<(String, usize)> {
    let count = bytes.first().filter(|byte| **byte & 0xf0 == 0x80).map(|byte| byte & 0x0f)?;
    let (mut at, mut found) = (1, None);
    for _ in 0..count {
        let name = read_text(bytes, &mut at)?;
        let value = read_text(bytes, &mut at)?;
        if name == key.as_bytes() {
            found = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    Some((found?, at))
}

fn read_text<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let first = *bytes.get(*at)?;
    let (length, head) = match first {
        0xa0..=0xbf => (usize::from(first & 0x1f), 1),
        0xd9 | 0xc4 => (usize::from(*bytes.get(*at + 1)?), 2),
        0xda | 0xc5 => (usize::from(u16::from_be_bytes([*bytes.get(*at + 1)?, *bytes.get(*at + 2)?])), 3),
        _ => return None,
    };
    let begin = *at + head;
    let value = bytes.get(begin..begin + length)?;
    *at = begin + length;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        let of = |length: usize| {
            let mut out = Vec::new();
            text(&mut out, &vec![b'x'; length]);
            out.truncate(out.len() - length);
            out
        };
        assert_eq!(of(31), [0xbf]);
        assert_eq!(of(32), [0xd9, 32]);
        assert_eq!(of(256), [0xda, 1, 0]);
        assert_eq!(of(65_536), [0xdb, 0, 1, 0, 0]);
        let mut out = Vec::new();
        map(&mut out, 1);
        text(&mut out, b"ack");
        text(&mut out, b"id");
        assert_eq!(value_of(&out, "ack"), Some(("id".into(), 8)));
        assert_eq!(value_of(&out[..5], "ack"), None);
    }
}
