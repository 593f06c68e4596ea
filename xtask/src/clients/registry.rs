//! Debian's registry on the loopback, with images made of what this machine has under the names that the suites ask
//! for. The engines take it for a mirror, too.

use crate::bench::peer::Peer;
use crate::fixtures::Fixtures;
use crate::shell::{Outcome, output, run, which};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Names of busybox images and of python images; each is another image.
const BUSYBOX: [&str; 7] = [
    "alpine:latest",
    "alpine:3.10",
    "alpine:3.17",
    "busybox:latest",
    "hello-world:latest",
    "hello-world:linux",
    "fussybeaver/uhttpd:latest",
];
const PYTHON: [&str; 2] = ["python:3.13-alpine", "python:3.14-alpine"];

/// A running registry; ends on drop.
pub(super) struct Registry {
    /// `HOST:PORT`.
    pub(super) authority: String,
    child: Child,
    storage: PathBuf,
    /// Where a filled storage is kept.
    kept: PathBuf,
}

impl Registry {
    /// Starts it in `dir`, with the images that an earlier run has kept.
    pub(super) fn start(cache: &Path, dir: &Path) -> Outcome<Self> {
        let program = which("docker-registry").ok_or("docker-registry is not installed")?;
        let (storage, kept) = (dir.join("storage"), cache.join("registry"));
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        if kept.is_dir() {
            output(Command::new("cp").arg("-r").arg(&kept).arg(&storage))?;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let authority = port.map_err(|e| format!("a port: {e}"))?.to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  delete:\n    enabled: true\n  filesystem:\n    \
             rootdirectory: {}\nhttp:\n  addr: {authority}\n",
            storage.display()
        );
        let file = dir.join("config.yml");
        std::fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let registry = Self { authority, child, storage, kept };
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::net::TcpStream::connect(&registry.authority).is_err() {
            if std::time::Instant::now() > end {
                return Err("docker-registry does not listen".into());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Makes the images through an engine, on first use, and keeps what the registry then holds.
    pub(super) fn fill(&self, engine: &Peer, fixtures: &Fixtures) -> Outcome {
        if self.kept.is_dir() {
            return Ok(());
        }
        let dir = engine.dir().join("images");
        let python = python_root(fixtures)?;
        println!("── making images");
        let busybox = dir.join("busybox.tar");
        let script = r#"set -e; mkdir -p "$1/r"; tar -xf "$2" -C "$1/r"; mkdir -p "$1/r/var/opt" "$1/r/www" "$1/r/usr/sbin"
            echo 'postgres:x:70:70::/var/lib:/bin/sh' >> "$1/r/etc/passwd"
            printf '#!/bin/sh\necho\necho "Hello from Docker!"\n' > "$1/r/hello"
            printf '#!/bin/sh\nexec httpd "$@"\n' > "$1/r/usr/sbin/run_uhttpd"
            chmod 755 "$1/r/hello" "$1/r/usr/sbin/run_uhttpd"; tar -C "$1/r" -cf "$3" ."#;
        let given = fixtures.cache.join("busybox.tar");
        output(Command::new("sh").args(["-c", script, "sh"]).arg(&dir).arg(&given).arg(&busybox))?;
        for image in BUSYBOX {
            let program = if image.starts_with("hello") { "/hello" } else { "/bin/sh" };
            self.push(engine, image, &busybox, program)?;
        }
        for image in PYTHON {
            self.push(engine, image, &python, "python3")?;
        }
        output(Command::new("cp").arg("-r").arg(&self.storage).arg(&self.kept)).map(drop)
    }

    fn push(&self, engine: &Peer, image: &str, tar: &Path, program: &str) -> Outcome {
        let (command, name) = (format!("CMD [\"{program}\"]"), format!("ENV IMAGE={image}"));
        let tar = tar.display().to_string();
        engine.run(&["import", "--change", &command, "--change", &name, &tar, image])?;
        for library in ["", "library/"] {
            let there = format!("{}/{library}{image}", self.authority);
            engine.run(&["tag", image, &there])?;
            engine.run(&["push", &there])?;
            engine.run(&["rmi", &there])?;
        }
        engine.run(&["rmi", image]).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Debian root filesystem with python, from Debian's packages.
fn python_root(fixtures: &Fixtures) -> Outcome<PathBuf> {
    let (tar, new) = (fixtures.cache.join("python.tar"), fixtures.cache.join("python.new.tar"));
    if tar.is_file() {
        return Ok(tar);
    }
    let _ = std::fs::remove_file(&new);
    let mut make = Command::new("timeout");
    make.args(["--kill-after=10", "900", "mmdebstrap", "--variant=essential", "--include=python3-minimal"])
        .args([
            "--aptopt=Acquire::Retries \"5\"",
            "--customize-hook=ln -s python3 \"$1/usr/bin/python\"",
            "bookworm",
        ])
        .arg(&new);
    run("building a Debian root filesystem with python (a minute or two)", &mut make)?;
    std::fs::rename(&new, &tar).map_err(|e| format!("{}: {e}", tar.display()))?;
    Ok(tar)
}
