//! The clients: our own, Debian's docker and a newer docker where the machine has one. Each test runs with each.

use crate::command::{self, Output};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A command line that speaks the Engine API.
#[derive(Debug, Clone)]
pub struct Client {
    /// For test names: `proa`, `docker20`, `docker28`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
}

impl Client {
    /// Every client found on this machine.
    pub fn all() -> Vec<Self> {
        let mut clients = vec![Self { name: "proa".into(), program: crate::proa() }];
        for path in ["/usr/bin/docker", "/usr/local/bin/docker"] {
            if let Some(major) = version(path) {
                let name = format!("docker{major}");
                if clients.iter().all(|client| client.name != name) {
                    clients.push(Self { name, program: path.into() });
                }
            }
        }
        clients
    }

    /// Whether this is our own command line.
    pub fn is_ours(&self) -> bool {
        self.name == "proa"
    }
}

/// The major version of a docker client.
fn version(path: &str) -> Option<String> {
    let out = Command::new(path).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.strip_prefix("Docker version ")?.split('.').next().map(Into::into)
}

/// The document of an answer, whose body may come in chunks.
fn document(title: &str, answer: &str) -> serde_json::Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    assert!(head.starts_with("HTTP/1.1 200"), "{title}: {answer}");
    let begin = body.find(['{', '[']).unwrap_or(0);
    let mut documents = serde_json::Deserializer::from_str(body.get(begin..).unwrap_or_default())
        .into_iter::<serde_json::Value>();
    match documents.next() {
        Some(Ok(document)) => document,
        other => panic!("{title}: {other:?}: {answer}"),
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What one test works with: a client, a daemon, names of its own.
pub struct Ctx {
    /// The client.
    pub client: Client,
    /// `DOCKER_HOST`.
    pub host: String,
    /// Whether the daemon is the reference.
    pub reference: bool,
    /// The daemon's private directory.
    pub dir: PathBuf,
    prefix: String,
}

impl Ctx {
    /// A context with a prefix no other test has.
    pub fn new(client: &Client, daemon: &crate::Daemon) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            client: client.clone(),
            host: daemon.host(),
            reference: daemon.reference,
            dir: daemon.dir.clone(),
            prefix: format!("t{number}-{}", std::process::id()),
        }
    }

    /// A name for a container, volume or tag of this test.
    pub fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    /// A directory of this test, made anew.
    pub fn dir(&self, suffix: &str) -> PathBuf {
        let dir = self.dir.join("tests").join(self.name(suffix));
        std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        dir
    }

    /// The client's command with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.client.program);
        command.args(args);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", self.dir.join("config"));
        for name in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"] {
            command.env_remove(name);
        }
    }

    /// Runs the client.
    pub fn run(&self, args: &[&str]) -> Output {
        command::run(&mut self.command(args), b"")
    }

    /// Runs the client with input.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        command::run(&mut self.command(args), input)
    }

    /// Runs the client on a terminal of its own (a pseudo-terminal), typing `input`.
    pub fn on_terminal(&self, args: &[&str], input: &[u8]) -> Output {
        crate::command::run(&mut self.terminal_command(args), input)
    }

    /// The client inside script(1), which gives it a terminal and passes its exit code on.
    pub fn terminal_command(&self, args: &[&str]) -> Command {
        let words: Vec<String> = std::iter::once(self.client.program.to_string_lossy().into_owned())
            .chain(args.iter().map(|&arg| arg.to_owned()))
            .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
            .collect();
        let mut command = Command::new("script");
        command.args(["-qefc", &words.join(" "), "/dev/null"]).env("TERM", "xterm");
        self.environment(&mut command);
        command
    }

    /// Runs the client; it must end well. Its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    /// Starts the client and leaves it running.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// One bare HTTP request to the daemon, for what no client asks; the whole answer as text.
    pub fn request(&self, method: &str, path: &str, body: &str) -> String {
        crate::daemon::request(
            std::path::Path::new(self.host.trim_start_matches("unix://")),
            method,
            path,
            body,
        )
        .unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// The document that a GET answers with 200.
    pub fn get(&self, path: &str) -> serde_json::Value {
        document(&format!("GET {path}"), &self.request("GET", path, ""))
    }

    /// The document that a POST answers with 200.
    pub fn post(&self, path: &str, body: &str) -> serde_json::Value {
        document(&format!("POST {path}"), &self.request("POST", path, body))
    }

    /// One field of `inspect`.
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, name])
    }

    /// The whole of `inspect`.
    pub fn inspect_json(&self, name: &str) -> serde_json::Value {
        let text = self.ok(&["inspect", name]);
        let mut all: Vec<serde_json::Value> =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        all.pop().unwrap_or_default()
    }

    /// `run --rm busybox sh -c SCRIPT` with options; standard output.
    pub fn sh(&self, options: &[&str], script: &str) -> String {
        self.run_sh(options, script).ok()
    }

    /// `run --rm busybox sh -c SCRIPT` with options.
    pub fn run_sh(&self, options: &[&str], script: &str) -> Output {
        let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
        self.run(&args)
    }

    /// `run -d --name NAME busybox sh -c SCRIPT` with options.
    pub fn start(&self, name: &str, options: &[&str], script: &str) -> String {
        let args = [&["run", "-d", "--name", name], options, &["busybox", "sh", "-c", script]].concat();
        self.ok(&args)
    }
}

impl Drop for Ctx {
    fn drop(&mut self) {
        let listed = self.run_quiet(&["ps", "-aq", "--filter", &format!("name={}", self.prefix)]);
        for id in listed.split_whitespace() {
            self.run_quiet(&["rm", "-fv", id]);
        }
        let listed = self.run_quiet(&["volume", "ls", "-q", "--filter", &format!("name={}", self.prefix)]);
        for name in listed.split_whitespace() {
            self.run_quiet(&["volume", "rm", name]);
        }
        for suffix in ["image", "image2"] {
            let _ = self.run_quiet(&["rmi", "-f", &self.name(suffix)]);
        }
        // Each test has directories of its own; the parent goes with the daemon.
    }
}

impl Ctx {
    /// Runs a clean-up command; a failure is not worth hiding the test's own.
    fn run_quiet(&self, args: &[&str]) -> String {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command.output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default()
    }
}
