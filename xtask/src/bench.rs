//! Benchmarks: tables with peers and floors measured in the same run.

use crate::shell::Outcome;

/// Runs the benchmark of that name.
pub(crate) fn bench(name: &str, _rest: &[&str]) -> Outcome {
    Err(format!("there is no benchmark {name:?}"))
}
