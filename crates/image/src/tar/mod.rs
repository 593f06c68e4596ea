//! Tar archives as they are found in images: reading that trusts nothing, and writing.

mod error;
pub(crate) mod header;
mod pax;
mod reader;
mod writer;

pub use crate::pack::{pack, pack_contents};
pub use crate::unpack::{ExtractOptions, Owner, extract};
pub use error::Error;
pub use reader::{Limits, Reader, Tap};
pub use writer::Writer;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of an archive, with its extended headers applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as the archive has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of its payload.
    pub size: u64,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, by whole name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// A regular file of root, for writing.
    pub fn file(path: &str, mode: u32, size: u64) -> Self {
        Self {
            path: path.as_bytes().to_vec(),
            kind: Kind::File,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime: (0, 0),
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// A directory of root, for writing.
    pub fn directory(path: &str) -> Self {
        Self { kind: Kind::Directory, ..Self::file(path, 0o755, 0) }
    }

    /// Its name for messages.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// An archive that may be compressed, as a plain one; nothing at all is an empty archive.
///
/// # Errors
/// [`Error::Broken`] when it is no archive, [`Error::Unsupported`] when it is compressed in another way,
/// [`Error::Read`].
pub fn plain<'a>(from: impl std::io::Read + Send + 'a) -> Result<impl std::io::BufRead + Send + 'a, Error> {
    use std::io::{BufReader, Read};
    let mut from = from;
    let mut first = Vec::with_capacity(header::BLOCK);
    from.by_ref().take(header::BLOCK as u64).read_to_end(&mut first).map_err(Error::Read)?;
    let compression = match crate::layer::Compression::of(&first)? {
        None if first.is_empty() => crate::layer::Compression::None,
        other => other.ok_or(Error::Broken { at: 0, problem: "neither a tar archive nor gzip nor zstd" })?,
    };
    let whole = BufReader::with_capacity(64 << 10, std::io::Cursor::new(first).chain(from));
    let plain = compression.reader(whole).map_err(Error::Compression)?;
    Ok(BufReader::with_capacity(64 << 10, plain))
}
