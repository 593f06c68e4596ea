//! A create request as the engine takes it, and back for inspect.

use super::{list, nullable, unit};
use crate::error::Failure;
use proa_docker_api::{self as wire, ContainerConfig, ContainerCreateRequest, HostConfig};
use proa_engine::HealthCheck;
use proa_engine::spec::{
    ContainerSpec, DeviceRequest, DeviceSpec, DeviceValue, HostPort, HostSpec, LinkSpec, MountSpec,
    ResourceSpec, RestartPolicy, Ulimit,
};
use proa_types::PortSpec;
use std::collections::BTreeMap;

/// What a create request asks for. Options that are known and not honoured are refused by name.
pub(crate) fn spec(request: ContainerCreateRequest) -> Result<ContainerSpec, Failure> {
    let ContainerCreateRequest { config, host_config: host, networking_config } = request;
    refuse(&host)?;
    let network_mode = host.network_mode.clone();
    let mac = networking_config
        .endpoints_config
        .values()
        .flatten()
        .map(|e| e.mac_address.clone())
        .find(|m| !m.is_empty());
    for (name, endpoint) in &networking_config.endpoints_config {
        check_endpoint(name, endpoint.as_ref())?;
    }
    Ok(ContainerSpec {
        image: config.image,
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        attach: [config.attach_stdin, config.attach_stdout, config.attach_stderr],
        exposed_as: written_otherwise(config.exposed_ports.keys())?,
        exposed_ports: config.exposed_ports.keys().map(|port| parse(port)).collect::<Result<_, _>>()?,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: list(config.env),
        cmd: config.cmd,
        entrypoint: config.entrypoint,
        volumes: config.volumes.unwrap_or_default().into_keys().collect(),
        working_dir: config.working_dir,
        labels: config.labels,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        healthcheck: config.healthcheck.map(health),
        shell: config.shell,
        mac_address: mac.unwrap_or(config.mac_address),
        host: host_spec(host, if config.network_disabled { "none".into() } else { network_mode })?,
    })
}

/// Ports that are not written as we write them: inspect shows them as they came.
fn written_otherwise<'a>(
    ports: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<PortSpec, String>, Failure> {
    let parsed = ports.map(|text| Ok((parse(text)?, text.clone())));
    let differs = |pair: &Result<(PortSpec, String), Failure>| {
        pair.as_ref().map_or(true, |(port, text)| port.to_string() != *text)
    };
    parsed.filter(differs).collect()
}

fn refuse(host: &HostConfig) -> Result<(), Failure> {
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Failure::bad(format!("invalid isolation {:?}: Linux has default only", host.isolation)));
    }
    Ok(())
}

fn check_endpoint(name: &str, endpoint: Option<&wire::EndpointSettings>) -> Result<(), Failure> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let fixed = endpoint.ipam_config.as_ref().and_then(|ipam| serde_json::to_value(ipam).ok());
    let asked = fixed.is_some_and(|value| {
        value.as_object().is_some_and(|o| o.values().any(|v| v.as_str().is_some_and(|s| !s.is_empty())))
    });
    if asked {
        return Err(Failure::bad("user specified IP address is supported on user defined networks only"));
    }
    if endpoint.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty())
        && matches!(name, "bridge" | "default")
    {
        return Err(Failure::bad(
            "network-scoped alias is supported only for containers in user defined networks",
        ));
    }
    Ok(())
}

fn health(check: wire::HealthConfig) -> HealthCheck {
    HealthCheck {
        test: list(check.test),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

fn wire_health(check: &HealthCheck) -> wire::HealthConfig {
    wire::HealthConfig {
        test: nullable(check.test.clone()),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

fn parse(text: &str) -> Result<PortSpec, Failure> {
    text.parse().map_err(|e: proa_types::port::InvalidPort| Failure::bad(e.to_string()))
}

fn host_spec(host: HostConfig, network_mode: String) -> Result<HostSpec, Failure> {
    let mut port_bindings = BTreeMap::new();
    for (port, bindings) in &host.port_bindings {
        let bindings = bindings.iter().flatten();
        let ports = bindings.map(|b| HostPort { ip: b.host_ip.clone(), port: b.host_port.clone() }).collect();
        port_bindings.insert(parse(port)?, ports);
    }
    let resources = resources(&host);
    let restart = restart(&host)?;
    let size = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    Ok(HostSpec {
        binds: list(host.binds),
        mounts: host.mounts.into_iter().map(mount).collect::<Result<_, _>>()?,
        tmpfs: host.tmpfs,
        volumes_from: list(host.volumes_from),
        network_mode,
        port_bindings,
        publish_all: host.publish_all_ports,
        restart,
        auto_remove: host.auto_remove,
        cap_add: list(host.cap_add),
        cap_drop: list(host.cap_drop),
        privileged: host.privileged,
        security_opt: list(host.security_opt),
        readonly_rootfs: host.readonly_rootfs,
        dns: list(host.dns),
        dns_options: list(host.dns_options),
        dns_search: list(host.dns_search),
        extra_hosts: list(host.extra_hosts),
        links: list(host.links).iter().map(|link| parse_link(link)).collect::<Result<_, _>>()?,
        group_add: list(host.group_add),
        ipc_mode: host.ipc_mode,
        pid_mode: host.pid_mode,
        uts_mode: host.uts_mode,
        userns_mode: host.userns_mode,
        cgroupns_mode: host.cgroupns_mode,
        cgroup_parent: host.cgroup_parent,
        shm_size: u64::try_from(host.shm_size)
            .map_err(|_| Failure::bad("SHM size can not be less than 0"))?,
        sysctls: host.sysctls,
        ulimits: list(host.ulimits)
            .into_iter()
            .map(|u| Ulimit { name: u.name, soft: u.soft, hard: u.hard })
            .collect(),
        devices: list(host.devices)
            .into_iter()
            .map(|d| DeviceSpec {
                host: d.path_on_host,
                container: d.path_in_container,
                permissions: d.cgroup_permissions,
            })
            .collect(),
        device_requests: list(host.device_requests).into_iter().map(device_request).collect(),
        device_cgroup_rules: list(host.device_cgroup_rules),
        runtime: host.runtime,
        init: host.init,
        log_driver: host.log_config.kind,
        log_options: host.log_config.config,
        oom_score_adj: i32::try_from(host.oom_score_adj).unwrap_or(i32::MAX),
        masked_paths: host.masked_paths,
        readonly_paths: host.readonly_paths,
        annotations: host.annotations,
        console_size: (size(host.console_size[0]), size(host.console_size[1])),
        cidfile: host.container_id_file,
        storage_opt: host.storage_opt,
        volume_driver: host.volume_driver,
        isolation: host.isolation,
        resources,
    })
}

fn device_request(request: wire::DeviceRequest) -> DeviceRequest {
    DeviceRequest {
        driver: request.driver,
        count: request.count,
        ids: list(request.device_ids),
        capabilities: list(request.capabilities),
        options: request.options,
    }
}

fn wire_device_request(request: &DeviceRequest) -> wire::DeviceRequest {
    wire::DeviceRequest {
        driver: request.driver.clone(),
        count: request.count,
        device_ids: nullable(request.ids.clone()),
        capabilities: nullable(request.capabilities.clone()),
        options: request.options.clone(),
    }
}

/// A link: `NAME[:ALIAS]`, or `/NAME:/PARENT/ALIAS` as inspect shows it.
fn parse_link(text: &str) -> Result<LinkSpec, Failure> {
    let bad = || Failure::bad(format!("bad format for links: {text}"));
    if text.is_empty() {
        return Err(Failure::bad("empty string specified for links"));
    }
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = if text.starts_with('/') { alias.rsplit('/').next().unwrap_or_default() } else { alias };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    // It becomes a line of a file and the name of a variable.
    if alias.is_empty() || !alias.chars().all(plain) {
        return Err(bad());
    }
    Ok(LinkSpec { container: name.trim_start_matches('/').into(), alias: alias.into() })
}

/// When a container is to be started again.
pub(crate) fn restart(host: &HostConfig) -> Result<RestartPolicy, Failure> {
    let policy = &host.restart_policy;
    let maximum = u32::try_from(policy.maximum_retry_count)
        .map_err(|_| Failure::bad("invalid restart policy: maximum retry count cannot be negative"))?;
    Ok(RestartPolicy { name: policy.name.clone(), maximum })
}

/// The limits of a container.
pub(crate) fn resources(host: &HostConfig) -> ResourceSpec {
    let rates = |list: &Option<Vec<wire::ThrottleDevice>>| -> Vec<DeviceValue> {
        list.iter().flatten().map(|d| DeviceValue { path: d.path.clone(), value: d.rate }).collect()
    };
    let weights = host.blkio_weight_device.iter().flatten();
    ResourceSpec {
        memory: host.memory,
        memory_reservation: host.memory_reservation,
        memory_swap: host.memory_swap,
        memory_swappiness: host.memory_swappiness,
        kernel_memory: host.kernel_memory,
        oom_kill_disable: host.oom_kill_disable,
        nano_cpus: host.nano_cpus,
        cpu_shares: host.cpu_shares,
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        cpu_realtime_period: host.cpu_realtime_period,
        cpu_realtime_runtime: host.cpu_realtime_runtime,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        pids_limit: host.pids_limit,
        blkio_weight: host.blkio_weight,
        blkio_weight_device: weights
            .map(|d| DeviceValue { path: d.path.clone(), value: u64::from(d.weight) })
            .collect(),
        read_bps: rates(&host.blkio_device_read_bps),
        write_bps: rates(&host.blkio_device_write_bps),
        read_iops: rates(&host.blkio_device_read_iops),
        write_iops: rates(&host.blkio_device_write_iops),
    }
}

fn mount(mount: wire::Mount) -> Result<MountSpec, Failure> {
    let bind = mount.bind_options.unwrap_or_default();
    let volume = mount.volume_options.unwrap_or_default();
    let tmpfs = mount.tmpfs_options.unwrap_or_default();
    let driver = volume.driver_config.unwrap_or_default();
    Ok(MountSpec {
        kind: mount.kind,
        source: mount.source,
        target: mount.target,
        readonly: mount.read_only,
        propagation: bind.propagation,
        non_recursive: bind.non_recursive,
        create_source: bind.create_mountpoint,
        no_copy: volume.no_copy,
        subpath: volume.subpath,
        labels: volume.labels,
        driver: driver.name,
        driver_options: driver.options,
        tmpfs_size: tmpfs.size_bytes,
        tmpfs_mode: tmpfs.mode,
    })
}

/// The configuration of a container, for inspect.
pub(crate) fn config(spec: &ContainerSpec, id: &str) -> ContainerConfig {
    let [attach_stdin, attach_stdout, attach_stderr] = spec.attach;
    let short = id.get(..12).unwrap_or(id);
    ContainerConfig {
        hostname: if spec.hostname.is_empty() { short.into() } else { spec.hostname.clone() },
        domainname: spec.domainname.clone(),
        user: spec.user.clone(),
        attach_stdin,
        attach_stdout,
        attach_stderr,
        exposed_ports: unit(
            spec.exposed_ports
                .iter()
                .map(|port| spec.exposed_as.get(port).cloned().unwrap_or_else(|| port.to_string())),
        ),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        stdin_once: spec.stdin_once,
        env: Some(spec.env.clone()),
        cmd: spec.cmd.clone(),
        image: spec.image.clone(),
        volumes: if spec.volumes.is_empty() { None } else { Some(unit(spec.volumes.iter())) },
        working_dir: spec.working_dir.clone(),
        entrypoint: spec.entrypoint.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_timeout,
        healthcheck: spec.healthcheck.as_ref().map(wire_health),
        shell: spec.shell.clone(),
        mac_address: spec.mac_address.clone(),
        ..ContainerConfig::default()
    }
}

/// The host's side of a container, for inspect. Every field is the request's, or the engine's default.
pub(crate) fn host_config(spec: &ContainerSpec) -> HostConfig {
    let host = &spec.host;
    let ports = |ports: &Vec<HostPort>| {
        Some(
            ports
                .iter()
                .map(|p| wire::PortBinding { host_ip: p.ip.clone(), host_port: p.port.clone() })
                .collect(),
        )
    };
    let paths = |list: Vec<std::path::PathBuf>| {
        // A privileged container has none, which is null.
        nullable(list.iter().map(|path| path.display().to_string()).collect())
    };
    let mut wire = HostConfig {
        binds: nullable(host.binds.clone()),
        container_id_file: host.cidfile.clone(),
        log_config: wire::LogConfig { kind: host.log_driver.clone(), config: host.log_options.clone() },
        network_mode: host.network_mode.clone(),
        port_bindings: host
            .port_bindings
            .iter()
            .map(|(port, list)| (port.to_string(), ports(list)))
            .collect(),
        restart_policy: wire::RestartPolicy {
            name: host.restart.name.clone(),
            maximum_retry_count: i64::from(host.restart.maximum),
        },
        auto_remove: host.auto_remove,
        volumes_from: nullable(host.volumes_from.clone()),
        console_size: [u32::from(host.console_size.0), u32::from(host.console_size.1)],
        annotations: host.annotations.clone(),
        cap_add: nullable(host.cap_add.clone()),
        cap_drop: nullable(host.cap_drop.clone()),
        cgroupns_mode: host.cgroupns_mode.clone(),
        dns: Some(host.dns.clone()),
        dns_options: Some(host.dns_options.clone()),
        dns_search: Some(host.dns_search.clone()),
        extra_hosts: nullable(host.extra_hosts.clone()),
        group_add: nullable(host.group_add.clone()),
        ipc_mode: host.ipc_mode.clone(),
        oom_score_adj: i64::from(host.oom_score_adj),
        pid_mode: host.pid_mode.clone(),
        privileged: host.privileged,
        publish_all_ports: host.publish_all,
        readonly_rootfs: host.readonly_rootfs,
        security_opt: nullable(host.security_opt.clone()),
        storage_opt: host.storage_opt.clone(),
        tmpfs: host.tmpfs.clone(),
        uts_mode: host.uts_mode.clone(),
        userns_mode: host.userns_mode.clone(),
        shm_size: i64::try_from(host.shm_size).unwrap_or(i64::MAX),
        sysctls: host.sysctls.clone(),
        runtime: host.runtime.clone(),
        mounts: host.mounts.iter().map(wire_mount).collect(),
        volume_driver: host.volume_driver.clone(),
        isolation: host.isolation.clone(),
        masked_paths: paths(proa_engine::masked_paths(host)),
        readonly_paths: paths(proa_engine::readonly_paths(host)),
        init: host.init,
        ..HostConfig::default()
    };
    limits(&mut wire, host);
    wire
}

fn limits(wire: &mut HostConfig, host: &HostSpec) {
    let r = &host.resources;
    let rates = |list: &[DeviceValue]| {
        Some(list.iter().map(|d| wire::ThrottleDevice { path: d.path.clone(), rate: d.value }).collect())
    };
    let weight = |d: &DeviceValue| wire::WeightDevice {
        path: d.path.clone(),
        weight: u16::try_from(d.value).unwrap_or(0),
    };
    wire.memory = r.memory;
    wire.memory_reservation = r.memory_reservation;
    wire.memory_swap =
        if r.memory > 0 && r.memory_swap == 0 { r.memory.saturating_mul(2) } else { r.memory_swap };
    // Clients say -1 and 0 for what they do not ask for.
    wire.memory_swappiness = r.memory_swappiness.filter(|value| *value >= 0);
    wire.oom_kill_disable = Some(r.oom_kill_disable.unwrap_or(false));
    wire.nano_cpus = r.nano_cpus;
    wire.cpu_shares = r.cpu_shares;
    wire.cpu_period = r.cpu_period;
    wire.cpu_quota = r.cpu_quota;
    wire.cpu_realtime_period = r.cpu_realtime_period;
    wire.cpu_realtime_runtime = r.cpu_realtime_runtime;
    wire.cpuset_cpus.clone_from(&r.cpuset_cpus);
    wire.cpuset_mems.clone_from(&r.cpuset_mems);
    wire.cgroup_parent.clone_from(&host.cgroup_parent);
    wire.pids_limit = r.pids_limit.filter(|limit| *limit != 0);
    wire.blkio_weight = r.blkio_weight;
    wire.blkio_weight_device = Some(r.blkio_weight_device.iter().map(weight).collect());
    wire.blkio_device_read_bps = rates(&r.read_bps);
    wire.blkio_device_write_bps = rates(&r.write_bps);
    wire.blkio_device_read_iops = rates(&r.read_iops);
    wire.blkio_device_write_iops = rates(&r.write_iops);
    let device = |d: &DeviceSpec| wire::DeviceMapping {
        path_on_host: d.host.clone(),
        path_in_container: d.container.clone(),
        cgroup_permissions: d.permissions.clone(),
    };
    wire.devices = Some(host.devices.iter().map(device).collect());
    wire.device_requests = nullable(host.device_requests.iter().map(wire_device_request).collect());
    wire.device_cgroup_rules = nullable(host.device_cgroup_rules.clone());
    let ulimit = |u: &Ulimit| wire::Ulimit { name: u.name.clone(), hard: u.hard, soft: u.soft };
    wire.ulimits = nullable(host.ulimits.iter().map(ulimit).collect());
}

fn wire_mount(mount: &MountSpec) -> wire::Mount {
    let bind = (mount.kind == "bind"
        && (!mount.propagation.is_empty() || mount.non_recursive || mount.create_source))
        .then(|| wire::BindOptions {
            propagation: mount.propagation.clone(),
            non_recursive: mount.non_recursive,
            create_mountpoint: mount.create_source,
            ..wire::BindOptions::default()
        });
    let volume = (mount.kind == "volume"
        && (mount.no_copy
            || !mount.subpath.is_empty()
            || !mount.labels.is_empty()
            || !mount.driver.is_empty()))
    .then(|| wire::VolumeOptions {
        no_copy: mount.no_copy,
        subpath: mount.subpath.clone(),
        labels: mount.labels.clone(),
        driver_config: (!mount.driver.is_empty()).then(|| wire::DriverConfig {
            name: mount.driver.clone(),
            options: mount.driver_options.clone(),
        }),
    });
    let tmpfs = (mount.kind == "tmpfs" && (mount.tmpfs_size > 0 || mount.tmpfs_mode > 0)).then_some(
        wire::TmpfsOptions { size_bytes: mount.tmpfs_size, mode: mount.tmpfs_mode, options: None },
    );
    wire::Mount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.readonly,
        bind_options: bind,
        volume_options: volume,
        tmpfs_options: tmpfs,
        ..wire::Mount::default()
    }
}
