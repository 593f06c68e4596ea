//! Between the terminal and an attached process: bytes, signals, window size.

use std::io::Write as _;
use std::time::Duration;

use proa_client::Hijacked;
use proa_docker_api::{FrameDecoder, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::error::{Failure, Result};
use crate::terminal::{self, Raw};

/// What is attached.
pub(crate) struct Session {
    pub(crate) stream: Hijacked,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    /// `/containers/ID` or `/exec/ID`: where sizes go to.
    pub(crate) target: String,
    /// Whether signals are passed on.
    pub(crate) proxy: bool,
}

/// Splits framed output between the two streams.
#[derive(Default)]
pub(crate) struct Splitter(FrameDecoder);

impl Splitter {
    /// Writes the frames of `bytes`.
    ///
    /// # Errors
    /// The framing is broken, or the daemon reports an error.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.push(bytes);
        while let Some(frame) = self.0.next_frame().map_err(|cause| Failure::new(cause.to_string()))? {
            match frame.stream {
                Stream::Stderr => std::io::stderr().write_all(&frame.payload)?,
                Stream::System => {
                    return Err(Failure::new(format!(
                        "error from daemon in stream: {}",
                        String::from_utf8_lossy(&frame.payload)
                    )));
                }
                _ => emit(&frame.payload)?,
            }
        }
        Ok(())
    }
}

/// Writes to standard output at once.
pub(crate) fn emit(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Tells the daemon the window's size.
pub(crate) async fn resize(app: &App, target: &str) {
    if let Some([rows, columns]) = terminal::size() {
        let _ = app.client.post(&format!("{target}/resize?h={rows}&w={columns}")).await;
    }
}

async fn input(mut writer: tokio::io::WriteHalf<impl tokio::io::AsyncRead + tokio::io::AsyncWrite>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 32 << 10];
    while let Ok(read) = stdin.read(&mut buffer).await {
        if read == 0
            || writer.write_all(buffer.get(..read).unwrap_or_default()).await.is_err()
            || writer.flush().await.is_err()
        {
            break;
        }
    }
    let _ = writer.shutdown().await;
}

/// Pumps until the output ends.
///
/// # Errors
/// The connection breaks, or standard output does.
pub(crate) async fn pump(app: &App, session: Session) -> Result<()> {
    let Session { stream, stdin, tty, target, proxy } = session;
    let raw = if tty && stdin { Raw::enter() } else { None };
    let (mut reader, writer) = tokio::io::split(stream.io);
    let feeding = stdin.then(|| tokio::task::spawn_local(input(writer)));
    let signals = passing(app, &target, tty, proxy);
    let output = async {
        let mut splitter = Splitter::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = match reader.read(&mut buffer).await {
                Ok(read) => read,
                Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => 0,
                Err(cause) => return Err(cause.into()),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            match (read, tty) {
                (0, _) => return Ok(()),
                (_, true) => emit(bytes)?,
                (_, false) => splitter.write(bytes)?,
            }
        }
    };
    let outcome = tokio::select! { done = output => done, () = signals => Ok(()) };
    if let Some(task) = feeding {
        task.abort();
    }
    drop(raw);
    outcome
}

/// Passes signals and sizes on; never ends.
pub(crate) async fn passing(app: &App, target: &str, tty: bool, proxy: bool) {
    if tty {
        resize(app, target).await;
    }
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut kinds = vec![(SignalKind::window_change(), "WINCH")];
    if proxy {
        kinds.extend([
            (SignalKind::interrupt(), "INT"),
            (SignalKind::terminate(), "TERM"),
            (SignalKind::hangup(), "HUP"),
            (SignalKind::quit(), "QUIT"),
            (SignalKind::user_defined1(), "USR1"),
            (SignalKind::user_defined2(), "USR2"),
        ]);
    }
    for (kind, name) in kinds {
        let sender = sender.clone();
        if let Ok(mut stream) = signal(kind) {
            tokio::task::spawn_local(async move {
                while stream.recv().await.is_some() && sender.send(name).is_ok() {}
            });
        }
    }
    while let Some(name) = receiver.recv().await {
        if name == "WINCH" {
            if tty {
                resize(app, target).await;
            }
        } else if proxy {
            let _ = app.client.post(&format!("{target}/kill?signal={name}")).await;
        }
    }
    tokio::time::sleep(Duration::MAX).await;
}
