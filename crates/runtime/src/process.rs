//! From a process in the right namespaces to the program: streams, limits, user, capabilities, filter, execve. The same
//! for a container's first process and for those started in it later.
//!
//! Order matters. What needs rights comes before the user is changed; the filter comes last, after everything it might
//! forbid: permitted capabilities are kept over the change of user, so that without `no_new_privs` the filter can still
//! be loaded then, and only the final capset(2) and execve(2) run under it.

use crate::capability::{self, Sets};
use crate::channel::Channel;
use crate::console::Terminal;
use crate::failure::Failure;
use crate::lsm::Labels;
use crate::seccomp::Program;
use crate::start::TerminalSize;
use crate::{Error, executable, hook, inside, priority, reaper, rlimit};
use proa_oci::runtime::{Hook, Process, State};
use proa_sys::process::{execve, join_session_keyring, reset_signals};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Longest /etc/passwd that is read for a home directory, in bytes.
const LONGEST_PASSWD: u64 = 1 << 20;

/// A terminal to be opened.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TerminalRequest {
    pub(crate) size: Option<TerminalSize>,
}

/// Everything about the process that comes from its specification.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) process: Process,
    pub(crate) personality: Option<serde_json::Value>,
    /// The filter, as [`Program::to_bytes`] writes it.
    pub(crate) filter: Option<Vec<u8>>,
    /// A terminal is opened; without, streams come with the plan.
    pub(crate) terminal: Option<TerminalRequest>,
    /// Whether the terminal is /dev/console too.
    pub(crate) console: bool,
    pub(crate) labels: Labels,
    /// Limits beyond the host's rights are left out.
    pub(crate) degrade: bool,
    /// Name of the session keyring that is joined.
    pub(crate) keyring: Option<String>,
    /// Pid 1 is a reaper, the program its child.
    pub(crate) reaper: bool,
    /// `startContainer` hooks, and the state they read.
    pub(crate) hooks: Vec<Hook>,
    pub(crate) state: State,
}

/// What comes with it.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// Standard streams, when there is no terminal.
    pub(crate) streams: Vec<OwnedFd>,
    /// Descriptors from 3 up.
    pub(crate) preserved: Vec<OwnedFd>,
    /// The fifo on which the process waits.
    pub(crate) fifo: Option<OwnedFd>,
    /// A procfs nothing is mounted over.
    pub(crate) proc: OwnedFd,
}

/// What the process tells the one that made it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Stage 1 is done.
    Prepared,
    /// The terminal's master end comes with this message.
    Terminal,
    /// All is done but what cannot fail any more, or is reported by [`Report::Failed`] still; the channel's end means
    /// that the program runs.
    Ready { warnings: Vec<String> },
    /// It ends here.
    Failed(Failure),
}

/// Becomes the program. The root is the container's.
pub(crate) fn run(plan: &Plan, fds: Descriptors, channel: &Channel) -> Result<Infallible, Error> {
    let mut warnings = Vec::new();
    let process = &plan.process;
    let _ = rustix::process::setsid();
    connect_streams(plan, &fds.streams, channel)?;
    if let Some(name) = &plan.keyring {
        warnings.extend(join_keyring(name)?);
    }
    plan.labels.apply(fds.proc.as_fd())?;
    warnings.extend(adjust_oom_score(plan, fds.proc.as_fd())?);
    priority::apply(process.io_priority.as_ref(), process.scheduler.as_ref(), plan.personality.as_ref())?;
    warnings.extend(rlimit::apply(&process.rlimits, plan.degrade)?);
    // Some directories only root may enter, others only the user.
    let entered = enter_cwd(&process.cwd);
    let (sets, missing) = capability::plan(process.capabilities.as_ref());
    warnings.extend(missing);
    change_user(process, sets)?;
    entered.or_else(|_| enter_cwd(&process.cwd))?;
    check_cwd(&process.cwd)?;
    let env = environment(process);
    let program = process.args.first().ok_or_else(|| Error::spec("process.args", "there is no program"))?;
    let path = executable::find(program, &env)?;
    send(channel, &Report::Ready { warnings }, &[])?;
    if let Some(fifo) = &fds.fifo {
        wait_for_start(fifo.as_fd(), fds.proc.as_fd())?;
    }
    if !plan.hooks.is_empty() {
        let state = State { pid: rustix::process::getpid().as_raw_pid(), ..plan.state.clone() };
        hook::run("startContainer", &plan.hooks, &state)?;
    }
    confine(plan, sets)?;
    if plan.reaper {
        reaper::fork().map_err(|error| Error::step("make the program's process", error))?;
    }
    execute(&path, process, &env, &fds.preserved)
}

/// Sends a report.
pub(crate) fn send(channel: &Channel, report: &Report, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    channel.send(report, fds).map_err(|error| Error::step("report to the runtime", error))
}

/// Makes the terminal or the given descriptors 0, 1 and 2.
fn connect_streams(plan: &Plan, streams: &[OwnedFd], channel: &Channel) -> Result<(), Error> {
    let failed = |error: Errno| Error::step("connect the standard streams", error);
    let user = plan.process.user.uid;
    if let Some(TerminalRequest { size }) = plan.terminal {
        let root =
            openat(rustix::fs::CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed)?;
        let terminal = Terminal::open(root.as_fd(), size, user)?;
        if plan.console {
            terminal.bind_console(root.as_fd())?;
        }
        send(channel, &Report::Terminal, &[terminal.master.as_fd()])?;
        rustix::process::ioctl_tiocsctty(&terminal.peer).map_err(failed)?;
        return connect([terminal.peer.as_fd(); 3]).map_err(failed);
    }
    let [stdin, stdout, stderr] = streams else {
        return Err(failed(Errno::BADF));
    };
    for stream in streams {
        own(stream.as_fd(), user);
    }
    connect([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]).map_err(failed)
}

fn connect([stdin, stdout, stderr]: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}

/// Lets the user open /dev/stdout and the others again: they are the runtime's until now. The null device stays root's,
/// and what cannot change its owner works without.
fn own(stream: BorrowedFd<'_>, user: u32) {
    let foreign = rustix::fs::fstat(stream).is_ok_and(|stat| stat.st_uid != user);
    if foreign && !crate::detached::is_device(stream, 1, 3) {
        let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(user)), None);
    }
}

fn join_keyring(name: &str) -> Result<Option<String>, Error> {
    let name = CString::new(name).map_err(|_| Error::spec("the container's id", "it has a zero byte"))?;
    match join_session_keyring(&name) {
        Ok(()) => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EACCES)) => {
            Ok(Some(format!("no session keyring of its own: {error}")))
        }
        Err(error) => Err(Error::step("join a session keyring (see kernel.keys.maxkeys)", error)),
    }
}

fn adjust_oom_score(plan: &Plan, proc: BorrowedFd<'_>) -> Result<Option<String>, Error> {
    use std::io::Write;
    let Some(score) = plan.process.oom_score_adj else { return Ok(None) };
    let result = openat(proc, "self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|fd| std::fs::File::from(fd).write_all(score.to_string().as_bytes()));
    match result {
        Ok(()) => Ok(None),
        Err(error) if plan.degrade && error.kind() == std::io::ErrorKind::PermissionDenied => {
            Ok(Some(format!("oom_score_adj {score} is not applied: the host does not allow to lower it")))
        }
        Err(error) => Err(Error::step(format!("set oom_score_adj to {score}"), error)),
    }
}

fn enter_cwd(cwd: &Path) -> Result<(), Error> {
    let cwd = if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd };
    rustix::process::chdir(cwd)
        .map_err(|error| Error::step(format!("chdir to cwd ({:?}) set in config.json", cwd), error))
}

/// Refuses a directory outside of the container's root (CVE-2024-21626).
fn check_cwd(cwd: &Path) -> Result<(), Error> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        _ => {
            let outside = std::io::Error::other(
                "current working directory is outside of container mount namespace root",
            );
            Err(Error::step(format!("enter cwd {}", cwd.display()), outside))
        }
    }
}

/// Changes groups and user; permitted capabilities stay, effective ones go unless it is root.
fn change_user(process: &Process, sets: Sets) -> Result<(), Error> {
    let user = &process.user;
    let failed = |error: Errno| Error::step(format!("become user {}:{}", user.uid, user.gid), error);
    if user.uid == u32::MAX || user.gid == u32::MAX {
        return Err(Error::spec("process.user", "4294967295 is no id"));
    }
    capability::drop_bounding(sets.bounding)?;
    rustix::thread::set_keep_capabilities(true).map_err(failed)?;
    let groups: Vec<Gid> = user.additional_gids.iter().map(|id| Gid::from_raw(*id)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace may deny setgroups(2); without groups nothing is lost.
        Err(Errno::PERM) if groups.is_empty() => {}
        other => other.map_err(failed)?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    rustix::process::umask(Mode::from_raw_mode(user.umask.unwrap_or(0o022) & 0o777));
    Ok(())
}

/// The environment, with `HOME` as /etc/passwd has it where it is not set.
fn environment(process: &Process) -> Vec<String> {
    let mut env = process.env.clone();
    if !env.iter().any(|variable| variable.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        env.retain(|variable| variable != "HOME=");
        env.push(format!("HOME={}", home(process.user.uid)));
    }
    env
}

fn home(uid: u32) -> String {
    let root =
        openat(rustix::fs::CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let text =
        root.ok().and_then(|root| inside::read_text(root.as_fd(), Path::new("etc/passwd"), LONGEST_PASSWD));
    let found = text.as_deref().and_then(|text| home_of(text, uid)).filter(|home| home.starts_with('/'));
    found.unwrap_or("/").to_owned()
}

/// Field 6 of the first line of passwd(5) whose field 3 is the user.
fn home_of(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.nth(2)?.parse() == Ok(uid)).then(|| fields.nth(2)).flatten()
    })
}

/// Waits until somebody opens the fifo for reading.
fn wait_for_start(fifo: BorrowedFd<'_>, proc: BorrowedFd<'_>) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    let failed = |error: Errno| Error::step("wait for start", error);
    let path = format!("self/fd/{}", fifo.as_raw_fd());
    let opened =
        rustix::io::retry_on_intr(|| openat(proc, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()));
    rustix::io::write(&opened.map_err(failed)?, b"0").map_err(failed)?;
    Ok(())
}

/// Takes the last rights away: `no_new_privs`, filter, capabilities.
fn confine(plan: &Plan, mut sets: Sets) -> Result<(), Error> {
    let filter = plan.filter.as_deref().map(Program::from_bytes).transpose()?;
    if plan.reaper && plan.process.user.uid != 0 {
        // What execve(2) does to the program happens to the reaper only here.
        (sets.permitted, sets.effective) = (sets.ambient, sets.ambient);
    }
    let install = || -> Result<(), Error> {
        match filter.as_ref().map(Program::install).transpose()?.flatten() {
            None => Ok(()),
            Some(_) => Err(Error::Unsupported {
                feature: "seccomp notification".into(),
                reason: "leave SCMP_ACT_NOTIFY out".into(),
            }),
        }
    };
    if plan.process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(|error| Error::step("set no_new_privs", error))?;
        capability::apply(sets)?;
        return install();
    }
    capability::raise()?;
    install()?;
    capability::apply(sets)
}

fn execute(
    path: &Path,
    process: &Process,
    env: &[String],
    preserved: &[OwnedFd],
) -> Result<Infallible, Error> {
    use std::os::unix::ffi::OsStrExt;
    let failed = |error: std::io::Error| Error::step("prepare to execute the program", error);
    let text = |text: &[u8], field: &str| {
        CString::new(text).map_err(|_| Error::spec(format!("process.{field}"), "it has a zero byte"))
    };
    let file = text(path.as_os_str().as_bytes(), "args")?;
    let args = process.args.iter().map(|arg| text(arg.as_bytes(), "args")).collect::<Result<Vec<_>, _>>()?;
    let env = env.iter().map(|variable| text(variable.as_bytes(), "env")).collect::<Result<Vec<_>, _>>()?;
    proa_sys::fd::close_on_exec_from(3).map_err(failed)?;
    if !preserved.is_empty() {
        let preserved: Vec<_> = preserved.iter().map(AsFd::as_fd).collect();
        proa_sys::fd::place_from_three(&preserved).map_err(failed)?;
    }
    reset_signals();
    let error = execve(&file, &args, &env);
    let name = process.args.first().map_or("", String::as_str);
    Err(executable::because(name, Errno::from_io_error(&error).unwrap_or(Errno::IO), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_the_users() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\n\nbad\nu:x:1000:1000::/home/u:/bin/sh\nv:x:1000:1::/v:\n";
        assert_eq!(home_of(passwd, 0), Some("/root"));
        assert_eq!(home_of(passwd, 1000), Some("/home/u"));
        assert_eq!(home_of(passwd, 5), None);
    }
}
