//! A tiny process in a container's cgroup, outside of its pid namespace, that makes the processes of later `exec`s.
//!
//! On v1 a process that is born in a cgroup costs nothing, while moving one into it costs 10 ms after a quiet moment
//! (the kernel waits for an RCU grace period). The leader clones with `CLONE_PARENT`, so what it makes is a child of the
//! process that made the leader. It ends when the other end of its channel is closed.

use crate::cgroup::Cgroup;
use crate::channel::Channel;
use crate::{Error, birthplace, exec, init};
use proa_sys::process::{Clone3, Cloned, clone3, exit};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The leader, as its maker holds it.
#[derive(Debug)]
pub(crate) struct Leader {
    pid: i32,
    pidfd: OwnedFd,
    channel: Channel,
}

impl Leader {
    /// Makes one, in the cgroup. Its processes are born in the pid namespace of `init`.
    pub(crate) fn spawn(init: BorrowedFd<'_>, cgroup: &Cgroup) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::step("make the process that makes later ones", error);
        let (ours, theirs) = Channel::pair().map_err(failed)?;
        match clone3(&Clone3 { cgroup: birthplace::unified(cgroup), ..Clone3::default() }).map_err(failed)? {
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd, channel: ours }),
            Cloned::Child => lead(&theirs, init, cgroup),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Makes a process that reads its orders from `channel`; it is a child of the caller.
    pub(crate) fn make(&self, channel: &Channel) -> Result<(i32, OwnedFd), Error> {
        let failed = |error: std::io::Error| Error::step("make a process in the container", error);
        self.channel.send(&(), &[channel.fd()]).map_err(failed)?;
        let gone = || failed(std::io::Error::other("the process that makes them is gone"));
        let (answer, fds) = self.channel.receive::<Result<i32, i32>>().map_err(failed)?.ok_or_else(gone)?;
        let pid = answer.map_err(|errno| match errno {
            // What the kernel says of a pid namespace whose first process has ended.
            libc::ENOMEM => Error::State { needed: "running", reason: "its first process has ended".into() },
            errno => failed(std::io::Error::from_raw_os_error(errno)),
        })?;
        let pidfd = fds.into_iter().next().ok_or_else(gone)?;
        Ok((pid, pidfd))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let _ = proa_sys::process::pidfd_kill(self.pidfd.as_fd(), libc::SIGKILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn lead(channel: &Channel, container: BorrowedFd<'_>, cgroup: &Cgroup) -> ! {
    // The pid namespace is that of later children only. Where it is the host's own, nothing changes.
    let entered = move_into_thread_name_spaces(container, ThreadNameSpaceType::PROCESS_ID);
    if birthplace::enter_v1(cgroup).is_err() || entered.is_err() || init::isolate(channel).is_err() {
        exit(1);
    }
    let _ = rustix::thread::set_name(c"proa-leader");
    while let Ok(Some(((), fds))) = channel.receive::<()>() {
        let Some(end) = fds.into_iter().next() else { continue };
        match clone3(&Clone3 { sibling: true, ..Clone3::default() }) {
            Ok(Cloned::Child) => exec::main(Channel::from_fd(end)),
            Ok(Cloned::Parent { pid, pidfd }) => {
                let _ = channel.send(&Ok::<i32, i32>(pid), &[pidfd.as_fd()]);
            }
            Err(error) => {
                let _ = channel.send(&Err::<i32, i32>(error.raw_os_error().unwrap_or(libc::EIO)), &[]);
            }
        }
    }
    exit(0)
}
