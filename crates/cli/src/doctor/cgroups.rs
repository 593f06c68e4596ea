//! Control groups: which hierarchy, and the controllers that limits need.

use super::{Area, Machine, State};

/// Controllers, and what is lost without each.
const WANTED: [(&str, &str); 5] = [
    ("memory", "--memory"),
    ("cpu", "--cpus and --cpu-shares"),
    ("pids", "--pids-limit"),
    ("cpuset", "--cpuset-cpus"),
    ("io", "--blkio-weight and --device-read-bps"),
];

pub(super) fn look(machine: &Machine) -> Area {
    let mut area = Area::new("cgroups");
    let table = machine.text("/proc/self/mountinfo").unwrap_or_default();
    let kind =
        |line: &&str| line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next().map(str::to_owned));
    let kinds: Vec<String> = table.lines().filter_map(|line| kind(&line)).collect();
    let has = |name: &str| kinds.iter().any(|kind| kind == name);
    let (old, new) = (has("cgroup"), has("cgroup2"));
    match (old, new) {
        (false, true) => area.ok("hierarchy", "v2"),
        (true, true) => area.add(
            "hierarchy",
            State::Note,
            "hybrid: controllers in v1, v2 beside them",
            "everything works; v2 alone is simpler (systemd.unified_cgroup_hierarchy=1 at boot)",
        ),
        (true, false) => area.add("hierarchy", State::Note, "v1", "everything works; v2 is simpler"),
        (false, false) => {
            let advice = "mount it: `mount -t cgroup2 none /sys/fs/cgroup`";
            area.add("hierarchy", State::Missing, "not mounted", advice);
            return area;
        }
    }
    let controllers = controllers(machine, old);
    for (name, lost) in WANTED {
        match controllers.iter().any(|known| known == name) {
            true => area.ok(name, "available"),
            false => area.add(
                name,
                State::Warning,
                "not available",
                format!("{lost} will be refused or without effect: enable the controller in the kernel"),
            ),
        }
    }
    area
}

/// The controllers by their names in v2.
fn controllers(machine: &Machine, old: bool) -> Vec<String> {
    if !old {
        let text = machine.text("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        return text.split_whitespace().map(str::to_owned).collect();
    }
    let table = machine.text("/proc/cgroups").unwrap_or_default();
    let enabled = table.lines().filter(|line| !line.starts_with('#') && line.ends_with('1'));
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().replace("blkio", "io");
    enabled.map(name).collect()
}
