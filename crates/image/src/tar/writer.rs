//! Writing archives: ustar, with PAX records where a field does not fit. The same entries give the same
//! bytes, always.

use super::header::BLOCK;
use super::{Entry, Kind};
use std::io::{Read, Result, Write};

/// Writes entries to a stream.
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// A writer at the start of an archive.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes an entry and its payload of `entry.size` bytes.
    ///
    /// # Errors
    /// When the stream fails, or `payload` ends early.
    pub fn entry(&mut self, entry: &Entry, payload: &mut dyn Read) -> Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let head = Entry::file("PaxHeaders.0", 0o644, records.len() as u64);
            self.output.write_all(&block(&head, b'x'))?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.output.write_all(&block(entry, flag(entry.kind)))?;
        let copied = std::io::copy(&mut payload.take(entry.size), &mut self.output)?;
        if copied < entry.size {
            let text = format!("{} is shorter than announced", entry.name());
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text));
        }
        self.pad(entry.size)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When the stream fails.
    pub fn finish(mut self) -> Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or_default();
        self.output.write_all([0u8; BLOCK].get(..padding).unwrap_or_default())
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::Character => b'3',
        Kind::Block => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

fn block(entry: &Entry, flag: u8) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    put(&mut block, 0, 100, &entry.path);
    octal(&mut block, 100, 8, u64::from(entry.mode));
    octal(&mut block, 108, 8, u64::from(entry.uid));
    octal(&mut block, 116, 8, u64::from(entry.gid));
    octal(&mut block, 124, 12, entry.size);
    octal(&mut block, 136, 12, u64::try_from(entry.mtime.0).unwrap_or_default());
    put(&mut block, 148, 8, b"        ");
    put(&mut block, 156, 1, &[flag]);
    put(&mut block, 157, 100, &entry.link);
    put(&mut block, 257, 8, b"ustar\x0000");
    octal(&mut block, 329, 8, u64::from(entry.device.0));
    octal(&mut block, 337, 8, u64::from(entry.device.1));
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    put(&mut block, 148, 8, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, room: usize, bytes: &[u8]) {
    for (target, byte) in block.iter_mut().skip(at).take(room).zip(bytes) {
        *target = *byte;
    }
}

/// A number in octal, or zero where it does not fit: a PAX record has it then.
fn octal(block: &mut [u8; BLOCK], at: usize, room: usize, value: u64) {
    let digits = room - 1;
    let text = format!("{value:0digits$o}");
    put(block, at, digits, if text.len() > digits { &[b'0'; 11] } else { text.as_bytes() });
}

/// The PAX records of what the header cannot hold.
fn records(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |key: &str, value: &[u8]| {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length = length.to_string().len() + rest;
        }
        out.extend_from_slice(format!("{length} {key}=").as_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    };
    let plain = |text: &[u8]| text.is_ascii() && text.len() <= 100;
    if !plain(&entry.path) {
        add("path", &entry.path);
    }
    if !plain(&entry.link) {
        add("linkpath", &entry.link);
    }
    if entry.size >= 1 << 33 {
        add("size", entry.size.to_string().as_bytes());
    }
    for (key, value) in [("uid", entry.uid), ("gid", entry.gid)] {
        if value >= 1 << 21 {
            add(key, value.to_string().as_bytes());
        }
    }
    if entry.mtime.1 != 0 || !(0..1 << 33).contains(&entry.mtime.0) {
        add("mtime", time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        add(&format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value);
    }
    out
}

/// Seconds with decimals; before 1970 the decimals count away from zero.
fn time((seconds, nanos): (i64, u32)) -> String {
    let text = match (seconds, nanos) {
        (..0, 1..) => {
            let whole = seconds + 1;
            let sign = if whole == 0 { "-" } else { "" };
            format!("{sign}{whole}.{:09}", 1_000_000_000 - nanos)
        }
        _ => format!("{seconds}.{nanos:09}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
