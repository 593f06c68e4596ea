//! Where a suite runs: an engine on private paths, a registry of the images that the suites name, a home directory.

use super::registry::Registry;
use crate::bench::peer::Peer;
use crate::fixtures::Fixtures;
use crate::shell::Outcome;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An engine, and what a suite needs beside it.
pub(super) struct Lab {
    /// Where venvs, sources and targets are kept.
    pub(super) cache: PathBuf,
    pub(super) engine: Peer,
    pub(super) registry: Registry,
    home: PathBuf,
    log: PathBuf,
}

impl Lab {
    /// Starts the engine, ours or dockerd, and the registry.
    pub(super) fn new(fixtures: &Fixtures, suite: &str, reference: bool) -> Outcome<Self> {
        let cache = fixtures.cache.join("clients");
        make(&cache)?;
        let dir = std::env::temp_dir().join(format!("proa-clients.{}", std::process::id()));
        let registry = Registry::start(&cache, &dir.join("registry"))?;
        let mirror = format!("http://{}", registry.authority);
        let program = if reference { Path::new("/usr/sbin/dockerd") } else { &fixtures.proa };
        let engine = Peer::under_test(program, reference, &dir, &["--registry-mirror", &mirror])?;
        registry.fill(&engine, fixtures)?;
        let home = dir.join("home");
        make(&home.join(".docker"))?;
        // docker-py keeps contexts beside this file, and in the working directory where there is none.
        std::fs::write(home.join(".docker/config.json"), "{}").map_err(|e| e.to_string())?;
        let name = format!("{suite}.{}.log", if reference { "dockerd" } else { "proa" });
        let log = cache.join(name);
        let _ = std::fs::remove_file(&log);
        // Tests call `docker` too.
        make(&dir.join("bin"))?;
        let client = if reference { Path::new("/usr/bin/docker") } else { &fixtures.proa };
        std::os::unix::fs::symlink(client, dir.join("bin/docker")).map_err(|e| e.to_string())?;
        Ok(Self { cache, engine, registry, home, log })
    }

    /// Where everything that the suite says is kept.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// A program of the suite: with the engine as its host, and nothing of the user's own.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("timeout");
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.engine.dir().join("bin");
        command.args(["--kill-after=5", "900"]).arg(program);
        command.env("DOCKER_HOST", self.engine.host()).env("HOME", &self.home);
        command.env("PATH", format!("{}:{path}", bin.display()));
        for name in ["DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a program of the suite and keeps all it says; a failure is the caller's to see in it.
    pub(super) fn run(&self, command: &mut Command) -> Outcome<String> {
        let out =
            command.stdin(std::process::Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
        let text =
            [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let mut log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|e| e.to_string())?;
        std::io::Write::write_all(&mut log, text.as_bytes()).map_err(|e| e.to_string())?;
        Ok(text)
    }

    /// Gets the images that tests take for granted, also where an earlier test has removed them; containers go.
    pub(super) fn tidy(&self, images: &[&str]) -> Outcome {
        for id in self.engine.run(&["ps", "-aq"])?.split_whitespace() {
            let _ = self.engine.run(&["rm", "-f", "-v", id]);
        }
        images.iter().try_for_each(|image| self.engine.run(&["pull", image]).map(drop))
    }
}

fn make(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}
