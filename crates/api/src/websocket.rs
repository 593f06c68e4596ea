//! Attached clients that speak websocket: what the process writes comes as messages, without the framing of other
//! streams, and what messages hold is its input.

use crate::body::{Answer, empty};
use crate::error::Failure;
use crate::hijack::{Manner, Taken, Taker, pass};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use hyper::{Request, StatusCode};
use proa_docker_api::FrameDecoder;
use proa_engine::AttachStream;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Longest message that is taken from a client.
const LONGEST: usize = 1 << 20;
/// Longest that the last message waits for the client.
const PATIENCE: Duration = Duration::from_secs(5);
/// What may wait between the process and the client.
const BUFFER: usize = 64 << 10;

/// Turns a request into a websocket connected to `stream`. `binary` is what its messages are: text before 1.28.
///
/// # Errors
/// The request does not ask for a websocket.
pub(crate) fn upgrade<B>(
    mut request: Request<B>,
    stream: AttachStream,
    manner: Manner,
    binary: bool,
) -> Result<Answer, Failure> {
    let accept = accept(request.headers())?;
    let mut answer = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept);
    let upgraded = hyper::upgrade::on(&mut request);
    let taker = request.extensions_mut().remove::<Taker>();
    tokio::spawn(async move {
        let (Ok(upgraded), Some(taker)) = (upgraded.await, taker) else { return };
        match taker.take(upgraded) {
            Ok(taken) => connect(taken, stream, &manner, binary).await,
            Err(error) => tracing::warn!(%error, "a connection could not be handed to its process"),
        }
    });
    Ok(answer)
}

/// What proves to the client that its handshake was understood (RFC 6455, section 4.2.2).
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    let has = |name: &str, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|given| given.trim().eq_ignore_ascii_case(word))
    };
    let key = headers.get("sec-websocket-key");
    let asks = has("upgrade", "websocket") && has("connection", "upgrade");
    match key.filter(|_| asks && has("sec-websocket-version", "13")) {
        Some(key) => HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|error| Failure::bad(error.to_string())),
        None => Err(Failure::bad("this route speaks websocket of version 13 only (RFC 6455)")),
    }
}

/// Passes messages and bytes on until the process has said everything, or the client goes.
async fn connect(taken: Taken, stream: AttachStream, manner: &Manner, binary: bool) {
    let framed = !stream.tty;
    let (near, far) = tokio::io::duplex(BUFFER);
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let (taken, client, read) = taken.replaced(far);
    let socket =
        WebSocketStream::from_partially_read(client, read.to_vec(), Role::Server, Some(config)).await;
    let passing = pass(taken, stream, manner);
    let bridging = bridge(socket, near, framed, binary);
    tokio::pin!(passing, bridging);
    tokio::select! {
        // What is on its way still arrives.
        () = &mut passing => bridging.await,
        () = &mut bridging => {}
    }
}

async fn bridge<S>(socket: WebSocketStream<S>, near: DuplexStream, framed: bool, binary: bool)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let (mut output, mut input) = tokio::io::split(near);
    let written = async {
        let (mut decoder, mut buffer) = (FrameDecoder::default(), vec![0; 16 << 10]);
        while let Ok(n @ 1..) = output.read(&mut buffer).await {
            for piece in pieces(buffer.get(..n).unwrap_or_default(), framed.then_some(&mut decoder)) {
                let message = match binary {
                    true => Message::Binary(piece),
                    false => Message::text(String::from_utf8_lossy(&piece).into_owned()),
                };
                if sink.send(message).await.is_err() {
                    return;
                }
            }
        }
    };
    let typed = async {
        while let Some(Ok(message)) = source.next().await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            if input.write_all(&bytes).await.is_err() {
                // The process takes no more, and may still write.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = written => {}
        () = typed => {}
    }
    // Says goodbye, or answers the client's.
    let _ = tokio::time::timeout(PATIENCE, sink.close()).await;
}

/// What is passed on of bytes that came: all, or what whole frames hold.
fn pieces(bytes: &[u8], decoder: Option<&mut FrameDecoder>) -> Vec<Bytes> {
    let Some(decoder) = decoder else { return vec![Bytes::copy_from_slice(bytes)] };
    decoder.push(bytes);
    std::iter::from_fn(|| decoder.next_frame().ok().flatten())
        .filter(|frame| !frame.payload.is_empty())
        .map(|frame| Bytes::from(frame.payload))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_as_the_rfc_has_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.remove("upgrade");
        assert!(accept(&headers).is_err());
    }

    #[test]
    fn frames_lose_their_heads() {
        let mut decoder = FrameDecoder::default();
        let frame = [1, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c'];
        assert!(pieces(&frame[..5], Some(&mut decoder)).is_empty());
        assert_eq!(pieces(&frame[5..], Some(&mut decoder)), ["abc"]);
        assert_eq!(pieces(&frame, None), [&frame[..]]);
    }
}
