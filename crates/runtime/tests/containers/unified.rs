//! What only a host with nothing but cgroup v2 has.

use crate::Test;
use crate::world::{World, process, spec};
use proa_sys::process::{Clone3, Cloned, clone3, exit};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub(crate) const TESTS: &[Test] = &[
    ("a_child_can_be_born_in_a_cgroup", a_child_can_be_born_in_a_cgroup),
    ("the_processes_of_a_container_are_in_its_cgroup", the_processes_of_a_container_are_in_its_cgroup),
    ("a_container_sees_its_cgroup_as_the_root", a_container_sees_its_cgroup_as_the_root),
];

/// Whether v2 alone is mounted; says so if not.
fn unified() -> bool {
    let there = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !there {
        println!("skipped: this host has hierarchies of cgroup v1");
    }
    there
}

/// A v2 cgroup of this test, removed at its end.
struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn a_child_can_be_born_in_a_cgroup() {
    if !unified() {
        return;
    }
    let name = format!("proa-t-{}-born", std::process::id());
    let group = Group(Path::new("/sys/fs/cgroup").join(&name));
    std::fs::create_dir(&group.0).unwrap();
    let directory = std::fs::File::open(&group.0).unwrap();
    match clone3(&Clone3 { cgroup: Some(directory.as_fd()), ..Clone3::default() }).unwrap() {
        Cloned::Child => {
            // Its first look: nobody has had the time, or a reason, to move it.
            let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            exit(i32::from(own != format!("0::/{name}\n")));
        }
        Cloned::Parent { pidfd, .. } => assert_eq!(crate::world::wait(pidfd.as_fd()), 0),
    }
}

fn the_processes_of_a_container_are_in_its_cgroup() {
    if !unified() {
        return;
    }
    let world = World::new("born");
    let spec = spec("sleep 60");
    let running = world.start(&spec).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", running.container().pid())).unwrap();
    assert!(own.starts_with("0::/proa-t-"), "{own}");
    let path = Path::new("/sys/fs/cgroup").join(own.trim().trim_start_matches("0::/"));
    let inside = || std::fs::read_to_string(path.join("cgroup.procs")).unwrap().lines().count();
    assert_eq!(inside(), 1, "init, and no process of ours beside it");
    let (text, code) = running.exec(&process(&spec, "cat /proc/self/cgroup")).unwrap();
    assert_eq!((text.as_str(), code), ("0::/\n", 0));
}

fn a_container_sees_its_cgroup_as_the_root() {
    if !unified() {
        return;
    }
    let world = World::new("root");
    let script = "cat /proc/self/cgroup; grep cgroup2 /proc/self/mountinfo; cat /sys/fs/cgroup/cgroup.procs";
    let (text, code) = world.run(&spec(script));
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("0::/\n"), "{text}");
    assert!(text.contains(" / /sys/fs/cgroup ro,"), "{text}");
    // All that is seen is this container's own.
    assert!(text.lines().skip(2).all(|pid| pid.parse::<u32>().is_ok_and(|pid| pid < 100)), "{text}");
}
