//! The files of a small zip archive (PKWARE's APPNOTE.TXT): stored or deflated, found by the central
//! directory. Nothing is trusted: every offset is checked, the whole is bounded.

use std::collections::BTreeMap;
use std::io::Read as _;

/// Bytes of the record at the end, without its comment.
const END: usize = 22;

/// Whether the bytes begin as a zip archive's do.
pub(super) fn is_zip(raw: &[u8]) -> bool {
    raw.starts_with(b"PK\x03\x04") || raw.starts_with(b"PK\x05\x06")
}

fn word(raw: &[u8], at: usize) -> Option<usize> {
    let bytes = raw.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(usize::from(u16::from_le_bytes(bytes)))
}

fn long(raw: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(raw.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn offset(raw: &[u8], at: usize) -> Option<usize> {
    usize::try_from(long(raw, at)?).ok()
}

/// The files by name; directories are left out.
///
/// # Errors
/// The archive is broken, or has more entries or bytes than allowed.
pub(super) fn files(raw: &[u8], entries: u64, bytes: u64) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let broken = || "not a valid zip file".to_owned();
    let earliest = raw.len().saturating_sub(END + usize::from(u16::MAX));
    let end = (earliest..=raw.len().saturating_sub(END)).rev();
    let end = end.into_iter().find(|at| raw.get(*at..at + 4) == Some(b"PK\x05\x06")).ok_or_else(broken)?;
    let count = word(raw, end + 10).ok_or_else(broken)?;
    let mut at = offset(raw, end + 16).ok_or_else(broken)?;
    if count as u64 > entries {
        return Err("read exceeds the defined limit".to_owned());
    }
    let (mut all, mut left) = (BTreeMap::new(), bytes);
    for _ in 0..count {
        let entry = Entry::read(raw, at).ok_or_else(broken)?;
        at = entry.next;
        if entry.name.ends_with('/') {
            continue;
        }
        let content = entry.content(raw, left)?;
        left = left.saturating_sub(content.len() as u64);
        all.insert(entry.name, content);
    }
    Ok(all)
}

/// One record of the central directory.
struct Entry {
    name: String,
    method: usize,
    checksum: u32,
    packed: usize,
    header: usize,
    next: usize,
}

impl Entry {
    fn read(raw: &[u8], at: usize) -> Option<Self> {
        let record = raw.get(at..)?;
        if !record.starts_with(b"PK\x01\x02") {
            return None;
        }
        let [name, extra, comment] = [word(record, 28)?, word(record, 30)?, word(record, 32)?];
        Some(Self {
            name: String::from_utf8(record.get(46..46 + name)?.to_vec()).ok()?,
            method: word(record, 10)?,
            checksum: long(record, 16)?,
            packed: offset(record, 20)?,
            header: offset(record, 42)?,
            next: at + 46 + name + extra + comment,
        })
    }

    fn packed<'a>(&self, raw: &'a [u8]) -> Option<&'a [u8]> {
        let local = raw.get(self.header..)?;
        if !local.starts_with(b"PK\x03\x04") {
            return None;
        }
        let begin = 30 + word(local, 26)? + word(local, 28)?;
        local.get(begin..begin.checked_add(self.packed)?)
    }

    /// Its bytes, at most `limit`.
    fn content(&self, raw: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        let packed = self.packed(raw).ok_or("not a valid zip file")?;
        let mut out = Vec::new();
        let mut keep = |reader: &mut dyn std::io::Read| reader.take(limit + 1).read_to_end(&mut out);
        let read = match self.method {
            0 => keep(&mut &*packed),
            8 => keep(&mut flate2::read::DeflateDecoder::new(packed)),
            other => return Err(format!("{}: unsupported compression method {other}", self.name)),
        };
        read.map_err(|cause| format!("{}: {cause}", self.name))?;
        if out.len() as u64 > limit {
            return Err("read exceeds the defined limit".to_owned());
        }
        let mut sum = flate2::Crc::new();
        sum.update(&out);
        if sum.sum() != self.checksum {
            return Err(format!("{}: checksum error", self.name));
        }
        Ok(out)
    }
}
