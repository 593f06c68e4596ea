//! `start`: a sandbox, a root filesystem, a network, a program. What fails is undone in reverse.

use crate::container::{Container, Live};
use crate::engine::{blocking, passage};
use crate::identity::{Tables, identity};
use crate::plan::{self, Facts, device_facts, security};
use crate::pool::Ready;
use crate::record::{ContainerRecord, UserNamespace};
use crate::root::Root;
use crate::spec::other_container;
use crate::state::{Exit, Run, State, Transition};
use crate::{Engine, Error};
use proa_network::{EndpointRequest, Published};
use proa_oci::runtime::Spec;
use proa_runtime::SandboxSpec;
use proa_shim::{Forward, RuntimeChoice, StartRequest, Started};
use proa_types::{ErrorKind, Kinded, SandboxId, Timestamp};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a sandbox is to run.
struct Bundle {
    spec: Spec,
    filter: Option<Vec<u8>>,
    root: Root,
    runtime: RuntimeChoice,
}

impl Engine {
    /// Starts a container.
    ///
    /// # Errors
    /// [`Error::NotModified`] when it runs already; [`Error::Start`] when it cannot be started.
    pub async fn start(self: &Arc<Self>, container: &str) -> Result<(), Error> {
        let container = self.find(container)?;
        let _operation = container.operation.lock().await;
        match container.state() {
            State::Running(_) => {
                return Err(Error::NotModified(format!("container {} is already running", container.id)));
            }
            State::Paused(_) => {
                return Err(Error::Conflict("cannot start a paused container, try unpause instead".into()));
            }
            State::Removing => {
                return Err(Error::Conflict("container is marked for removal and cannot be started".into()));
            }
            // Its policy starts it in a moment.
            State::Exited(exit) if exit.restarting => {
                return Err(Error::NotModified(format!("container {} is restarting", container.id)));
            }
            State::Created | State::Exited(_) => {}
        }
        container.short_runs.store(0, Ordering::Relaxed);
        container.change(|record| {
            (record.stopped_by_user, record.restart_count, record.healing) = (false, 0, false);
        });
        self.start_locked(&container).await
    }

    /// Starts a container whose operation lock is held.
    pub(crate) async fn start_locked(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        // The run before still holds its ports and mounts until they are released.
        drop(container.releasing.lock().await);
        let (engine, held) = (Arc::clone(self), Arc::clone(container));
        let started = blocking(move || engine.launch(&held)).await;
        match started {
            Ok(events) => {
                // Told before its end can be.
                self.tell(container, "start", &[]);
                self.watch(container, events)?;
                self.refill();
                Ok(())
            }
            Err(error) => {
                let failed = failure(error);
                self.failed(container, &failed).await;
                Err(failed)
            }
        }
    }

    /// Records a start that failed.
    async fn failed(self: &Arc<Self>, container: &Arc<Container>, error: &Error) {
        let code = match error {
            Error::Start { exit_code: Some(code), .. } => *code,
            _ => 128,
        };
        let now = Timestamp::now();
        // When it ran last is kept.
        let started_at = match container.state() {
            State::Exited(exit) => exit.started_at,
            _ => Timestamp::default(),
        };
        let exit = Exit { code, started_at, finished_at: now, error: error.to_string(), ..Exit::default() };
        let _ = container.apply(Transition::Fail(exit));
        let _ = self.note(&container.record());
        container.take_early();
        container.progress.send_modify(|progress| {
            progress.ends += 1;
            // The start itself tells why; who waits is told the code, as docker tells it.
            (progress.code, progress.running) = (code, false);
            progress.error.clear();
        });
        if container.with(|record| record.spec.host.auto_remove) {
            let _ = self.remove_locked(container, true).await;
        }
    }

    /// Everything a start does; what fails is undone in reverse.
    fn launch(self: &Arc<Self>, container: &Arc<Container>) -> Result<OwnedFd, Error> {
        passage("start.begin");
        let mut record = ContainerRecord::clone(&container.record());
        let mut root = Root::of(&self.images, container, &record)?;
        let mounted = self.mount_volumes(&mut record, &mut root);
        // Parts of volumes are named by these descriptors until they are mounted.
        mounted.and_then(|_parts| self.launch_mounted(container, &record, root)).inspect_err(|_| {
            self.unmount_volumes(&record);
        })
    }

    fn launch_mounted(
        &self,
        container: &Arc<Container>,
        record: &ContainerRecord,
        mut root: Root,
    ) -> Result<OwnedFd, Error> {
        let runtime = self.config().runtime(&record.spec.host.runtime)?;
        let own = runtime == RuntimeChoice::Builtin;
        let (mut spec, mut filter) = self.planned(container, record, &mut root)?;
        if !own && filter.take().is_some() {
            spec.linux.seccomp = self.filter_rules(&security(record, self.bounding)?)?;
        }
        let kind = SandboxSpec::of(&spec).map_err(|e| Error::Invalid(e.to_string()))?;
        let on_bridge = record.spec.host.network_mode == "bridge";
        let special = !record.spec.mac_address.is_empty() || !record.spec.host.cgroup_parent.is_empty();
        let taken = if on_bridge && !special && own { self.pool.take(&kind) } else { None };
        let ready = match taken {
            Some(ready) => ready,
            None => self.prepare_for(&kind, record)?,
        };
        passage("start.sandbox");
        let bundle = Bundle { spec, filter, root, runtime };
        let started = self.run_in(container, record, &ready, bundle).and_then(|(started, published)| {
            let noted = self.note_run(container, &ready, &started, &published)?;
            Ok((started, noted))
        });
        match started {
            Ok((started, noted)) => {
                self.settle(container, ready, noted);
                self.tell_parents(container);
                passage("start.record");
                Ok(started.events)
            }
            Err(error) => {
                self.discard(ready);
                Err(error)
            }
        }
    }

    /// The OCI document of a container, with the compiled filter, and its working directory made.
    fn planned(
        &self,
        container: &Arc<Container>,
        record: &ContainerRecord,
        root: &mut Root,
    ) -> Result<(Spec, Option<Vec<u8>>), Error> {
        let tables = Tables::new(root.layers());
        let identity = identity(&tables, &record.spec.user, &record.spec.host.group_add)?;
        let devices = device_facts(record)?;
        let facts = Facts {
            identity,
            devices: &devices,
            joined: self.joined(record)?,
            files: self.container_dir(container),
            cgroup_v1: self.cgroup_v1,
            host_queues: Path::new("/dev/mqueue").exists(),
            default_ulimits: &self.config().ulimits,
            links: self.link_environment(record)?,
            bounding: self.bounding,
        };
        let mut spec = plan::plan(record, &facts)?;
        if !record.spec.host.device_requests.is_empty() {
            let bind = record.userns.is_some();
            self.grant_devices(&record.spec.host.device_requests, bind, &mut spec)?;
        }
        if let Some(cwd) = working_dir(&spec, record) {
            root.make_directory(cwd)?;
        }
        let filter = self.filter(&security(record, self.bounding)?)?;
        Ok((spec, filter))
    }

    /// Runs the program in a sandbox that is ready.
    fn run_in(
        &self,
        container: &Arc<Container>,
        record: &ContainerRecord,
        ready: &Ready,
        bundle: Bundle,
    ) -> Result<(Started, Vec<Published>), Error> {
        let dir = self.container_dir(container);
        self.write_files(record, ready.endpoint.as_ref(), &dir)?;
        let published = self.publish(record, ready)?;
        passage("start.publish");
        let target = ready.endpoint.as_ref().map(|endpoint| IpAddr::V4(endpoint.address));
        let forwards = published.iter().filter_map(|port| {
            Some(Forward {
                protocol: port.container.protocol,
                target: SocketAddr::new(target?, port.container.port),
            })
        });
        let early = container.take_early();
        let (rootfs, mount) = bundle.root.into_parts();
        let request = StartRequest {
            container: record.id.clone(),
            spec: bundle.spec,
            rootfs,
            filter: bundle.filter,
            open_stdin: record.spec.open_stdin,
            stdin_once: record.spec.stdin_once,
            log: self.log_of_run(container, ready.shim.dir())?,
            init: record.spec.host.init.unwrap_or(self.config().init),
            runtime: bundle.runtime,
            forwards: forwards.collect(),
            attached: early.iter().map(|(wants, _)| wants.clone()).collect(),
            mounted: mount.is_some(),
            idmapped: record.userns.is_some(),
            dir,
        };
        let sockets: Vec<_> = published
            .iter()
            .map(|port| port.listener.as_fd())
            .chain(early.iter().map(|(_, socket)| socket.as_fd()))
            .chain(mount.iter().map(AsFd::as_fd))
            .collect();
        let started = ready.shim.start(request, &sockets)?;
        passage("start.shim");
        Ok((started, published))
    }

    /// Notes a run before anything here depends on it; what was noted.
    fn note_run(
        &self,
        container: &Container,
        ready: &Ready,
        started: &Started,
        published: &[Published],
    ) -> Result<ContainerRecord, Error> {
        for warning in &started.warnings {
            tracing::warn!(container = container.id.short(), "{warning}");
        }
        let run = Run {
            pid: started.pid,
            start_time: started.start_time,
            started_at: started.at,
            sandbox: ready.id.clone(),
        };
        let mut record = ContainerRecord::clone(&container.record());
        record.state =
            record.state.apply(Transition::Start(run)).map_err(|e| Error::Conflict(e.to_string()))?;
        record.endpoint = ready.endpoint.clone();
        record.published = published.iter().map(Published::port).collect();
        record.health = crate::health::begin(&mut record);
        self.note(&record)?;
        Ok(record)
    }

    /// Shows a run that was noted.
    fn settle(&self, container: &Arc<Container>, ready: Ready, noted: ContainerRecord) {
        self.index().began(ready.id.clone(), container);
        let live = Arc::new(Live { shim: ready.shim, sandbox: ready.id });
        container.change(|record| {
            (record.state, record.endpoint, record.published, record.health) =
                (noted.state, noted.endpoint, noted.published, noted.health);
        });
        container.set_live(Some(Arc::clone(&live)));
        for (request, socket) in container.take_early() {
            // Came while the start was under way. A stream of a run that is over already just ends.
            let _ = live.shim.attach(request, socket.as_fd());
        }
        container.progress.send_modify(|progress| progress.running = true);
    }

    /// A sandbox made now, for a container with its own wishes.
    fn prepare_for(&self, kind: &SandboxSpec, record: &ContainerRecord) -> Result<Ready, Error> {
        let host = &record.spec.host;
        let id = SandboxId::random();
        let parent = if host.cgroup_parent.is_empty() {
            self.config().cgroup.clone()
        } else {
            host.cgroup_parent.clone()
        };
        let mac = match record.spec.mac_address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| Error::Invalid(format!("invalid MAC address: {text}")))?),
        };
        self.prepare_in(kind, id, &parent, host.network_mode == "bridge", mac)
    }

    /// A sandbox of the usual kind, or of another without special wishes.
    pub(crate) fn prepare(&self, kind: &SandboxSpec, connected: bool) -> Result<Ready, Error> {
        self.prepare_in(kind, SandboxId::random(), &self.config().cgroup.clone(), connected, None)
    }

    fn prepare_in(
        &self,
        kind: &SandboxSpec,
        id: SandboxId,
        parent: &str,
        connected: bool,
        mac: Option<proa_network::MacAddress>,
    ) -> Result<Ready, Error> {
        let cgroup = format!("{}/{}", parent.trim_end_matches('/'), id);
        let shim = self.spawner.spawn(&id)?;
        let mut ready = Ready { id: id.clone(), shim, endpoint: None };
        let prepared = ready.shim.prepare(kind, &cgroup).inspect_err(|_| drop(ready.shim.release()))?;
        if let (Some(bridge), true) = (&self.bridge, connected) {
            let request = EndpointRequest { sandbox: id, address: None, mac };
            match bridge.connect(&request, prepared.netns.as_fd()) {
                Ok(endpoint) => ready.endpoint = Some(endpoint),
                Err(error) => {
                    self.discard(ready);
                    return Err(error.into());
                }
            }
        }
        passage("start.network");
        Ok(ready)
    }

    /// The kind of sandbox that a container without wishes needs.
    pub(crate) fn usual_kind(&self) -> Result<SandboxSpec, Error> {
        let mut record = crate::system::plain_record();
        let config = self.config();
        record.userns = config.remap.clone().map(|map| UserNamespace { map, own: false });
        record.spec.host.shm_size = config.shm_size;
        record.spec.host.ipc_mode = config.ipc_mode.clone();
        record.spec.host.network_mode = "bridge".into();
        record.spec.host.cgroupns_mode =
            config.cgroupns.clone().unwrap_or_else(|| if self.cgroup_v1 { "host" } else { "private" }.into());
        let facts = Facts {
            identity: plan::Identity::default(),
            devices: &plan::DeviceFacts::default(),
            joined: Vec::new(),
            files: PathBuf::from("/"),
            cgroup_v1: self.cgroup_v1,
            host_queues: std::path::Path::new("/dev/mqueue").exists(),
            default_ulimits: &[],
            links: Vec::new(),
            bounding: self.bounding,
        };
        let spec = plan::plan(&record, &facts)?;
        SandboxSpec::of(&spec).map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Namespaces of other containers that this one joins.
    fn joined(&self, record: &ContainerRecord) -> Result<Vec<(&'static str, PathBuf)>, Error> {
        let host = &record.spec.host;
        let modes = [
            ("network", "net", &host.network_mode),
            ("ipc", "ipc", &host.ipc_mode),
            ("pid", "pid", &host.pid_mode),
        ];
        let mut joined = Vec::new();
        for (kind, file, mode) in modes {
            let Some(name) = other_container(mode) else { continue };
            let other = self.find(name)?;
            let run = other.with(|record| record.state.run().cloned());
            let run = run.ok_or_else(|| {
                Error::Conflict(format!(
                    "cannot join {kind} namespace of a non running container: {}",
                    other.id
                ))
            })?;
            if kind == "ipc" && other.with(|record| record.spec.host.ipc_mode == "private") {
                return Err(Error::Invalid(format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    other.id
                )));
            }
            joined.push((kind, PathBuf::from(format!("/proc/{}/ns/{file}", run.pid))));
        }
        joined.extend(self.joined_users(record)?.map(|path| ("user", path)));
        Ok(joined)
    }

    /// Makes the sources of a container's mounts reachable, and says where those of volumes are.
    fn mount_volumes(&self, record: &mut ContainerRecord, root: &mut Root) -> Result<Vec<OwnedFd>, Error> {
        let (id, mut parts) = (record.id.clone(), Vec::new());
        for mount in &mut record.mounts {
            match mount.kind.as_str() {
                "bind" if !mount.source.exists() => {
                    // As docker: a bind's missing source becomes a directory.
                    std::fs::create_dir_all(&mount.source)
                        .map_err(Error::io(mount.source.display().to_string()))?;
                }
                "volume" => {
                    mount.source = self.mount_volume(&id, mount, root)?;
                    parts.extend(self.volume_part(mount)?);
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    pub(crate) fn unmount_volumes(&self, record: &ContainerRecord) {
        for mount in record.mounts.iter().filter(|mount| mount.kind == "volume") {
            let _ = self.volumes.unmount(&mount.name, &record.id);
        }
    }
}

/// In docker's words, with the exit code that the client is to end with.
fn failure(error: Error) -> Error {
    const PREFIX: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: proa create failed: unable to start container process";
    match error {
        Error::Shim(error) => {
            let (exit_code, kind) = (error.exit_code(), error.kind());
            // Docker answers 400 for a program that cannot be executed.
            let kind = if exit_code.is_some() { ErrorKind::InvalidArgument } else { kind };
            Error::Start { message: format!("{PREFIX}: {error}"), kind, exit_code }
        }
        other => other,
    }
}

/// The working directory, if it is to be in the container's own files.
fn working_dir<'a>(spec: &'a Spec, record: &ContainerRecord) -> Option<&'a Path> {
    let cwd = spec.process.as_ref().map(|process| process.cwd.as_path())?;
    let elsewhere = record.mounts.iter().any(|mount| cwd.starts_with(&mount.destination));
    (cwd != Path::new("/") && !elsewhere).then_some(cwd)
}
