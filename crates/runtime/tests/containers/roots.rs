//! The root filesystem and what is mounted in it.

use crate::Test;
use crate::world::{World, mount, spec};
use proa_oci::runtime::Device;
use proa_runtime::{Overlay, Rootfs};
use std::path::Path;

pub(crate) const TESTS: &[Test] = &[
    ("an_overlay_keeps_changes_above", an_overlay_keeps_changes_above),
    ("binds_and_filesystems_have_their_options", binds_and_filesystems_have_their_options),
    ("nothing_is_mounted_over_proc_or_behind_its_link", nothing_is_mounted_over_proc_or_behind_its_link),
    ("destinations_are_made_inside_the_root_only", destinations_are_made_inside_the_root_only),
    ("devices_are_made_and_guarded", devices_are_made_and_guarded),
    ("parameters_of_the_namespaces_are_set", parameters_of_the_namespaces_are_set),
    ("the_host_sees_none_of_it", the_host_sees_none_of_it),
];

fn an_overlay_keeps_changes_above() {
    let world = World::new("overlay");
    for directory in ["upper", "work", "a:b,c"] {
        std::fs::create_dir_all(world.dir.join(directory)).unwrap();
    }
    std::fs::write(world.dir.join("a:b,c/top"), "top").unwrap();
    for volatile in [false, true] {
        let overlay = Overlay {
            lower: vec![world.dir.join("a:b,c"), world.root()],
            upper: world.dir.join("upper"),
            work: world.dir.join("work"),
            volatile,
        };
        let spec = spec("cat /top; echo new > /file; rm /etc/passwd");
        let sandbox = world.prepare(&spec);
        let running = world.start_in(sandbox, &spec, |request| request.rootfs = Rootfs::Overlay(overlay));
        let (text, _) = running.unwrap().finish();
        assert!(text.starts_with("top"), "{text}");
        assert_eq!(std::fs::read_to_string(world.dir.join("upper/file")).unwrap(), "new\n");
        assert!(world.root().join("etc/passwd").exists());
    }
}

fn binds_and_filesystems_have_their_options() {
    let world = World::new("mounts");
    let data = world.dir.join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("file"), "host").unwrap();
    std::fs::write(world.root().join("etc/seed"), "seed").unwrap();
    let mut spec = spec(
        "cat /data/file /one; echo x > /data/x; echo x > /rw/x; cat /etc/seed; touch /etc/y; \
        grep -E ' (/data|/rw|/one|/small|/etc) ' /proc/self/mountinfo",
    );
    spec.root.as_mut().unwrap().readonly = true;
    spec.mounts.extend([
        mount("/data", "bind", &data, "rbind,ro,nosuid,rprivate"),
        mount("/rw", "bind", &data, "rbind,noexec"),
        mount("/one", "bind", &data.join("file"), "bind,rro"),
        mount("/small", "tmpfs", Path::new("tmpfs"), "size=64k,mode=700,nodev"),
        mount("/etc", "tmpfs", Path::new("tmpfs"), "tmpcopyup"),
    ]);
    for target in ["data", "rw", "small"] {
        std::fs::create_dir_all(world.root().join(target)).unwrap();
    }
    std::fs::write(world.root().join("one"), "").unwrap();
    let (text, _) = world.run(&spec);
    assert!(text.starts_with("hosthost"), "{text}");
    assert!(!data.join("x").exists() || text.contains("seed"), "{text}");
    let line =
        |at: &str| text.lines().find(|line| line.contains(&format!(" {at} "))).unwrap_or_default().to_owned();
    assert!(line("/data").contains("ro,nosuid") && !line("/data").contains("shared"), "{text}");
    assert!(line("/rw").contains("rw,noexec") && data.join("x").exists(), "{text}");
    assert!(line("/one").contains(" ro,"), "{text}");
    assert!(line("/small").contains("nodev") && line("/small").contains("mode=700"), "{text}");
    assert!(text.contains("seed") && !world.root().join("etc/y").exists(), "{text}");
}

fn nothing_is_mounted_over_proc_or_behind_its_link() {
    let world = World::new("proc");
    for destination in ["/proc/sys/kernel", "/proc/self/attr", "/proc", "/proc/1", "/tmp/../proc/x"] {
        let mut spec = spec("true");
        spec.mounts.push(mount(destination, "bind", &world.dir, "rbind"));
        let error = world.start(&spec).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("/proc"), "{destination}: {error}");
    }
    let mut link = spec("true");
    link.mounts.push(mount("/tmp/link/sys", "bind", &world.dir, "rbind"));
    std::os::unix::fs::symlink("/proc", world.root().join("tmp/link")).unwrap();
    assert!(world.start(&link).is_err(), "a link to /proc is /proc");
    std::fs::remove_dir(world.root().join("proc")).unwrap();
    std::os::unix::fs::symlink("/tmp", world.root().join("proc")).unwrap();
    let error = world.start(&spec("true")).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("ordinary directory"), "{error}");
}

fn destinations_are_made_inside_the_root_only() {
    let world = World::new("inside");
    let host = world.dir.join("host");
    std::fs::create_dir_all(&host).unwrap();
    std::os::unix::fs::symlink(&host, world.root().join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../../..", world.root().join("up")).unwrap();
    let up = format!("/up{}/made", host.display());
    for destination in ["/absolute/made", up.as_str(), "/../../made"] {
        let mut spec = spec("true");
        spec.mounts.push(mount(destination, "bind", &world.root().join("tmp"), "rbind"));
        let _ = world.start(&spec).map(crate::world::Running::finish);
        assert_eq!(std::fs::read_dir(&host).unwrap().count(), 0, "{destination}");
    }
}

fn devices_are_made_and_guarded() {
    let world = World::new("devices");
    let mut spec =
        spec("ls -ln /dev/my /dev/null; echo x > /dev/my; busybox mknod /tmp/mem c 1 1 && cat /tmp/mem");
    spec.linux.devices = vec![Device {
        path: "/dev/my".into(),
        kind: "c".into(),
        major: 1,
        minor: 3,
        file_mode: Some(0o640),
        uid: Some(7),
        gid: Some(8),
    }];
    let (text, code) = world.run(&spec);
    assert!(text.contains("crw-r-----    1 7        8           1,   3"), "{text}");
    assert!(text.contains("crw-rw-rw-    1 0        0           1,   3"), "{text}");
    assert!(code != 0 && text.contains("not permitted"), "memory cannot be opened: {text}");
}

fn parameters_of_the_namespaces_are_set() {
    let world = World::new("sysctl");
    let mut spec =
        spec("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/kernel/hostname");
    spec.linux.sysctl.insert("net.ipv4.ip_forward".into(), "1".into());
    spec.linux.sysctl.insert("kernel.msgmax".into(), "4321".into());
    assert_eq!(world.run(&spec).0, "1\n4321\nbox\n");
    spec.linux.sysctl.insert("vm.swappiness".into(), "1".into());
    assert!(world.start(&spec).is_err());
    spec.linux.sysctl.clear();
    spec.linux.namespaces.retain(|namespace| namespace.kind != "uts");
    let before = rustix::system::uname().nodename().to_owned();
    assert!(world.start(&spec).is_err(), "the name would be the host's");
    assert_eq!(rustix::system::uname().nodename(), before.as_c_str());
    spec.hostname.clear();
    spec.process.as_mut().unwrap().args = vec!["true".into()];
    let sandbox = world.prepare(&spec);
    let running = world.start_in(sandbox, &spec, |request| request.pivot = false).unwrap();
    assert_eq!(running.finish().1, 0);
}

fn the_host_sees_none_of_it() {
    let world = World::new("host");
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let running = world.start(&spec("sleep 60")).unwrap();
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    drop(running);
}
