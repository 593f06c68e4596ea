//! Bodies of answers and requests.

use crate::error::Failure;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Response, StatusCode};
use proa_engine::Pieces;
use serde::Serialize;
use std::io::{Read, Write};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a client may go on sending what nobody wants any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request's body: as it comes, or as plugins have been shown it.
pub(crate) type Sent = Either<Incoming, Full<Bytes>>;
/// An answer's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub(crate) type Answer = Response<Body>;

/// Largest JSON document that is taken.
const DOCUMENT: usize = 8 << 20;

/// These bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    with(status, full(Bytes::new()))
}

pub(crate) fn with(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// A JSON document.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    typed(with(status, full(bytes)), "application/json")
}

/// 200 and a JSON document.
pub(crate) fn ok<T: Serialize>(value: &T) -> Result<Answer, Failure> {
    Ok(json(StatusCode::OK, value))
}

/// The same answer of a type.
pub(crate) fn typed(mut answer: Answer, kind: &'static str) -> Answer {
    answer.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}

/// A body that is written as it is made.
pub(crate) fn streamed(receiver: mpsc::Receiver<Bytes>) -> Body {
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (Ok(Frame::data(piece)), receiver))
    });
    StreamBody::new(pieces.boxed()).boxed_unsync()
}

/// A body that is written as it is made, and that breaks off where an error comes.
pub(crate) fn breakable(receiver: mpsc::Receiver<std::io::Result<Bytes>>) -> Body {
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece.map(Frame::data), receiver))
    });
    StreamBody::new(pieces.boxed()).boxed_unsync()
}

/// Reads a JSON document, its keys in any case; an empty body is the default.
pub(crate) async fn document<T: serde::de::DeserializeOwned + Default>(body: Sent) -> Result<T, Failure> {
    document_as(body, proa_docker_api::from_slice).await
}

/// Reads a JSON document that reads itself.
pub(crate) async fn document_as<T: Default>(
    body: Sent,
    read: impl FnOnce(&[u8]) -> Result<T, serde_json::Error>,
) -> Result<T, Failure> {
    let bytes = bytes(body).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    read(&bytes).map_err(|e| Failure::bad(format!("invalid JSON: {e}")))
}

async fn bytes(body: Sent) -> Result<Vec<u8>, Failure> {
    let limited = http_body_util::Limited::new(body, DOCUMENT);
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the request body is larger than {} MiB", DOCUMENT >> 20);
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(error) => Err(Failure::bad(format!("the request body broke: {error}"))),
    }
}

/// Takes a body that nobody wants: a connection closed while its client still writes loses the answer.
pub(crate) async fn drain(body: Sent) {
    let _ = bytes(body).await;
}

/// A request's body as a blocking reader, for work on another thread.
///
/// What the work did not want is taken and thrown away for a while, as [`drain`] does: the client hears why before its
/// connection is closed under what it still writes.
pub(crate) fn reader(mut body: Sent) -> impl Read + Send + 'static {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(16);
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let piece = frame.map_err(std::io::Error::other).map(hyper::body::Frame::into_data);
            let piece = match piece {
                Ok(Ok(data)) => Ok(data),
                Ok(Err(_)) => continue,
                Err(error) => Err(error),
            };
            if sender.send(piece).await.is_err() {
                let rest = async { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
                let _ = tokio::time::timeout(PATIENCE, rest).await;
                return;
            }
        }
    });
    Pieces::new(receiver)
}

/// A blocking writer into a streamed body.
pub(crate) struct Writer(pub(crate) mpsc::Sender<Bytes>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A blocking writer into a body that may break off.
pub(crate) struct Archive(pub(crate) mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Archive {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl proa_engine::Failing for Archive {
    fn fail(&mut self, error: std::io::Error) {
        // Nobody listening is fine.
        let _ = self.0.blocking_send(Err(error));
    }
}
