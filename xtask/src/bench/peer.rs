//! The engines that are measured: ours, Debian's dockerd and podman, each on private paths, ended afterwards.

use crate::shell::{Outcome, output, which};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// An engine with its client.
pub(crate) struct Peer {
    /// For the table.
    pub(crate) name: &'static str,
    client: Vec<String>,
    host: Option<String>,
    daemon: Option<Child>,
    dir: PathBuf,
}

impl Peer {
    /// Our engine; `prepared` sandboxes are kept ready, or as many as it likes.
    pub(crate) fn proa(
        name: &'static str,
        binary: &Path,
        dir: &Path,
        prepared: Option<u32>,
    ) -> Outcome<Self> {
        let mut daemon = Command::new(binary);
        daemon.arg("daemon");
        if let Some(count) = prepared {
            daemon.args(["--prepared-sandboxes", &count.to_string()]);
        }
        Self::engine(name, vec![binary.display().to_string()], daemon, dir)
    }

    /// Debian's dockerd with Debian's client; none where it is not installed.
    pub(crate) fn dockerd(dir: &Path) -> Outcome<Option<Self>> {
        if which("dockerd").is_none() || !Path::new("/usr/bin/docker").exists() {
            println!("   dockerd is not installed: not compared");
            return Ok(None);
        }
        let mut daemon = Command::new(which("dockerd").unwrap_or_default());
        daemon.args(["--bip", "172.29.0.1/16", "--bridge", ""]);
        Self::engine("dockerd", vec!["/usr/bin/docker".into()], daemon, dir).map(Some)
    }

    /// An engine for other people's tests: ours, or Debian's dockerd.
    pub(crate) fn under_test(program: &Path, reference: bool, dir: &Path, options: &[&str]) -> Outcome<Self> {
        if !program.is_file() {
            return Err(format!("{} is not installed", program.display()));
        }
        let mut daemon = Command::new(program);
        daemon.args(if reference {
            &["--bip", "172.29.0.1/16"][..]
        } else {
            &["daemon", "--bip", "10.231.9.1/24"]
        });
        daemon.args(options);
        if reference {
            return Self::engine("dockerd", vec!["/usr/bin/docker".into()], daemon, dir);
        }
        Self::engine("proa", vec![program.display().to_string()], daemon, dir)
    }

    /// Debian's podman; none where it is not installed.
    pub(crate) fn podman(dir: &Path) -> Option<Self> {
        let Some(program) = which("podman") else {
            println!("   podman is not installed: not compared");
            return None;
        };
        let at = |name: &str| dir.join(name).display().to_string();
        let mut client = vec![program.display().to_string()];
        client.extend([
            "--root".into(),
            at("root"),
            "--runroot".into(),
            at("run"),
            "--tmpdir".into(),
            at("tmp"),
        ]);
        client.extend([
            "--cgroup-manager".into(),
            "cgroupfs".into(),
            "--events-backend".into(),
            "none".into(),
        ]);
        // Debian's default, crun 1.8, refuses hosts with both cgroup versions.
        if let Some(runc) = which("runc") {
            client.extend(["--runtime".into(), runc.display().to_string()]);
        }
        Some(Self { name: "podman (no network)", client, host: None, daemon: None, dir: dir.into() })
    }

    fn engine(name: &'static str, client: Vec<String>, mut daemon: Command, dir: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let socket = dir.join("sock");
        let host = format!("unix://{}", socket.display());
        daemon
            .args(["--host", &host, "--data-root"])
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("exec"));
        daemon.arg("--pidfile").arg(dir.join("pid"));
        let log = std::fs::File::create(dir.join("log")).map_err(|e| format!("{}: {e}", dir.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let child = daemon.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.map_err(|e| format!("{daemon:?}: {e}"))?;
        let peer = Self { name, client, host: Some(host), daemon: Some(child), dir: dir.into() };
        let end = Instant::now() + Duration::from_secs(60);
        while peer.run(&["version"]).is_err() {
            if Instant::now() > end {
                let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
                return Err(format!("{name} does not answer:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(peer)
    }

    /// The socket, as `DOCKER_HOST` has it.
    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or_default()
    }

    /// The client's command.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut words = self.client.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command.args(words).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Runs the client; its standard output.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome<String> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        output(&mut command)
    }

    /// The options of `run` that this peer needs. Podman is measured without a network, and must not raise limits
    /// where the host lacks the right.
    pub(crate) fn options(&self) -> &'static [&'static str] {
        const PODMAN: [&str; 6] =
            ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];
        if self.host.is_some() { &[] } else { &PODMAN }
    }

    /// The daemon's process.
    pub(crate) fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Where everything of it lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for id in self.run(&["ps", "-aq"]).unwrap_or_default().split_whitespace() {
            let _ = self.run(&["rm", "-f", id]);
        }
        if let Some(child) = self.daemon.as_mut() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let end = Instant::now() + Duration::from_secs(20);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        unmount_below(&self.dir);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a peer left mounted in its own directory.
fn unmount_below(dir: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    points.retain(|at| Path::new(at).starts_with(dir));
    for at in points.iter().rev() {
        let _ = Command::new("umount").args(["-l", at]).status();
    }
}
