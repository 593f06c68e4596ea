//! Running programs: say what runs, stop at the first failure, name the command in the error.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A task's outcome; the text is for people.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(Into::into).unwrap_or_default()
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What `cargo run` sets for the task itself would only make nested builds differ from plain ones.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Says `title` and runs the command with this terminal's output.
pub(crate) fn run(title: &str, command: &mut Command) -> Outcome {
    println!("── {title}");
    let status = command.stdin(Stdio::null()).status().map_err(|e| format!("{title}: {command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{title} failed: {status}")) }
}

/// Runs the command silently and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let out = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(format!("{command:?}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr)))
}

/// Where a program is found in PATH (and in /usr/sbin, which users' PATH often lacks).
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file())
}
