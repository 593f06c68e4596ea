//! Containers as inspect and list show them.

use super::create::{config, host_config};
use crate::server::Version;
use proa_docker_api::{
    self as wire, ContainerInspect, ContainerState, ContainerSummary, EndpointSettings, NetworkSettings,
};
use proa_engine::state::State;
use proa_engine::{ContainerRecord, ContainerView, Engine, Health, HealthStatus, MountPoint, Probed};
use proa_oci::{Digest, Platform};
use proa_types::{Timestamp, units::human_duration};
use std::collections::BTreeMap;

/// A container for inspect.
pub(crate) fn inspect(view: &ContainerView, engine: &Engine) -> ContainerInspect {
    let record = &view.record;
    let (path, args) =
        record.command.split_first().map_or((String::new(), Vec::new()), |(p, a)| (p.clone(), a.to_vec()));
    let file = |name: &str| view.dir.join(name).display().to_string();
    ContainerInspect {
        id: record.id.to_string(),
        created: record.created.to_string(),
        path,
        args,
        state: state(record),
        image: record.image.to_string(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: match record.spec.host.log_driver.as_str() {
            "json-file" => view.log_path.display().to_string(),
            _ => String::new(),
        },
        name: format!("/{}", record.name),
        restart_count: i64::from(record.restart_count),
        driver: view.driver.name.clone(),
        platform: view
            .image
            .as_ref()
            .map(|image| image.config.os.clone())
            .filter(|os| !os.is_empty())
            .unwrap_or_else(|| "linux".into()),
        app_armor_profile: apparmor(&record.spec.host.security_opt),
        exec_ids: super::nullable(view.execs.iter().map(ToString::to_string).collect()),
        host_config: wire::HostConfig {
            links: super::nullable(engine.links(record)),
            ..host_config(&record.spec)
        },
        graph_driver: wire::GraphDriver {
            data: Some(view.driver.data.clone()),
            name: view.driver.name.clone(),
        },
        size_rw: view.size.and_then(|size| i64::try_from(size).ok()),
        size_root_fs: view
            .size
            .and_then(|size| i64::try_from(size + view.image.as_ref().map_or(0, |image| image.size)).ok()),
        mounts: mounts(record, engine),
        config: config(&record.spec, record.id.as_str()),
        network_settings: network(record, engine),
        ..ContainerInspect::default()
    }
}

/// The profile that was named; the last counts.
fn apparmor(options: &[String]) -> String {
    let profiles = options.iter().filter_map(|option| option.strip_prefix("apparmor"));
    profiles.filter_map(|rest| rest.strip_prefix(['=', ':'])).next_back().unwrap_or_default().to_owned()
}

fn state(record: &ContainerRecord) -> ContainerState {
    let state = &record.state;
    let mut wire = ContainerState {
        status: state.status().into(),
        running: state.run().is_some() || state.status() == "restarting",
        paused: state.status() == "paused",
        restarting: state.status() == "restarting",
        started_at: Timestamp(0).to_string(),
        finished_at: Timestamp(0).to_string(),
        health: record.health.as_ref().map(health),
        ..ContainerState::default()
    };
    if let Some(run) = state.run() {
        wire.pid = i64::from(run.pid);
        wire.started_at = run.started_at.to_string();
    }
    if let State::Exited(exit) = state {
        wire.exit_code = i64::from(exit.code);
        wire.oom_killed = exit.oom_killed;
        wire.error.clone_from(&exit.error);
        wire.started_at = exit.started_at.to_string();
        wire.finished_at = exit.finished_at.to_string();
    }
    wire
}

fn health(health: &Health) -> wire::HealthState {
    let result = |probed: &Probed| wire::HealthResult {
        start: probed.start.to_string(),
        end: probed.end.to_string(),
        exit_code: i64::from(probed.exit_code),
        output: probed.output.clone(),
    };
    wire::HealthState {
        status: health.status.as_str().into(),
        failing_streak: i64::from(health.failing_streak),
        log: Some(health.log.iter().map(result).collect()),
    }
}

/// Health in a list: of one that does not run nothing is said.
fn summary_health(record: &ContainerRecord) -> wire::SummaryHealth {
    let health = record.health.as_ref().filter(|_| record.state.run().is_some());
    wire::SummaryHealth {
        status: health.map_or("none", |health| health.status.as_str()).into(),
        failing_streak: health.map_or(0, |health| i64::from(health.failing_streak)),
    }
}

/// The mounts that are shown: all but those of `--tmpfs`, which only the host's configuration names.
fn mounts(record: &ContainerRecord, engine: &Engine) -> Vec<wire::MountPoint> {
    let asked = |point: &MountPoint| {
        let mut mounts = record.spec.host.mounts.iter();
        mounts.any(|mount| std::path::Path::new(&mount.target) == point.destination)
    };
    let shown = record.mounts.iter().filter(|point| point.kind != "tmpfs" || asked(point));
    shown.map(|point| mount(point, engine)).collect()
}

fn mount(point: &MountPoint, engine: &Engine) -> wire::MountPoint {
    let source = match point.kind.as_str() {
        "volume" => engine.volume(&point.name).map(|volume| volume.mountpoint).unwrap_or_default(),
        "tmpfs" => std::path::PathBuf::new(),
        _ => point.source.clone(),
    };
    wire::MountPoint {
        kind: point.kind.clone(),
        name: point.name.clone(),
        source: source.display().to_string(),
        destination: point.destination.display().to_string(),
        driver: point.driver.clone(),
        mode: point.mode.clone(),
        rw: point.writable,
        propagation: point.propagation.clone(),
    }
}

/// What is published, by port, with the ports that are only named.
fn ports(record: &ContainerRecord) -> wire::PortMap {
    let mut map: wire::PortMap = BTreeMap::new();
    if record.state.run().is_none() {
        return map;
    }
    for port in &record.spec.exposed_ports {
        map.insert(port.to_string(), None);
    }
    for port in &record.published {
        let binding =
            wire::PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        map.entry(port.container.to_string()).or_default().get_or_insert_default().push(binding);
    }
    map
}

fn network(record: &ContainerRecord, engine: &Engine) -> NetworkSettings {
    let mode = &record.spec.host.network_mode;
    let mut settings = NetworkSettings { ports: ports(record), ..NetworkSettings::default() };
    if mode.starts_with("container:") {
        return settings;
    }
    let endpoint = endpoint(record, engine);
    if let Some(run) = record.state.run() {
        settings.sandbox_id = run.sandbox.to_string();
        settings.sandbox_key = format!("/proc/{}/ns/net", run.pid);
    }
    settings.endpoint_id.clone_from(&endpoint.endpoint_id);
    settings.gateway.clone_from(&endpoint.gateway);
    settings.ip_address.clone_from(&endpoint.ip_address);
    settings.ip_prefix_len = endpoint.ip_prefix_len;
    settings.mac_address.clone_from(&endpoint.mac_address);
    settings.networks.insert(mode.clone(), endpoint);
    settings
}

/// The id of a container's place on its network; empty while it does not run.
pub(crate) fn endpoint_id(record: &ContainerRecord) -> String {
    let run = record.state.run().filter(|_| record.endpoint.is_some());
    run.map(|run| Digest::of(run.sandbox.as_str().as_bytes()).hex().to_owned()).unwrap_or_default()
}

fn endpoint(record: &ContainerRecord, engine: &Engine) -> EndpointSettings {
    let mut settings = EndpointSettings::default();
    if let Some(id) = engine.network_id(&record.spec.host.network_mode) {
        settings.network_id = id;
    }
    if let (Some(endpoint), Some(_)) = (&record.endpoint, record.state.run()) {
        settings.endpoint_id = endpoint_id(record);
        settings.gateway = endpoint.gateway.to_string();
        settings.ip_address = endpoint.address.to_string();
        settings.ip_prefix_len = i64::from(endpoint.prefix);
        settings.mac_address = endpoint.mac.to_string();
    }
    settings
}

/// A container for list.
pub(crate) fn summary(view: &ContainerView, engine: &Engine, version: Version) -> ContainerSummary {
    let record = &view.record;
    let mode = record.spec.host.network_mode.clone();
    let name = image_name(view);
    let mut networks = BTreeMap::new();
    if !mode.starts_with("container:") {
        networks.insert(mode.clone(), endpoint(record, engine));
    }
    ContainerSummary {
        id: record.id.to_string(),
        names: std::iter::once(format!("/{}", record.name)).chain(engine.link_names(&record.id)).collect(),
        image: name,
        image_id: record.image.to_string(),
        command: command(record),
        created: record.created.seconds(),
        ports: port_list(record),
        size_rw: view.size.and_then(|size| i64::try_from(size).ok()),
        size_root_fs: view
            .size
            .and_then(|size| i64::try_from(size + view.image.as_ref().map_or(0, |image| image.size)).ok()),
        labels: record.spec.labels.clone(),
        state: record.state.status().into(),
        status: status(record),
        health: (version >= Version(1, 52)).then(|| summary_health(record)),
        host_config: wire::SummaryHostConfig {
            network_mode: mode,
            annotations: record.spec.host.annotations.clone(),
        },
        network_settings: wire::SummaryNetworks { networks },
        mounts: mounts(record, engine),
    }
}

/// The name a user gave, unless it means another image by now.
fn image_name(view: &ContainerView) -> String {
    let named = &view.record.spec.image;
    let current = view.image.as_ref().is_some_and(|image| {
        let full =
            named.parse::<proa_oci::Reference>().map(|reference| reference.familiar()).unwrap_or_default();
        image.repo_tags.contains(&full)
            || image.repo_digests.contains(&full)
            || image.id.hex().starts_with(named.as_str())
    });
    if current { named.clone() } else { view.record.image.to_string() }
}

/// The command as a shell would take it, as docker shows it.
fn command(record: &ContainerRecord) -> String {
    let quote = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
    let mut words = record.command.iter();
    let first = words.next().cloned().unwrap_or_default();
    words.fold(first, |line, word| format!("{line} {}", quote(word)))
}

fn port_list(record: &ContainerRecord) -> Vec<wire::PortSummary> {
    if record.state.run().is_none() {
        return Vec::new();
    }
    let published = record.published.iter().map(|port| wire::PortSummary {
        ip: port.host_ip.to_string(),
        private_port: port.container.port,
        public_port: port.host_port,
        kind: port.container.protocol.as_str().into(),
    });
    let named = record
        .spec
        .exposed_ports
        .iter()
        .filter(|port| record.published.iter().all(|p| p.container != **port));
    let named = named.map(|port| wire::PortSummary {
        private_port: port.port,
        kind: port.protocol.as_str().into(),
        ..wire::PortSummary::default()
    });
    published.chain(named).collect()
}

/// `Up 3 minutes`, `Exited (0) 2 hours ago`.
fn status(record: &ContainerRecord) -> String {
    let since = |at: Timestamp| human_duration((Timestamp::now().0 - at.0) / 1_000_000_000);
    match &record.state {
        State::Created => "Created".into(),
        State::Running(run) => {
            let health = record.health.as_ref().map(|health| match health.status {
                HealthStatus::Starting => " (health: starting)",
                HealthStatus::Healthy => " (healthy)",
                HealthStatus::Unhealthy => " (unhealthy)",
            });
            format!("Up {}{}", since(run.started_at), health.unwrap_or_default())
        }
        State::Paused(run) => format!("Up {} (Paused)", since(run.started_at)),
        State::Exited(exit) if exit.restarting => {
            format!("Restarting ({}) {} ago", exit.code, since(exit.finished_at))
        }
        // A start that failed never ran.
        State::Exited(exit) if exit.started_at.is_never() && !exit.error.is_empty() => "Created".into(),
        State::Exited(exit) => format!("Exited ({}) {} ago", exit.code, since(exit.finished_at)),
        State::Removing => "Removal In Progress".into(),
    }
}

/// The platform parameter of a request: text, or JSON since 1.49.
pub(crate) fn platform(text: Option<&str>) -> Result<Option<Platform>, crate::error::Failure> {
    let Some(text) = text else { return Ok(None) };
    if text.starts_with('{') {
        return serde_json::from_str(text)
            .map(Some)
            .map_err(|e| crate::error::Failure::bad(format!("invalid platform: {e}")));
    }
    text.parse()
        .map(Some)
        .map_err(|e: proa_oci::platform::InvalidPlatform| crate::error::Failure::bad(e.to_string()))
}
