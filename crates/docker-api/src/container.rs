//! Containers: configuration, inspection, lists, waiting.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::host_config::{HostConfig, Mount, PortMap, is_false};
use crate::network::{EndpointSettings, NetworkingConfig};
use crate::wire::{nullable, words};

type Unit = BTreeMap<String, Value>;

/// The portable part of a container's configuration.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs, reason = "the fields are the Engine API's own")]
pub struct ContainerConfig {
    #[serde(deserialize_with = "nullable")]
    pub hostname: String,
    #[serde(deserialize_with = "nullable")]
    pub domainname: String,
    #[serde(deserialize_with = "nullable")]
    pub user: String,
    #[serde(deserialize_with = "nullable")]
    pub attach_stdin: bool,
    #[serde(deserialize_with = "nullable")]
    pub attach_stdout: bool,
    #[serde(deserialize_with = "nullable")]
    pub attach_stderr: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: Unit,
    #[serde(deserialize_with = "nullable")]
    pub tty: bool,
    #[serde(deserialize_with = "nullable")]
    pub open_stdin: bool,
    #[serde(deserialize_with = "nullable")]
    pub stdin_once: bool,
    pub env: Option<Vec<String>>,
    #[serde(deserialize_with = "words")]
    pub cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    #[serde(deserialize_with = "nullable")]
    pub image: String,
    pub volumes: Option<Unit>,
    #[serde(deserialize_with = "nullable")]
    pub working_dir: String,
    #[serde(deserialize_with = "words")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "is_false")]
    pub network_disabled: bool,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    pub on_build: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[allow(missing_docs, reason = "the fields are the Engine API's own")]
pub struct ContainerCreateRequest {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(rename = "HostConfig")]
    pub host_config: HostConfig,
    #[serde(rename = "NetworkingConfig")]
    pub networking_config: NetworkingConfig,
}

/// What a create request has beside the configuration.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct BesideConfig {
    #[serde(deserialize_with = "nullable")]
    host_config: HostConfig,
    #[serde(deserialize_with = "nullable")]
    networking_config: NetworkingConfig,
}

impl ContainerCreateRequest {
    /// Reads the body as [`crate::from_slice`] reads documents: the two parts, which are flat in one, after each other.
    ///
    /// # Errors
    /// What is not the document, and where.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let config = crate::from_slice(bytes)?;
        let BesideConfig { host_config, networking_config } = crate::from_slice(bytes)?;
        Ok(Self { config, host_config, networking_config })
    }
}

crate::wire::wire! {
    /// How health is probed; durations in nanoseconds.
    HealthConfig {
        test: Option<Vec<String>>, skip "Option::is_none";
        interval: i64, skip "crate::host_config::is_zero";
        timeout: i64, skip "crate::host_config::is_zero";
        start_period: i64, skip "crate::host_config::is_zero";
        start_interval: i64, skip "crate::host_config::is_zero";
        retries: i64, skip "crate::host_config::is_zero";
    }
    /// Answer of `POST /containers/create`.
    CreateResponse { id: String; warnings: Vec<String>; }
    /// Answer of `POST /build/prune`.
    BuildPruned { caches_deleted: Option<Vec<String>>; space_reclaimed: u64; }
    /// Answer of `POST /containers/prune`.
    ContainersPruned { containers_deleted: Option<Vec<String>>; space_reclaimed: u64; }
    /// Answer of `POST /containers/{id}/update`.
    UpdateResponse { warnings: Option<Vec<String>>; }
    /// Answer of `GET /containers/{id}/json`.
    ContainerInspect {
        id: String;
        created: String;
        path: String;
        args: Vec<String>;
        state: ContainerState;
        image: String;
        resolv_conf_path: String;
        hostname_path: String;
        hosts_path: String;
        log_path: String;
        name: String;
        restart_count: i64;
        driver: String;
        platform: String;
        mount_label: String;
        process_label: String;
        app_armor_profile: String;
        exec_ids: Option<Vec<String>> = "ExecIDs";
        host_config: HostConfig;
        graph_driver: GraphDriver;
        size_rw: Option<i64>, skip "Option::is_none";
        size_root_fs: Option<i64>, skip "Option::is_none";
        mounts: Vec<MountPoint>;
        config: ContainerConfig;
        network_settings: NetworkSettings;
        image_manifest_descriptor: Option<Value>, skip "Option::is_none";
    }
    /// A container's state as it is shown.
    ContainerState {
        status: String;
        running: bool;
        paused: bool;
        restarting: bool;
        oom_killed: bool = "OOMKilled";
        dead: bool;
        pid: i64;
        exit_code: i64;
        error: String;
        started_at: String;
        finished_at: String;
        health: Option<HealthState>, skip "Option::is_none";
    }
    /// Health as last probed.
    HealthState { status: String; failing_streak: i64; log: Option<Vec<HealthResult>>; }
    /// One probe.
    HealthResult { start: String; end: String; exit_code: i64; output: String; }
    /// The snapshotter's view of the root.
    GraphDriver { data: Option<BTreeMap<String, String>>; name: String; }
    /// A mount of a container.
    MountPoint {
        kind: String = "Type";
        name: String, skip "String::is_empty";
        source: String;
        destination: String;
        driver: String, skip "String::is_empty";
        mode: String;
        rw: bool = "RW";
        propagation: String;
    }
    /// A container's networks.
    NetworkSettings {
        bridge: String;
        sandbox_id: String = "SandboxID";
        sandbox_key: String;
        ports: PortMap;
        hairpin_mode: bool;
        link_local_ipv6_address: String = "LinkLocalIPv6Address";
        link_local_ipv6_prefix_len: i64 = "LinkLocalIPv6PrefixLen";
        secondary_ip_addresses: Option<Vec<Value>> = "SecondaryIPAddresses";
        secondary_ipv6_addresses: Option<Vec<Value>> = "SecondaryIPv6Addresses";
        endpoint_id: String = "EndpointID";
        gateway: String;
        global_ipv6_address: String = "GlobalIPv6Address";
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen";
        ip_address: String = "IPAddress";
        ip_prefix_len: i64 = "IPPrefixLen";
        ipv6_gateway: String = "IPv6Gateway";
        mac_address: String;
        networks: BTreeMap<String, EndpointSettings>;
    }
    /// One row of `GET /containers/json`; created in seconds of the epoch.
    ContainerSummary {
        id: String;
        names: Vec<String>;
        image: String;
        image_id: String = "ImageID";
        command: String;
        created: i64;
        ports: Vec<PortSummary>;
        size_rw: Option<i64>, skip "Option::is_none";
        size_root_fs: Option<i64>, skip "Option::is_none";
        labels: BTreeMap<String, String>;
        state: String;
        status: String;
        host_config: SummaryHostConfig;
        network_settings: SummaryNetworks;
        mounts: Vec<MountPoint>;
        health: Option<SummaryHealth>, skip "Option::is_none";
    }
    /// Health in a row, since 1.52.
    SummaryHealth { status: String; failing_streak: i64; }
    /// The host part of a row.
    SummaryHostConfig {
        network_mode: String, skip "String::is_empty";
        annotations: BTreeMap<String, String>, skip "BTreeMap::is_empty";
    }
    /// The networks of a row.
    SummaryNetworks { networks: BTreeMap<String, EndpointSettings>; }
    /// A port of a row.
    PortSummary {
        ip: String = "IP", skip "String::is_empty";
        private_port: u16;
        public_port: u16, skip "crate::host_config::is_zero";
        kind: String = "Type";
    }
    /// Answer of `POST /containers/{id}/wait`.
    WaitResponse {
        status_code: i64;
        error: Option<WaitError>, skip "Option::is_none";
    }
    /// Why waiting failed.
    WaitError { message: String; }
    /// Answer of `GET /containers/{id}/top`.
    TopResponse { processes: Vec<Vec<String>>; titles: Vec<String>; }
}

impl ContainerCreateRequest {
    /// The mounts asked for with `--mount`.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.host_config.mounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_must_be_read_as_zero_and_words_as_a_list() {
        let read = ContainerCreateRequest::from_slice(
            br#"{"Image":"busybox","Cmd":"ls","Entrypoint":["a","b"],"Env":null,"Tty":null,"Labels":null,
               "HostConfig":{"Binds":null,"PortBindings":{"80/tcp":null},"Mounts":null,"PidsLimit":null,"ConsoleSize":[0,0]},
               "NetworkingConfig":{"EndpointsConfig":{"default":null}}}"#,
        )
        .unwrap();
        assert_eq!(read.config.cmd.as_deref(), Some(&["ls".to_owned()][..]));
        assert_eq!(read.config.entrypoint.as_ref().map(Vec::len), Some(2));
        assert_eq!(read.host_config.port_bindings["80/tcp"], None);
        let empty = ContainerCreateRequest::from_slice(b"{\"HostConfig\":null}").unwrap();
        assert_eq!(empty, ContainerCreateRequest::default());
    }

    #[test]
    fn zero_values_must_be_printed_as_the_daemon_prints_them() {
        let text = serde_json::to_string(&ContainerCreateRequest::default()).unwrap();
        assert!(text.contains("\"Env\":null"));
        assert!(text.contains("\"Binds\":null"));
        assert!(text.contains("\"Labels\":{}"));
        assert!(!text.contains("\"Tmpfs\""));
    }
}
