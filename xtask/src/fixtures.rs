//! What the tests need besides the project: stock clients, peers and base images. Installed or built on first
//! use, with a line that says so, and kept in `~/.cache/proa-tests`.

use crate::shell::{Outcome, cargo, output, run, which};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs the suites use, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 7] = [
    ("busybox", "busybox-static"),
    ("docker", "docker.io"),
    ("dockerd", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("curl", "curl"),
];

/// What a suite gets from here, as environment variables of the test program.
pub(crate) struct Fixtures {
    /// The release binary under test.
    pub(crate) proa: PathBuf,
    /// Where cached files are.
    pub(crate) cache: PathBuf,
}

impl Fixtures {
    /// Builds the binary (unless `PROA_BIN` names one) and gets everything ready. What cannot be had is said; its tests
    /// are skipped.
    pub(crate) fn ready() -> Outcome<Self> {
        let cache = cache_dir()?;
        install(&PROGRAMS);
        let given = std::env::var_os("PROA_BIN").map(PathBuf::from);
        let fixtures = Self { proa: given.map_or_else(build, Ok)?, cache };
        fixtures.busybox()?;
        fixtures.nginx();
        Ok(fixtures)
    }

    /// Hands the fixtures to a test program.
    pub(crate) fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("PROA_BIN", &self.proa).env("PROA_FIXTURES", &self.cache)
    }

    /// A root filesystem of busybox alone, from the host's static busybox.
    fn busybox(&self) -> Outcome {
        let tar = self.cache.join("busybox.tar");
        if tar.is_file() {
            return Ok(());
        }
        let program = which("busybox").ok_or("busybox is missing: apt-get install busybox-static")?;
        println!("── building {}", tar.display());
        let dir = self.cache.join("busybox.new");
        let script = r#"set -e; rm -rf "$1"; mkdir -p "$1/bin" "$1/etc" "$1/root" "$1/tmp" "$1/home" "$1/var/www"
            chmod 1777 "$1/tmp"; cp "$2" "$1/bin/busybox"
            for a in $("$2" --list); do [ "$a" = busybox ] || ln -s busybox "$1/bin/$a"; done
            echo 'root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:user:/home:/bin/sh' > "$1/etc/passwd"
            echo 'root:x:0:
staff:x:50:user
user:x:1000:' > "$1/etc/group"
            echo 'not a program' > "$1/etc/plain"; chmod 644 "$1/etc/plain"
            tar -C "$1" --owner 0 --group 0 -cf "$3.new" .; mv "$3.new" "$3"; rm -rf "$1""#;
        let mut sh = Command::new("sh");
        sh.args(["-c", script, "sh"]).arg(&dir).arg(program).arg(&tar);
        output(&mut sh).map(|_| ())
    }

    /// A Debian root filesystem with nginx, from Debian's packages.
    fn nginx(&self) {
        let tar = self.cache.join("nginx.tar");
        if tar.is_file() {
            return;
        }
        install(&[("mmdebstrap", "mmdebstrap")]);
        let new = self.cache.join("nginx.new.tar");
        let _ = std::fs::remove_file(&new);
        let mut make = Command::new("timeout");
        make.args(["--kill-after=10", "900", "mmdebstrap", "--variant=essential"])
            .args(["--aptopt=Acquire::Retries \"5\"", "--include=nginx-light,ca-certificates", "bookworm"])
            .arg(&new);
        let made = run("building a Debian root filesystem with nginx (a minute or two)", &mut make);
        if let Err(error) = made.and_then(|()| rename(&new, &tar)) {
            println!("   its tests will be skipped: {error}");
        }
    }
}

/// Installs what is missing from Debian's packages; says what could not be.
pub(crate) fn install(programs: &[(&str, &str)]) {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| which(program).is_none()).map(|(_, p)| *p).collect();
    if missing.is_empty() {
        return;
    }
    let script = r#"export DEBIAN_FRONTEND=noninteractive
        mkdir -p /tmp/proa-no-start; printf '#!/bin/sh\nexit 101\n' > /tmp/proa-no-start/policy-rc.d
        apt-get -q update >/dev/null 2>&1
        apt-get -qy -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >/dev/null"#;
    let mut sh = Command::new("sh");
    sh.args(["-c", script, "sh"]).args(&missing);
    if let Err(error) = run(&format!("installing {}", missing.join(" ")), &mut sh) {
        println!("   tests that need them will be skipped: {error}");
    }
}

/// Builds the release binary and returns its path.
pub(crate) fn build() -> Outcome<PathBuf> {
    println!("── building the release binary");
    let json = output(cargo().args([
        "build",
        "--release",
        "-p",
        "proa",
        "--message-format",
        "json-render-diagnostics",
    ]))?;
    let artifacts = json.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    artifacts
        .filter(|a| a["target"]["name"] == "proa" && a["executable"].is_string())
        .filter_map(|a| a["executable"].as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(|| "cargo built no binary named proa".to_owned())
}

fn cache_dir() -> Outcome<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let dir = base.or(home).unwrap_or_else(std::env::temp_dir).join("proa-tests");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(dir)
}

fn rename(from: &Path, to: &Path) -> Outcome {
    std::fs::rename(from, to).map_err(|e| format!("{}: {e}", to.display()))
}
