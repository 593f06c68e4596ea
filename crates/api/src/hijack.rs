//! Connections that stop being HTTP: raw bytes both ways between a client and a process.

use crate::body::{Answer, empty};
use crate::error::Failure;
use crate::routes::streams::{Shape, written};
use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use proa_docker_api::{FrameDecoder, Stream, header};
use proa_engine::{AttachStream, LogStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Keys that detach by default: ctrl-p ctrl-q.
const DETACH: [u8; 2] = [16, 17];

/// How a connection is had back from the HTTP server, whatever it is made of.
#[derive(Clone)]
pub(crate) struct Taker(fn(Upgraded) -> std::io::Result<Taken>);

/// A connection that is no longer HTTP.
pub(crate) struct Taken {
    client: Box<dyn Duplex>,
    /// What was read of it already.
    read: Bytes,
    /// The socket below.
    socket: OwnedFd,
}

/// Bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Taken {
    /// The connection with another way for its bytes, and that which it had, with what was read of it.
    pub(crate) fn replaced(self, client: impl Duplex + 'static) -> (Self, Box<dyn Duplex>, Bytes) {
        let (own, read) = (self.client, self.read);
        (Self { client: Box::new(client), read: Bytes::new(), socket: self.socket }, own, read)
    }
}

impl Taker {
    /// Has the connection back.
    pub(crate) fn take(self, upgraded: Upgraded) -> std::io::Result<Taken> {
        (self.0)(upgraded)
    }

    /// For connections of this type.
    pub(crate) fn of<T>() -> Self
    where
        T: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
    {
        Self(|upgraded| {
            let other = |_| std::io::Error::other("the connection is of another type");
            let parts = upgraded.downcast::<TokioIo<T>>().map_err(other)?;
            let client = parts.io.into_inner();
            let socket = client.as_fd().try_clone_to_owned()?;
            Ok(Taken { client: Box::new(client), read: parts.read_buf, socket })
        })
    }
}

/// Waits until the client has read all it was sent, which is the head of an answer.
///
/// Clients read a head through a buffer, and some (docker-py) leave that behind when the connection becomes raw: output
/// that is received along with the head is lost to them. Over TCP only its arrival can be seen.
async fn head_is_read(socket: &OwnedFd) {
    let mut pause = Duration::from_millis(1);
    while proa_sys::fd::unread(socket.as_fd()).is_ok_and(|bytes| bytes > 0) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// How a client wants its connection.
pub(crate) struct Manner {
    /// Whether its bytes are passed on.
    pub(crate) input: bool,
    /// The keys that detach it from a terminal.
    pub(crate) keys: Vec<u8>,
    /// Whether it knows the media type of frames, which came with 1.42.
    pub(crate) multiplexed: bool,
    /// Whether it wants raw bytes, or frames; none: raw from a terminal, else frames.
    pub(crate) raw: Option<bool>,
}

/// Turns a request into a connection to `stream`.
pub(crate) fn upgrade<B>(mut request: Request<B>, stream: AttachStream, manner: Manner) -> Answer {
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    let kind = if manner.raw.unwrap_or(stream.tty) || !manner.multiplexed {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    let upgraded = hyper::upgrade::on(&mut request);
    let taker = request.extensions_mut().remove::<Taker>();
    tokio::spawn(async move {
        let (Ok(upgraded), Some(taker)) = (upgraded.await, taker) else { return };
        match taker.take(upgraded) {
            Ok(taken) => pass(taken, stream, &manner).await,
            Err(error) => tracing::warn!(%error, "a connection could not be handed to its process"),
        }
    });
    answer
}

/// Passes bytes both ways. The connection ends with the process's output, with detach keys, or when the client goes.
pub(crate) async fn pass(taken: Taken, process: AttachStream, manner: &Manner) {
    let (input, tty) = (manner.input, process.tty);
    let keys = if tty { &manner.keys[..] } else { &[] };
    let (from_client, mut to_client) = tokio::io::split(taken.client);
    let mut from_client = std::io::Cursor::new(taken.read).chain(from_client);
    let (mut from_process, mut to_process) = process.stream.into_split();
    let output = async move {
        let sent = async {
            if let Some(log) = process.log {
                head_is_read(&taken.socket).await;
                replay(log, &mut to_client).await?;
            }
            from_process.readable().await?;
            head_is_read(&taken.socket).await;
            match (tty, manner.raw.unwrap_or(tty)) {
                (true, false) => frame(&mut from_process, &mut to_client).await,
                (false, true) => unframe(&mut from_process, &mut to_client).await,
                _ => tokio::io::copy(&mut from_process, &mut to_client).await.map(drop),
            }
        };
        if sent.await.is_err() {
            return;
        }
        // Who sees the end may ask at once how it ended.
        if let Some(ended) = process.ended {
            ended.recorded().await;
        }
        let _ = to_client.shutdown().await;
    };
    let typed = async move {
        let mut detector = Detector { keys, matched: 0 };
        let mut buffer = vec![0; 16 << 10];
        loop {
            match from_client.read(&mut buffer).await {
                // The client sends no more, and may still read.
                Ok(0) => break,
                Err(_) => return true,
                Ok(n) => {
                    let mut bytes = buffer.get(..n).unwrap_or_default().to_vec();
                    let detached = detector.filter(&mut bytes);
                    if input && to_process.write_all(&bytes).await.is_err() {
                        break;
                    }
                    if detached {
                        return true;
                    }
                }
            }
        }
        if input {
            let _ = to_process.shutdown().await;
        }
        false
    };
    tokio::pin!(output);
    tokio::select! {
        () = &mut output => {}
        gone = typed => if !gone { output.await },
    }
}

/// Puts what a terminal says into frames.
async fn frame(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&header(Stream::Stdout, u32::try_from(length).unwrap_or(u32::MAX))).await?;
        to.write_all(buffer.get(..length).unwrap_or_default()).await?;
    }
}

/// Takes what was said out of its frames.
async fn unframe(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let (mut buffer, mut frames) = (vec![0; 16 << 10], FrameDecoder::default());
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        frames.push(buffer.get(..length).unwrap_or_default());
        while let Some(frame) = frames.next_frame().map_err(std::io::Error::other)? {
            to.write_all(&frame.payload).await?;
        }
    }
}

/// Sends a log.
async fn replay(mut log: LogStream, to_client: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    loop {
        match log.next().await {
            Ok(Some(records)) => {
                to_client.write_all(&written(&records, Shape { raw: log.tty, ..Shape::default() })).await?
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(std::io::Error::other(error.to_string())),
        }
    }
}

/// Finds the detach keys in what is typed, also over several reads.
struct Detector<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl Detector<'_> {
    /// Takes keys that may begin the sequence out of `bytes`; puts them back if they did not. Whether it is complete.
    fn filter(&mut self, bytes: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes.iter().copied() {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    *bytes = out;
                    return true;
                }
                continue;
            }
            out.extend_from_slice(self.keys.get(..self.matched).unwrap_or_default());
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        *bytes = out;
        false
    }
}

/// Reads detach keys: `ctrl-p,ctrl-q`, `a`, `ctrl-[`.
pub(crate) fn keys(text: Option<&str>) -> Result<Vec<u8>, Failure> {
    let Some(text) = text else { return Ok(DETACH.to_vec()) };
    let key = |word: &str| -> Option<u8> {
        match (word.strip_prefix("ctrl-"), word.as_bytes()) {
            (Some(key), _) => match key.as_bytes() {
                [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
                b"@" => Some(0),
                b"[" => Some(27),
                b"\\" => Some(28),
                b"]" => Some(29),
                b"^" => Some(30),
                b"_" => Some(31),
                _ => None,
            },
            (None, [byte]) if byte.is_ascii() => Some(*byte),
            _ => None,
        }
    };
    let all: Option<Vec<u8>> = text.split(',').map(key).collect();
    all.ok_or_else(|| Failure::bad(format!("invalid escape keys ({text}) provided")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_over_reads_and_put_back() {
        let mut detector = Detector { keys: &DETACH, matched: 0 };
        let mut feed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let done = detector.filter(&mut bytes);
            (bytes, done)
        };
        assert_eq!(feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(feed(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(feed(b"x\x10\x10\x11rest"), (b"x\x10".to_vec(), true));
        assert_eq!(keys(Some("ctrl-a,b")).unwrap(), [1, b'b']);
        assert!(keys(Some("ctrl-1")).is_err());
    }
}
