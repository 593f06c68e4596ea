//! Benchmarks: tables with peers and floors measured in the same run. Quote ratios: the machine is noisy.

mod memory;
pub(crate) mod peer;
mod scale;
mod start;
mod table;

use crate::shell::Outcome;

/// Runs the benchmark of that name.
pub(crate) fn bench(name: &str, rest: &[&str]) -> Outcome {
    match name {
        "start" => start::start(rest),
        "scale" => scale::scale(rest),
        _ => Err(format!("there is no benchmark {name:?}; there are: start, scale")),
    }
}
