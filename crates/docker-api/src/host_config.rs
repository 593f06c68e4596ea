//! `HostConfig`: what a container is given by this host.

use std::collections::BTreeMap;

use serde_json::Value;

/// Published ports by `port/proto`.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

crate::wire::wire! {
    /// The part of a container's configuration that depends on the host.
    HostConfig {
        binds: Option<Vec<String>>;
        container_id_file: String = "ContainerIDFile";
        log_config: LogConfig;
        network_mode: String;
        port_bindings: PortMap;
        restart_policy: RestartPolicy;
        auto_remove: bool;
        volume_driver: String;
        volumes_from: Option<Vec<String>>;
        console_size: [u32; 2];
        annotations: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        cap_add: Option<Vec<String>>;
        cap_drop: Option<Vec<String>>;
        cgroupns_mode: String;
        dns: Option<Vec<String>>;
        dns_options: Option<Vec<String>>;
        dns_search: Option<Vec<String>>;
        extra_hosts: Option<Vec<String>>;
        group_add: Option<Vec<String>>;
        ipc_mode: String;
        cgroup: String;
        links: Option<Vec<String>>;
        oom_score_adj: i64;
        pid_mode: String;
        privileged: bool;
        publish_all_ports: bool;
        readonly_rootfs: bool;
        security_opt: Option<Vec<String>>;
        storage_opt: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        tmpfs: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        uts_mode: String = "UTSMode";
        userns_mode: String;
        shm_size: i64;
        sysctls: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        runtime: String, skip "String::is_empty";
        isolation: String;
        cpu_shares: i64;
        memory: i64;
        nano_cpus: i64;
        cgroup_parent: String;
        blkio_weight: u16;
        blkio_weight_device: Option<Vec<WeightDevice>>;
        blkio_device_read_bps: Option<Vec<ThrottleDevice>>;
        blkio_device_write_bps: Option<Vec<ThrottleDevice>>;
        blkio_device_read_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceReadIOps";
        blkio_device_write_iops: Option<Vec<ThrottleDevice>> = "BlkioDeviceWriteIOps";
        cpu_period: i64;
        cpu_quota: i64;
        cpu_realtime_period: i64;
        cpu_realtime_runtime: i64;
        cpuset_cpus: String;
        cpuset_mems: String;
        devices: Option<Vec<DeviceMapping>>;
        device_cgroup_rules: Option<Vec<String>>;
        device_requests: Option<Vec<DeviceRequest>>;
        kernel_memory: i64, skip "crate::host_config::is_zero";
        kernel_memory_tcp: i64 = "KernelMemoryTCP", skip "crate::host_config::is_zero";
        memory_reservation: i64;
        memory_swap: i64;
        memory_swappiness: Option<i64>;
        oom_kill_disable: Option<bool>;
        pids_limit: Option<i64>;
        ulimits: Option<Vec<Ulimit>>;
        cpu_count: i64;
        cpu_percent: i64;
        io_maximum_iops: u64 = "IOMaximumIOps";
        io_maximum_bandwidth: u64 = "IOMaximumBandwidth";
        mounts: Vec<Mount>, skip "Vec::is_empty";
        masked_paths: Option<Vec<String>>;
        readonly_paths: Option<Vec<String>>;
        init: Option<bool>, skip "Option::is_none";
    }
    /// Where a container's output goes.
    LogConfig { kind: String = "Type"; config: BTreeMap<String, String>; }
    /// One address on the host a port is published on.
    PortBinding { host_ip: String; host_port: String; }
    /// When a container is started again.
    RestartPolicy { name: String; maximum_retry_count: i64; }
    /// A block device's weight.
    WeightDevice { path: String; weight: u16; }
    /// A block device's rate limit.
    ThrottleDevice { path: String; rate: u64; }
    /// A host device and its name in the container.
    DeviceMapping { path_on_host: String; path_in_container: String; cgroup_permissions: String; }
    /// A request to a device driver.
    DeviceRequest {
        driver: String;
        count: i64;
        device_ids: Option<Vec<String>> = "DeviceIDs";
        capabilities: Option<Vec<Vec<String>>>;
        options: BTreeMap<String, String>;
    }
    /// A resource limit of the container's processes.
    Ulimit { name: String; hard: i64; soft: i64; }
    /// A mount as `--mount` describes it.
    Mount {
        kind: String = "Type", skip "String::is_empty";
        source: String, skip "String::is_empty";
        target: String, skip "String::is_empty";
        read_only: bool, skip "crate::host_config::is_false";
        consistency: String, skip "String::is_empty";
        bind_options: Option<BindOptions>, skip "Option::is_none";
        volume_options: Option<VolumeOptions>, skip "Option::is_none";
        image_options: Option<Value>, skip "Option::is_none";
        tmpfs_options: Option<TmpfsOptions>, skip "Option::is_none";
    }
    /// Options of a bind mount.
    BindOptions {
        propagation: String, skip "String::is_empty";
        non_recursive: bool, skip "crate::host_config::is_false";
        create_mountpoint: bool, skip "crate::host_config::is_false";
        read_only_non_recursive: bool, skip "crate::host_config::is_false";
        read_only_force_recursive: bool, skip "crate::host_config::is_false";
    }
    /// Options of a volume mount.
    VolumeOptions {
        no_copy: bool, skip "crate::host_config::is_false";
        labels: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        subpath: String, skip "String::is_empty";
        driver_config: Option<DriverConfig>, skip "Option::is_none";
    }
    /// A volume's driver.
    DriverConfig {
        name: String, skip "String::is_empty";
        options: BTreeMap<String, String>, skip "BTreeMap::is_empty";
    }
    /// Options of a tmpfs mount; the mode is octal written as a number.
    TmpfsOptions {
        size_bytes: i64, skip "crate::host_config::is_zero";
        mode: u32, skip "crate::host_config::is_zero";
        options: Option<Vec<Vec<String>>>, skip "Option::is_none";
    }
}

pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}
