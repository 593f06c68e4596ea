//! Bodies: bounded reading of answers, streams to send.

use crate::Error;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use std::time::Duration;

/// What is sent.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, std::io::Error>;

/// How long an answer may pause.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);

/// These bytes.
pub(crate) fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A stream of pieces.
pub(crate) fn stream(
    pieces: impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Outgoing {
    use futures_util::StreamExt;
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// The next piece of an answer; none at its end.
pub(crate) async fn next(body: &mut Incoming, url: &str) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = tokio::time::timeout(PAUSE, body.frame()).await;
        let failed = |detail: String| Error::Http { url: url.into(), detail };
        match frame.map_err(|_| failed(format!("no byte for {} seconds", PAUSE.as_secs())))? {
            None => return Ok(None),
            Some(Err(error)) => return Err(failed(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole answer of at most `limit` bytes.
pub(crate) async fn collect(mut body: Incoming, url: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    while let Some(piece) = next(&mut body, url).await? {
        if all.len() as u64 + piece.len() as u64 > limit {
            return Err(Error::TooLarge { url: url.into(), limit });
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

/// The messages of an error document, `{"errors":[{"code":…,"message":…}]}`, on one line.
pub(crate) async fn complaint(body: Incoming, url: &str) -> String {
    let bytes = collect(body, url, 64 << 10).await.unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |error: &serde_json::Value| {
        let code = error["code"].as_str().unwrap_or_default().to_lowercase().replace('_', " ");
        format!("{code}: {}", error["message"].as_str().unwrap_or_default())
    };
    match json["errors"].as_array() {
        Some(errors) if !errors.is_empty() => errors.iter().map(text).collect::<Vec<_>>().join("; "),
        _ => String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}
