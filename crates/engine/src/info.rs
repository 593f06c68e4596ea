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
    /// Version of the operating system.
    pub system_version: String,
    /// Filesystem that holds the engine's data, as the kernel names it.
    pub filesystem: String,
    /// Open descriptors of the engine.
    pub descriptors: usize,
    /// Devices that are described, by name.
    pub devices: Vec<String>,
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
        let (devices, faults) = self.described_devices();
        warnings.extend(faults);
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
            system: release("PRETTY_NAME").unwrap_or_else(|| "Linux".into()),
            system_version: release("VERSION_ID").unwrap_or_default(),
            filesystem: filesystem(&self.config().data_root),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            devices,
            warnings,
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Bytes of memory of the machine.
pub(crate) fn memory() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// A value of os-release(5).
fn release(name: &str) -> Option<String> {
    let text = read("/etc/os-release");
    let mut pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"').to_owned())
}

/// The type of the filesystem that holds `path`: the mount nearest above it.
fn filesystem(path: &std::path::Path) -> String {
    let text = read("/proc/self/mountinfo");
    let mounts = text.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        Some((mount.split(' ').nth(4)?, source.split(' ').next()?))
    });
    let above = mounts.filter(|(at, _)| path.starts_with(at));
    above.max_by_key(|(at, _)| at.len()).map(|(_, kind)| kind.to_owned()).unwrap_or_default()
}
