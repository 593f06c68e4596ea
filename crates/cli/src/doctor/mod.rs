//! `doctor`: what this machine offers an engine, what is missing, and what to do. It needs no engine and
//! changes nothing: it reads what the kernel tells and asks for no right that the user lacks.

mod cgroups;
mod host;
mod kernel;
mod network;
mod storage;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::app::App;
use crate::error::{Failure, Result};
use crate::output::put;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It works.
    Ok,
    /// It works otherwise, or is wanted by some only.
    Note,
    /// It will work badly.
    Warning,
    /// Containers cannot run without.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    area: &'static str,
    name: &'static str,
    state: State,
    found: String,
    /// What to do; empty where nothing is.
    advice: String,
}

/// What was found in one area.
struct Area {
    name: &'static str,
    checks: Vec<Check>,
}

impl Area {
    fn new(name: &'static str) -> Self {
        Self { name, checks: Vec::new() }
    }

    fn add(&mut self, name: &'static str, state: State, found: impl Into<String>, advice: impl Into<String>) {
        let (found, advice) = (found.into(), advice.into());
        self.checks.push(Check { area: self.name, name, state, found, advice });
    }

    fn ok(&mut self, name: &'static str, found: impl Into<String>) {
        self.add(name, State::Ok, found, "");
    }

    /// Fine where it is there, else as bad as `state` says.
    fn need(&mut self, name: &'static str, there: bool, state: State, advice: &str) {
        match there {
            true => self.ok(name, "available"),
            false => self.add(name, state, "not available", advice),
        }
    }
}

/// The machine's files, below a root that a test may choose.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without white space at its ends; none if it cannot be read.
    fn text(&self, path: &str) -> Option<String> {
        let raw = std::fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&raw).trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The release of the kernel.
    fn release(&self) -> String {
        self.text("/proc/sys/kernel/osrelease").unwrap_or_default()
    }

    /// Major and minor number of the kernel.
    fn version(&self) -> (u32, u32) {
        let release = self.release();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether a part of the kernel is loaded, built in or can be loaded.
    fn module(&self, name: &str) -> bool {
        let release = self.release();
        let known = |list: &str| {
            let list = self.text(&format!("/lib/modules/{release}/{list}")).unwrap_or_default();
            list.split_whitespace().any(|word| {
                let file = word.trim_end_matches(':').rsplit('/').next().unwrap_or_default();
                file.split(".ko").next() == Some(name) && file.contains(".ko")
            })
        };
        self.exists(&format!("/sys/module/{name}")) || known("modules.builtin") || known("modules.dep")
    }

    /// A setting of the kernel's build; none where it is not published.
    fn built_with(&self, option: &str) -> Option<bool> {
        let published = std::fs::read(self.path("/proc/config.gz")).ok().map(|raw| {
            use std::io::Read as _;
            let mut text = String::new();
            let _ = flate2::read::GzDecoder::new(&*raw).take(4 << 20).read_to_string(&mut text);
            text
        });
        let text = published.or_else(|| self.text(&format!("/boot/config-{}", self.release())))?;
        Some(text.lines().any(|line| line.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))))
    }

    /// Whether a file system or a driver is there, as far as can be told.
    fn offers(&self, module: &str, option: &str) -> bool {
        self.module(module) || self.built_with(option) == Some(true)
    }

    /// A program in the usual directories.
    fn program(&self, name: &str) -> Option<PathBuf> {
        let given = std::env::var("PATH").unwrap_or_default();
        let all = given.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"]);
        all.filter(|dir| !dir.is_empty()).map(|dir| self.path(dir).join(name)).find(|path| path.is_file())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    healthy: bool,
    checks: Vec<Check>,
}

fn examine(machine: &Machine, data_root: &Path) -> Report {
    let areas = [
        kernel::look(machine),
        cgroups::look(machine),
        storage::look(machine, data_root),
        network::look(machine),
        host::look(machine),
    ];
    let checks: Vec<Check> = areas.into_iter().flat_map(|area| area.checks).collect();
    Report { healthy: checks.iter().all(|check| check.state != State::Missing), checks }
}

/// `doctor`.
pub(crate) fn doctor(app: &App) -> Result<()> {
    let report = examine(&Machine { root: "/".into() }, Path::new("/var/lib/proa"));
    match app.flags.text("format").filter(|format| !format.is_empty()) {
        Some(format) => crate::commands::formatted(format, &report)?,
        None => put(&text(&report, crate::terminal::stdout_is() && std::env::var_os("NO_COLOR").is_none())),
    }
    if report.healthy { Ok(()) } else { Err(Failure::silent(1)) }
}

fn text(report: &Report, colours: bool) -> String {
    let mut out = String::new();
    let mut area = "";
    for check in &report.checks {
        if check.area != area {
            area = check.area;
            out.push_str(&format!("{}{area}\n", if out.is_empty() { "" } else { "\n" }));
        }
        let (word, colour) = match check.state {
            State::Ok => ("ok", 32),
            State::Note => ("note", 36),
            State::Warning => ("warning", 33),
            State::Missing => ("missing", 31),
        };
        let word = format!("{word:<8}");
        let word = if colours { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word };
        out.push_str(&format!("  {word} {:<22} {}\n", check.name, check.found));
        if !check.advice.is_empty() {
            out.push_str(&format!("           → {}\n", check.advice));
        }
    }
    let count = |state| report.checks.iter().filter(|check| check.state == state).count();
    let [warnings, missing] = [count(State::Warning), count(State::Missing)];
    let verdict = if report.healthy { "Containers can run here" } else { "Containers cannot run here" };
    out.push_str(&format!("\n{verdict}: {missing} missing, {warnings} warnings.\n"));
    out
}

#[cfg(test)]
mod tests;
