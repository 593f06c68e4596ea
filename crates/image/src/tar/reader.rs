//! Reading an archive from front to back. Nothing is trusted: every length is bounded before it is used.

use super::header::{self, BLOCK, Header};
use super::pax::{self, Pax};
use super::{Entry, Error, Kind};
use std::io::BufRead;

/// Bytes one extended header or long name may have (Go's limit).
const MAX_EXTENSION: u64 = 1 << 20;
/// Extended headers in a row before an entry must come.
const MAX_EXTENSIONS: usize = 16;
/// Bytes of a path, which is the kernel's `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// What an archive may ask of the host.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes, all in all.
    pub bytes: u64,
    /// How many times larger than what it was compressed to it may be, once it is larger than `ratio_from`.
    /// (gzip ends at 1032, for zeros only; zstd nowhere.)
    pub ratio: u64,
    /// Below this many bytes nobody asks how well an archive is compressed.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4_000_000, bytes: 1 << 38, ratio: 400, ratio_from: 1 << 30 }
    }
}

/// Someone who sees every byte that is not taken with [`Reader::payload`] by a caller who asks to keep it.
pub trait Tap {
    /// Bytes of a header, of padding, or of a payload nobody took.
    ///
    /// # Errors
    /// When they cannot be noted down.
    fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()>;
}

/// Nobody sees them.
impl Tap for () {
    fn raw(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads entries from a stream.
pub struct Reader<R, T> {
    input: R,
    /// Who sees the bytes between payloads.
    pub tap: T,
    limits: Limits,
    position: u64,
    entries: u64,
    /// Bytes of the current payload not read yet, and of the padding after it.
    payload: u64,
    padding: u64,
}

impl<R: BufRead, T: Tap> Reader<R, T> {
    /// A reader at the start of an archive.
    pub fn new(input: R, tap: T, limits: Limits) -> Self {
        Self { input, tap, limits, position: 0, entries: 0, payload: 0, padding: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the current entry's payload that have not been read.
    pub fn remaining(&self) -> u64 {
        self.payload
    }

    /// The next entry; what is left of the payload before it is skipped. None at the end of the archive,
    /// whatever follows it.
    ///
    /// # Errors
    /// [`Error`]; the reader is of no use afterwards.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let (mut pax, mut long_path, mut long_link) = (Pax::default(), None, None);
        for _ in 0..MAX_EXTENSIONS {
            let at = self.position;
            let Some(header) = self.header()? else { return Ok(None) };
            let broken = |problem| Error::Broken { at, problem };
            let size = u64::try_from(header.size).map_err(|_| broken("its size is negative"))?;
            match header.flag {
                b'x' => pax = pax::parse(&self.extension(size, at)?).map_err(broken)?,
                b'L' => long_path = Some(until_nul(self.extension(size, at)?)),
                b'K' => long_link = Some(until_nul(self.extension(size, at)?)),
                b'g' => drop(self.extension(size, at)?),
                _ => {
                    let entry = entry(header, size, pax, long_path, long_link).map_err(broken)?;
                    return self.begin(entry, at).map(Some);
                }
            }
        }
        Err(Error::Broken { at: self.position, problem: "extended headers without an entry" })
    }

    /// Reads what is left of the payload, piece by piece, without showing it to the tap.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Read`], and what `take` fails with.
    pub fn payload(&mut self, mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        while self.payload > 0 {
            let bytes = fill(&mut self.input)?;
            let bytes = prefix(bytes, self.payload);
            if bytes.is_empty() {
                return Err(Error::Truncated("a file"));
            }
            take(bytes)?;
            let length = bytes.len();
            self.input.consume(length);
            self.payload -= length as u64;
            self.position += length as u64;
        }
        Ok(())
    }

    /// Reads some bytes of the payload into `buffer`; 0 at its end. The tap does not see them.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Read`].
    pub fn read_payload(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        if self.payload == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let bytes = prefix(fill(&mut self.input)?, self.payload.min(buffer.len() as u64));
        let length = bytes.len();
        let Some(target) = buffer.get_mut(..length).filter(|target| !target.is_empty()) else {
            return Err(Error::Truncated("a file"));
        };
        target.copy_from_slice(bytes);
        self.input.consume(length);
        self.payload -= length as u64;
        self.position += length as u64;
        Ok(length)
    }

    /// Reads on to the end of the stream, past the end of the archive.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::TooMuch`].
    pub fn finish(&mut self) -> Result<(), Error> {
        self.skip()?;
        loop {
            let length = fill(&mut self.input)?.len();
            if length == 0 {
                return Ok(());
            }
            self.raw(length as u64, "the end")?;
            self.charge(0)?;
        }
    }

    /// Skips what is left of the entry.
    fn skip(&mut self) -> Result<(), Error> {
        let (payload, padding) = (std::mem::take(&mut self.payload), std::mem::take(&mut self.padding));
        self.raw(payload, "a file")?;
        match self.raw(padding, "padding") {
            // Some writers leave out the padding of the last entry.
            Err(Error::Truncated(_)) => Ok(()),
            other => other,
        }
    }

    fn header(&mut self) -> Result<Option<Header>, Error> {
        let at = self.position;
        let mut block = [0u8; BLOCK];
        let read = self.exact(&mut block)?;
        match read {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(Error::Truncated("a header")),
        }
        if block.iter().all(|&byte| byte == 0) {
            return self.end(at);
        }
        self.charge(0)?;
        header::parse(&block).map(Some).map_err(|problem| Error::Broken { at, problem })
    }

    /// After one block of zeros another ends the archive; so does the end of the stream.
    fn end(&mut self, at: u64) -> Result<Option<Header>, Error> {
        let mut block = [0u8; BLOCK];
        let read = self.exact(&mut block)?;
        if block.iter().any(|&byte| byte != 0) && read > 0 {
            return Err(Error::Broken { at, problem: "a single block of zeros between entries" });
        }
        Ok(None)
    }

    fn begin(&mut self, entry: Entry, at: u64) -> Result<Entry, Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::TooMuch { limit: self.limits.entries, what: "entries" });
        }
        if entry.path.len() >= MAX_PATH || entry.link.len() >= MAX_PATH {
            return Err(Error::Broken { at, problem: "a name is longer than 4095 bytes" });
        }
        self.charge(entry.size)?;
        self.payload = entry.size;
        self.padding = entry.size.wrapping_neg() % BLOCK as u64;
        Ok(entry)
    }

    fn charge(&self, more: u64) -> Result<(), Error> {
        match self.position.checked_add(more) {
            Some(total) if total <= self.limits.bytes => Ok(()),
            _ => Err(Error::TooMuch { limit: self.limits.bytes, what: "bytes" }),
        }
    }

    /// The payload of an extended header.
    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(Error::Broken { at, problem: "an extended header is longer than 1 MiB" });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        if self.exact(&mut bytes)? < bytes.len() {
            return Err(Error::Truncated("an extended header"));
        }
        self.raw(size.wrapping_neg() % BLOCK as u64, "an extended header")?;
        Ok(bytes)
    }

    /// Fills `buffer` as far as the stream goes, showing it to the tap.
    fn exact(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let bytes = prefix(fill(&mut self.input)?, rest.len() as u64);
            let length = bytes.len();
            if length == 0 {
                break;
            }
            if let Some(target) = rest.get_mut(..length) {
                target.copy_from_slice(bytes);
            }
            self.tap.raw(bytes).map_err(note)?;
            self.input.consume(length);
            self.position += length as u64;
            done += length;
        }
        Ok(done)
    }

    /// Shows the next `count` bytes to the tap.
    fn raw(&mut self, mut count: u64, of: &'static str) -> Result<(), Error> {
        while count > 0 {
            let bytes = prefix(fill(&mut self.input)?, count);
            let length = bytes.len();
            if length == 0 {
                return Err(Error::Truncated(of));
            }
            self.tap.raw(bytes).map_err(note)?;
            self.input.consume(length);
            self.position += length as u64;
            count -= length as u64;
        }
        Ok(())
    }
}

fn note(source: std::io::Error) -> Error {
    Error::Write { path: "the layer's recipe".into(), source }
}

/// Bytes at hand, more if there are none; empty at the end of the stream.
fn fill(input: &mut impl BufRead) -> Result<&[u8], Error> {
    loop {
        match input.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Read(error)),
            // Asking again costs nothing: the bytes are at hand. It works around the borrow checker's
            // refusal to return `bytes` from within the loop.
            Ok(_) => break,
        }
    }
    input.fill_buf().map_err(Error::Read)
}

fn prefix(bytes: &[u8], limit: u64) -> &[u8] {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..limit).unwrap_or_default()
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// Puts a header and what extended it together; the error is what is wrong.
fn entry(
    header: Header,
    size: u64,
    pax: Pax,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<Entry, &'static str> {
    let id = |value: i64| u32::try_from(value).map_err(|_| "an owner is not a number of 32 bits");
    let path = long_path.filter(|p| !p.is_empty()).or(pax.path).unwrap_or(header.path);
    let kind = match header.flag {
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Character,
        b'4' => Kind::Block,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'S' => return Err("sparse files are not supported: make the archive without --sparse"),
        _ => return Err("an entry of a kind that images do not have"),
    };
    if pax.sparse {
        return Err("sparse files are not supported: make the archive without --sparse");
    }
    // As in Go, these kinds have no payload whatever their size says.
    let bare = matches!(header.flag, b'1'..=b'6');
    let (seconds, nanos) = pax.mtime.unwrap_or((header.mtime, 0));
    Ok(Entry {
        kind,
        link: long_link.filter(|l| !l.is_empty()).or(pax.link).unwrap_or(header.link),
        mode: u32::try_from(header.mode & 0o7777).unwrap_or_default(),
        uid: pax.uid.map_or_else(|| id(header.uid), Ok)?,
        gid: pax.gid.map_or_else(|| id(header.gid), Ok)?,
        size: if bare { 0 } else { pax.size.unwrap_or(size) },
        mtime: (seconds, nanos),
        device: (device_number(header.major)?, device_number(header.minor)?),
        xattrs: pax.xattrs,
        path,
    })
}

fn device_number(value: i64) -> Result<u32, &'static str> {
    u32::try_from(value).map_err(|_| "a device number is not a number of 32 bits")
}
