//! Attached clients and logs.

use crate::body::{Answer, streamed, typed, with};
use crate::error::Failure;
use crate::hijack::{self, Manner};
use crate::server::Call;
use crate::websocket;
use bytes::{BufMut, Bytes, BytesMut};
use hyper::StatusCode;
use proa_docker_api::{Stream as WireStream, header};
use proa_engine::{AttachOptions, AttachStream, LogOptions, LogStream, Replay};
use proa_logs::{Record, Stream};
use proa_types::Timestamp;
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

pub(crate) async fn attach(call: Call) -> Handled {
    let options = options(&call);
    let (stream, manner) = attached(&call, options).await?;
    Ok(hijack::upgrade(call.request, stream, manner))
}

/// As `attach`, over a websocket. Before 1.42 all streams were attached, whatever was asked for.
pub(crate) async fn attach_websocket(call: Call) -> Handled {
    let all = AttachOptions { stdin: true, stdout: true, stderr: true };
    let options = if call.since(1, 42) { options(&call) } else { all };
    let (stream, manner) = attached(&call, options).await?;
    let binary = call.since(1, 28);
    websocket::upgrade(call.request, stream, manner, binary)
}

fn options(call: &Call) -> AttachOptions {
    AttachOptions {
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr"),
    }
}

/// The streams that a request asks for, and how it wants them.
async fn attached(call: &Call, options: AttachOptions) -> Result<(AttachStream, Manner), Failure> {
    let keys = hijack::keys(call.query.text("detachKeys"))?;
    if !call.query.flag("stream") && !call.query.flag("logs") {
        return Err(Failure::bad("attach needs stream=1 or logs=1"));
    }
    let replay = match (call.query.flag("logs"), call.query.flag("stream")) {
        (false, _) => Replay::Nothing,
        (true, true) => Replay::Before,
        (true, false) => Replay::Only,
    };
    let stream = call.engine().attach(call.name(), options, replay).await?;
    Ok((stream, Manner { input: options.stdin, keys, multiplexed: call.since(1, 42), raw: None }))
}

pub(crate) async fn logs(call: Call) -> Handled {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Failure::bad("Bad parameters: you must choose at least one stream"));
    }
    let time = |name: &str| -> Result<Timestamp, Failure> {
        let text = query.text(name).filter(|text| *text != "0");
        let parsed = text.map(Timestamp::parse).transpose();
        parsed.map(Option::unwrap_or_default).map_err(|e| Failure::bad(format!("{name}: {e}")))
    };
    let tail = match query.text("tail") {
        None | Some("all") => None,
        // Docker takes what is no number for everything.
        Some(text) => text.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok()),
    };
    let options = LogOptions {
        follow: query.flag("follow"),
        stdout,
        stderr,
        since: time("since")?,
        until: time("until")?,
        tail,
    };
    let shape = Shape { dated: query.flag("timestamps"), detailed: query.flag("details"), raw: false };
    let stream = call.engine().logs(call.name(), options).await?;
    let kind = if stream.tty || !call.since(1, 42) {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    };
    let (sender, receiver) = mpsc::channel(4);
    let shape = Shape { raw: stream.tty, ..shape };
    tokio::spawn(send(stream, shape, sender));
    Ok(typed(with(StatusCode::OK, streamed(receiver)), kind))
}

async fn send(mut stream: LogStream, shape: Shape, sender: mpsc::Sender<Bytes>) {
    loop {
        let batch = tokio::select! {
            batch = stream.next() => batch,
            () = sender.closed() => return,
        };
        match batch {
            Ok(Some(records)) => {
                if sender.send(written(&records, shape)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "reading a log failed"),
        }
    }
}

/// How records are sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// With their times.
    pub(crate) dated: bool,
    /// With the labels and variables kept with them.
    pub(crate) detailed: bool,
    /// Without frames, as a terminal's.
    pub(crate) raw: bool,
}

/// Records as they are sent.
pub(crate) fn written(records: &[Record], shape: Shape) -> Bytes {
    let mut bytes = BytesMut::new();
    records.iter().for_each(|record| write(&mut bytes, record, shape));
    bytes.freeze()
}

fn write(out: &mut BytesMut, record: &Record, shape: Shape) {
    let mut head = String::new();
    if shape.dated {
        head.push_str(&record.time.fixed_nanos());
        head.push(' ');
    }
    if shape.detailed {
        let pair = |(name, value): (&String, &String)| format!("{}={}", escaped(name), escaped(value));
        head.push_str(&record.attributes.iter().map(pair).collect::<Vec<_>>().join(","));
        head.push(' ');
    }
    let length = head.len() + record.data.len();
    if !shape.raw {
        let stream = match record.stream {
            Stream::Stdout => WireStream::Stdout,
            Stream::Stderr => WireStream::Stderr,
        };
        out.put_slice(&header(stream, u32::try_from(length).unwrap_or(u32::MAX)));
    }
    out.put_slice(head.as_bytes());
    out.put_slice(&record.data);
}

/// Text as Go's `url.QueryEscape` writes it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
