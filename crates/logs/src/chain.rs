//! The files of a log as a chain: which file came after which, whatever they are called by now.
//!
//! A file is known by its inode and the time it was made: a number alone is soon another file's. One that was compressed
//! carries in its head what it was known by.

use crate::file::rotated;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file of the chain, open.
pub(crate) struct Link {
    pub(crate) source: Box<dyn Read + Send>,
    /// What it is known by.
    pub(crate) inode: u64,
    /// Whether it is compressed.
    pub(crate) packed: bool,
}

/// What a file is known by, whatever its name.
pub(crate) fn identity(meta: &std::fs::Metadata) -> u64 {
    let made = meta.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let made = made.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
    // Spread over all bits, so that neighbours in one do not undo those in the other.
    meta.ino() ^ made.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Opens the file of this number; 0 is the current one.
pub(crate) fn open(path: &Path, number: u32) -> Option<Link> {
    let plain = |file: File| {
        let inode = identity(&file.metadata().ok()?);
        Some(Link { source: Box::new(file), inode, packed: false })
    };
    if number == 0 {
        return File::open(path).ok().and_then(plain);
    }
    if let Ok(file) = File::open(rotated(path, number, "")) {
        return plain(file);
    }
    let decoder = flate2::read::GzDecoder::new(File::open(rotated(path, number, ".gz")).ok()?);
    let inode = decoder.header().and_then(|head| inode_of(head.extra()?)).unwrap_or(0);
    Some(Link { source: Box::new(decoder), inode, packed: true })
}

/// The number of the file with this inode.
pub(crate) fn number_of(path: &Path, files: u32, inode: u64) -> Option<u32> {
    (0..files.max(1)).find(|number| open(path, *number).is_some_and(|link| link.inode == inode))
}

/// The file that came after the one with this inode; none if that one is the current file, or there is none at all.
/// Where it is gone, what is oldest comes next.
pub(crate) fn successor(path: &Path, files: u32, inode: u64) -> Option<Link> {
    // A rotation in between gives all of them other numbers: what was found is looked at again.
    for _ in 0..100 {
        let number = number_of(path, files, inode);
        let next = match number {
            Some(0) => return None,
            Some(number) => open(path, number - 1),
            None => oldest(path, files),
        };
        if number_of(path, files, inode) == number {
            return next;
        }
    }
    None
}

/// The oldest file there is.
pub(crate) fn oldest(path: &Path, files: u32) -> Option<Link> {
    (0..files.max(1)).rev().find_map(|number| open(path, number))
}

/// The extra field of a compressed file's head (RFC 1952, 2.3.1.1).
pub(crate) fn extra(inode: u64) -> Vec<u8> {
    let mut field = b"PI\x08\x00".to_vec();
    field.extend_from_slice(&inode.to_le_bytes());
    field
}

fn inode_of(extra: &[u8]) -> Option<u64> {
    let bytes = extra.strip_prefix(b"PI\x08\x00")?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
