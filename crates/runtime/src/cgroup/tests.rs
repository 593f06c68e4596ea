//! The machine's own cgroups. Every test uses a cgroup of its own and removes it, also when it fails.

use super::devices::tests::{docker, rule};
use super::*;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A cgroup with the processes started in it.
struct Group {
    cgroup: Option<Cgroup>,
    children: Vec<Child>,
}

impl Group {
    /// A new cgroup below `/proa-t-<pid>-<n>`, or none (with the reason printed) where it cannot be.
    fn new(devices: &[DeviceRule]) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = CgroupPath::new(&format!("/proa-t-{}-{n}/box", std::process::id())).unwrap();
        match Cgroup::create(&path, devices) {
            Ok(cgroup) => Some(Self { cgroup: Some(cgroup), children: Vec::new() }),
            Err(Error::NoHierarchy) => {
                println!("skipped: no cgroup hierarchy");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn cgroup(&self) -> &Cgroup {
        self.cgroup.as_ref().unwrap()
    }

    /// Runs a shell in the cgroup: it joins before it runs `script`.
    fn shell(&mut self, script: &str) -> &mut Child {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup().join(child.id().try_into().unwrap()).unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
        self.children.push(child);
        self.children.last_mut().unwrap()
    }

    fn pids(&self) -> Vec<i32> {
        self.cgroup().pids().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            let _ = cgroup.kill();
            for child in &mut self.children {
                let _ = child.wait();
            }
            let parents: Vec<_> =
                cgroup.directories().filter_map(|d| d.path.parent().map(Path::to_owned)).collect();
            let removed = cgroup.remove();
            for parent in parents {
                let _ = dir::remove_tree(&parent);
            }
            if !std::thread::panicking() {
                removed.unwrap();
            }
        }
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn json(text: &str) -> Resources {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_cgroup_is_made_everywhere_joined_counted_and_removed() {
    let Some(mut group) = Group::new(&[]) else { return };
    assert!(group.pids().is_empty());
    group.shell("sleep 100 & wait");
    eventually("the second process", || group.pids().len() == 2);
    let stats = group.cgroup().stats().unwrap();
    assert!(stats.cpu.total > 0);
    if group.cgroup().places().unwrap().pids != Place::Absent {
        assert_eq!(stats.pids.current, 2);
        assert_eq!(stats.pids.limit, None);
    }
    if group.cgroup().places().unwrap().memory != Place::Absent {
        assert!(stats.memory.usage > 0 && stats.memory.limit == u64::MAX);
        assert!(!stats.memory.detail.is_empty());
    }
    let again = Cgroup::open(group.cgroup().path()).unwrap();
    assert_eq!(again.pids().unwrap(), group.pids());
    group.cgroup().kill().unwrap();
    for child in &mut group.children {
        child.wait().unwrap();
    }
    eventually("the end of all", || group.pids().is_empty());
    let paths: Vec<_> = group.cgroup().directories().map(|d| d.path.to_owned()).collect();
    assert!(paths.iter().all(|path| path.is_dir()));
    group.cgroup.take().unwrap().remove().unwrap();
    assert!(paths.iter().all(|path| !path.exists()));
    for parent in paths.iter().filter_map(|path| path.parent()) {
        dir::remove_tree(parent).unwrap();
    }
    assert!(matches!(Cgroup::open(again.path()), Err(Error::Io { source, .. })
        if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn limits_arrive_in_the_kernel_and_can_be_raised_and_lowered() {
    let Some(group) = Group::new(&[]) else { return };
    let cgroup = group.cgroup();
    for (memory, swap) in
        [(64i64 << 20, 128i64 << 20), (512 << 20, 1024 << 20), (32 << 20, 32 << 20), (-1, -1)]
    {
        let resources = json(&format!(
            r#"{{"memory":{{"limit":{memory},"swap":{swap}}},"pids":{{"limit":33}},
                "cpu":{{"shares":512,"quota":20000,"period":50000,"cpus":"0","mems":"0"}}}}"#
        ));
        let warnings = cgroup.set(&resources).unwrap();
        println!("warnings: {warnings:?}");
        let stats = cgroup.stats().unwrap();
        if cgroup.places().unwrap().memory != Place::Absent {
            assert_eq!(stats.memory.limit, u64::try_from(memory).unwrap_or(u64::MAX));
        }
        if cgroup.places().unwrap().pids != Place::Absent {
            assert_eq!(stats.pids.limit, Some(33));
        }
    }
    if let Some(cpu) = cgroup.controller("cpu") {
        assert_eq!(cpu.number("cpu.shares").unwrap(), Some(512));
        assert_eq!(cpu.number("cpu.cfs_quota_us").unwrap(), Some(20000));
        assert_eq!(cpu.number("cpu.cfs_period_us").unwrap(), Some(50000));
    }
    if let Some(cpuset) = cgroup.controller("cpuset") {
        assert_eq!(cpuset.read("cpuset.cpus").unwrap().unwrap().trim(), "0");
    }
    if let Some(v2) = cgroup.v2.as_ref().filter(|_| cgroup.v1.is_empty()) {
        for (file, value) in [
            ("cpu.weight", "59"),
            ("cpu.max", "20000 50000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "33"),
            ("memory.max", "max"),
        ] {
            assert_eq!(v2.read(file).unwrap().unwrap().trim(), value, "{file}");
        }
    }
    let warnings = cgroup.set(&json(r#"{"memory":{"kernel":1000000}}"#)).unwrap();
    assert!(warnings.first().unwrap().contains("kernel memory limit"));
}

#[test]
fn a_refusal_names_file_value_and_a_reason() {
    let Some(group) = Group::new(&[]) else { return };
    if group.cgroup().controller("cpuset").is_none() {
        println!("skipped: no cpuset controller of v1");
        return;
    }
    let error = group.cgroup().set(&json(r#"{"cpu":{"cpus":"4000"}}"#)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cpuset.cpus") && text.contains("4000") && text.contains("no such processor"),
        "{text}"
    );
}

#[test]
fn the_number_of_processes_is_bounded() {
    let Some(mut group) = Group::new(&[]) else { return };
    if group.cgroup().places().unwrap().pids == Place::Absent {
        println!("skipped: no pids controller");
        return;
    }
    group.cgroup().set(&json(r#"{"pids":{"limit":1}}"#)).unwrap();
    let status = group.shell("sleep 100 & exit 3").wait().unwrap();
    assert_ne!(status.code(), Some(3), "the shell could fork beyond the limit");
}

#[test]
fn processor_time_is_bounded() {
    let Some(mut group) = Group::new(&[]) else { return };
    if group.cgroup().places().unwrap().cpu == Place::Absent {
        println!("skipped: no cpu controller");
        return;
    }
    group.cgroup().set(&json(r#"{"cpu":{"quota":5000,"period":100000}}"#)).unwrap();
    group.shell("while :; do :; done");
    eventually("a throttled period", || group.cgroup().stats().unwrap().cpu.throttled_periods > 2);
}

#[test]
fn a_frozen_group_stands_still_and_can_be_killed() {
    let Some(mut group) = Group::new(&[]) else { return };
    group.shell("while :; do :; done");
    eventually("some processor time", || group.cgroup().stats().unwrap().cpu.total > 1_000_000);
    group.cgroup().freeze().unwrap();
    assert!(group.cgroup().is_frozen().unwrap());
    let before = group.cgroup().stats().unwrap().cpu.total;
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(group.cgroup().stats().unwrap().cpu.total, before);
    group.cgroup().thaw().unwrap();
    eventually("more processor time", || group.cgroup().stats().unwrap().cpu.total > before);
    group.cgroup().freeze().unwrap();
    group.cgroup().kill().unwrap();
    assert!(!group.children.first_mut().unwrap().wait().unwrap().success());
}

#[test]
fn the_v1_freezer_and_killing_without_cgroup_kill_work_as_well() {
    let Some(mut group) = Group::new(&[]) else { return };
    if group.cgroup().controller("freezer").is_none() {
        println!("skipped: no freezer controller of v1");
        return;
    }
    // A fork bomb of modest size: every process starts another before it ends.
    group.shell("f() { f & }; i=0; while [ $i -lt 5 ]; do f & i=$((i+1)); done; sleep 100");
    group.cgroup().set(&json(r#"{"pids":{"limit":60}}"#)).unwrap();
    let freezer = Freezer::V1(group.cgroup().controller("freezer").unwrap());
    freezer.freeze().unwrap();
    assert!(freezer.is_frozen().unwrap());
    group.cgroup().thaw_v1().unwrap();
    assert!(!freezer.is_frozen().unwrap());
    group.cgroup().kill_frozen().unwrap();
    group.children.first_mut().unwrap().wait().unwrap();
    eventually("the end of all", || group.pids().is_empty());
}

#[test]
fn memory_that_runs_out_is_noticed() {
    let Some(mut group) = Group::new(&[]) else { return };
    if group.cgroup().places().unwrap().memory == Place::Absent {
        println!("skipped: no memory controller");
        return;
    }
    group.cgroup().set(&json(r#"{"memory":{"limit":8388608,"swap":8388608}}"#)).unwrap();
    let watch = group.cgroup().oom_watch().unwrap();
    assert_eq!(watch.count().unwrap(), 0);
    let child = group.shell("exec tail /dev/zero");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    let wait = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    let fd = watch.fd();
    let mut polled = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, Some(&wait)).unwrap(), 1);
    eventually("the count", || watch.count().unwrap() == 1);
}

/// Whether a process of the group may read the device.
fn may_read(group: &mut Group, device: &str) -> bool {
    group.shell(&format!("exec head -c 1 {device} >/dev/null")).wait().unwrap().success()
}

#[test]
fn devices_are_denied_unless_a_rule_allows_them() {
    let Some(mut group) = Group::new(&docker()) else { return };
    if group.cgroup().controller("devices").is_none() && group.cgroup().v2.is_none() {
        println!("skipped: no device control");
        return;
    }
    assert!(may_read(&mut group, "/dev/zero"));
    assert!(!may_read(&mut group, "/dev/urandom"));
    let mut rules = docker();
    rules.push(rule(true, "c", Some(1), Some(9), "rwm"));
    group.cgroup().set_devices(&rules).unwrap();
    assert!(may_read(&mut group, "/dev/urandom"));
    group.cgroup().set_devices(&docker()).unwrap();
    assert!(!may_read(&mut group, "/dev/urandom"));
    assert!(may_read(&mut group, "/dev/zero"));
    group.cgroup().set_devices(&[rule(true, "a", None, None, "rwm")]).unwrap();
    assert!(may_read(&mut group, "/dev/urandom"));
}

#[test]
fn the_device_program_of_v2_is_accepted_and_replaced() {
    let Some(mut group) = Group::new(&[]) else { return };
    let Some(v2) = group.cgroup().v2.as_ref().map(|dir| dir.reopen().unwrap()) else {
        println!("skipped: no v2 hierarchy");
        return;
    };
    let access = Access::of(&docker()).unwrap();
    match device_program::replace(&v2.fd, &v2.path, &access) {
        Err(Error::Unsupported { reason, .. }) => {
            println!("skipped: {reason}");
            return;
        }
        other => other.unwrap(),
    }
    assert!(may_read(&mut group, "/dev/zero"));
    assert!(!may_read(&mut group, "/dev/urandom"));
    let mut rules = docker();
    rules.push(rule(true, "c", Some(1), Some(9), "r"));
    device_program::replace(&v2.fd, &v2.path, &Access::of(&rules).unwrap()).unwrap();
    assert_eq!(proa_sys::bpf::device_programs(v2.fd.as_fd()).unwrap().len(), 1);
    assert!(may_read(&mut group, "/dev/urandom"));
    device_program::replace(&v2.fd, &v2.path, &Access::default()).unwrap();
    assert!(proa_sys::bpf::device_programs(v2.fd.as_fd()).unwrap().is_empty());
}

#[test]
fn cgroups_made_inside_go_with_the_group_and_count_for_it() {
    let Some(mut group) = Group::new(&[]) else { return };
    let inside: Vec<_> = group.cgroup().directories().map(|d| d.path.join("inner/most")).collect();
    for path in &inside {
        std::fs::create_dir_all(path).unwrap();
    }
    let pid = group.shell("exec sleep 100").id();
    if let Some(v2) = &group.cgroup().v2 {
        v2.write("inner/most/cgroup.procs", &pid.to_string()).unwrap();
    }
    assert_eq!(group.pids(), [i32::try_from(pid).unwrap()]);
    group.cgroup().kill().unwrap();
    group.children.first_mut().unwrap().wait().unwrap();
    drop(group);
    assert!(inside.iter().all(|path| !path.exists()));
}
