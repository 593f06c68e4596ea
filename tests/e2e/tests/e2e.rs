//! Obligations of the engine, each run with every client.

// A list of obligations is as long as it is, and an unwrap that fails is a test that fails.
#![allow(clippy::too_many_lines, clippy::unwrap_used)]

mod cases;

fn main() {
    let mut suite = proa_e2e::Suite::with_emulation(cases::EMULATION);
    cases::add(&mut suite);
    suite.run()
}
