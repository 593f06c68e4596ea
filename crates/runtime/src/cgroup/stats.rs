//! What a cgroup used, in the terms of docker's `stats`.

use super::dir::{Dir, lookup};
use super::{Cgroup, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;

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

/// Reads every controller of a cgroup.
pub(super) fn read(cgroup: &Cgroup) -> Result<Stats, Error> {
    let mut stats = Stats::default();
    match (cgroup.controller("cpuacct"), cgroup.controller("cpu")) {
        (None, None) => {
            if let Some(dir) = &cgroup.v2 {
                cpu_v2(dir, &mut stats.cpu)?;
            }
        }
        (cpuacct, cpu) => cpu_v1(cpuacct, cpu, &mut stats.cpu)?,
    }
    match (cgroup.controller("memory"), &cgroup.v2) {
        (Some(dir), _) => memory_v1(dir, &mut stats.memory)?,
        (None, Some(dir)) => memory_v2(dir, &mut stats.memory)?,
        (None, None) => stats.memory.limit = u64::MAX,
    }
    if let Some(dir) = cgroup.controller("pids").or(cgroup.v2.as_ref()) {
        stats.pids.current = dir.number("pids.current")?.unwrap_or_default();
        stats.pids.limit = dir.number("pids.max")?.filter(|limit| *limit != u64::MAX);
    }
    match (cgroup.controller("blkio"), &cgroup.v2) {
        (Some(dir), _) => stats.block = block_v1(dir)?,
        (None, Some(dir)) => stats.block = block_v2(&dir.read("io.stat")?.unwrap_or_default()),
        (None, None) => {}
    }
    for size in page_sizes() {
        let read = match (cgroup.controller("hugetlb"), &cgroup.v2) {
            (Some(dir), _) => hugepages_v1(dir, size)?,
            (None, Some(dir)) => hugepages_v2(dir, size)?,
            (None, None) => None,
        };
        stats.hugepages.extend(read.map(|read| (size.clone(), read)));
    }
    Ok(stats)
}

fn cpu_v1(cpuacct: Option<&Dir>, cpu: Option<&Dir>, stats: &mut CpuStats) -> Result<(), Error> {
    if let Some(dir) = cpuacct {
        stats.total = dir.number("cpuacct.usage")?.unwrap_or_default();
        stats.user = dir.number("cpuacct.usage_user")?.unwrap_or_default();
        stats.system = dir.number("cpuacct.usage_sys")?.unwrap_or_default();
        let by_cpu = dir.read("cpuacct.usage_percpu")?.unwrap_or_default();
        stats.per_cpu = by_cpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    }
    if let Some(dir) = cpu {
        let text = dir.read("cpu.stat")?.unwrap_or_default();
        stats.periods = lookup(&text, "nr_periods").unwrap_or_default();
        stats.throttled_periods = lookup(&text, "nr_throttled").unwrap_or_default();
        stats.throttled_time = lookup(&text, "throttled_time").unwrap_or_default();
    }
    Ok(())
}

fn cpu_v2(dir: &Dir, stats: &mut CpuStats) -> Result<(), Error> {
    let text = dir.read("cpu.stat")?.unwrap_or_default();
    let micros = |key| lookup(&text, key).unwrap_or_default().saturating_mul(1000);
    stats.total = micros("usage_usec");
    stats.user = micros("user_usec");
    stats.system = micros("system_usec");
    stats.periods = lookup(&text, "nr_periods").unwrap_or_default();
    stats.throttled_periods = lookup(&text, "nr_throttled").unwrap_or_default();
    stats.throttled_time = micros("throttled_usec");
    Ok(())
}

/// v1 says "no limit" with the greatest multiple of the page size below 2^63.
const V1_NO_LIMIT: u64 = (i64::MAX as u64) & !0xffff;

fn memory_v1(dir: &Dir, stats: &mut MemoryStats) -> Result<(), Error> {
    stats.usage = dir.number("memory.usage_in_bytes")?.unwrap_or_default();
    stats.max_usage = dir.number("memory.max_usage_in_bytes")?;
    let limit = dir.number("memory.limit_in_bytes")?.unwrap_or(u64::MAX);
    stats.limit = if limit >= V1_NO_LIMIT { u64::MAX } else { limit };
    stats.failures = dir.number("memory.failcnt")?.unwrap_or_default();
    let both = dir.number("memory.memsw.usage_in_bytes")?.unwrap_or_default();
    stats.swap = both.saturating_sub(stats.usage);
    stats.detail = pairs(&dir.read("memory.stat")?.unwrap_or_default());
    Ok(())
}

fn memory_v2(dir: &Dir, stats: &mut MemoryStats) -> Result<(), Error> {
    stats.usage = dir.number("memory.current")?.unwrap_or_default();
    stats.max_usage = dir.number("memory.peak")?;
    stats.limit = dir.number("memory.max")?.unwrap_or(u64::MAX);
    stats.failures = dir.value("memory.events", "oom")?.unwrap_or_default();
    stats.swap = dir.number("memory.swap.current")?.unwrap_or_default();
    stats.detail = pairs(&dir.read("memory.stat")?.unwrap_or_default());
    Ok(())
}

fn pairs(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

fn block_v1(dir: &Dir) -> Result<Vec<BlockStats>, Error> {
    let mut devices = BTreeMap::new();
    for (file, count) in
        [("blkio.throttle.io_service_bytes_recursive", false), ("blkio.throttle.io_serviced_recursive", true)]
    {
        add_block_v1(&dir.read(file)?.unwrap_or_default(), count, &mut devices);
    }
    Ok(devices.into_values().collect())
}

/// Lines of `8:0 Read 4096`.
fn add_block_v1(text: &str, count: bool, devices: &mut BTreeMap<(u64, u64), BlockStats>) {
    for line in text.lines() {
        let mut words = line.split([' ', ':']);
        let (Some(Ok(major)), Some(Ok(minor))) = (words.next().map(str::parse), words.next().map(str::parse))
        else {
            continue;
        };
        let (Some(operation), Some(Ok(amount))) = (words.next(), words.next().map(str::parse)) else {
            continue;
        };
        let device = devices.entry((major, minor)).or_insert_with(|| BlockStats {
            major,
            minor,
            ..Default::default()
        });
        match (operation, count) {
            ("Read", false) => device.read_bytes = amount,
            ("Write", false) => device.write_bytes = amount,
            ("Read", true) => device.reads = amount,
            ("Write", true) => device.writes = amount,
            _ => {}
        }
    }
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn block_v2(text: &str) -> Vec<BlockStats> {
    let device = |line: &str| -> Option<BlockStats> {
        let (number, rest) = line.split_once(' ')?;
        let (major, minor) = number.split_once(':')?;
        let mut stats =
            BlockStats { major: major.parse().ok()?, minor: minor.parse().ok()?, ..Default::default() };
        for (key, value) in rest.split_whitespace().filter_map(|word| word.split_once('=')) {
            let value = value.parse().unwrap_or_default();
            match key {
                "rbytes" => stats.read_bytes = value,
                "wbytes" => stats.write_bytes = value,
                "rios" => stats.reads = value,
                "wios" => stats.writes = value,
                _ => {}
            }
        }
        Some(stats)
    };
    text.lines().filter_map(device).collect()
}

fn hugepages_v1(dir: &Dir, size: &str) -> Result<Option<HugepageStats>, Error> {
    let number = |what: &str| dir.number(&format!("hugetlb.{size}.{what}"));
    let Some(usage) = number("usage_in_bytes")? else { return Ok(None) };
    Ok(Some(HugepageStats {
        usage,
        max_usage: number("max_usage_in_bytes")?.unwrap_or_default(),
        failures: number("failcnt")?.unwrap_or_default(),
    }))
}

fn hugepages_v2(dir: &Dir, size: &str) -> Result<Option<HugepageStats>, Error> {
    let Some(usage) = dir.number(&format!("hugetlb.{size}.current"))? else { return Ok(None) };
    let failures = dir.value(&format!("hugetlb.{size}.events"), "max")?.unwrap_or_default();
    Ok(Some(HugepageStats { usage, max_usage: 0, failures }))
}

/// The machine's huge page sizes, as the cgroup files name them.
fn page_sizes() -> &'static [String] {
    static SIZES: OnceLock<Vec<String>> = OnceLock::new();
    SIZES.get_or_init(|| {
        let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
        let mut sizes: Vec<String> =
            entries.flatten().filter_map(|entry| page_size_name(entry.file_name().to_str()?)).collect();
        sizes.sort();
        sizes
    })
}

/// `2MB` for `hugepages-2048kB`.
fn page_size_name(directory: &str) -> Option<String> {
    let kilobytes: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        k if k >= 1 << 20 => format!("{}GB", k >> 20),
        k if k >= 1 << 10 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_files_of_both_versions_say_the_same() {
        let mut devices = BTreeMap::new();
        let bytes = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 3\n8:16 Read 5\nTotal 35\n";
        add_block_v1(bytes, false, &mut devices);
        add_block_v1("8:0 Read 1\n8:0 Write 2\nTotal 3\n", true, &mut devices);
        let v1: Vec<BlockStats> = devices.into_values().collect();
        let v2 = block_v2("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5\nx\n");
        assert_eq!(v1, v2);
    }

    #[test]
    fn page_sizes_are_named_as_files_are() {
        assert_eq!(page_size_name("hugepages-2048kB").as_deref(), Some("2MB"));
        assert_eq!(page_size_name("hugepages-1048576kB").as_deref(), Some("1GB"));
        assert_eq!(page_size_name("hugepages-64kB").as_deref(), Some("64KB"));
        assert_eq!(page_size_name("other"), None);
    }
}
