//! Streamed bodies and hijacked connections.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::{Frame, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Body;
use crate::error::{Error, Result};

/// An answer that comes in pieces.
#[derive(Debug)]
pub struct BodyStream(Incoming);

impl BodyStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self(body)
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.0.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads it as documents, one a line.
    #[must_use]
    pub fn lines(self) -> Lines {
        Lines { body: self, pending: Vec::new(), done: false }
    }
}

/// JSON documents that follow one another.
#[derive(Debug)]
pub struct Lines {
    body: BodyStream,
    pending: Vec<u8>,
    done: bool,
}

impl Lines {
    /// The next document.
    ///
    /// # Errors
    /// The connection broke, or the text is no JSON.
    pub async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.pending).into_iter::<T>();
            match values.next() {
                Some(Ok(value)) => {
                    let taken = values.byte_offset();
                    self.pending.drain(..taken);
                    return Ok(Some(value));
                }
                Some(Err(cause)) if !cause.is_eof() || self.done => return Err(cause.into()),
                None if self.done => return Ok(None),
                _ => {}
            }
            match self.body.chunk().await? {
                Some(bytes) => self.pending.extend_from_slice(&bytes),
                None => self.done = true,
            }
        }
    }
}

/// A connection taken over.
#[derive(Debug)]
pub struct Hijacked {
    /// The raw stream; shutting it down ends the input only.
    pub io: TokioIo<Upgraded>,
    /// Whether the daemon says that the stream is framed.
    pub multiplexed: bool,
}

impl Hijacked {
    pub(crate) async fn take(response: Response<Incoming>) -> Result<Self> {
        if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Daemon {
                status: response.status().as_u16(),
                message: "unable to upgrade to tcp, received 200".into(),
            });
        }
        let multiplexed = response
            .headers()
            .get("content-type")
            .is_some_and(|value| value.as_bytes() == b"application/vnd.docker.multiplexed-stream");
        let upgraded = hyper::upgrade::on(response).await?;
        Ok(Self { io: TokioIo::new(upgraded), multiplexed })
    }
}

/// A body read from a file or standard input as it is sent.
pub fn file_body(reader: impl AsyncRead + Send + Sync + Unpin + 'static) -> Body {
    let pieces = stream::try_unfold(reader, |mut reader| async move {
        let mut buffer = vec![0; 64 << 10];
        let read = reader.read(&mut buffer).await?;
        buffer.truncate(read);
        Ok::<_, io::Error>((read > 0).then(|| (Frame::data(Bytes::from(buffer)), reader)))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

/// A body that another thread makes piece by piece; an error breaks the request off.
pub fn made_body(pieces: tokio::sync::mpsc::Receiver<io::Result<Bytes>>) -> Body {
    let pieces = stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece.map(Frame::data), pieces))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}
