//! `state`, `list`, `ps`, `kill`, `delete`, `pause`, `resume`.

use super::args::Args;
use super::exec::open;
use super::foreground::wait_for_end;
use super::state::Saved;
use super::{CliError, Context};
use crate::hook;
use proa_types::Signal;
use serde::Serialize;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// How long a killed container may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `state` and `list` show of a container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: &'static str,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
    owner: &'static str,
}

impl Shown {
    fn of(saved: Saved, status: &'static str) -> Self {
        Self {
            oci_version: super::OCI_VERSION,
            pid: if status == "stopped" { 0 } else { saved.pid },
            status,
            id: saved.id,
            bundle: saved.bundle,
            rootfs: saved.rootfs,
            created: saved.created,
            annotations: saved.spec.annotations,
            owner: "",
        }
    }
}

fn print_json<T: Serialize>(value: &T, pretty: bool) -> Result<(), CliError> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    println!("{}", text.map_err(|error| CliError::failed(error.to_string()))?);
    Ok(())
}

fn load(context: &Context, args: &mut Args) -> Result<Saved, CliError> {
    context.root.home(&args.word("container id")?)?.load()
}

/// `state`
pub(super) fn state(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[])?;
    let saved = load(context, &mut args)?;
    let status = saved.status(&context.root);
    print_json(&Shown::of(saved, status), true)?;
    Ok(0)
}

/// `list`
pub(super) fn list(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let args = Args::parse(words, &[(&["format", "f"], true), (&["quiet", "q"], false)])?;
    let all = context.root.all().into_iter().map(|saved| {
        let status = saved.status(&context.root);
        Shown::of(saved, status)
    });
    match (args.has("quiet"), args.value("format")) {
        (true, _) => all.for_each(|shown| println!("{}", shown.id)),
        (_, Some("json")) => print_json(&all.collect::<Vec<_>>(), false)?,
        (_, None | Some("table")) => {
            println!("{:<24} {:<8} {:<8} {:<30} CREATED", "ID", "PID", "STATUS", "BUNDLE");
            for s in all {
                println!(
                    "{:<24} {:<8} {:<8} {:<30} {}",
                    s.id,
                    s.pid,
                    s.status,
                    s.bundle.display(),
                    s.created
                );
            }
        }
        (_, Some(other)) => return Err(CliError::usage(format!("invalid format {other:?}: table or json"))),
    }
    Ok(0)
}

/// `ps`: the processes of a container, as numbers or as the host's ps(1) shows them.
pub(super) fn ps(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[(&["format", "f"], true)])?;
    let pids = load(context, &mut args)?.cgroup()?.pids()?;
    match args.value("format") {
        Some("json") => {
            print_json(&pids, false)?;
            return Ok(0);
        }
        None | Some("table") => {}
        Some(other) => return Err(CliError::usage(format!("invalid format {other:?}: table or json"))),
    }
    let mut command = std::process::Command::new("ps");
    match args.rest.is_empty() {
        true => command.arg("-ef"),
        false => command.args(&args.rest),
    };
    let output = command.output().map_err(|error| CliError::failed(format!("cannot run ps: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| CliError::failed("ps shows no PID column"))?;
    println!("{header}");
    let ours = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    lines.filter(ours).for_each(|line| println!("{line}"));
    Ok(0)
}

/// `kill`
pub(super) fn kill(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[(&["all", "a"], false)])?;
    let saved = load(context, &mut args)?;
    let text = args.rest.pop_front().unwrap_or_else(|| "SIGTERM".to_owned());
    let signal: Signal = text
        .parse()
        .map_err(|error: proa_types::signal::InvalidSignal| CliError::failed(error.to_string()))?;
    // runc takes the flag after the signal too.
    if args.has("all") || args.rest.iter().any(|word| word == "--all" || word == "-a") {
        let cgroup = saved.cgroup()?;
        match signal == Signal::KILL {
            true => cgroup.kill()?,
            false => cgroup.signal(signal.number())?,
        }
        return Ok(0);
    }
    let pidfd = saved.pidfd().ok_or_else(|| CliError::failed("container not running"))?;
    crate::container::signal_process(pidfd.as_fd(), signal.number()).map_err(|error| match error {
        crate::Error::State { .. } => CliError::failed("container not running"),
        other => other.into(),
    })?;
    if signal == Signal::KILL {
        // A frozen process dies only when it is thawed.
        let _ = saved.cgroup().map(|cgroup| cgroup.thaw());
    }
    Ok(0)
}

/// `delete`
pub(super) fn delete(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[(&["force", "f"], false)])?;
    let id = args.word("container id")?;
    let force = args.has("force") || args.rest.iter().any(|word| word == "--force" || word == "-f");
    let home = context.root.home(&id)?;
    let saved = match home.load() {
        Ok(saved) => saved,
        Err(_) if force => {
            home.remove();
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    let status = saved.status(&context.root);
    if let Some(pidfd) = saved.pidfd() {
        if status != "created" && !force {
            return Err(CliError::failed(format!(
                "cannot delete container {id} that is not stopped: {status}"
            )));
        }
        let _ = proa_sys::process::pidfd_kill(pidfd.as_fd(), libc::SIGKILL);
        let _ = saved.cgroup().map(|cgroup| cgroup.kill());
        if !wait_for_end(pidfd.as_fd(), PATIENCE) {
            return Err(CliError::failed(format!(
                "container {id} does not end: process {} hangs",
                saved.pid
            )));
        }
    }
    if let Ok(cgroup) = saved.cgroup() {
        let _ = cgroup.kill();
        cgroup.remove()?;
    }
    home.remove();
    for error in hook::run_all("poststop", &saved.spec.hooks.poststop, &saved.state("stopped")) {
        context.log.warning(&error.to_string());
    }
    Ok(0)
}

/// `pause`
pub(super) fn pause(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[])?;
    open(&load(context, &mut args)?)?.pause()?;
    Ok(0)
}

/// `resume`
pub(super) fn resume(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[])?;
    open(&load(context, &mut args)?)?.resume()?;
    Ok(0)
}
