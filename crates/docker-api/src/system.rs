//! The engine itself: version, information, events.

use std::collections::BTreeMap;

use serde_json::Value;

crate::wire::wire! {
    /// Answer of `GET /version`.
    Version {
        platform: Platform;
        components: Vec<ComponentVersion>;
        version: String;
        api_version: String;
        min_api_version: String = "MinAPIVersion";
        git_commit: String;
        go_version: String;
        os: String;
        arch: String;
        kernel_version: String, skip "String::is_empty";
        experimental: bool, skip "crate::host_config::is_false";
        build_time: String, skip "String::is_empty";
    }
    /// The product's name.
    Platform { name: String; }
    /// One part's version.
    ComponentVersion {
        name: String;
        version: String;
        details: BTreeMap<String, String>;
    }
    /// Answer of `GET /info`.
    Info {
        id: String = "ID";
        containers: i64;
        containers_running: i64;
        containers_paused: i64;
        containers_stopped: i64;
        images: i64;
        driver: String;
        driver_status: Vec<[String; 2]>;
        system_status: Option<Vec<[String; 2]>>, skip "Option::is_none";
        plugins: Plugins;
        memory_limit: bool;
        swap_limit: bool;
        kernel_memory: bool, skip "crate::host_config::is_false";
        cpu_cfs_period: bool;
        cpu_cfs_quota: bool;
        cpu_shares: bool = "CPUShares";
        cpu_set: bool = "CPUSet";
        pids_limit: bool;
        ipv4_forwarding: bool = "IPv4Forwarding";
        bridge_nf_iptables: Option<bool>, skip "Option::is_none";
        bridge_nf_ip6tables: Option<bool>, skip "Option::is_none";
        debug: bool;
        n_fd: i64;
        oom_kill_disable: bool;
        n_goroutines: i64;
        system_time: String;
        logging_driver: String;
        cgroup_driver: String;
        cgroup_version: String, skip "String::is_empty";
        n_events_listener: i64;
        kernel_version: String;
        operating_system: String;
        os_version: String = "OSVersion";
        os_type: String = "OSType";
        architecture: String;
        index_server_address: String;
        registry_config: RegistryConfig;
        n_cpu: i64 = "NCPU";
        mem_total: i64;
        generic_resources: Option<Vec<Value>>;
        docker_root_dir: String;
        http_proxy: String;
        https_proxy: String;
        no_proxy: String;
        name: String;
        labels: Vec<String>;
        experimental_build: bool;
        server_version: String;
        runtimes: BTreeMap<String, RuntimeInfo>;
        default_runtime: String;
        swarm: Swarm;
        live_restore_enabled: bool;
        isolation: String;
        init_binary: String;
        containerd_commit: Commit;
        runc_commit: Commit;
        init_commit: Commit;
        security_options: Vec<String>;
        product_license: String, skip "String::is_empty";
        default_address_pools: Vec<BTreeMap<String, Value>>, skip "Vec::is_empty";
        firewall_backend: Option<BTreeMap<String, Value>>, skip "Option::is_none";
        cdi_spec_dirs: Vec<String> = "CDISpecDirs";
        discovered_devices: Option<Vec<DiscoveredDevice>>, skip "Option::is_none";
        warnings: Option<Vec<String>>;
    }
    /// A device that a driver knows.
    DiscoveredDevice { source: String; id: String = "ID"; }
    /// Plugin names by kind.
    Plugins {
        volume: Vec<String>;
        network: Vec<String>;
        authorization: Option<Vec<String>>;
        log: Vec<String>;
    }
    /// How registries are reached.
    RegistryConfig {
        insecure_registry_cidrs: Vec<String> = "InsecureRegistryCIDRs";
        index_configs: BTreeMap<String, RegistryIndex>;
        mirrors: Option<Vec<String>>;
    }
    /// One registry.
    RegistryIndex {
        name: String;
        mirrors: Vec<String>;
        secure: bool;
        official: bool;
    }
    /// A registered runtime.
    RuntimeInfo {
        path: String = "path";
        runtime_args: Option<Vec<String>> = "runtimeArgs", skip "Option::is_none";
        status: Option<BTreeMap<String, String>> = "status", skip "Option::is_none";
    }
    /// The cluster as an engine outside of one shows it.
    Swarm {
        node_id: String = "NodeID";
        node_addr: String;
        local_node_state: String;
        control_available: bool;
        error: String;
        remote_managers: Option<Vec<Value>>;
    }
    /// A helper's commit.
    Commit { id: String = "ID"; expected: String, skip "String::is_empty"; }
    /// One line of `GET /events`.
    EventMessage {
        status: String = "status", skip "String::is_empty";
        id: String = "id", skip "String::is_empty";
        from: String = "from", skip "String::is_empty";
        kind: String = "Type";
        action: String;
        actor: EventActor;
        scope: String = "scope";
        time: i64 = "time";
        time_nano: i64 = "timeNano";
    }
    /// What an event is about.
    EventActor { id: String = "ID"; attributes: BTreeMap<String, String>; }
}
