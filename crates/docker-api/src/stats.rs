//! What a container uses: the documents of `GET /containers/{id}/stats`, whose fields are written as they are here.

use std::collections::BTreeMap;

fn none<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares documents: absent and `null` fields are zero; `skip` leaves a zero out.
macro_rules! documents {
    ($($(#[$meta:meta])* $name:ident { $($field:ident : $kind:ty $(, skip $skip:literal)? ;)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the fields are the Engine API's own")]
        pub struct $name {
            $(
                #[serde(deserialize_with = "crate::wire::nullable")]
                $(#[serde(skip_serializing_if = $skip)])?
                pub $field: $kind,
            )*
        }
    )*};
}

documents! {
    /// One sample of `GET /containers/{id}/stats`.
    Stats {
        name: String, skip "none";
        id: String, skip "none";
        os_type: String, skip "none";
        read: String;
        preread: String;
        pids_stats: PidsStats;
        blkio_stats: BlkioStats;
        num_procs: u32;
        storage_stats: StorageStats;
        cpu_stats: CpuStats;
        precpu_stats: CpuStats;
        memory_stats: MemoryStats;
        networks: BTreeMap<String, NetworkStats>, skip "none";
    }
    /// Processes and threads.
    PidsStats { current: u64, skip "none"; limit: u64, skip "none"; }
    /// Traffic of block devices; what the kernel does not tell is null.
    BlkioStats {
        io_service_bytes_recursive: Option<Vec<BlkioEntry>>;
        io_serviced_recursive: Option<Vec<BlkioEntry>>;
        io_queue_recursive: Option<Vec<BlkioEntry>>;
        io_service_time_recursive: Option<Vec<BlkioEntry>>;
        io_wait_time_recursive: Option<Vec<BlkioEntry>>;
        io_merged_recursive: Option<Vec<BlkioEntry>>;
        io_time_recursive: Option<Vec<BlkioEntry>>;
        sectors_recursive: Option<Vec<BlkioEntry>>;
    }
    /// A number of a device.
    BlkioEntry { major: u64; minor: u64; op: String; value: u64; }
    /// Of another system; always empty.
    StorageStats { }
    /// Processor time in nanoseconds.
    CpuStats {
        cpu_usage: CpuUsage;
        system_cpu_usage: u64, skip "none";
        online_cpus: u32, skip "none";
        throttling_data: ThrottlingData;
    }
    /// What a container spent.
    CpuUsage {
        total_usage: u64;
        percpu_usage: Vec<u64>, skip "none";
        usage_in_kernelmode: u64;
        usage_in_usermode: u64;
    }
    /// How it was held back.
    ThrottlingData { periods: u64; throttled_periods: u64; throttled_time: u64; }
    /// Memory in bytes.
    MemoryStats {
        usage: u64, skip "none";
        max_usage: u64, skip "none";
        stats: BTreeMap<String, u64>, skip "none";
        failcnt: u64, skip "none";
        limit: u64, skip "none";
    }
    /// What went over an interface.
    NetworkStats {
        rx_bytes: u64;
        rx_packets: u64;
        rx_errors: u64;
        rx_dropped: u64;
        tx_bytes: u64;
        tx_packets: u64;
        tx_errors: u64;
        tx_dropped: u64;
    }
}
