//! Project tasks: `cargo xtask verify | fix | test [SUITE] | fuzz TARGET | bench NAME`.
//!
//! `verify` never writes to the tree, `fix` does. `test` installs or builds what the tests need, says what it
//! does, and caches it. Each task ends by saying what passed.

mod bench;
mod clients;
mod fixtures;
mod shell;
mod test;
mod verify;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  verify              formatting, lints, floors, style, licences, generated documents; writes nothing
  fix                 formats the code and writes the generated documents anew
  test                every suite: unit, e2e, crash
  test unit           tests beside the code
  test e2e [ARGS]     the engine through stock clients; `--against dockerd` proves the tests themselves;
                      other ARGS go to the test program (a filter, --list, --nocapture)
  test crash [ARGS]   the daemon killed at every step
  fuzz [TARGET] [--seconds N]
                      feeds parsers mutated input: one target or all, each for N seconds (60)
  test vm [FILTERS]   runtime and engine tests in a small VM: pure cgroup v2, AppArmor, an older kernel
  test clients [NAME [FILTER]] [--against dockerd [--write]]
                      the suites of docker-py, aiodocker and bollard; what passes with dockerd must pass with ours
  bench NAME          start | scale";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["verify"] => verify::verify(),
        ["fix"] => verify::fix(),
        ["test", "clients", rest @ ..] => clients::clients(rest),
        ["test", rest @ ..] => test::test(rest),
        ["fuzz", rest @ ..] => test::fuzz(rest),
        ["bench", name, rest @ ..] => bench::bench(name, rest),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
