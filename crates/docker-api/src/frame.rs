//! The framing of streams without a terminal: `[stream, 0, 0, 0, length: u32 big endian]`.

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;
/// The longest payload accepted; longer lengths are taken as a broken stream.
const MAX_PAYLOAD: usize = 256 << 20;

/// Which stream a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "named by their variants")]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the daemon itself.
    System = 3,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named by their fields")]
pub struct Frame {
    pub stream: Stream,
    pub payload: Vec<u8>,
}

/// Why a stream cannot be demultiplexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named by their variants")]
pub enum FrameError {
    Stream(u8),
    Length(usize),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(number) => write!(out, "Unrecognized input header: {number}"),
            Self::Length(length) => write!(out, "frame of {length} bytes is too long"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The header of a payload of `length` bytes.
#[must_use]
pub fn header(stream: Stream, length: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Takes bytes as they come and gives whole frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    pending: Vec<u8>,
    taken: usize,
}

impl FrameDecoder {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.pending.drain(..self.taken);
            self.taken = 0;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The header names no stream or an absurd length.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = self.pending.get(self.taken..).unwrap_or_default();
        let Some((&[kind, _, _, _, a, b, c, d], body)) = rest.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let stream = match kind {
            0 => Stream::Stdin,
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::System,
            other => return Err(FrameError::Stream(other)),
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::Length(length));
        }
        let Some(payload) = body.get(..length) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.taken += HEADER_LEN + length;
        Ok(Some(Frame { stream, payload }))
    }

    /// Bytes that belong to no whole frame yet.
    #[must_use]
    pub fn remainder(&self) -> &[u8] {
        self.pending.get(self.taken..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_must_come_out_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        for (stream, text) in [(Stream::Stdout, "one"), (Stream::Stderr, ""), (Stream::Stdout, "three")] {
            bytes.extend_from_slice(&header(stream, text.len() as u32));
            bytes.extend_from_slice(text.as_bytes());
        }
        for step in 1..bytes.len() {
            let mut decoder = FrameDecoder::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                decoder.push(chunk);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame.payload);
                }
            }
            assert_eq!(seen, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
            assert!(decoder.remainder().is_empty());
        }
        let mut decoder = FrameDecoder::default();
        decoder.push(b"HTTP/1.1 400");
        assert_eq!(decoder.next_frame(), Err(FrameError::Stream(b'H')));
    }
}
