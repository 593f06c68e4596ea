//! The OCI runtime command line, with runc's commands and flags: what containerd, podman and dockerd call.
//!
//! State is kept under `--root` (`/run/proa-runtime`), one directory for each container.

mod args;
mod create;
mod exec;
mod features;
mod foreground;
mod limits;
mod log;
mod manage;
mod state;
mod template;

use crate::Error;
use args::Args;
use log::Log;
use state::Root;
use std::ffi::OsString;
use std::path::PathBuf;

/// The version of the runtime specification.
pub(crate) const OCI_VERSION: &str = "1.2.0";

const USAGE: &str = "\
usage: proa runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND ...

  create  [-b BUNDLE] [--console-socket PATH] [--pid-file FILE] ID   make a container
  start   ID                                                         let a made container run
  run     [-d] [-b BUNDLE] ... ID                                    both, and wait for its end
  exec    [-d] [-t] [-p FILE] ... ID COMMAND ...                     run another process in it
  kill    [-a] ID [SIGNAL]                                           send a signal (TERM)
  delete  [-f] ID                                                    remove what is left of it
  state   ID         list [-f json]      ps [-f json] ID             show
  pause   ID         resume ID           update [-r FILE] ... ID     change
  spec    [-b DIR]   features            events --stats ID
";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// Something that is not a container's error.
    #[error("{0}")]
    Failed(String),
    /// The program cannot be executed.
    #[error("unable to start container process: {0}")]
    Start(Error),
    /// Any other error of a container.
    #[error(transparent)]
    Container(Error),
}

impl CliError {
    fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    fn exit_code(&self) -> i32 {
        match self {
            Self::Start(error) => error.exit_code().into(),
            _ => 1,
        }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::Program { .. } => Self::Start(error),
            other => Self::Container(other),
        }
    }
}

impl From<crate::cgroup::Error> for CliError {
    fn from(error: crate::cgroup::Error) -> Self {
        Self::Container(error.into())
    }
}

/// What all commands share.
#[derive(Debug)]
struct Context {
    root: Root,
    log: Log,
    systemd_cgroup: bool,
}

/// Runs one command. `args` are those after the program's (or the face's) name. Returns its exit status.
pub fn main(args: Vec<OsString>) -> i32 {
    let mut context = Context { root: Root(default_root()), log: Log::default(), systemd_cgroup: false };
    match dispatch(args, &mut context) {
        Ok(code) => code,
        Err((command, error)) => {
            context.log.error(&format!("proa runtime {command}failed: {error}"));
            if matches!(error, CliError::Usage(_)) {
                eprintln!("\n{USAGE}");
            }
            error.exit_code()
        }
    }
}

fn dispatch(args: Vec<OsString>, context: &mut Context) -> Result<i32, (String, CliError)> {
    let mut command = String::new();
    run(args, context, &mut command).map_err(|error| {
        let name = if command.is_empty() { String::new() } else { format!("{command} ") };
        (name, error)
    })
}

fn run(args: Vec<OsString>, context: &mut Context, command: &mut String) -> Result<i32, CliError> {
    let flags: &[args::Flag] = &[
        (&["root"], true),
        (&["log"], true),
        (&["log-format"], true),
        (&["criu"], true),
        (&["rootless"], true),
        (&["systemd-cgroup"], false),
        (&["debug"], false),
        (&["version", "v"], false),
        (&["help", "h"], false),
    ];
    let mut global = Args::parse(args::words(args)?, flags)?;
    if let Some(root) = global.value("root") {
        context.root = Root(PathBuf::from(root));
    }
    context.log = Log {
        file: global.value("log").filter(|file| !file.is_empty()).map(PathBuf::from),
        json: global.value("log-format") == Some("json"),
    };
    context.systemd_cgroup = global.has("systemd-cgroup");
    if global.has("version") {
        println!("proa runtime version {}\nspec: {OCI_VERSION}", env!("CARGO_PKG_VERSION"));
        return Ok(0);
    }
    let Some(name) = global.rest.pop_front().filter(|_| !global.has("help")) else {
        print!("{USAGE}");
        return Ok(0);
    };
    command.clone_from(&name);
    let rest = global.rest;
    if matches!(command.as_str(), "create" | "run" | "exec") {
        crate::exe::protect();
    }
    match name.as_str() {
        "create" => create::create(context, rest),
        "run" => create::run(context, rest),
        "start" => create::start(context, rest),
        "exec" => exec::exec(context, rest),
        "state" => manage::state(context, rest),
        "list" => manage::list(context, rest),
        "ps" => manage::ps(context, rest),
        "kill" => manage::kill(context, rest),
        "delete" => manage::delete(context, rest),
        "pause" => manage::pause(context, rest),
        "resume" => manage::resume(context, rest),
        "update" => limits::update(context, rest),
        "events" => limits::events(context, rest),
        "features" => features::features(),
        "spec" => template::spec(rest),
        "help" => {
            print!("{USAGE}");
            Ok(0)
        }
        other => Err(CliError::usage(format!("there is no command {other:?}"))),
    }
}

/// Of root in /run, of others in their own run-time directory.
fn default_root() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/proa-runtime");
    }
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join("proa-runtime")
}
