//! What a cgroup used, in the terms of docker's `stats`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A reading of every controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes.
    pub pids: PidsStats,
    /// Block devices.
    pub block: Vec<BlockStats>,
    /// Huge pages by page size, as `2MB`.
    pub hugepages: BTreeMap<String, HugepageStats>,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// By processor; empty on v2.
    pub per_cpu: Vec<u64>,
    /// Periods in which it ran, of the quota.
    pub periods: u64,
    /// Periods in which it was held back.
    pub throttled_periods: u64,
    /// Time it was held back.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// Used now, the page cache included.
    pub usage: u64,
    /// Most used at once; none where the kernel does not keep it.
    pub max_usage: Option<u64>,
    /// Limit; `u64::MAX` is none.
    pub limit: u64,
    /// How often the limit was met.
    pub failures: u64,
    /// Swap used now.
    pub swap: u64,
    /// `memory.stat` as the kernel writes it (names differ between v1 and v2).
    pub detail: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// Most at once; none is no limit.
    pub limit: Option<u64>,
}

/// One device's traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockStats {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageStats {
    /// Used now.
    pub usage: u64,
    /// Most used at once (v1).
    pub max_usage: u64,
    /// How often the limit was met.
    pub failures: u64,
}
