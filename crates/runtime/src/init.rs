//! A container's first process, from its birth in the namespaces to the program.

use crate::cgroup::Cgroup;
use crate::channel::Channel;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::process::{self, Descriptors, Report};
use crate::rootfs;
use crate::stage::Stage;
use crate::{Error, SandboxSpec, birthplace, capability};
use proa_sys::process::{exit, namespace, unshare};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::DumpableBehavior;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

/// What init is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Ids are mapped.
    Mapped,
    /// Stage 2. Descriptors: as [`Layout`] counts them, then streams, fifo, preserved.
    Start(Box<Start>),
}

/// Stage 2.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) layout: Layout,
    pub(crate) process: process::Plan,
    /// How many descriptors are the layout's, streams, fifo.
    pub(crate) counts: [usize; 3],
}

/// What stage 1 needs.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) spec: &'a SandboxSpec,
    pub(crate) cgroup: &'a Cgroup,
    /// Bits of the namespaces that were or will be made.
    pub(crate) new: u64,
    pub(crate) channel: Channel,
}

/// Never returns: ends by the program or by a report of failure.
pub(crate) fn main(birth: Birth<'_>) -> ! {
    let mut channel = birth.channel.fd().try_clone_to_owned().map_or_else(|_| exit(1), Channel::from_fd);
    match live(&birth, &mut channel) {
        Ok(never) => match never {},
        Err(error) => fail(&channel, error),
    }
}

/// Reports a failure, to the standard error if nobody listens any more, and ends.
pub(crate) fn fail(channel: &Channel, error: Error) -> ! {
    let (code, text) = (error.exit_code(), error.to_string());
    if channel.send(&Report::Failed(Failure::from(error)), &[]).is_err() {
        eprintln!("{text}");
    }
    exit(code.into())
}

fn live(birth: &Birth<'_>, channel: &mut Channel) -> Result<Infallible, Error> {
    // Before anything else: with the rights, the descriptors and the view of the process this is a copy of.
    birthplace::enter_v1(birth.cgroup)?;
    isolate(channel)?;
    if birth.new & namespace::USER != 0 {
        expect(channel, |order| matches!(order, Order::Mapped))?;
    }
    if birth.spec.has_user_namespace() {
        become_root()?;
    }
    if birth.new & namespace::NETWORK != 0 {
        bring_loopback_up()?;
    }
    let mut stage = Stage::begin(birth.spec)?;
    if birth.new & namespace::CGROUP != 0 {
        unshare(namespace::CGROUP).map_err(|error| Error::step("make the cgroup namespace", error))?;
    }
    stage.finish(birth.spec, birth.cgroup.path())?;
    if !birth.spec.host_root {
        capability::drop_bounding(capability::bits(&birth.spec.bounding, &mut Vec::new()))?;
    }
    process::send(channel, &Report::Prepared, &[])?;
    let Some((order, fds)) = channel.receive().map_err(|error| Error::step("wait for start", error))? else {
        // The sandbox is not wanted any more.
        exit(0)
    };
    match order {
        Order::Start(start) => begin(stage, *start, fds, channel),
        _ => Err(Error::spec("the order to init", "it came too early")),
    }
}

/// Stage 2.
fn begin(stage: Stage, start: Start, fds: Vec<OwnedFd>, channel: &mut Channel) -> Result<Infallible, Error> {
    let mut fds = fds.into_iter();
    let [layout, streams, fifo] = start.counts;
    let mounts: Vec<OwnedFd> = fds.by_ref().take(layout).collect();
    let streams: Vec<OwnedFd> = fds.by_ref().take(streams).collect();
    let fifo = fds.by_ref().take(fifo).next();
    let preserved: Vec<OwnedFd> = fds.collect();
    channel.move_above(3 + preserved.len()).map_err(|error| Error::step("move a descriptor", error))?;
    let proc = rootfs::build(stage, &start.layout, mounts)?;
    let descriptors = Descriptors { streams, preserved, fifo, proc };
    process::run(&start.process, descriptors, channel)
}

/// Lets go of everything of the process this is a copy of. Its memory must not be read by the container
/// (CVE-2019-5736, CVE-2016-9962).
pub(crate) fn isolate(channel: &Channel) -> Result<(), Error> {
    let failed = |error: rustix::io::Errno| Error::step("leave the runtime's descriptors", error);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)?;
    proa_sys::fd::close_all_but(&[channel.fd()])
        .map_err(|error| Error::step("leave the runtime's descriptors", error))?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    rustix::stdio::dup2_stdin(null.as_fd()).map_err(failed)?;
    rustix::stdio::dup2_stdout(null.as_fd()).map_err(failed)?;
    // Modes of what is made next are meant as they are; the program gets its own mask later.
    rustix::process::umask(Mode::empty());
    Ok(())
}

fn expect(channel: &Channel, wanted: impl Fn(&Order) -> bool) -> Result<(), Error> {
    match channel.receive::<Order>() {
        Ok(Some((order, _))) if wanted(&order) => Ok(()),
        Ok(None) => exit(0),
        Ok(_) => Err(Error::spec("the order to init", "it came out of turn")),
        Err(error) => Err(Error::step("wait for the runtime", error)),
    }
}

/// Becomes user 0 of the new user namespace, which owns all that is made next.
pub(crate) fn become_root() -> Result<(), Error> {
    use rustix::process::{Gid, Uid};
    let failed =
        |error: rustix::io::Errno| Error::step("become root of the user namespace (is 0 mapped?)", error);
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    match rustix::thread::set_thread_groups(&[]) {
        Ok(()) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn bring_loopback_up() -> Result<(), Error> {
    use proa_sys::netlink::{Batch, Protocol, Socket};
    let failed = |error: proa_sys::netlink::Error| {
        Error::step("bring lo up", std::io::Error::other(error.to_string()))
    };
    let mut batch = Batch::new();
    batch.set_up(1);
    Socket::open(Protocol::Route).and_then(|mut socket| socket.exchange(batch)).map_err(failed)?;
    Ok(())
}
