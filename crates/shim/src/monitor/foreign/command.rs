//! One call of a runtime's command line, and what it says when it fails.

use super::super::control::Failure;
use super::super::oom;
use proa_oci::runtime::Process;
use proa_types::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use std::ffi::OsStr;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest a runtime may take for one command; what takes longer hangs, and the monitor must not hang with it.
const LIMIT: Duration = Duration::from_secs(120);
/// Most that is read of what a runtime prints.
const MOST: u64 = 1 << 20;
/// What runc puts before the cause.
const OPENING: &str = "unable to start container process: ";
/// What a runtime finds on its path. Hooks and some runtimes call other programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A runtime's program, as it was registered.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    args: Vec<String>,
    /// Where it keeps its state; its log is beside.
    dir: PathBuf,
}

/// The standard streams of a command.
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Program {
    pub(super) fn new(path: PathBuf, args: Vec<String>, dir: &Path) -> Self {
        Self { path, args, dir: dir.into() }
    }

    /// Runs a command with streams of its own; what it printed.
    pub(super) fn run(&self, words: &[&OsStr]) -> Result<String, Failure> {
        let file = |name: &str| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map(std::fs::File::from);
        let (mut out, mut err) = (file("stdout")?, file("stderr")?);
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(copy(&out)?).stderr(copy(&err)?);
        let said = self.finish(command);
        said.map_err(|failure| failure.or_else(|| text(&mut err)))?;
        Ok(text(&mut out).unwrap_or_default())
    }

    /// Runs a command that hands its streams on to a process of the container.
    pub(super) fn run_with(&self, words: &[&OsStr], streams: Streams) -> Result<(), Failure> {
        let mut command = self.command(words);
        command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
        Ok(self.finish(command)?)
    }

    fn command(&self, words: &[&OsStr]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).arg("--root").arg(self.dir.join("state"));
        command.arg("--log").arg(self.log()).args(["--log-format", "json"]).args(words);
        command.env_clear().env("PATH", PATH).current_dir(&self.dir);
        command
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log.json")
    }

    fn finish(&self, mut command: Command) -> Result<(), Said> {
        let _ = std::fs::remove_file(self.log());
        // What it starts is not the monitor, and inherits its score where the runtime does not set one.
        let child = oom::unprotected(|| command.spawn());
        // The runtime's copies of the container's streams are the only ones then.
        drop(command);
        let mut child = child.map_err(|error| Said {
            // As docker's shim says it.
            text: Some(format!("fork/exec {}: {}", self.path.display(), plain(&error))),
            fallback: String::new(),
        })?;
        match wait(&mut child) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Said {
                text: last_error(&self.log()),
                fallback: format!("{} ended with {status}", self.path.display()),
            }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                let fallback = format!("{} did not end within {LIMIT:?}: killed", self.path.display());
                Err(Said { text: None, fallback })
            }
        }
    }
}

/// What is known about a failure: the runtime's own words, else how it ended.
struct Said {
    text: Option<String>,
    fallback: String,
}

impl Said {
    fn or_else(mut self, other: impl FnOnce() -> Option<String>) -> Self {
        self.text = self.text.or_else(other);
        self
    }
}

impl From<Said> for Failure {
    fn from(said: Said) -> Self {
        let message = said.text.filter(|text| !text.is_empty()).unwrap_or(said.fallback);
        // The engine says so much itself.
        let message = message.rsplit_once(OPENING).map_or(&*message, |(_, cause)| cause);
        let message = as_runc(message).unwrap_or_else(|| message.to_owned());
        refusal(message)
    }
}

/// A failure in a runtime's words, of the kind and with the exit code that they tell.
fn refusal(message: String) -> Failure {
    match exit_code(&message) {
        Some(code) => Failure { exit_code: Some(code), ..Failure::new(ErrorKind::InvalidArgument, message) },
        None => Failure::new(ErrorKind::Internal, message),
    }
}

/// What crun says of a missing program in the words that clients look for, which are runc's.
fn as_runc(message: &str) -> Option<String> {
    let (name, _) = message.strip_prefix("executable file `")?.split_once("` not found in $PATH")?;
    Some(format!("exec: {name:?}: executable file not found in $PATH"))
}

/// What crun says of a program that cannot be executed, where it leaves out which, in the words that clients look for.
pub(super) fn naming(failure: Failure, process: &Process) -> Failure {
    let Some(cause) = failure.message.strip_prefix("open executable: ") else { return failure };
    let program = process.args.first().map_or("", String::as_str);
    let cause = match cause.to_lowercase() {
        // Of what is no file, as a directory.
        cause if cause == "operation not permitted" => "permission denied".into(),
        cause => cause,
    };
    refusal(format!("exec: {program:?}: {cause}"))
}

/// The exit code docker gives a container that failed with these words of its runtime.
fn exit_code(message: &str) -> Option<i32> {
    let text = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["executable file not found", "no such file or directory"]) {
        Some(127)
    } else if says(&["permission denied", "not a directory", "is a directory", "exec format error"]) {
        Some(126)
    } else {
        None
    }
}

/// The last error in a log of JSON lines.
fn last_error(log: &Path) -> Option<String> {
    let text = std::fs::File::open(log).ok().and_then(|mut file| text(&mut file))?;
    let errors = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = errors.filter(|entry| entry["level"] == "error" || entry["level"] == "fatal");
    errors.next_back().and_then(|entry| Some(entry["msg"].as_str()?.trim().to_owned()))
}

fn text(file: &mut std::fs::File) -> Option<String> {
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn copy(file: &std::fs::File) -> Result<Stdio, Failure> {
    Ok(file.try_clone().map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?.into())
}

/// The kernel's words without Rust's number behind them, in lower case as Go writes them.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Waits without a busy loop; none when it takes too long.
fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)?;
    let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
        return child.wait().ok();
    };
    let left = Timespec { tv_sec: i64::try_from(LIMIT.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let ended = rustix::io::retry_on_intr(|| {
        rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left))
    });
    if ended == Ok(0) { None } else { child.wait().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_the_log_is_told_with_dockers_exit_code() {
        let path = std::env::temp_dir().join(format!("proa-shim-log-{}", std::process::id()));
        let lines = [
            r#"{"level":"warning","msg":"no matter"}"#,
            "not json",
            r#"{"level":"error","msg":"exec: \"x\": executable file not found in $PATH"}"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let said = last_error(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(exit_code(&said), Some(127), "{said}");
        assert_eq!(exit_code("open executable: Permission denied"), Some(126));
        assert_eq!(exit_code("cgroup is gone"), None);
        let other = "executable file `nope` not found in $PATH: No such file or directory";
        assert_eq!(as_runc(other).unwrap(), r#"exec: "nope": executable file not found in $PATH"#);
        let process = Process { args: vec!["/x".into()], ..Process::default() };
        for (cause, words, code) in [
            ("Operation not permitted", "permission denied", 126),
            ("No such file or directory", "no such file or directory", 127),
        ] {
            let failure = Failure::new(ErrorKind::Internal, format!("open executable: {cause}"));
            let named = naming(failure, &process);
            assert_eq!((named.message, named.exit_code), (format!("exec: \"/x\": {words}"), Some(code)));
        }
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let program = Program::new("/nope/runtime".into(), Vec::new(), Path::new("/"));
        let failure = program.run(&[OsStr::new("list")]).unwrap_err();
        assert_eq!(failure.message, "fork/exec /nope/runtime: no such file or directory");
    }
}
