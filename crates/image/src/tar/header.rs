//! One 512-byte tar header: ustar, GNU and old (v7) forms.
//!
//! Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format". Where those
//! leave room we read as Go's `archive/tar` does, because that is what wrote and read every image so far:
//! two readers that disagree about where an entry ends are how archives smuggle.

/// Bytes of a header, and the unit everything in an archive is padded to.
pub(crate) const BLOCK: usize = 512;

/// A header, with its fields as the bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) mode: i64,
    pub(crate) uid: i64,
    pub(crate) gid: i64,
    pub(crate) size: i64,
    pub(crate) mtime: i64,
    pub(crate) major: i64,
    pub(crate) minor: i64,
}

/// Reads a header; the error is what is wrong with it.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Header, &'static str> {
    let field = |from: usize, len: usize| block.get(from..from + len).unwrap_or_default();
    check(block, field(148, 8))?;
    let bad = "a number is not octal";
    let magic = field(257, 8);
    let ustar = magic.starts_with(b"ustar\0");
    let devices = ustar || magic == b"ustar  \0";
    let mut path = text(field(0, 100)).to_vec();
    if ustar {
        let star = field(508, 4) == b"tar\0";
        let prefix = text(field(345, if star { 131 } else { 155 }));
        if !prefix.is_empty() {
            path = [prefix, b"/", &path].concat();
        }
    }
    let device = |from: usize| if devices { number(field(from, 8)).ok_or(bad) } else { Ok(0) };
    Ok(Header {
        path,
        link: text(field(157, 100)).to_vec(),
        flag: block.get(156).copied().unwrap_or_default(),
        mode: number(field(100, 8)).ok_or(bad)?,
        uid: number(field(108, 8)).ok_or(bad)?,
        gid: number(field(116, 8)).ok_or(bad)?,
        size: number(field(124, 12)).ok_or(bad)?,
        mtime: number(field(136, 12)).ok_or(bad)?,
        major: device(329)?,
        minor: device(337)?,
    })
}

/// The sum of all bytes, with the checksum field taken as spaces. Old writers summed signed bytes.
fn check(block: &[u8; BLOCK], field: &[u8]) -> Result<(), &'static str> {
    let stored = number(field).ok_or("the header's checksum is not a number")?;
    let outside = |&(at, _): &(usize, &u8)| !(148..156).contains(&at);
    let bytes = || block.iter().enumerate().filter(outside).map(|(_, byte)| *byte);
    let unsigned: i64 = bytes().map(i64::from).sum::<i64>() + 8 * 32;
    let signed: i64 = bytes().map(|b| i64::from(b.cast_signed())).sum::<i64>() + 8 * 32;
    if stored == unsigned || stored == signed { Ok(()) } else { Err("the header's checksum is wrong") }
}

/// Whether the first block of a stream is the header of a tar archive, or the end of an empty one.
pub(crate) fn is_tar(block: &[u8]) -> bool {
    block.get(..BLOCK).and_then(|block| <&[u8; BLOCK]>::try_from(block).ok()).is_some_and(|block| {
        block.iter().all(|&byte| byte == 0) || check(block, block.get(148..156).unwrap_or_default()).is_ok()
    })
}

/// A text field: up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number: octal, or base 256 (GNU) when the first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let blank = |&byte: &u8| byte == b' ' || byte == 0;
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = text(field.get(start..).unwrap_or_default());
    let end = digits.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
    let mut value = 0i64;
    for byte in digits.get(..end).unwrap_or_default() {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

/// Two's complement, big endian, with the first bit used as the mark.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field.first()? & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_form() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"00000x4\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        let mut huge = [0xffu8; 12];
        huge[0] = 0x80;
        assert_eq!(number(&huge), None);
    }
}
