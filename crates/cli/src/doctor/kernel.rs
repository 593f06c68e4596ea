//! The kernel: its version, namespaces, system-call filters, security modules.

use super::{Area, Machine, State};

/// The oldest kernel that has every call the engine cannot do without (`mount_setattr`, 5.12).
const OLDEST: (u32, u32) = (5, 12);

pub(super) fn look(machine: &Machine) -> Area {
    let mut area = Area::new("kernel");
    version(machine, &mut area);
    namespaces(machine, &mut area);
    filters(machine, &mut area);
    security(machine, &mut area);
    area
}

fn version(machine: &Machine, area: &mut Area) {
    let (release, version) = (machine.release(), machine.version());
    if version < OLDEST {
        let advice = "the engine needs Linux 5.12 or newer: update the kernel";
        return area.add("version", State::Missing, release, advice);
    }
    area.ok("version", release);
    match version >= (6, 6) {
        true => area.ok("overlay by descriptor", "available"),
        false => area.add(
            "overlay by descriptor",
            State::Note,
            "not available before 6.6",
            "images with very many layers are mounted another way; nothing to do",
        ),
    }
    match version >= (5, 19) {
        true => area.ok("mapped overlays", "available"),
        false => area.add(
            "mapped overlays",
            State::Note,
            "not available before 5.19",
            "containers with user namespaces of their own copy their files; a newer kernel does not",
        ),
    }
}

fn namespaces(machine: &Machine, area: &mut Area) {
    const NEEDED: [&str; 5] = ["mnt", "pid", "net", "ipc", "uts"];
    let there = |name: &str| machine.exists(&format!("/proc/self/ns/{name}"));
    let lacking: Vec<&str> = NEEDED.into_iter().filter(|name| !there(name)).collect();
    match lacking.is_empty() {
        true => area.ok("namespaces", NEEDED.join(", ")),
        false => area.add(
            "namespaces",
            State::Missing,
            format!("without {}", lacking.join(", ")),
            "the kernel needs CONFIG_NAMESPACES with UTS_NS, IPC_NS, PID_NS and NET_NS",
        ),
    }
    area.need("cgroup namespace", there("cgroup"), State::Note, "--cgroupns private is refused");
    let allowed = machine.number("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    match there("user") && allowed > 0 {
        true => area.ok("user namespace", format!("at most {allowed}")),
        false => area.add(
            "user namespace",
            State::Note,
            "not available",
            "--userns and userns-remap need it: `sysctl -w user.max_user_namespaces=15000`",
        ),
    }
}

fn filters(machine: &Machine, area: &mut Area) {
    match machine.text("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) => area.ok("seccomp", actions),
        None => area.add(
            "seccomp",
            State::Missing,
            "not available",
            "the kernel needs CONFIG_SECCOMP_FILTER; without it run containers with --security-opt seccomp=unconfined",
        ),
    }
}

fn security(machine: &Machine, area: &mut Area) {
    let apparmor = machine.text("/sys/module/apparmor/parameters/enabled");
    match apparmor.as_deref() {
        Some("Y") => area.ok("AppArmor", "enabled"),
        _ => area.add("AppArmor", State::Note, "not enabled", ""),
    }
    match machine.text("/sys/fs/selinux/enforce").as_deref() {
        Some("1") => area.add(
            "SELinux",
            State::Warning,
            "enforcing",
            "the engine sets no labels: binds may be denied to containers",
        ),
        Some(_) => area.add("SELinux", State::Note, "permissive", ""),
        None => {}
    }
}
