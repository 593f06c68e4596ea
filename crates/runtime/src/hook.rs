//! Hooks: programs run at points of a container's life, with its state on their standard input (config.md, "POSIX-platform
//! Hooks").

use crate::Error;
use proa_oci::runtime::{Hook, State};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How much of a hook's output a message shows.
const SHOWN: u64 = 4096;

/// Runs hooks in order; the first failure ends it.
pub(crate) fn run(point: &'static str, hooks: &[Hook], state: &State) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| {
        run_one(hook, state).map_err(|cause| Error::Hook { point, path: hook.path.clone(), cause })
    })
}

/// Runs all hooks, whatever happens to one; returns the failures.
pub(crate) fn run_all(point: &'static str, hooks: &[Hook], state: &State) -> Vec<Error> {
    hooks.iter().filter_map(|hook| run(point, std::slice::from_ref(hook), state).err()).collect()
}

fn run_one(hook: &Hook, state: &State) -> Result<(), String> {
    if !hook.path.is_absolute() {
        return Err("its path is not absolute".into());
    }
    let text = serde_json::to_vec(state).map_err(|error| error.to_string())?;
    // Output goes to memory: a pipe would stay open as long as anything the hook leaves behind.
    let output = memfd_create("hook", MemfdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let output = std::fs::File::from(output);
    let clone = || output.try_clone().map_err(|error| error.to_string());
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(args);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    command.stdin(Stdio::piped()).stdout(clone()?).stderr(clone()?);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its state.
        let _ = stdin.write_all(&text);
    }
    let status = wait(&mut child, hook.timeout)?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{status}{}", shown(output))),
    }
}

fn wait(child: &mut Child, timeout: Option<u32>) -> Result<std::process::ExitStatus, String> {
    let Some(seconds) = timeout.filter(|seconds| *seconds > 0) else {
        return child.wait().map_err(|error| error.to_string());
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no pid")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
    let end = Instant::now() + Duration::from_secs(seconds.into());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let time = rustix::event::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&time)) {
            Ok(0) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {seconds} s and was killed"));
            }
            Ok(_) => return child.wait().map_err(|error| error.to_string()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn shown(mut output: std::fs::File) -> String {
    let mut text = Vec::new();
    let read = output.rewind().and_then(|()| output.take(SHOWN).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    match (read, text.trim()) {
        (Err(_), _) | (_, "") => String::new(),
        (_, text) => format!(", its output: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Option<u32>) -> Hook {
        let args = vec!["sh".into(), "-c".into(), script.into()];
        Hook { path: "/bin/sh".into(), args, env: vec!["A=b".into()], timeout }
    }

    #[test]
    fn a_hook_reads_the_state_and_sees_its_own_environment_only() {
        let state = State { id: "abc".into(), ..State::default() };
        let script = r#"read line; case "$line" in *'"id":"abc"'*) ;; *) exit 3;; esac; [ "$A" = b ] && [ -z "$HOME" ]"#;
        run("test", &[sh(script, None)], &state).unwrap();
    }

    #[test]
    fn failures_name_the_hook_and_show_its_output() {
        let error = run("test", &[sh("echo broken >&2; exit 7", None)], &State::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/bin/sh") && text.contains('7') && text.contains("broken"), "{text}");
        let slow = run("test", &[sh("sleep 60", Some(1))], &State::default()).unwrap_err().to_string();
        assert!(slow.contains("1 s"), "{slow}");
        let missing = Hook { path: "/nowhere".into(), ..Hook::default() };
        assert_eq!(run_all("test", &[missing, sh("true", None)], &State::default()).len(), 1);
    }
}
