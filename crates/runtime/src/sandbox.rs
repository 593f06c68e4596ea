//! Stage 1: a sandbox, parked until it becomes a container; and stage 2, which makes it one.

use crate::cgroup::layout::Layout as CgroupLayout;
use crate::cgroup::{Cgroup, CgroupPath};
use crate::channel::Channel;
use crate::container::{Container, Held};
use crate::exec::{Streams, await_program, how_it_ended};
use crate::init::{self, Birth, Order, Start};
use crate::leader::Leader;
use crate::namespace::{self, Namespaces};
use crate::process::{Plan, Report, TerminalRequest};
use crate::{Error, SandboxSpec, StartContainer, birthplace, hook, layout, lsm, rlimit, seccomp};
use proa_oci::runtime::{Process, Resources, State};
use proa_sys::process::namespace as kinds;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::os::fd::{AsFd, OwnedFd};

/// Namespaces, cgroup and kernel filesystems with an init process that waits. Dropping it kills that process and
/// removes the cgroup.
#[derive(Debug)]
pub struct Sandbox {
    spec: SandboxSpec,
    pid: i32,
    pidfd: OwnedFd,
    channel: Channel,
    cgroup: Option<Cgroup>,
    leader: Option<Leader>,
    /// Whether it became a container, which has its parts now.
    started: bool,
}

impl Sandbox {
    /// Builds one, ready for quick [`Container::exec`]: it has a leader where the host has cgroups of v1.
    ///
    /// # Errors
    /// [`Error::Cgroup`], or [`Error::Step`] for what the kernel refuses.
    pub fn prepare(spec: &SandboxSpec, cgroup: &CgroupPath) -> Result<Self, Error> {
        let with_leader = !CgroupLayout::host()?.is_unified();
        Self::build(spec, cgroup, with_leader)
    }

    /// Builds one without leader, for a caller that ends when the container runs.
    pub(crate) fn prepare_alone(spec: &SandboxSpec, cgroup: &CgroupPath) -> Result<Self, Error> {
        Self::build(spec, cgroup, false)
    }

    fn build(spec: &SandboxSpec, path: &CgroupPath, with_leader: bool) -> Result<Self, Error> {
        let namespaces = Namespaces::open(&spec.namespaces, &spec.time_offsets)?;
        let (ours, theirs) = Channel::pair().map_err(|error| Error::step("make a channel", error))?;
        let cgroup = Cgroup::create(path, &spec.devices)?;
        let new =
            [kinds::USER, kinds::NETWORK, kinds::CGROUP].into_iter().filter(|bit| namespaces.makes(*bit));
        let birth = Birth { spec, cgroup: &cgroup, new: new.sum(), channel: theirs };
        let spawned = namespaces.spawn(birthplace::unified(&cgroup), || init::main(birth));
        let (pid, pidfd) = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                let _ = cgroup.remove();
                return Err(error);
            }
        };
        let spec = spec.clone();
        let cgroup = Some(cgroup);
        let mut sandbox = Self { spec, pid, pidfd, channel: ours, cgroup, leader: None, started: false };
        sandbox.finish(&namespaces, with_leader)?;
        Ok(sandbox)
    }

    /// Does the parent's part of stage 1, and waits for init's.
    fn finish(&mut self, namespaces: &Namespaces, with_leader: bool) -> Result<(), Error> {
        if namespaces.makes(kinds::USER) {
            namespace::map_ids(self.pid, &self.spec.uid_mappings, &self.spec.gid_mappings)?;
            self.order(&Order::Mapped)?;
        }
        if let (true, Some(cgroup)) = (with_leader, &self.cgroup) {
            self.leader = Some(Leader::spawn(self.pidfd.as_fd(), cgroup)?);
        }
        match self.channel.receive::<Report>().map_err(|error| Error::step("wait for init", error))? {
            Some((Report::Prepared, _)) => Ok(()),
            Some((Report::Failed(failure), _)) => Err(failure.into()),
            Some(_) => Err(Error::spec("the report of init", "it came out of turn")),
            None => Err(Error::InitDied { how: how_it_ended(self.pidfd.as_fd()) }),
        }
    }

    fn order(&self, order: &Order) -> Result<(), Error> {
        match self.channel.send(order, &[]) {
            // Init has ended; what it said about it is read next.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| Error::step("talk to init", error)),
        }
    }

    /// The init process, in the caller's pid namespace.
    pub fn init_pid(&self) -> i32 {
        self.pid
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// [`Error::Step`] when init is gone.
    pub fn netns(&self) -> Result<OwnedFd, Error> {
        namespace::of(self.pid, "net")
    }

    /// Gives it root, limits and program, and lets it run (or wait at `exec_fifo`).
    ///
    /// # Errors
    /// [`Error::Program`] when the program cannot be executed, [`Error::Spec`], [`Error::Step`] or
    /// [`Error::Hook`] for the rest. The sandbox is gone then.
    pub fn start(self, mut request: StartContainer<'_>) -> Result<Container, Error> {
        if SandboxSpec::of(request.spec)? != self.spec {
            return Err(Error::spec("the specification", "this sandbox was prepared for another"));
        }
        let process = request.spec.process.as_ref();
        let process = process.ok_or_else(|| Error::spec("process", "there is no program to run"))?;
        rlimit::check(&process.rlimits)?;
        let state = self.state(&request);
        let mut warnings = self.limit(request.spec.linux.resources.as_ref())?;
        hook::run("prestart", &request.spec.hooks.prestart, &state)?;
        hook::run("createRuntime", &request.spec.hooks.create_runtime, &state)?;
        let (layout, mounts) = layout::plan(&request, self.pid, &state)?;
        let (labels, more) = lsm::Labels::plan(process, request.degrade)?;
        warnings.extend(more);
        let streams = Streams::of(std::mem::replace(&mut request.stdio, crate::Stdio::Inherit))?;
        let waits = request.exec_fifo.is_some();
        let plan = plan(&request, process, streams.terminal, labels, state)?;
        let filter = plan.filter.clone();
        let counts = [mounts.len(), streams.fds.len(), usize::from(waits)];
        let start = Order::Start(Box::new(Start { layout, process: plan, counts }));
        let mut fds: Vec<_> = mounts.iter().chain(&streams.fds).map(AsFd::as_fd).collect();
        fds.extend(request.exec_fifo.iter().chain(&request.preserved).map(AsFd::as_fd));
        // Before the program can run: it may be gone a moment after.
        let held = Held::of(self.pid)?;
        self.channel.send(&start, &fds).map_err(|error| Error::step("talk to init", error))?;
        // The program's copies are the only ones then, so that their ends are seen.
        drop((mounts, streams.fds));
        let outcome = await_program(&self.channel, self.pidfd.as_fd(), waits)?;
        warnings.extend(outcome.warnings);
        self.into_container(held, outcome.terminal, warnings, (request.id, filter))
    }

    fn into_container(
        mut self,
        held: Held,
        terminal: Option<OwnedFd>,
        warnings: Vec<String>,
        (id, filter): (&str, Option<Vec<u8>>),
    ) -> Result<Container, Error> {
        let gone = || Error::spec("the sandbox", "it has no cgroup");
        let pidfd = self.pidfd.try_clone().map_err(|error| Error::step("copy a descriptor", error))?;
        let cgroup = self.cgroup.take().ok_or_else(gone)?;
        self.started = true;
        Ok(Container {
            pid: self.pid,
            pidfd,
            held: Some(held),
            terminal,
            warnings,
            user_namespace: self.spec.has_user_namespace(),
            keyring: Some(keyring_name(id)),
            filter,
            leader: self.leader.take(),
            cgroup,
        })
    }

    /// Writes the limits. The leader is one more process than the container knows of.
    fn limit(&self, resources: Option<&Resources>) -> Result<Vec<String>, Error> {
        match (resources, &self.cgroup) {
            (Some(resources), Some(cgroup)) => {
                Ok(cgroup.set(&without_devices(resources, self.leader.is_some()))?)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn state(&self, request: &StartContainer<'_>) -> State {
        State {
            oci_version: crate::cli::OCI_VERSION.to_owned(),
            id: request.id.to_owned(),
            status: "creating".to_owned(),
            pid: self.pid,
            bundle: request.bundle.to_owned(),
            annotations: request.spec.annotations.clone(),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.started {
            return;
        }
        let _ = proa_sys::process::pidfd_kill(self.pidfd.as_fd(), libc::SIGKILL);
        self.leader = None;
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill();
        }
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        let _ = self.cgroup.take().map(Cgroup::remove);
    }
}

/// The name of a container's session keyring.
pub(crate) fn keyring_name(id: &str) -> String {
    format!("_ses.{id}")
}

/// Limits without device rules, which stage 1 has set, and with room for the leader.
pub(crate) fn without_devices(resources: &Resources, has_leader: bool) -> Resources {
    let mut resources = Resources { devices: Vec::new(), ..resources.clone() };
    if let Some(pids) = resources.pids.as_mut().filter(|pids| has_leader && pids.limit > 0) {
        pids.limit = pids.limit.saturating_add(1);
    }
    resources
}

fn plan(
    request: &StartContainer<'_>,
    process: &Process,
    terminal: Option<TerminalRequest>,
    labels: lsm::Labels,
    state: State,
) -> Result<Plan, Error> {
    let filter = match (&request.filter, &request.spec.linux.seccomp) {
        (Some(program), _) => Some(program.to_bytes()),
        (None, Some(profile)) => Some(seccomp::compile(profile)?.to_bytes()),
        (None, None) => None,
    };
    Ok(Plan {
        process: process.clone(),
        personality: request.spec.linux.personality.clone(),
        filter,
        terminal,
        console: true,
        labels,
        degrade: request.degrade,
        keyring: request.keyring.then(|| keyring_name(request.id)),
        reaper: request.init,
        hooks: request.spec.hooks.start_container.clone(),
        state: State { status: "created".to_owned(), ..state },
    })
}
