//! The suites for pytest: docker-py and aiodocker, from their source archives, each in an environment of its own.

use super::{Ending, Endings, Lab};
use crate::shell::{Outcome, output, run, which};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a suite is made of.
struct Package {
    /// The archive: `NAME==VERSION`.
    archive: &'static str,
    /// What is installed beside it.
    needs: &'static [&'static str],
    /// Where the tests are, in the archive.
    tests: &'static str,
    /// Images that tests take for granted.
    images: &'static [&'static str],
    options: &'static [&'static str],
}

/// docker-py 7.0.0: later archives lack the tests. Its tests of credential stores replace the environment.
pub(super) fn docker_py(lab: &Lab, filter: &str) -> Outcome<Endings> {
    let package = Package {
        archive: "docker==7.0.0",
        needs: &[
            "requests<2.32",
            "websocket-client==1.8.0",
            "pytest==9.0.3",
            "pytest-timeout==2.4.0",
            "paramiko>=2.9.0",
        ],
        tests: "tests/integration",
        images: &["alpine:latest", "alpine:3.10", "busybox:latest"],
        options: &[],
    };
    package.run(lab, filter)
}

pub(super) fn aiodocker(lab: &Lab, filter: &str) -> Outcome<Endings> {
    let package = Package {
        archive: "aiodocker==0.27.0",
        needs: &[
            "pytest==9.0.3",
            "pytest-asyncio==1.3.0",
            "pytest-timeout==2.4.0",
            "testcontainers==4.14.2",
            "packaging==26.1",
            "async-timeout~=5.0.1",
            "asyncssh>=2.14.0",
            "paramiko>=2.9.0",
        ],
        tests: "tests",
        images: &["python:3.13-alpine", "python:3.14-alpine"],
        // Its own options are about coverage.
        options: &["-o", "addopts="],
    };
    package.run(lab, filter)
}

impl Package {
    /// Runs file after file: a test that removes images, or hangs, takes only its own file with it.
    fn run(&self, lab: &Lab, filter: &str) -> Outcome<Endings> {
        let (source, python) = self.ready(&lab.cache)?;
        let dir = source.join(self.tests);
        let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut files: Vec<String> =
            names.filter(|name| name.ends_with(".py") && name.contains("test")).collect();
        files.retain(|name| name != "conftest.py");
        files.sort();
        let mut all = Vec::new();
        for file in files {
            let path = format!("{}/{file}", self.tests);
            lab.tidy(self.images)?;
            let mut command = lab.command(&python);
            command.current_dir(&source).args(["-m", "pytest", &path, "-v", "--timeout", "60"]);
            command.args(["-p", "no:cacheprovider", "-o", "console_output_style=classic"]).args(self.options);
            if !filter.is_empty() && !file.contains(filter) {
                command.args(["-k", filter]);
            }
            let ended = endings(&lab.run(command.env("COLUMNS", "200"))?);
            let count = |wanted| ended.iter().filter(|(_, ending)| *ending == wanted).count();
            if !ended.is_empty() {
                println!("   {file}: {} passed, {} failed", count(Ending::Passed), count(Ending::Failed));
            }
            all.extend(ended);
        }
        Ok(all)
    }

    /// The unpacked archive and the environment's python, made on first use.
    fn ready(&self, cache: &Path) -> Outcome<(PathBuf, PathBuf)> {
        let (name, version) = self.archive.split_once("==").unwrap_or((self.archive, ""));
        let dir = cache.join(format!("{name}-{version}"));
        let (source, python) = (dir.join(format!("{name}-{version}")), dir.join("venv/bin/python"));
        let done = dir.join("ready");
        if done.is_file() {
            return Ok((source, python));
        }
        which("python3").ok_or("python3 is not installed")?;
        let _ = std::fs::remove_dir_all(&dir);
        run(
            &format!("making an environment for {}", self.archive),
            Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")),
        )?;
        let pip = |args: &[&str]| {
            let mut command = Command::new(&python);
            output(
                command
                    .args(["-m", "pip", "--quiet", "--disable-pip-version-check"])
                    .args(args)
                    .current_dir(&dir),
            )
        };
        pip(&["download", "--no-deps", "--no-binary", name, self.archive])?;
        let archive = format!("{name}-{version}.tar.gz");
        let mut install = vec!["install", &archive];
        install.extend(self.needs);
        pip(&install)?;
        output(Command::new("tar").args(["-xf", &archive]).current_dir(&dir))?;
        std::fs::write(&done, "").map_err(|e| format!("{}: {e}", done.display()))?;
        Ok((source, python))
    }
}

/// What pytest said: lines of `FILE::NAME ENDING [ 7%]`. What was expected to fail counts as skipped.
fn endings(text: &str) -> Endings {
    let words = [
        (" PASSED", Ending::Passed),
        (" FAILED", Ending::Failed),
        (" ERROR", Ending::Failed),
        (" SKIPPED", Ending::Skipped),
        (" XFAIL", Ending::Skipped),
        (" XPASS", Ending::Skipped),
    ];
    let tests = text.lines().filter(|line| line.starts_with("tests/") && line.contains(".py::"));
    tests
        .filter_map(|line| {
            let (at, ending) = words.iter().find_map(|(word, ending)| Some((line.find(word)?, *ending)))?;
            let name = line.get(..at)?;
            Some((name.rsplit_once('/').map_or(name, |(_, name)| name).to_owned(), ending))
        })
        .collect()
}
