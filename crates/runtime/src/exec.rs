//! A process started in a running container: made by the container's leader, or by the caller where there is none.

use crate::cgroup::Cgroup;
use crate::channel::Channel;
use crate::container::{Exec, ExecOptions};
use crate::leader::Leader;
use crate::process::{self, Descriptors, Report, TerminalRequest};
use crate::{Error, Stdio, birthplace, init, lsm, rlimit};
use proa_oci::runtime::{Process, State};
use proa_sys::process::{Clone3, Cloned, clone3};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the process is told. Descriptors: the pidfd of init, then streams, then preserved.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    process: process::Plan,
    /// Whether the container has a user namespace of its own.
    user_namespace: bool,
    streams: usize,
}

/// The container a process is started in.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) pidfd: BorrowedFd<'a>,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) leader: Option<&'a Leader>,
    pub(crate) user_namespace: bool,
    pub(crate) keyring: Option<String>,
    /// The filter where no other is asked for.
    pub(crate) filter: Option<&'a [u8]>,
}

/// Starts it; returns when its program runs.
pub(crate) fn start(target: &Target<'_>, process: &Process, options: ExecOptions) -> Result<Exec, Error> {
    rlimit::check(&process.rlimits)?;
    let (labels, mut warnings) = lsm::Labels::plan(process, options.degrade)?;
    let streams = Streams::of(options.stdio)?;
    let order = Order {
        process: process::Plan {
            process: process.clone(),
            personality: None,
            filter: options.filter.map(|filter| filter.to_bytes()).or(target.filter.map(<[u8]>::to_vec)),
            terminal: streams.terminal,
            console: false,
            labels,
            degrade: options.degrade,
            keyring: target.keyring.clone(),
            reaper: false,
            hooks: Vec::new(),
            state: State::default(),
        },
        user_namespace: target.user_namespace,
        streams: streams.fds.len(),
    };
    let failed = |error: std::io::Error| Error::step("talk to the process in the container", error);
    let (ours, theirs) = Channel::pair().map_err(failed)?;
    let (pid, pidfd) = match target.leader {
        Some(leader) => leader.make(&theirs)?,
        None => make(target, &theirs)?,
    };
    drop(theirs);
    let mut fds = vec![target.pidfd];
    fds.extend(streams.fds.iter().map(AsFd::as_fd));
    fds.extend(options.preserved.iter().map(AsFd::as_fd));
    let sent = ours.send(&order, &fds);
    let outcome = sent.map_err(failed).and_then(|()| await_program(&ours, pidfd.as_fd(), false));
    match outcome {
        Ok(outcome) => {
            warnings.extend(outcome.warnings);
            Ok(Exec { pid, pidfd, terminal: outcome.terminal, warnings })
        }
        Err(error) => {
            let _ = proa_sys::process::pidfd_kill(pidfd.as_fd(), libc::SIGKILL);
            let wait = rustix::process::WaitId::PidFd(pidfd.as_fd());
            let _ = rustix::process::waitid(wait, rustix::process::WaitIdOptions::EXITED);
            Err(error)
        }
    }
}

/// Standard streams ready to be sent.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) terminal: Option<TerminalRequest>,
}

impl Streams {
    pub(crate) fn of(stdio: Stdio) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::step("copy the standard streams", error);
        match stdio {
            Stdio::Fds { stdin, stdout, stderr } => {
                Ok(Self { fds: vec![stdin, stdout, stderr], terminal: None })
            }
            Stdio::Terminal { size } => {
                Ok(Self { fds: Vec::new(), terminal: Some(TerminalRequest { size }) })
            }
            Stdio::Inherit => {
                let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(failed);
                let fds = vec![
                    copy(std::io::stdin().as_fd())?,
                    copy(std::io::stdout().as_fd())?,
                    copy(std::io::stderr().as_fd())?,
                ];
                Ok(Self { fds, terminal: None })
            }
        }
    }
}

/// What came back until the program ran.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

/// Waits until the program runs, or (`until_ready`) only waits for its start.
pub(crate) fn await_program(
    channel: &Channel,
    pidfd: BorrowedFd<'_>,
    until_ready: bool,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let mut ready = false;
    loop {
        match channel.receive::<Report>().map_err(|error| Error::step("wait for the program", error))? {
            Some((Report::Terminal, fds)) => outcome.terminal = fds.into_iter().next(),
            Some((Report::Ready { warnings }, _)) => {
                outcome.warnings = warnings;
                ready = true;
                if until_ready {
                    return Ok(outcome);
                }
            }
            Some((Report::Failed(failure), _)) => return Err(failure.into()),
            Some((Report::Prepared, _)) => {}
            None if ready => return Ok(outcome),
            None => return Err(Error::InitDied { how: how_it_ended(pidfd) }),
        }
    }
}

/// How a process ended, without taking its status from whoever waits for it.
pub(crate) fn how_it_ended(pidfd: BorrowedFd<'_>) -> String {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "unknown".into(),
        },
        _ => "unknown".into(),
    }
}

/// Makes the process from the caller itself, which is in the container's pid namespace for its children meanwhile.
fn make(target: &Target<'_>, channel: &Channel) -> Result<(i32, OwnedFd), Error> {
    let failed = |error: std::io::Error| Error::step("make a process in the container", error);
    let own = openat(CWD, "/proc/self/ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    move_into_thread_name_spaces(target.pidfd, ThreadNameSpaceType::PROCESS_ID)
        .map_err(|error| refused(error, "enter the container's pid namespace"))?;
    let made = clone3(&Clone3 { cgroup: birthplace::unified(target.cgroup), ..Clone3::default() });
    if let Ok(Cloned::Child) = made {
        match (channel.fd().try_clone_to_owned(), birthplace::enter_v1(target.cgroup)) {
            (Ok(end), Ok(())) => main(Channel::from_fd(end)),
            (_, Err(error)) => init::fail(channel, error),
            _ => proa_sys::process::exit(1),
        }
    }
    let back = move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::ProcessID));
    // The namespace of a first process that has just ended takes no other (ENOMEM, alloc_pid in kernel/pid.c).
    let made = made.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOMEM) if has_ended(target.pidfd) => refused(rustix::io::Errno::SRCH, ""),
        _ => failed(error),
    });
    let Cloned::Parent { pid, pidfd } = made? else { unreachable!("the child went its way") };
    back.map_err(|error| failed(error.into()))?;
    Ok((pid, pidfd))
}

/// Whether a process has ended: its pidfd is readable then.
fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The process: never returns.
pub(crate) fn main(mut channel: Channel) -> ! {
    match live(&mut channel) {
        Ok(never) => match never {},
        Err(error) => init::fail(&channel, error),
    }
}

fn live(channel: &mut Channel) -> Result<Infallible, Error> {
    init::isolate(channel)?;
    let Some((order, fds)) =
        channel.receive::<Order>().map_err(|error| Error::step("wait for orders", error))?
    else {
        proa_sys::process::exit(0)
    };
    let mut fds = fds.into_iter();
    let container = fds.next().ok_or_else(|| Error::spec("the order", "it names no container"))?;
    let streams: Vec<OwnedFd> = fds.by_ref().take(order.streams).collect();
    let preserved: Vec<OwnedFd> = fds.collect();
    channel.move_above(3 + preserved.len()).map_err(|error| Error::step("move a descriptor", error))?;
    // The host's procfs: in the container's something might be mounted over the files written next.
    let proc = openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::step("open /proc", error))?;
    enter(container.as_fd(), order.user_namespace)?;
    drop(container);
    if order.user_namespace {
        init::become_root()?;
    }
    process::run(&order.process, Descriptors { streams, preserved, fifo: None, proc }, channel)
}

/// Joins every namespace of the container but the pid namespace, in which the process was born.
fn enter(container: BorrowedFd<'_>, user: bool) -> Result<(), Error> {
    let mut kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP
        | ThreadNameSpaceType::TIME;
    if user {
        kinds |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(container, kinds)
        .map_err(|error| refused(error, "enter the container's namespaces"))
}

/// A process that has ended, and waits to be waited for, has no namespaces any more.
fn refused(error: rustix::io::Errno, step: &str) -> Error {
    match error {
        rustix::io::Errno::SRCH => {
            Error::State { needed: "running", reason: "its first process has ended".into() }
        }
        error => Error::step(step, error),
    }
}
