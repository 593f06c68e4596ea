//! The doctor before machines that are made up.

use super::*;

struct Made(PathBuf);

impl Made {
    fn new(test: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("proa-cli-doctor-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn report(&self) -> Report {
        examine(&Machine { root: self.0.clone() }, &self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn state<'a>(report: &'a Report, name: &str) -> (State, &'a str) {
    let check = report.checks.iter().find(|check| check.name == name).unwrap();
    (check.state, &check.found)
}

#[test]
fn a_good_machine_must_be_called_good() {
    let made = Made::new(
        "good",
        &[
            ("proc/sys/kernel/osrelease", "6.12.3-x\n"),
            ("proc/self/ns/mnt", ""),
            ("proc/self/ns/pid", ""),
            ("proc/self/ns/net", ""),
            ("proc/self/ns/ipc", ""),
            ("proc/self/ns/uts", ""),
            ("proc/sys/kernel/seccomp/actions_avail", "kill errno"),
            ("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids"),
            ("proc/filesystems", "nodev\toverlay\n"),
            ("lib/modules/6.12.3-x/modules.builtin", "kernel/drivers/net/veth.ko\n"),
            ("lib/modules/6.12.3-x/modules.dep", "kernel/net/bridge/bridge.ko.xz: kernel/net/llc.ko.xz\n"),
            ("boot/config-6.12.3-x", "CONFIG_NF_TABLES=y\n"),
            ("etc/resolv.conf", "nameserver 127.0.0.1\n"),
        ],
    );
    let report = made.report();
    assert!(report.healthy, "{}", text(&report, false));
    assert_eq!(state(&report, "hierarchy"), (State::Ok, "v2"));
    assert_eq!(state(&report, "bridge").0, State::Ok);
    assert_eq!(state(&report, "name servers").0, State::Note);
    let shown = text(&report, false);
    assert!(shown.contains("Containers can run here: 0 missing") && !shown.contains('\u{1b}'), "{shown}");
    assert!(text(&report, true).contains("\u{1b}[32mok"));
}

#[test]
fn what_a_poor_machine_lacks_must_be_told_with_what_to_do() {
    let made = Made::new(
        "poor",
        &[
            ("proc/sys/kernel/osrelease", "4.19.0"),
            ("proc/self/mountinfo", "1 1 0:1 / /sys/fs/cgroup/x rw - cgroup cgroup rw,memory"),
            (
                "proc/cgroups",
                "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t1\t1\t1\nblkio\t2\t1\t0\n",
            ),
            ("etc/ufw/ufw.conf", "ENABLED=yes\n"),
        ],
    );
    let report = made.report();
    assert!(!report.healthy);
    for name in ["version", "namespaces", "seccomp", "veth"] {
        assert_eq!(state(&report, name).0, State::Missing, "{name}");
    }
    assert_eq!(state(&report, "hierarchy"), (State::Note, "v1"));
    assert_eq!(state(&report, "memory").0, State::Ok);
    assert_eq!(state(&report, "io").0, State::Warning);
    assert_eq!(state(&report, "other firewalls"), (State::Note, "ufw"));
    let bad = report.checks.iter().filter(|check| check.state == State::Missing);
    assert!(bad.into_iter().all(|check| !check.advice.is_empty()));
    assert!(text(&report, false).contains("Containers cannot run here: "));
}
