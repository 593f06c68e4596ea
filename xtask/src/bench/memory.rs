//! Memory of process trees, from `/proc/PID/smaps_rollup`.

/// Kibibytes of a set of processes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident, shared pages counted in each process.
    pub(crate) resident: u64,
    /// Proportional: shared pages divided among their users.
    pub(crate) proportional: u64,
    /// How many processes.
    pub(crate) processes: usize,
}

impl Memory {
    /// Mebibytes of a figure.
    pub(crate) fn mib(kib: u64) -> f64 {
        kib as f64 / 1024.0
    }
}

/// An engine with all it keeps: the daemon, monitors and sandboxes, which have a path below its directory on their
/// command lines. The programs in its containers have not.
pub(crate) fn of_engine(dir: &std::path::Path) -> Memory {
    let below = format!("{}/", dir.display());
    let mut sum = Memory::default();
    for pid in processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&below) {
            add(&mut sum, pid);
        }
    }
    sum
}

/// One process.
pub(crate) fn of_process(pid: u32) -> Memory {
    let mut sum = Memory::default();
    add(&mut sum, pid);
    sum
}

fn add(sum: &mut Memory, pid: u32) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    sum.resident += field("Rss:");
    sum.proportional += field("Pss:");
    sum.processes += 1;
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
