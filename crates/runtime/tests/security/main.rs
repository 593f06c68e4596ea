//! Known attacks on container runtimes, as tests: each runs a container by the runtime's command line and looks at
//! what a hostile program in it can reach.
//!
//! This program is three: the tests, the runtime (`--runtime …`, executed anew, as it must be single-threaded), and
//! the hostile program inside (`--probe …`; it is static, so any root will do).

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod attacks;
mod bundle;
mod confinement;
mod probe;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_ref().and_then(|arg| arg.to_str()) {
        Some("--runtime") => std::process::exit(proa_runtime::cli::main(args.collect())),
        Some("--probe") => {
            let words: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
            std::process::exit(probe::main(&words));
        }
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // Each test is at least three processes: few at a time are as fast as many.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(4).min(4));
    let mut tests = confinement::tests();
    tests.extend(attacks::tests());
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            if !rustix::process::geteuid().is_root() {
                println!("skipped: needs root");
                return Ok(());
            }
            test().map_err(Failed::from)
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// A test: its obligation as a name, and what it does. An error is a failure, in words.
type Test = (&'static str, fn() -> Result<(), String>);

/// Fails with the words if the condition does not hold.
fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
