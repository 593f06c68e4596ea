//! A daemon on private paths: its own data, sockets, bridge, table and cgroup. Debian's dockerd can stand in,
//! so that the tests themselves are tested.

use crate::command::{self, Output, until};
use crate::reference::Bridge;
use proa_conformance::{Proxy, Report};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running daemon, ended and removed on drop.
pub struct Daemon {
    /// Its private directory: `data`, `exec`, `docker.sock`, `log`.
    pub dir: PathBuf,
    /// Whether it is the reference and not Proa.
    pub reference: bool,
    extra: Vec<String>,
    env: Vec<(String, String)>,
    child: Option<Child>,
    /// What stands before its socket and judges its responses.
    judged: Option<Proxy>,
    /// Its socket where the test opened it, as systemd would.
    activation: Option<UnixListener>,
    /// The reference's bridge; gone after the daemon.
    bridge: Option<Bridge>,
}

impl Daemon {
    /// Starts the daemon under test in a directory named after `name`.
    pub fn start(name: &str, extra: &[&str]) -> Self {
        Self::start_as(name, extra, crate::against_reference())
    }

    /// Starts Proa, whatever the suite runs against.
    pub fn start_proa(name: &str, extra: &[&str]) -> Self {
        Self::start_as(name, extra, false)
    }

    fn start_as(name: &str, extra: &[&str], reference: bool) -> Self {
        let mut daemon = Self::prepared(name, extra, reference);
        daemon.run();
        daemon
    }

    /// Starts Proa with its socket opened beforehand and passed as descriptor 3 (sd_listen_fds(3)). The socket stays
    /// open while the daemon does not run.
    pub fn start_activated(name: &str) -> Self {
        let mut daemon = Self::prepared(name, &[], false);
        let socket = UnixListener::bind(daemon.socket());
        daemon.activation = Some(socket.unwrap_or_else(|e| panic!("{}: {e}", daemon.dir.display())));
        daemon.run();
        daemon
    }

    fn prepared(name: &str, extra: &[&str], reference: bool) -> Self {
        Self {
            dir: crate::scratch(name),
            reference,
            extra: extra.iter().map(|&word| word.to_owned()).collect(),
            env: Vec::new(),
            child: None,
            judged: None,
            activation: None,
            bridge: reference.then(Bridge::new),
        }
    }

    /// From now on clients speak through a socket whose responses are held against the definition of the API.
    pub fn judge(&mut self) {
        let proxy = Proxy::start(&self.dir.join("judged.sock"), &self.socket());
        self.judged = Some(proxy.unwrap_or_else(|e| panic!("{}: {e}", self.dir.display())));
    }

    /// What the responses were worth, if they were judged.
    pub fn report(&self) -> Option<Report> {
        self.judged.as_ref().map(Proxy::report)
    }

    /// Where clients connect.
    fn door(&self) -> PathBuf {
        self.judged.as_ref().map_or_else(|| self.socket(), |proxy| proxy.socket().to_owned())
    }

    /// Sets variables of the next start.
    pub fn set_env(&mut self, env: &[(&str, &str)]) {
        self.env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    }

    /// Starts the program and waits until it answers.
    pub fn run(&mut self) {
        self.spawn();
        let socket = self.socket();
        until(&format!("{} answers", socket.display()), || {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            self.answers().then_some(())
        });
    }

    /// Starts the program and returns at once.
    pub fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log"));
        let log = log.unwrap_or_else(|e| panic!("{}: {e}", self.dir.display()));
        let errors = log.try_clone().unwrap_or_else(|e| panic!("log: {e}"));
        let mut command = self.command();
        command.envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).stdout(log).stderr(errors);
        if let Some(socket) = &self.activation {
            let socket = socket.try_clone().unwrap_or_else(|e| panic!("the socket: {e}"));
            command.stdin(OwnedFd::from(socket));
        }
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")));
    }

    fn command(&self) -> Command {
        let mut command = match self.reference {
            true => Command::new("/usr/sbin/dockerd"),
            false if self.activation.is_some() => {
                let mut shell = Command::new("sh");
                let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 0</dev/null";
                shell.args(["-c", script]).arg(crate::proa());
                shell
            }
            false => Command::new(crate::proa()),
        };
        match &self.bridge {
            Some(bridge) => command.arg("--bridge").arg(bridge.name()),
            None => command.arg("daemon"),
        };
        let own = format!("unix://{}", self.socket().display());
        command.arg("--host").arg(if self.activation.is_some() { "fd://" } else { &own });
        command.arg("--data-root").arg(self.dir.join("data")).arg("--exec-root").arg(self.dir.join("exec"));
        command.arg("--pidfile").arg(self.dir.join("pid")).args(&self.extra);
        command
    }

    /// Whether `_ping` is answered.
    pub fn answers(&self) -> bool {
        self.request("GET", "/_ping").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// One bare HTTP request; the whole answer as text.
    pub fn request(&self, method: &str, path: &str) -> Option<String> {
        self.request_with(method, path, "")
    }

    /// One bare HTTP request with a JSON body.
    pub fn request_with(&self, method: &str, path: &str, body: &str) -> Option<String> {
        request(&self.door(), method, path, body)
    }

    /// The daemon's own socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("docker.sock")
    }

    /// What clients put into `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.door().display())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it at once, as a power cut would. Containers run on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until it ends by itself; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        until("the daemon ends", || child.try_wait().ok().flatten()).code()
    }

    /// Whether it has ended by itself.
    pub fn died(&self) -> bool {
        let stat = self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.is_none_or(|stat| stat.contains(") Z "))
    }

    /// Asks it to end and waits.
    pub fn stop(&mut self) {
        let Some(child) = self.child.as_mut() else { return };
        signal(child.id(), rustix::process::Signal::TERM);
        let status = until("the daemon ends after SIGTERM", || child.try_wait().ok().flatten());
        self.child = None;
        assert!(self.reference || status.success(), "the daemon ended with {status}:\n{}", self.log());
    }

    /// A stock client's command line against this daemon.
    pub fn docker(&self, args: &[&str]) -> Output {
        let client = std::env::var_os("PROA_CLIENT").map(PathBuf::from).unwrap_or_else(crate::proa);
        let mut command = Command::new(client);
        command.args(args).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.dir.join("config"));
        command::run(&mut command, b"")
    }

    /// Makes `busybox:latest` from the fixture.
    pub fn load_busybox(&self) {
        self.import("busybox.tar", "busybox:latest");
    }

    /// Imports a root filesystem of the fixtures; whether it was there.
    pub fn import(&self, file: &str, reference: &str) -> bool {
        let Some(tar) = crate::fixture(file) else { return false };
        self.docker(&["import", "--change", "CMD [\"sh\"]", &tar.to_string_lossy(), reference]).ok();
        true
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.is_some() && self.answers() {
            let listed = self.docker(&["ps", "-aq"]).out();
            for id in listed.split_whitespace() {
                let _ = self.docker(&["rm", "-fv", id]);
            }
        }
        if let Some(child) = self.child.as_mut() {
            signal(child.id(), rustix::process::Signal::TERM);
            for _ in 0..500 {
                if matches!(child.try_wait(), Ok(Some(_))) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.reference {
            crate::reference::unmount_below(&self.dir);
        }
        if std::thread::panicking() || std::env::var_os("PROA_KEEP").is_some() {
            eprintln!("kept for inspection: {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// One bare HTTP request with a JSON body; the whole answer as text.
pub fn request(socket: &Path, method: &str, path: &str, body: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(command::limit())).ok()?;
    let head = "Host: docker\r\nConnection: close\r\nContent-Type: application/json";
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends a signal to a process this suite started.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether anything below `dir` is mounted on this host.
pub fn mounted_below(dir: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.to_string_lossy();
    table
        .lines()
        .filter(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with(&*dir)))
        .map(Into::into)
        .collect()
}
