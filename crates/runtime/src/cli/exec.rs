//! `exec`.

use super::args::{Args, Flag};
use super::create::{size, write_pid};
use super::foreground::{self, Foreground};
use super::state::Saved;
use super::{CliError, Context};
use crate::container::{ExecOptions, Held};
use crate::sandbox::keyring_name;
use crate::{Container, Stdio, seccomp};
use proa_oci::runtime::{Capabilities, Process};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

const FLAGS: &[Flag] = &[
    (&["console-socket"], true),
    (&["pidfd-socket"], true),
    (&["cwd"], true),
    (&["env", "e"], true),
    (&["tty", "t"], false),
    (&["user", "u"], true),
    (&["additional-gids", "g"], true),
    (&["process", "p"], true),
    (&["detach", "d"], false),
    (&["pid-file"], true),
    (&["process-label"], true),
    (&["apparmor"], true),
    (&["no-new-privs"], false),
    (&["cap", "c"], true),
    (&["preserve-fds"], true),
    (&["cgroup"], true),
    (&["ignore-paused"], false),
];

/// Runs a process in a container; unless detached, waits for its end.
pub(super) fn exec(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, FLAGS)?;
    let id = args.word("container id")?;
    let saved = context.root.home(&id)?.load()?;
    match saved.status(&context.root) {
        "stopped" => return Err(CliError::failed("cannot exec in a stopped container")),
        "paused" if !args.has("ignore-paused") => {
            return Err(CliError::failed(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let process = match args.value("process") {
        Some(path) => read_process(Path::new(path))?,
        None => assemble(&saved, &args)?,
    };
    let detach = args.has("detach");
    let console_socket = args.value("console-socket").filter(|path| !path.is_empty()).map(PathBuf::from);
    if process.terminal && detach && console_socket.is_none() {
        return Err(CliError::failed(
            "cannot allocate tty if runtime will detach without setting console socket",
        ));
    }
    if !detach {
        proa_sys::process::block_signals();
    }
    let container = open(&saved)?;
    let started = container.exec(&process, options(&saved, &process, &args)?)?;
    for warning in &started.warnings {
        context.log.warning(warning);
    }
    if let Some(path) = args.value("pid-file").filter(|path| !path.is_empty()) {
        write_pid(Path::new(path), started.pid)?;
    }
    let terminal = match (started.terminal, &console_socket) {
        (Some(master), Some(socket)) => {
            foreground::send_terminal(socket, &master)?;
            None
        }
        (Some(master), None) => Some(Foreground::attach(master)),
        (None, _) => None,
    };
    if detach {
        return Ok(0);
    }
    foreground::wait(started.pid, started.pidfd.as_fd(), terminal)
}

/// The container a saved state is about.
pub(super) fn open(saved: &Saved) -> Result<Container, CliError> {
    let pidfd = saved.pidfd().ok_or_else(|| CliError::failed("container not running"))?;
    Ok(Container {
        pid: saved.pid,
        pidfd,
        held: None::<Held>,
        terminal: None,
        warnings: Vec::new(),
        user_namespace: saved.user_namespace,
        keyring: saved.keyring.then(|| keyring_name(&saved.id)),
        leader: None,
        filter: None,
        cgroup: saved.cgroup()?,
    })
}

fn options(saved: &Saved, process: &Process, args: &Args) -> Result<ExecOptions, CliError> {
    let filter = saved.spec.linux.seccomp.as_ref().map(seccomp::compile).transpose();
    let preserve: i32 = args.number("preserve-fds")?.unwrap_or(0);
    Ok(ExecOptions {
        filter: filter.map_err(crate::Error::from)?,
        stdio: if process.terminal { Stdio::Terminal { size: size(process) } } else { Stdio::Inherit },
        preserved: (3..3 + preserve).filter_map(proa_sys::inherited::descriptor).collect(),
        degrade: false,
    })
}

fn read_process(path: &Path) -> Result<Process, CliError> {
    let failed =
        |error: &dyn std::fmt::Display| CliError::failed(format!("process file {}: {error}", path.display()));
    let text = std::fs::read(path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

/// The container's own process with what the flags change.
fn assemble(saved: &Saved, args: &Args) -> Result<Process, CliError> {
    let mut process = saved.spec.process.clone().unwrap_or_default();
    process.args = args.rest.iter().cloned().collect();
    if process.args.is_empty() {
        return Err(CliError::usage("process args cannot be empty"));
    }
    process.terminal = args.has("tty");
    process.console_size = None;
    process.env.extend(args.all("env").map(str::to_owned));
    if let Some(cwd) = args.value("cwd") {
        process.cwd = PathBuf::from(cwd);
    }
    if args.has("no-new-privs") {
        process.no_new_privileges = true;
    }
    if let Some(profile) = args.value("apparmor") {
        profile.clone_into(&mut process.apparmor_profile);
    }
    if let Some(label) = args.value("process-label") {
        label.clone_into(&mut process.selinux_label);
    }
    let added: Vec<String> = args.all("cap").map(str::to_owned).collect();
    if !added.is_empty() {
        let sets = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(added.iter().cloned());
        }
    }
    if let Some(user) = args.value("user") {
        (process.user.uid, process.user.gid) = parse_user(user, process.user.gid)?;
    }
    for group in args.all("additional-gids") {
        let id = group
            .parse()
            .map_err(|_| CliError::usage(format!("invalid group {group:?}: a number is needed")))?;
        process.user.additional_gids.push(id);
    }
    Ok(process)
}

/// `UID[:GID]`, numbers only: names are the engine's business.
fn parse_user(text: &str, default_group: u32) -> Result<(u32, u32), CliError> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let id = text.parse::<u32>().ok().filter(|id| digits && *id < u32::MAX);
        id.ok_or_else(|| CliError::usage(format!("invalid user {text:?}: write UID or UID:GID")))
    };
    Ok((number(user)?, group.map_or(Ok(default_group), number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_refused() {
        assert_eq!(parse_user("1000", 7).unwrap(), (1000, 7));
        assert_eq!(parse_user("0:5", 7).unwrap(), (0, 5));
        for bad in ["", "root", "1000:", ":5", "-1", "+1", "4294967295", "4294967296", "1:2:3"] {
            assert!(parse_user(bad, 0).is_err(), "{bad:?}");
        }
    }
}
