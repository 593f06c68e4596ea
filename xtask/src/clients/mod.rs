//! Test suites of other people's clients, run against our engine as they are: docker-py, bollard, aiodocker.
//!
//! `tests/clients/NAME.txt` lists what passes against Debian's dockerd, a line each: the area, and the test's name.
//! Against ours every listed test must pass; tests of areas that are only counted are the exception, and those of
//! [`baseline::DIFFERENCES`], each with its reason. `--against dockerd` compares the list with dockerd itself, and
//! `--write` writes it anew.

mod baseline;
mod bollard;
mod lab;
mod python;
mod registry;

use crate::fixtures::{Fixtures, install};
use crate::shell::Outcome;
use baseline::{Baseline, Tally};
use lab::Lab;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Passed,
    Failed,
    Skipped,
}

/// Tests by name, and how they ended.
type Endings = Vec<(String, Ending)>;

/// A suite, and how its tests are run: those whose names contain the filter.
struct Suite {
    name: &'static str,
    version: &'static str,
    run: fn(&Lab, &str) -> Outcome<Endings>,
}

static SUITES: [Suite; 3] = [
    Suite { name: "docker-py", version: "7.0.0", run: python::docker_py },
    Suite { name: "aiodocker", version: "0.27.0", run: python::aiodocker },
    Suite { name: "bollard", version: "0.21.0", run: bollard::bollard },
];

const USAGE: &str = "usage: cargo xtask test clients [docker-py | aiodocker | bollard [FILTER]] [--against dockerd [--write]]";

/// Runs the suite named, or all; what failed, in words.
pub(crate) fn clients(words: &[&str]) -> Outcome {
    let (words, against, write) = match words {
        [rest @ .., "--against", "dockerd", "--write"] => (rest, true, true),
        [rest @ .., "--against", "dockerd"] => (rest, true, false),
        rest => (rest, false, false),
    };
    let (name, filter) = match words {
        [] => (None, ""),
        [name] => (Some(*name), ""),
        [name, filter] => (Some(*name), *filter),
        _ => return Err(USAGE.into()),
    };
    if name.is_some_and(|name| SUITES.iter().all(|suite| suite.name != name)) || (write && !filter.is_empty())
    {
        return Err(USAGE.into());
    }
    install(&[
        ("docker-registry", "docker-registry"),
        ("mmdebstrap", "mmdebstrap"),
        ("dockerd", "docker.io"),
    ]);
    let fixtures = Fixtures::ready()?;
    let mut faults = Vec::new();
    for suite in SUITES.iter().filter(|suite| name.is_none_or(|name| suite.name == name)) {
        println!("── {} {} against {}", suite.name, suite.version, if against { "dockerd" } else { "proa" });
        let lab = match Lab::new(&fixtures, suite.name, against) {
            Ok(lab) => lab,
            Err(reason) => {
                println!("skipped: {}: {reason}", suite.name);
                continue;
            }
        };
        let ended = match (suite.run)(&lab, filter) {
            Ok(ended) => ended,
            Err(reason) => {
                println!("skipped: {}: {reason}", suite.name);
                continue;
            }
        };
        if ended.is_empty() {
            faults.push(format!("{}: no test ran: look into {}", suite.name, lab.log().display()));
            continue;
        }
        let tally = Tally::of(suite.name, &ended);
        if write {
            Baseline::write(suite.name, &tally)?;
        }
        let baseline = Baseline::read(suite.name)?;
        faults.extend(tally.report(&baseline, against, filter));
    }
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{} tests differ from the lists", faults.len())) }
}
