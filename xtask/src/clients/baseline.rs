//! What is expected of a suite, and how it came out.

use super::Ending;
use crate::shell::{Outcome, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Areas that are counted and not judged: their issues come later.
const COUNTED: [&str; 4] = ["build", "image", "network", "swarm"];

/// The area of a test: the first word that its name contains decides. Single tests that need another area's engine
/// come before the files.
const AREAS: [(&str, &str); 46] = [
    // docker-py: tests of containers that first make a network.
    ("test_run_with_network", "network"),
    ("test_connect_with_ipv", "network"),
    // bollard: one function each.
    ("container_test::integration_test_mount_volume", "volume"),
    ("api_build_test", "build"),
    ("api_image_test", "image"),
    ("api_network_test", "network"),
    ("api_plugin_test", "swarm"),
    ("api_config_test", "swarm"),
    ("api_secret_test", "swarm"),
    ("api_service_test", "swarm"),
    ("api_swarm_test", "swarm"),
    ("models_images_test", "image"),
    ("models_networks_test", "network"),
    ("models_nodes_test", "swarm"),
    ("models_services_test", "swarm"),
    ("models_swarm_test", "swarm"),
    ("api_exec_test", "exec"),
    ("exec_run", "exec"),
    ("api_healthcheck_test", "health"),
    ("volumes_test", "volume"),
    ("api_volume_test", "volume"),
    ("CancellableEventsTest", "events"),
    ("client_test", "client"),
    ("context_api_test", "client"),
    ("errors_test", "errors"),
    ("regression_test", "regressions"),
    ("models_resources_test", "container"),
    ("api_container_test", "container"),
    ("models_containers_test", "container"),
    ("build", "build"),
    ("image_test", "image"),
    ("test_images", "image"),
    ("export_test", "image"),
    ("distribution", "image"),
    ("network", "network"),
    ("test_execs", "exec"),
    ("exec_test", "exec"),
    ("volume", "volume"),
    ("event", "events"),
    ("config", "swarm"),
    ("secret", "swarm"),
    ("service", "swarm"),
    ("swarm", "swarm"),
    ("node", "swarm"),
    ("plugin", "swarm"),
    ("container", "container"),
];

/// Tests that pass against Debian's dockerd 20.10 and, on purpose, not against ours. Each is an error where it passes,
/// so that the list cannot grow old.
const DIFFERENCES: [(&str, &str); 3] = [
    (
        "models_containers_test.py::ContainerTest::test_exec_run_failed",
        "an exec of a missing program ends with 127, as engines since 25 say; 126 was a fault",
    ),
    (
        "client_test.py::ClientTest::test_df",
        "asks for the newest version of the API, which has sums in place of LayersSize",
    ),
    (
        "test_containers.py::test_commit",
        "asks for the newest version of the API, whose images have no Parent",
    ),
];

/// The area of a test; `client` where no name says more.
fn area(test: &str) -> &'static str {
    AREAS.iter().find(|(word, _)| test.contains(word)).map_or("client", |(_, area)| area)
}

fn difference(test: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|(name, _)| test.ends_with(name)).map(|(_, why)| *why)
}

/// The tests of a suite that pass against dockerd.
pub(super) struct Baseline(BTreeSet<String>);

impl Baseline {
    fn path(suite: &str) -> PathBuf {
        root().join("tests/clients").join(format!("{suite}.txt"))
    }

    pub(super) fn read(suite: &str) -> Outcome<Self> {
        let path = Self::path(suite);
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()))
    }

    pub(super) fn write(suite: &str, tally: &Tally) -> Outcome {
        let passed = tally.ended.iter().filter(|(_, ending)| **ending == Ending::Passed);
        let mut lines: Vec<String> = passed.map(|(test, _)| format!("{} {test}\n", area(test))).collect();
        lines.sort();
        let path = Self::path(suite);
        std::fs::write(&path, lines.concat()).map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// How the tests of a suite ended.
pub(super) struct Tally<'a> {
    suite: &'a str,
    ended: BTreeMap<&'a str, Ending>,
}

impl<'a> Tally<'a> {
    /// A test that is named twice (its clean-up failed) ended as it was named last.
    pub(super) fn of(suite: &'a str, ended: &'a [(String, Ending)]) -> Self {
        Self { suite, ended: ended.iter().map(|(test, ending)| (test.as_str(), *ending)).collect() }
    }

    /// Prints the counts by area; what is not as it must be.
    pub(super) fn report(&self, baseline: &Baseline, against: bool, filter: &str) -> Vec<String> {
        let mut rows: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
        let mut faults = Vec::new();
        let listed = baseline.0.iter().map(String::as_str).filter(|test| test.contains(filter));
        let all: BTreeSet<&str> = listed.chain(self.ended.keys().copied()).collect();
        for test in all {
            let row = rows.entry(area(test)).or_default();
            let ending = self.ended.get(test).copied().unwrap_or(Ending::Failed);
            let expected = baseline.0.contains(test);
            row[0] += usize::from(ending == Ending::Passed);
            row[1] += usize::from(ending == Ending::Failed);
            row[2] += usize::from(ending == Ending::Skipped);
            row[3] += usize::from(expected);
            row[4] += usize::from(expected && ending == Ending::Passed);
            faults.extend(self.fault(test, ending, expected, against));
        }
        println!(
            "   {:<12} {:>7} {:>7} {:>8} {:>8} {:>8}",
            "area", "passed", "failed", "skipped", "dockerd", "of them"
        );
        for (area, [passed, failed, skipped, expected, both]) in rows {
            let note = if COUNTED.contains(&area) { "   counted only" } else { "" };
            println!("   {area:<12} {passed:>7} {failed:>7} {skipped:>8} {expected:>8} {both:>8}{note}");
        }
        faults
    }

    fn fault(&self, test: &str, ending: Ending, expected: bool, against: bool) -> Option<String> {
        let passed = ending == Ending::Passed;
        if against {
            let what = if passed { "passes, and is not listed" } else { "is listed, and does not pass" };
            return (passed != expected).then(|| format!("{}: {test} {what}", self.suite));
        }
        if let Some(why) = difference(test) {
            println!("   differs: {test}: {why}");
            return passed.then(|| format!("{}: {test} passes, and is listed as a difference", self.suite));
        }
        let judged = !COUNTED.contains(&area(test));
        (judged && expected && !passed).then(|| format!("{}: {test} must pass", self.suite))
    }
}
