//! A stream of pieces as a reader, for work on another thread.

use bytes::Bytes;
use std::io::{Read, Result};
use tokio::sync::mpsc::Receiver;

/// What a channel brings, in order. Ends with the channel; an error in it is the reader's.
#[derive(Debug)]
pub struct Pieces {
    receiver: Receiver<Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    /// Reads from the channel. Reading blocks: not on a thread that runs futures.
    pub fn new(receiver: Receiver<Result<Bytes>>) -> Self {
        Self { receiver, piece: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        let taken = self.piece.split_to(n);
        buffer.get_mut(..n).unwrap_or_default().copy_from_slice(&taken);
        Ok(n)
    }
}
