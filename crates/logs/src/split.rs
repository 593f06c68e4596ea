//! Output comes in pieces of any length; logs keep lines, and pieces of lines that are too long.

use crate::Stream;
use memchr::memchr;

/// Longest piece kept as one record, as docker has it: 16 KiB.
pub const LINE: usize = 16 << 10;

/// Joins pieces to lines, for each stream.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Splitter {
    /// Calls `emit` for each whole line (with its newline) and each full piece of a longer one.
    pub(crate) fn feed(&mut self, stream: Stream, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        let held = self.held_mut(stream);
        while !bytes.is_empty() {
            let room = LINE - held.len();
            let reach = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
            let (end, whole) = match memchr(b'\n', reach) {
                Some(at) => (at + 1, true),
                None => (reach.len(), reach.len() == room),
            };
            let (piece, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = rest;
            match (whole, held.is_empty()) {
                (true, true) => emit(piece),
                (true, false) => {
                    held.extend_from_slice(piece);
                    emit(held);
                    held.clear();
                }
                (false, _) => held.extend_from_slice(piece),
            }
        }
    }

    /// What is left of a stream.
    pub(crate) fn take(&mut self, stream: Stream) -> Vec<u8> {
        std::mem::take(self.held_mut(stream))
    }

    /// What is held of a stream: the beginning of a line.
    pub(crate) fn held(&self, stream: Stream) -> &[u8] {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn held_mut(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut out) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.feed(Stream::Stdout, piece, |line| out.push(line.to_vec()));
        }
        out.push(splitter.take(Stream::Stdout));
        out
    }

    #[test]
    fn lines_are_joined_and_long_ones_are_cut() {
        assert_eq!(split(&[b"a\nb", b"c\n", b"d"]), [b"a\n".to_vec(), b"bc\n".to_vec(), b"d".to_vec()]);
        let long = vec![b'x'; LINE + 5];
        assert_eq!(split(&[&long, b"\n"]).iter().map(Vec::len).collect::<Vec<_>>(), [LINE, 6, 0]);
        assert_eq!(split(&[b"", b"\n\n"]), [b"\n".to_vec(), b"\n".to_vec(), vec![]]);
    }
}
