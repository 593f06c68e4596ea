//! Streams of clients: connected to the monitor directly, so that this process only passes bytes on.

use crate::container::Container;
use crate::ended::Ended;
use crate::engine::blocking;
use crate::logs::{LogOptions, LogStream};
use crate::state::State;
use crate::{Engine, Error};
use proa_shim::AttachRequest;
use proa_types::{ExecId, Timestamp};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use tokio::net::UnixStream;

/// Which streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// How a container's log takes part in an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Not at all.
    Nothing,
    /// It comes first; the streams go on where it ends.
    Before,
    /// It is all there is.
    Only,
}

/// Connected streams.
pub struct AttachStream {
    /// What comes first.
    pub log: Option<LogStream>,
    /// Framed as docker's multiplexed stream without a terminal, raw with one. Shutting it down for writing ends
    /// standard input.
    pub stream: UnixStream,
    /// Whether it is raw.
    pub tty: bool,
    /// What to wait for between the end of its output and telling the client of it.
    pub ended: Option<Ended>,
}

/// Two ends: ours for tokio, and the monitor's.
pub(crate) fn pair() -> Result<(UnixStream, OwnedFd), Error> {
    let made = || -> std::io::Result<_> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, OwnedFd::from(theirs)))
    };
    made().map_err(Error::io("attach"))
}

impl AttachOptions {
    pub(crate) fn request(self, exec: Option<ExecId>) -> AttachRequest {
        AttachRequest { exec, stdin: self.stdin, stdout: self.stdout, stderr: self.stderr, behind_log: false }
    }
}

/// Connects a socket now or, if the container does not run, with its next start. Until when its log is to be read, if
/// the request asks and it runs.
async fn connect(
    container: &Arc<Container>,
    request: AttachRequest,
    socket: OwnedFd,
) -> Result<Option<Timestamp>, Error> {
    let Err((live, request, socket)) = container.attach_early(request, socket) else { return Ok(None) };
    let held = Arc::clone(container);
    blocking(move || match live.shim.attach(request, socket.as_fd()) {
        Ok(at) => Ok(at),
        Err(error) if held.state().run().is_some() => Err(error.into()),
        // One that ended a moment ago has nothing more to say.
        Err(_) => Ok(Some(Timestamp::now())),
    })
    .await
}

impl Engine {
    /// Connects to a container's streams. One that has not been started yet is waited for.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; [`Error::Conflict`] for a paused container; [`Error::Log`] where there is no log to
    /// replay.
    pub async fn attach(
        self: &Arc<Self>,
        container: &str,
        options: AttachOptions,
        replay: Replay,
    ) -> Result<AttachStream, Error> {
        let container = self.find(container)?;
        let tty = container.with(|record| record.spec.tty);
        if matches!(container.state(), State::Paused(_)) {
            return Err(Error::Conflict(format!(
                "container {} is paused, unpause the container before attach",
                container.id
            )));
        }
        let (stream, socket) = pair()?;
        let ended = Some(Ended::of_run(&container));
        // Of one that does not run the log has what there is until now: a start that follows writes later.
        let mut log_until = Timestamp::now();
        if replay != Replay::Only {
            let mut request = options.request(None);
            request.behind_log = replay == Replay::Before;
            log_until = connect(&container, request, socket).await?.unwrap_or(log_until);
        }
        let log = match replay {
            Replay::Nothing => None,
            Replay::Before | Replay::Only => {
                let (stdout, stderr) = (options.stdout, options.stderr);
                let options = LogOptions { stdout, stderr, until: log_until, ..LogOptions::default() };
                Some(self.logs(container.id.as_str(), options).await?)
            }
        };
        self.tell(&container, "attach", &[]);
        let ended = ended.filter(|_| replay != Replay::Only);
        Ok(AttachStream { log, stream, tty, ended })
    }

    /// Changes the size of a container's terminal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run.
    pub async fn resize(&self, container: &str, rows: u16, columns: u16) -> Result<(), Error> {
        let container = self.find(container)?;
        let live = container.running()?;
        if !container.with(|record| record.spec.tty) {
            // Docker takes the size of a terminal that is not there.
            return Ok(());
        }
        let size = proa_shim::TerminalSize { rows, columns };
        blocking(move || Ok(live.shim.resize(None, size)?)).await
    }
}
