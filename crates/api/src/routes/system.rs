//! The engine as a whole.

use crate::body::{Answer, document, full, ok, streamed, typed, with};
use crate::error::Failure;
use crate::server::Call;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use proa_docker_api::{
    self as wire, API_VERSION, AuthConfig, AuthResponse, EventMessage, Info, MIN_API_VERSION, Version,
};
use proa_engine::{Event, EventKind, NetworkView, Period};
use proa_logs::LogDriver;
use proa_oci::Platform;
use proa_types::{Filters, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

pub(crate) async fn ping(_: Call) -> Handled {
    let mut answer = typed(with(StatusCode::OK, full("OK")), "text/plain; charset=utf-8");
    let headers = answer.headers_mut();
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("pragma", HeaderValue::from_static("no-cache"));
    Ok(answer)
}

pub(crate) async fn version(call: Call) -> Handled {
    let info = call.engine().info();
    let text = |text: &str| text.to_owned();
    let details = BTreeMap::from([
        (text("ApiVersion"), text(API_VERSION)),
        (text("Arch"), Platform::host().architecture),
        (text("KernelVersion"), info.kernel.clone()),
        (text("MinAPIVersion"), text(MIN_API_VERSION)),
        (text("Os"), text("linux")),
    ]);
    let engine = wire::ComponentVersion { name: "Engine".into(), version: call.api.version.into(), details };
    ok(&Version {
        platform: wire::Platform { name: "Proa".into() },
        components: vec![engine],
        version: call.api.version.into(),
        api_version: API_VERSION.into(),
        min_api_version: MIN_API_VERSION.into(),
        os: "linux".into(),
        arch: Platform::host().architecture,
        kernel_version: info.kernel,
        ..Version::default()
    })
}

pub(crate) async fn info(call: Call) -> Handled {
    let (info, config) = (call.engine().info(), call.engine().config());
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let security = security_options(&info, config.remap.is_some());
    let runtimes = runtimes(&config);
    // Left out since 1.50.
    let bridge_nf = (!call.since(1, 50)).then_some(false);
    ok(&Info {
        id: info.id,
        containers: count(info.containers),
        containers_running: count(info.running),
        containers_paused: count(info.paused),
        containers_stopped: count(info.containers - info.running - info.paused),
        images: count(info.images),
        driver: info.driver,
        driver_status: driver_status(info.filesystem),
        plugins: wire::Plugins {
            volume: list(&["local"]),
            network: list(&["bridge", "host", "null"]),
            authorization: crate::convert::nullable(call.api.authorization.names()),
            log: list(&LogDriver::LISTED.map(LogDriver::name)),
        },
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        ipv4_forwarding: true,
        debug: config.debug,
        n_fd: count(info.descriptors),
        oom_kill_disable: info.cgroup_v1,
        system_time: Timestamp::now().to_string(),
        logging_driver: config.log_driver.name().into(),
        cgroup_driver: "cgroupfs".into(),
        cgroup_version: if info.cgroup_v1 { "1" } else { "2" }.into(),
        kernel_version: info.kernel,
        operating_system: info.system,
        os_version: info.system_version,
        os_type: "linux".into(),
        architecture: std::env::consts::ARCH.into(),
        index_server_address: "https://index.docker.io/v1/".into(),
        registry_config: registries(&config),
        n_cpu: count(info.processors),
        mem_total: i64::try_from(info.memory).unwrap_or(i64::MAX),
        docker_root_dir: config.data_root.display().to_string(),
        name: info.host_name,
        labels: config.labels.clone(),
        server_version: call.api.version.into(),
        runtimes,
        default_runtime: config.default_runtime.clone(),
        swarm: wire::Swarm { local_node_state: "inactive".into(), ..wire::Swarm::default() },
        live_restore_enabled: config.live_restore,
        init_binary: "proa".into(),
        security_options: security,
        // Clients make up warnings of their own where the list is null.
        warnings: Some(info.warnings),
        cdi_spec_dirs: config.cdi_dirs.iter().map(|dir| dir.display().to_string()).collect(),
        discovered_devices: discovered(info.devices).filter(|_| call.since(1, 50)),
        bridge_nf_iptables: bridge_nf,
        bridge_nf_ip6tables: bridge_nf,
        ..Info::default()
    })
}

/// Devices that are described, which is none in JSON where there are none.
fn discovered(names: Vec<String>) -> Option<Vec<wire::DiscoveredDevice>> {
    let device = |id| wire::DiscoveredDevice { source: "cdi".into(), id };
    let list: Vec<_> = names.into_iter().map(device).collect();
    Some(list).filter(|list| !list.is_empty())
}

/// How the storage driver stands on its filesystem.
fn driver_status(filesystem: String) -> Vec<[String; 2]> {
    // The name by which dockerd knows ext2, ext3 and ext4.
    let backing = if filesystem.starts_with("ext") { "extfs".into() } else { filesystem };
    vec![["Backing Filesystem".into(), backing], ["Supports d_type".into(), "true".into()]]
}

/// How registries are reached: as configured, and Docker Hub.
fn registries(config: &proa_engine::EngineConfig) -> wire::RegistryConfig {
    let hub = wire::RegistryIndex {
        name: "docker.io".into(),
        mirrors: config.mirrors.clone(),
        secure: true,
        official: true,
    };
    let mut cidrs = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    let mut indexes = BTreeMap::from([("docker.io".to_owned(), hub)]);
    for rule in &config.insecure {
        if rule.contains('/') {
            cidrs.push(rule.clone());
        } else {
            let index = wire::RegistryIndex { name: rule.clone(), ..wire::RegistryIndex::default() };
            indexes.insert(rule.clone(), index);
        }
    }
    wire::RegistryConfig {
        insecure_registry_cidrs: cidrs,
        index_configs: indexes,
        mirrors: Some(config.mirrors.clone()),
    }
}

/// The runtimes by name: ours, under all its names, and those that were registered.
fn runtimes(config: &proa_engine::EngineConfig) -> BTreeMap<String, wire::RuntimeInfo> {
    let own = || wire::RuntimeInfo { path: "proa".into(), ..wire::RuntimeInfo::default() };
    let mut runtimes: BTreeMap<_, _> =
        proa_engine::OWN_RUNTIME.iter().map(|name| ((*name).to_owned(), own())).collect();
    for (name, runtime) in &config.runtimes {
        let path = runtime.path.display().to_string();
        runtimes.insert(
            name.clone(),
            wire::RuntimeInfo {
                path,
                runtime_args: crate::convert::nullable(runtime.args.clone()),
                status: None,
            },
        );
    }
    runtimes
}

fn security_options(info: &proa_engine::Info, remapped: bool) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    // A profile is applied where one is named; there is no default one.
    if info.apparmor {
        options.push("name=apparmor,profile=unconfined".into());
    }
    if remapped {
        options.push("name=userns".into());
    }
    if !info.cgroup_v1 {
        options.push("name=cgroupns".into());
    }
    options
}

pub(crate) async fn auth(call: Call) -> Handled {
    let Call { api, request, .. } = call;
    let auth: AuthConfig = document(request.into_body()).await?;
    let address = auth.serveraddress.clone();
    let domain = address.trim_start_matches("https://").trim_start_matches("http://");
    let domain = match domain.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" => "docker.io",
        other => other,
    };
    let credentials =
        super::images::from_wire(auth).ok_or_else(|| Failure::bad("no credentials were given"))?;
    api.engine.login(domain, credentials).await?;
    ok(&AuthResponse { status: "Login Succeeded".into(), ..AuthResponse::default() })
}

pub(crate) async fn events(call: Call) -> Handled {
    let filters = call.query.filters()?;
    let time = |name: &str| -> Result<Option<Timestamp>, Failure> {
        call.query
            .text(name)
            .map(|text| Timestamp::parse(text).map_err(|e| Failure::bad(e.to_string())))
            .transpose()
    };
    let mut stream = call.engine().events(Period { since: time("since")?, until: time("until")? });
    let old = !call.since(1, 52);
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! { event = stream.next() => event, () = sender.closed() => return };
            let Some(event) = event else { return };
            if !passes(&filters, &event) {
                continue;
            }
            let mut bytes = serde_json::to_vec(&wire_event(event, old)).unwrap_or_default();
            bytes.push(b'\n');
            if sender.send(Bytes::from(bytes)).await.is_err() {
                return;
            }
        }
    });
    Ok(typed(with(StatusCode::OK, streamed(receiver)), "application/json"))
}

fn passes(filters: &Filters, event: &Event) -> bool {
    let name = event.attributes.get("name").map_or("", String::as_str);
    let is = |kind: EventKind, text: &str| event.kind == kind && (event.id.starts_with(text) || name == text);
    let action = event.action.split(':').next().unwrap_or_default();
    let of_image = |text: &str| {
        let image = if event.kind == EventKind::Image {
            name
        } else {
            event.attributes.get("image").map_or("", String::as_str)
        };
        image == text || image.split(':').next() == Some(text)
    };
    filters.labels_match(&event.attributes)
        && filters.any("type", |text| event.kind.as_str() == text)
        && filters.any("event", |text| action == text || event.action == text)
        && filters.any("container", |text| is(EventKind::Container, text))
        && filters.any("volume", |text| is(EventKind::Volume, text))
        && filters.any("network", |text| is(EventKind::Network, text))
        && filters.any("image", of_image)
}

fn wire_event(event: Event, old: bool) -> EventMessage {
    let mut message = EventMessage {
        kind: event.kind.as_str().into(),
        action: event.action.clone(),
        scope: "local".into(),
        time: event.at.seconds(),
        time_nano: event.at.0,
        ..EventMessage::default()
    };
    // Left out since 1.52.
    if old && matches!(event.kind, EventKind::Container | EventKind::Image) {
        message.status = event.action;
        message.id.clone_from(&event.id);
        message.from = event.attributes.get("image").cloned().unwrap_or_default();
    }
    message.actor = wire::EventActor { id: event.id, attributes: event.attributes };
    message
}

pub(crate) async fn networks(call: Call) -> Handled {
    let filters = call.query.filters()?;
    let mut all = call.engine().networks();
    all.retain(|network| {
        filters.any("name", |text| network.name.contains(text))
            && filters.any("id", |text| network.id.starts_with(text))
            && filters.any("driver", |text| network.driver == text)
            && filters.any("scope", |text| text == "local")
            && filters.any("type", |text| text == "builtin")
            && !filters.has("label")
    });
    ok(&all.iter().map(|network| wire_network(network, false)).collect::<Vec<_>>())
}

pub(crate) async fn network(call: Call) -> Handled {
    ok(&wire_network(&call.engine().network(call.name())?, true))
}

fn wire_network(network: &NetworkView, whole: bool) -> wire::Network {
    let mut wire = wire::Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: network.created.to_string(),
        scope: "local".into(),
        driver: network.driver.clone(),
        enable_ipv4: true,
        config_from: BTreeMap::from([("Network".to_owned(), String::new())]),
        ipam: wire::Ipam { driver: "default".into(), ..wire::Ipam::default() },
        ..wire::Network::default()
    };
    wire.ipam.config = Some(Vec::new());
    if let Some(addressing) = &network.addressing {
        let config = wire::IpamConfig {
            subnet: addressing.subnet.to_string(),
            gateway: addressing.gateway.to_string(),
            ..wire::IpamConfig::default()
        };
        wire.ipam.config = Some(vec![config]);
        let option =
            |name: &str, value: &str| (format!("com.docker.network.bridge.{name}"), value.to_owned());
        wire.options = BTreeMap::from([
            option("default_bridge", "true"),
            option("enable_icc", "true"),
            option("enable_ip_masquerade", "true"),
            option("host_binding_ipv4", "0.0.0.0"),
            option("name", &network.bridge),
        ]);
    }
    for record in network.containers.iter().filter(|_| whole) {
        let endpoint = record.endpoint.as_ref();
        let container = wire::NetworkContainer {
            name: record.name.to_string(),
            endpoint_id: crate::convert::container::endpoint_id(record),
            mac_address: endpoint.map(|e| e.mac.to_string()).unwrap_or_default(),
            ipv4_address: endpoint.map(|e| format!("{}/{}", e.address, e.prefix)).unwrap_or_default(),
            ..wire::NetworkContainer::default()
        };
        wire.containers.insert(record.id.to_string(), container);
    }
    wire
}
