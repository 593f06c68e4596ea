//! The suites. Output passes through as it comes; the last line adds up what every runner reported.

use crate::fixtures::Fixtures;
use crate::shell::{Outcome, cargo};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What the runners reported so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    broken: Vec<String>,
    /// Whether the last test whose output was shown has said already that it was skipped.
    said: bool,
}

/// Runs the suites named, or all of them.
pub(crate) fn test(words: &[&str]) -> Outcome {
    let mut tally = Tally::default();
    match words {
        [] => {
            unit(&mut tally);
            let fixtures = Fixtures::ready()?;
            suite(&mut tally, &fixtures, "e2e", &[]);
            suite(&mut tally, &fixtures, "crash", &[]);
        }
        ["unit"] => unit(&mut tally),
        ["e2e", "--against", peer, rest @ ..] => {
            let fixtures = Fixtures::ready()?;
            let mut command = program("e2e", rest);
            fixtures.apply(&mut command).env("PROA_AGAINST", peer);
            tally.run("e2e", &mut command);
        }
        ["vm", filters @ ..] => vm(&mut tally, filters)?,
        [name @ ("e2e" | "crash"), rest @ ..] => suite(&mut tally, &Fixtures::ready()?, name, rest),
        _ => return Err("usage: cargo xtask test [unit | e2e | crash | vm] [ARGS]".into()),
    }
    tally.finish()
}

/// The machine's programs. The end-to-end suite counts what it skips, the others only say it.
fn vm(tally: &mut Tally, filters: &[&str]) -> Outcome {
    let fixtures = Fixtures::ready()?;
    let mut counts_itself = false;
    let booted = crate::vm::boot(&fixtures, filters, |line| {
        tally.count(line);
        if let Some(program) = line.strip_prefix("── ") {
            counts_itself = program.contains("e2e");
        }
        if !counts_itself {
            tally.count_skipped(line);
        }
    });
    if let Err(error) = booted {
        tally.broken.push(format!("vm: {error}"));
    }
    Ok(())
}

fn unit(tally: &mut Tally) {
    let mut command = cargo();
    command.args([
        "test",
        "--workspace",
        "--no-fail-fast",
        "--exclude",
        "proa-e2e",
        "--exclude",
        "proa-crash",
        // What passed because it lacked something said so: it is counted as skipped.
        "--",
        "--show-output",
    ]);
    tally.run_with("unit", &mut command, Tally::count_skipped);
}

/// Crates with fuzz tests beside the code; those of public parsers are in `fuzz/`.
const FUZZED: [&str; 6] =
    ["proa-fuzz", "proa-logs", "proa-shim", "proa-distribution", "proa-daemon", "proa-cli"];

/// Runs the fuzz targets whose names contain the word given, or all, one after another.
pub(crate) fn fuzz(words: &[&str]) -> Outcome {
    let (target, seconds) = match words {
        [] => ("", "60"),
        ["--seconds", seconds] => ("", *seconds),
        [target] => (*target, "60"),
        [target, "--seconds", seconds] => (*target, *seconds),
        _ => return Err("usage: cargo xtask fuzz [TARGET] [--seconds N]".into()),
    };
    let mut tally = Tally::default();
    let mut command = cargo();
    command.arg("test").args(FUZZED.iter().flat_map(|name| ["-p", name])).args([
        "--lib",
        "--tests",
        "--no-fail-fast",
    ]);
    command.args(["--", &format!("fuzz_{target}"), "--test-threads", "1", "--show-output"]);
    tally.run_with("fuzz", command.env("PROA_FUZZ_SECONDS", seconds), Tally::count_skipped);
    tally.finish()
}

fn suite(tally: &mut Tally, fixtures: &Fixtures, name: &str, rest: &[&str]) {
    tally.run(name, fixtures.apply(&mut program(name, rest)));
}

/// The test program of `tests/NAME`.
fn program(name: &str, rest: &[&str]) -> Command {
    let mut command = cargo();
    command.args(["test", "-p", &format!("proa-{name}"), "--test", name, "--"]).args(rest);
    command
}

impl Tally {
    fn run(&mut self, title: &str, command: &mut Command) {
        self.run_with(title, command, |_, _| {});
    }

    fn run_with(&mut self, title: &str, command: &mut Command, each: fn(&mut Self, &str)) {
        println!("── {title}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return self.broken.push(format!("{title}: {command:?}: {error}")),
        };
        for line in
            child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok)
        {
            println!("{line}");
            self.count(&line);
            each(self, &line);
        }
        match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => self.broken.push(format!("{title}: {status}")),
            Err(error) => self.broken.push(format!("{title}: {error}")),
        }
    }

    /// Adds a summary line: `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        for part in rest.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                Some((n, "ignored")) => self.skipped += n.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// Counts a test that passed because it said `skipped: reason`, once for each test: a section of shown output
    /// begins with `---- NAME stdout ----`, a test that prints at once ends with `test NAME ... ok`.
    fn count_skipped(&mut self, line: &str) {
        if line.starts_with("---- ") || line.starts_with("test ") {
            self.said = false;
        } else if line.starts_with("skipped: ") && !self.said {
            self.said = true;
            self.skipped += 1;
            self.passed = self.passed.saturating_sub(1);
        }
    }

    fn finish(self) -> Outcome {
        for broken in &self.broken {
            println!("broken: {broken}");
        }
        // A suite that ended badly without naming a test is a failure of its own.
        let failed = self.failed.max(self.broken.len() as u64);
        println!("{} passed, {failed} failed, {} skipped", self.passed, self.skipped);
        if failed == 0 { Ok(()) } else { Err(format!("{failed} failed")) }
    }
}
