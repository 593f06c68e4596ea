//! An engine behind ssh(1): the program connects to the other machine and runs `docker system dial-stdio`
//! there, which passes the stream on to the engine's socket; where there is no `docker`, `proa` is asked.
//!
//! ssh runs in a process group of its own, so that keys typed at the terminal reach the command alone. It
//! cannot ask there, so it is told not to: a key or an agent is needed, or an askpass program.

use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// What is asked for on the other machine, in turn.
pub(crate) const PROGRAMS: [&str; 2] = ["docker", "proa"];
/// How a status ends with which a shell says that there is no such program.
pub(crate) const NOT_FOUND: &str = " 127";
/// Bytes of the program's complaints that are kept.
const MAX_COMPLAINT: u64 = 4096;

/// Where ssh connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named by their fields")]
pub struct Remote {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// The engine's socket there; none for the usual one.
    pub socket: Option<String>,
}

impl Remote {
    /// Reads what follows `ssh://`: `[user@]host[:port][/path]`.
    ///
    /// # Errors
    /// [`Error::SshHost`] with the reason.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |reason: &str| Error::SshHost(format!("invalid SSH URL: {reason}"));
        let (place, path) = match text.split_once('/') {
            Some((place, path)) => (place, Some(format!("/{path}"))),
            None => (text, None),
        };
        for (mark, what) in [('?', "query parameters"), ('#', "fragments")] {
            if let Some((_, rest)) = text.split_once(mark) {
                return Err(bad(&format!("{what} are not allowed: {rest:?}")));
            }
        }
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, place),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(bad("plain-text password is not supported"));
        }
        let (host, port) = address(place).ok_or_else(|| bad(&format!("invalid host or port {place:?}")))?;
        if host.is_empty() {
            return Err(bad("hostname is empty"));
        }
        // ssh would take such a word for an option, and options run programs (CVE-2017-1000117's kind)
        if host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
            return Err(bad("neither host nor user may begin with a dash"));
        }
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        if !text.chars().all(plain) {
            return Err(bad("white space and control characters are not allowed"));
        }
        Ok(Self {
            user: user.filter(|user| !user.is_empty()).map(str::to_owned),
            host: host.to_owned(),
            port,
            socket: path.filter(|path| path != "/"),
        })
    }

    /// The words behind `ssh`; `program` is what runs on the other side.
    pub(crate) fn arguments(&self, program: &str) -> Vec<String> {
        let mut words: Vec<String> = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
        if std::env::var_os("SSH_ASKPASS").is_none() {
            words.extend(["-o".to_owned(), "BatchMode=yes".to_owned()]);
        }
        if let Some(user) = &self.user {
            words.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        words.extend(["--".to_owned(), self.host.clone(), program.to_owned()]);
        if let Some(socket) = &self.socket {
            words.extend(["--host".to_owned(), quoted(&format!("unix://{socket}"))]);
        }
        words.extend(["system".to_owned(), "dial-stdio".to_owned()]);
        words
    }
}

/// A word for the shell on the other side.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+,@%=".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Host and port; a host in brackets is an address of IPv6.
fn address(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => match place.split_once(':') {
            Some((host, _)) => (host, place.get(host.len()..)?),
            None => (place, ""),
        },
    };
    match rest.strip_prefix(':') {
        Some("") => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ssh://")?;
        if let Some(user) = &self.user {
            write!(out, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(out, "[{}]", self.host)?
        } else {
            write!(out, "{}", self.host)?
        }
        if let Some(port) = self.port {
            write!(out, ":{port}")?;
        }
        write!(out, "{}", self.socket.as_deref().unwrap_or_default())
    }
}

/// A running ssh: what is written goes to the engine, what is read comes from it.
#[derive(Debug)]
pub struct SshStream {
    /// None once the input has ended.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

/// How an ssh ended.
#[derive(Debug)]
pub(crate) struct Ended {
    line: String,
    status: std::process::ExitStatus,
    complaint: String,
}

impl Ended {
    pub(crate) fn error(self) -> Error {
        let status = self.status.to_string().replacen("exit status: ", "exit status ", 1);
        Error::Ssh { line: self.line, status, complaint: self.complaint }
    }
}

/// The end of an ssh, told when it has come.
#[derive(Debug)]
pub(crate) struct End(oneshot::Receiver<Ended>);

impl End {
    /// The end, if it comes at once.
    pub(crate) async fn soon(self) -> Option<Ended> {
        tokio::time::timeout(Duration::from_secs(2), self.0).await.ok()?.ok()
    }
}

/// Starts ssh.
///
/// # Errors
/// There is no such program here.
pub(crate) fn open(remote: &Remote, program: &str) -> Result<(SshStream, End)> {
    let words = remote.arguments(program);
    let line = format!("ssh {}", words.join(" "));
    let mut command = Command::new("ssh");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    if std::env::var_os("SSH_ASKPASS").is_some() {
        command.env("SSH_ASKPASS_REQUIRE", "force");
    }
    let failed = |cause| Error::Connect { host: remote.to_string(), cause };
    let mut child = command.spawn().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::SshMissing,
        _ => failed(cause),
    })?;
    let closed = || failed(io::ErrorKind::BrokenPipe.into());
    let input = child.stdin.take();
    let output = child.stdout.take().ok_or_else(closed)?;
    let errors = child.stderr.take().ok_or_else(closed)?;
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let mut complaint = Vec::new();
        let mut errors = errors;
        let _ = (&mut errors).take(MAX_COMPLAINT).read_to_end(&mut complaint).await;
        // what comes after that is read, so that nobody waits for it, and dropped
        let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
        if let Ok(status) = child.wait().await {
            let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
            let _ = sender.send(Ended { line, status, complaint });
        }
    });
    Ok((SshStream { input, output }, End(receiver)))
}

impl AsyncRead for SshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }
    /// Ends the input only: the other side sees its end and may go on answering.
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Remote::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn places_must_be_read_as_docker_reads_them() {
        let remote = Remote::parse("u@h:22/run/x.sock").unwrap();
        assert_eq!(remote.to_string(), "ssh://u@h:22/run/x.sock");
        let words = remote.arguments("docker").join(" ");
        assert!(
            words.ends_with("-l u -p 22 -- h docker --host unix:///run/x.sock system dial-stdio"),
            "{words}"
        );
        let remote = Remote::parse("h").unwrap();
        assert!(
            remote.arguments("proa").join(" ").ends_with("-T -o BatchMode=yes -- h proa system dial-stdio")
        );
        assert_eq!(Remote::parse("[::1]:2222").unwrap().to_string(), "ssh://[::1]:2222");
        assert_eq!(Remote::parse("h/").unwrap().socket, None);
    }

    #[test]
    fn what_ssh_would_misread_must_be_refused() {
        for text in ["-oProxyCommand=x", "-l@h", "u@-oX"] {
            assert!(told(text).contains("may begin with a dash"), "{text}");
        }
        assert!(told("u:p@h").contains("plain-text password is not supported"));
        assert!(told("").contains("hostname is empty"));
        assert!(told("h:x").contains("invalid host or port"));
        assert!(told("h/a?x=1").contains("query parameters are not allowed"));
        assert!(told("h/a\nb").contains("control characters"));
        let remote = Remote::parse("h/a';id;'").unwrap();
        assert!(remote.arguments("docker").contains(&"'unix:///a'\\'';id;'\\'''".to_owned()));
    }
}
