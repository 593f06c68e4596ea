//! What `info` tells.

use crate::Engine;

/// Facts about the engine and its host.
#[derive(Debug, Clone)]
pub struct Info {
    /// The engine's id.
    pub id: String,
    /// Containers in all.
    pub containers: usize,
    /// Running ones.
    pub running: usize,
    /// Paused ones.
    pub paused: usize,
    /// Images.
    pub images: usize,
    /// Storage driver.
    pub driver: String,
    /// Whether cgroups are v1.
    pub cgroup_v1: bool,
    /// Whether AppArmor is active.
    pub apparmor: bool,
    /// Processors.
    pub processors: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Host name.
    pub host_name: String,
    /// Kernel.
    pub kernel: String,
    /// Operating system.
    pub system: String,
    /// Open descriptors of the engine.
    pub descriptors: usize,
    /// What stands in the way, in words.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Facts about the engine and its host.
    pub fn info(&self) -> Info {
        let all = self.all();
        let count =
            |status: &str| all.iter().filter(|container| container.state().status() == status).count();
        let mut warnings = Vec::new();
        if let Some(bridge) = &self.bridge {
            warnings.extend(bridge.obstacles().unwrap_or_default());
        }
        Info {
            id: self.id.clone(),
            containers: all.len(),
            running: count("running"),
            paused: count("paused"),
            images: self.images.list().len(),
            driver: self.images.driver_name().to_owned(),
            cgroup_v1: self.cgroup_v1,
            apparmor: proa_runtime::has_apparmor(),
            processors: crate::system::processors(),
            memory: memory(),
            host_name: read("/proc/sys/kernel/hostname"),
            kernel: read("/proc/sys/kernel/osrelease"),
            system: system(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            warnings,
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn memory() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn system() -> String {
    let text = read("/etc/os-release");
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |name| name.trim_matches('"').to_owned())
}
