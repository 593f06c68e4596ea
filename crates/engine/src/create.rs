//! `create`: checks, names, mounts, a snapshot, one record.

use crate::container::Container;
use crate::engine::{blocking, passage};
use crate::record::{CONTAINERS, ContainerRecord};
use crate::spec::{ContainerSpec, ResourceSpec, RestartPolicy, other_container};
use crate::state::State;
use crate::{Engine, Error, HealthCheck, health, plan};
use proa_image::Image;
use proa_oci::Platform;
use proa_state::Durability;
use proa_types::{ContainerId, ContainerName, Signal, Timestamp};
use proa_volume::Volumes;
use std::sync::Arc;

/// A container that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What is not honoured as asked.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a container.
    ///
    /// # Errors
    /// [`Error::Image`] when there is no such image, [`Error::Conflict`] when the name is taken, [`Error::Invalid`] and
    /// [`Error::Unsupported`] for what cannot be done.
    pub async fn create(
        self: &Arc<Self>,
        name: Option<ContainerName>,
        spec: ContainerSpec,
        platform: Option<Platform>,
    ) -> Result<Created, Error> {
        let engine = Arc::clone(self);
        let (container, warnings) = blocking(move || engine.create_now(name, spec, platform)).await?;
        self.tell(&container, "create", &[]);
        Ok(Created { id: container.id.clone(), warnings })
    }

    fn create_now(
        &self,
        name: Option<ContainerName>,
        mut spec: ContainerSpec,
        platform: Option<Platform>,
    ) -> Result<(Arc<Container>, Vec<String>), Error> {
        let id = ContainerId::random();
        // It is in use from now on, until the container that shows so is there.
        let claim = self.images.claim(&spec.image, id.as_str())?;
        let image = Arc::clone(&claim.image);
        check_platform(&image, platform.as_ref(), &spec.image)?;
        let mut warnings = Vec::new();
        self.complete(&mut spec);
        self.check(&mut spec, &mut warnings)?;
        self.settle_links(&mut spec, &mut warnings)?;
        self.name_host(&mut spec);
        let command = plan::command(&spec, &image.config.config)?;
        inherit(&mut spec, &image);
        if let Some(check) = &spec.healthcheck {
            warnings.extend(check.check()?);
        }
        let settled = self.settle_mounts(&spec, &image.config.config)?;
        let mut record = ContainerRecord {
            name: name.unwrap_or_else(|| self.pick_name()),
            id,
            created: Timestamp::now(),
            image: image.id.clone(),
            command,
            mounts: settled.mounts,
            ephemeral: spec.host.auto_remove,
            userns: None,
            spec,
            state: State::Created,
            restart_count: 0,
            stopped_by_user: false,
            health: None,
            healing: false,
            stands_still: false,
            limits_due: false,
            endpoint: None,
            published: Vec::new(),
        };
        // Refuses now what would be refused at every start.
        let security = plan::security(&record, self.bounding)?;
        self.filter(&security)?;
        plan::device_facts(&record)?;
        record.userns = self.settle_ids(&record.id, &record.spec.host)?;
        let container = Container::new(record);
        let made = self.log_config(&container).and_then(|_| self.make(&container, &image, settled.volumes));
        made.inspect_err(|_| self.index().taken().free(&container.id))?;
        Ok((container, warnings))
    }

    /// Everything that leaves a trace, undone if it fails.
    fn make(
        &self,
        container: &Arc<Container>,
        image: &Image,
        volumes: Vec<proa_volume::VolumeSpec>,
    ) -> Result<(), Error> {
        let (id, record) = (container.id.as_str(), container.record());
        let name = record.name.to_string();
        self.index().reserve(&name, &record.id)?;
        let dir = self.container_dir(container);
        let mounted = record.mounts.iter().filter(|mount| mount.kind == "volume");
        let hold = self.volumes.hold(mounted.map(|mount| mount.name.as_str()), &record.id);
        let made = (|| {
            self.give_files(container, &record, &image.layers)?;
            passage("create.snapshot");
            for volume in &volumes {
                let (volume, made) = self.volumes.ensure(volume)?;
                if made {
                    self.events_volume("create", &volume.name);
                }
            }
            self.keep(&record)?;
            self.index().insert(Arc::clone(container));
            // Said after it is in the index, from which a journal that has grown long is rewritten.
            if record.ephemeral { self.note(&record) } else { Ok(()) }
        })();
        drop(hold);
        if let Err(error) = made {
            drop(container.set_mounted(None));
            let _ = self.images.snapshot_remove(id);
            let _ = std::fs::remove_dir_all(&dir);
            for volume in volumes
                .iter()
                .filter(|v| record.mounts.iter().any(|m| m.anonymous && Some(&m.name) == v.name.as_ref()))
            {
                let _ = volume.name.as_ref().map(|name| self.volumes.remove(name, true));
            }
            self.index().remove(&record.id, &name);
            return Err(error);
        }
        passage("create.record");
        Ok(())
    }

    /// Volumes know who uses them, and the store has what a power cut must not take.
    fn keep(&self, record: &ContainerRecord) -> Result<(), Error> {
        let mut volumes = record.mounts.iter().filter(|mount| mount.kind == "volume").peekable();
        if record.ephemeral && volumes.peek().is_none() {
            return Ok(());
        }
        let durability = if record.ephemeral { Durability::Eventual } else { Durability::Immediate };
        self.store.update(durability, |update| {
            if !record.ephemeral {
                update.insert(&CONTAINERS, record.id.as_str(), record)?;
            }
            for mount in volumes {
                Volumes::acquire_in(update, &mount.name, &record.id)?;
            }
            Ok(())
        })
    }

    /// Fills in what the engine decides where the request says nothing.
    fn complete(&self, spec: &mut ContainerSpec) {
        let config = self.config();
        let host = &mut spec.host;
        crate::logs::complete(host, &config);
        if matches!(host.network_mode.as_str(), "" | "default") {
            host.network_mode = if self.bridge.is_some() { "bridge".into() } else { "none".into() };
        }
        if host.ipc_mode.is_empty() {
            host.ipc_mode = config.ipc_mode.clone();
        }
        if host.cgroupns_mode.is_empty() {
            let default = if self.cgroup_v1 || host.privileged { "host" } else { "private" };
            host.cgroupns_mode = config.cgroupns.clone().unwrap_or_else(|| default.into());
        }
        if host.shm_size == 0 {
            host.shm_size = config.shm_size;
        }
        if host.runtime.is_empty() {
            host.runtime = config.default_runtime.clone();
        }
        if host.restart.name.is_empty() {
            host.restart.name = "no".into();
        }
        if config.no_new_privileges && !host.security_opt.iter().any(|o| o.starts_with("no-new-privileges")) {
            host.security_opt.push("no-new-privileges".into());
        }
        for capability in host.cap_add.iter_mut().chain(&mut host.cap_drop) {
            let upper = capability.to_ascii_uppercase();
            *capability =
                if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        }
    }

    fn check(&self, spec: &mut ContainerSpec, warnings: &mut Vec<String>) -> Result<(), Error> {
        let host = &spec.host;
        check_modes(spec)?;
        if !spec.stop_signal.is_empty() {
            spec.stop_signal.parse::<Signal>().map_err(|e| Error::Invalid(e.to_string()))?;
        }
        let config = self.config();
        config.runtime(&host.runtime)?;
        if !host.storage_opt.is_empty() {
            return Err(Error::Invalid(
                "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, and quotas of projects are not part of this version".into(),
            ));
        }
        health::check_action(spec)?;
        check_resources(&mut spec.host.resources, false, warnings)
    }

    /// One that shares the host's or another's network is called as that is.
    fn name_host(&self, spec: &mut ContainerSpec) {
        if !spec.hostname.is_empty() {
            return;
        }
        if let Some(other) = other_container(&spec.host.network_mode) {
            // One that does not exist is refused by the start, as docker does.
            spec.hostname = self.find(other).map(|other| other.with(plan::hostname)).unwrap_or_default();
        } else if spec.host.network_mode == "host" || spec.host.uts_mode == "host" {
            spec.hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
    }

    /// A name nobody has: two words, as docker gives.
    fn pick_name(&self) -> ContainerName {
        loop {
            if let Ok(name) = crate::system::random_name().parse::<ContainerName>()
                && self.find(name.as_str()).is_err()
            {
                return name;
            }
        }
    }
}

fn check_platform(image: &Image, asked: Option<&Platform>, name: &str) -> Result<(), Error> {
    let host = Platform::host();
    let own = Platform {
        architecture: image.config.architecture.clone(),
        os: image.config.os.clone(),
        ..host.clone()
    };
    // An image of a file tree alone names no platform.
    if own.os.is_empty() || own.architecture.is_empty() {
        return Ok(());
    }
    if let Some(asked) = asked.filter(|asked| !own.runs_on(asked)) {
        return Err(Error::Invalid(format!(
            "image with reference {name} was found but does not provide the specified platform ({asked})"
        )));
    }
    if !own.runs_on(&host) {
        return Err(Error::Invalid(format!(
            "image {name} is made for {own} and this host is {host}: pull it with --platform {host}"
        )));
    }
    Ok(())
}

/// What the image wishes where the request says nothing.
fn inherit(spec: &mut ContainerSpec, image: &Image) {
    let own = &image.config.config;
    let text = |field: &mut String, value: &str| {
        if field.is_empty() {
            *field = value.to_owned();
        }
    };
    text(&mut spec.user, &own.user);
    text(&mut spec.working_dir, &own.working_dir);
    text(&mut spec.stop_signal, &own.stop_signal);
    for (name, value) in &own.labels {
        spec.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    spec.exposed_ports
        .extend(own.exposed_ports.keys().filter_map(|port| port.parse::<proa_types::PortSpec>().ok()));
    spec.env = plan::environment(spec, own);
    if spec.entrypoint.is_none() {
        if spec.cmd.as_ref().is_none_or(Vec::is_empty) {
            spec.cmd = own.cmd.clone();
        }
        spec.entrypoint = own.entrypoint.clone();
    }
    if let Some(check) = own.healthcheck.as_ref().and_then(HealthCheck::of_image) {
        spec.healthcheck.get_or_insert_default().inherit(&check);
    }
}

fn check_modes(spec: &ContainerSpec) -> Result<(), Error> {
    let host = &spec.host;
    let conflict = |what: &str| Err(Error::Invalid(format!("conflicting options: {what}")));
    let joined = other_container(&host.network_mode).is_some();
    match host.network_mode.as_str() {
        "bridge" | "none" | "host" => {}
        _ if joined => {}
        other => return Err(Error::NoSuchNetwork(other.into())),
    }
    if joined && !spec.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if joined && !(host.port_bindings.is_empty() && spec.exposed_ports.is_empty()) {
        return conflict("port publishing and the container type network mode");
    }
    if joined && !(host.dns.is_empty() && host.extra_hosts.is_empty()) {
        return conflict("dns, custom host-to-IP mapping and the container type network mode");
    }
    if host.uts_mode == "host" && !spec.hostname.is_empty() {
        return conflict("hostname and the UTS mode");
    }
    if host.auto_remove && !matches!(host.restart.name.as_str(), "no" | "") {
        return Err(Error::Invalid("can't create 'AutoRemove' container with restart policy".into()));
    }
    let ipc = matches!(host.ipc_mode.as_str(), "private" | "shareable" | "none" | "host");
    if !ipc && other_container(&host.ipc_mode).is_none() {
        return Err(Error::Invalid(format!("invalid IPC mode: {}", host.ipc_mode)));
    }
    if !matches!(host.pid_mode.as_str(), "" | "host" | "private") && other_container(&host.pid_mode).is_none()
    {
        return Err(Error::Invalid(format!("invalid PID mode: {}", host.pid_mode)));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(Error::Invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    check_restart(&host.restart)?;
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::Invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    Ok(())
}

/// Whether a policy is one.
pub(crate) fn check_restart(policy: &RestartPolicy) -> Result<(), Error> {
    if !matches!(policy.name.as_str(), "no" | "always" | "unless-stopped" | "on-failure") {
        return Err(Error::Invalid(format!("invalid restart policy: unknown policy '{}'", policy.name)));
    }
    if policy.maximum > 0 && policy.name != "on-failure" {
        return Err(Error::Invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'".into(),
        ));
    }
    Ok(())
}

/// Whether limits contradict themselves or this host. Those of an update (`partly`) come on top of others.
pub(crate) fn check_resources(
    r: &mut ResourceSpec,
    partly: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let bad = |text: &str| Err(Error::Invalid(text.into()));
    if r.memory < 0 || (1..6 << 20).contains(&r.memory) {
        return bad("Minimum memory limit allowed is 6MB");
    }
    if r.memory > 0 && r.memory_swap > 0 && r.memory_swap < r.memory {
        return bad("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if r.memory == 0 && r.memory_swap > 0 && !partly {
        return bad("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if r.memory_reservation > 0 && r.memory > 0 && r.memory < r.memory_reservation {
        return bad("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if r.memory_swappiness.is_some_and(|value| !(-1..=100).contains(&value)) {
        return bad("Invalid value for memory swappiness, valid memory swappiness range is 0-100");
    }
    let processors = crate::system::processors();
    if r.nano_cpus < 0 || r.nano_cpus > i64::try_from(processors).unwrap_or(i64::MAX) * 1_000_000_000 {
        return Err(Error::Invalid(format!(
            "range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )));
    }
    if r.nano_cpus > 0 && (r.cpu_quota > 0 || r.cpu_period > 0) {
        return bad("Conflicting options: Nano CPUs and CPU Period cannot both be set.");
    }
    if r.cpu_period != 0 && !(1000..=1_000_000).contains(&r.cpu_period) {
        return bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if r.cpu_quota > 0 && r.cpu_quota < 1000 {
        return bad("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if r.blkio_weight > 0 && !(10..=1000).contains(&r.blkio_weight) {
        return bad("Range of blkio weight is from 10 to 1000");
    }
    if r.kernel_memory > 0 {
        warnings.push(
            "Specifying a kernel memory limit is deprecated and will be removed in a future release.".into(),
        );
        r.kernel_memory = 0;
    }
    if r.oom_kill_disable == Some(true) && r.memory == 0 {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".into());
    }
    Ok(())
}
