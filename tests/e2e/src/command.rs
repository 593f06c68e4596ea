//! Running a program with a time limit, so that a hang is a failure with a name.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest a command may take; the machine may be very busy, or emulated.
pub fn limit() -> Duration {
    Duration::from_secs(if std::env::var_os("PROA_EMULATED").is_some() { 600 } else { 90 })
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command, for messages.
    pub line: String,
    /// Exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the last newline.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches(['\n', '\r']).to_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails the test unless the command ended well; its standard output.
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "{}\nstdout: {}\nstderr: {}", self.line, self.out(), self.err());
        self.out()
    }

    /// Fails the test unless the command ended with `code` and said `text` (in either stream, any case).
    pub fn fails(&self, code: i32, text: &str) -> &Self {
        let all = format!("{}\n{}", self.out(), self.err());
        let said = all.to_lowercase().contains(&text.to_lowercase());
        assert!(
            self.code == code && said,
            "{}\nwanted exit {code} and {text:?}, got exit {}\n{all}",
            self.line,
            self.code
        );
        self
    }
}

/// Runs `command` with `input` on standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    run_within(command, input, limit())
}

/// Runs `command` and fails the test if it takes longer than `limit`.
pub fn run_within(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    let line = line_of(command);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|e| panic!("{line}: {e}"));
    let feeder = feed(&mut child, input.to_vec());
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, limit).unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{line}: still running after {limit:?}");
    });
    let _ = feeder.join();
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|s| 128 + s)).unwrap_or(-1);
    Output {
        line,
        code,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    }
}

fn line_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

fn feed(child: &mut Child, input: Vec<u8>) -> std::thread::JoinHandle<()> {
    let stdin = child.stdin.take();
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&input);
        }
    })
}

fn drain(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Polls until `done` answers something; fails the test after [`limit`].
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not after {:?}", limit());
        std::thread::sleep(Duration::from_millis(20));
    }
}
