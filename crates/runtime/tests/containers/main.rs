//! Containers through the library, on the real kernel.
//!
//! The runtime copies the calling process, which must be single-threaded; so every test is a run of this program with the
//! test's name, which makes one container after the other in one thread.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod commands;
mod equality;
mod life;
mod roots;
mod unified;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test: its name, and what it does.
type Test = (&'static str, fn());

fn main() {
    let mut words = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("runtime") {
        std::process::exit(proa_runtime::cli::main(std::env::args_os().skip(2).collect()));
    }
    if words.next().as_deref() == Some("alone") {
        let name = words.next().unwrap_or_default();
        let test = tests().into_iter().find(|(known, _)| *known == name);
        test.expect("there is such a test").1();
        return;
    }
    let arguments = Arguments::from_args();
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/bin/busybox").exists() {
        println!("skipped: needs root and a static /bin/busybox");
        return;
    }
    let trials = tests().into_iter().map(|(name, _)| Trial::test(name, move || alone(name))).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn tests() -> Vec<Test> {
    [commands::TESTS, equality::TESTS, life::TESTS, roots::TESTS, unified::TESTS].concat()
}

fn alone(name: &str) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    // A test that hangs is ended, and fails.
    let output = std::process::Command::new("timeout")
        .args(["-k", "5", "600"])
        .arg(program)
        .args(["alone", name])
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print!("{}", text(&output.stdout));
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}\n{}", text(&output.stdout), text(&output.stderr)).into()),
    }
}
