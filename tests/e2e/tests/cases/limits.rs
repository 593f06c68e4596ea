//! Resource limits: what the kernel was told, and that it holds.

use proa_e2e::{Ctx, Suite};
use std::path::PathBuf;

pub(crate) fn add(s: &mut Suite) {
    s.each("--memory must limit and the kill must be told", |c| {
        let name = c.name("c");
        let hog = "x=a; while :; do x=$x$x; done";
        let out =
            c.run(&["run", "--name", &name, "-m", "32m", "--memory-swap", "32m", "busybox", "sh", "-c", hog]);
        assert_eq!(out.code, 137, "{}", out.err());
        assert_eq!(c.inspect(&name, "{{.State.OOMKilled}}"), "true");
    });
    s.each("--memory, --memory-swap and --memory-reservation must reach the kernel", |c| {
        let name = c.name("c");
        c.start(&name, &["-m", "64m", "--memory-swap", "128m", "--memory-reservation", "32m"], "sleep 60");
        if v1() {
            assert_eq!(read(c, &name, "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
            assert_eq!(read(c, &name, "memory", "memory.memsw.limit_in_bytes"), (128 << 20).to_string());
            assert_eq!(read(c, &name, "memory", "memory.soft_limit_in_bytes"), (32 << 20).to_string());
        } else {
            assert_eq!(read(c, &name, "", "memory.max"), (64 << 20).to_string());
            assert_eq!(read(c, &name, "", "memory.swap.max"), (64 << 20).to_string());
        }
    });
    s.each("--cpus, --cpu-shares and --cpuset-cpus must reach the kernel", |c| {
        let name = c.name("c");
        c.start(&name, &["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0"], "sleep 60");
        if v1() {
            assert_eq!(read(c, &name, "cpu", "cpu.cfs_quota_us"), "50000");
            assert_eq!(read(c, &name, "cpu", "cpu.shares"), "512");
            assert_eq!(read(c, &name, "cpuset", "cpuset.cpus"), "0");
        } else {
            assert_eq!(read(c, &name, "", "cpu.max"), "50000 100000");
            assert_eq!(read(c, &name, "", "cpuset.cpus"), "0");
        }
    });
    s.each("--cpu-period, --cpu-quota and --cpuset-mems must reach the kernel", |c| {
        let name = c.name("c");
        let options = ["--cpu-period", "50000", "--cpu-quota", "20000", "--cpuset-mems", "0"];
        c.start(&name, &options, "sleep 60");
        if v1() {
            assert_eq!(read(c, &name, "cpu", "cpu.cfs_period_us"), "50000");
            assert_eq!(read(c, &name, "cpu", "cpu.cfs_quota_us"), "20000");
            assert_eq!(read(c, &name, "cpuset", "cpuset.mems"), "0");
        } else {
            assert_eq!(read(c, &name, "", "cpu.max"), "20000 50000");
            assert_eq!(read(c, &name, "", "cpuset.mems"), "0");
        }
    });
    s.each("--device-read-bps and both limits of operations must reach the kernel", |c| {
        let (name, disk) = (c.name("c"), disk());
        let (bytes, reads, writes) = (format!("{disk}:2mb"), format!("{disk}:100"), format!("{disk}:50"));
        let options =
            ["--device-read-bps", &bytes, "--device-read-iops", &reads, "--device-write-iops", &writes];
        c.start(&name, &options, "sleep 60");
        if v1() {
            let rule = |file| read(c, &name, "blkio", file);
            assert!(rule("blkio.throttle.read_bps_device").ends_with(" 2097152"));
            assert!(rule("blkio.throttle.read_iops_device").ends_with(" 100"));
            assert!(rule("blkio.throttle.write_iops_device").ends_with(" 50"));
        } else {
            let rules = read(c, &name, "", "io.max");
            assert!(rules.contains("rbps=2097152") && rules.contains("riops=100 wiops=50"), "{rules}");
        }
    });
    s.each("--pids-limit must hold", |c| {
        let name = c.name("c");
        c.start(&name, &["--pids-limit", "10"], "sleep 60");
        let script = "for i in $(seq 30); do sleep 5 & done; wait";
        let out = c.run(&["exec", &name, "timeout", "10", "sh", "-c", script]);
        let said = format!("{}{}", out.out(), out.err());
        assert!(said.contains("can't fork") || said.contains("esource temporarily unavailable"), "{said}");
    });
    s.each(
        "the cgroup namespace must be the container's own by default on cgroup v2, and the host's on v1",
        |c| {
            let (default, other) = if v1() { ("host", "private") } else { ("private", "host") };
            let name = c.name("c");
            c.start(&name, &[], "sleep 60");
            assert_eq!(c.inspect(&name, "{{.HostConfig.CgroupnsMode}}"), default);
            let host = std::fs::read_link("/proc/self/ns/cgroup").unwrap().display().to_string();
            let show = "readlink /proc/self/ns/cgroup";
            assert_eq!(c.sh(&[], show) == host, v1());
            assert_eq!(c.sh(&["--cgroupns", other], show) == host, !v1());
            if !v1() {
                assert_eq!(c.sh(&[], "cat /proc/self/cgroup"), "0::/");
            }
        },
    );
    s.each("--device-write-bps and --blkio-weight must be accepted or warned about", |c| {
        let name = c.name("c");
        let disk = disk();
        let option = format!("{disk}:1mb");
        let out = c.run(&[
            "run",
            "-d",
            "--name",
            &name,
            "--device-write-bps",
            &option,
            "--blkio-weight",
            "300",
            "busybox",
            "sleep",
            "60",
        ]);
        out.ok();
        if v1() {
            let rules = read(c, &name, "blkio", "blkio.throttle.write_bps_device");
            assert!(rules.ends_with("1048576"), "{rules}");
        } else {
            let rules = read(c, &name, "", "io.max");
            assert!(rules.contains("wbps=1048576"), "{rules}");
        }
    });
    s.each("limits that are too small must be refused", |c| {
        c.run_sh(&["-m", "1m"], "true").fails(125, "minimum memory limit");
        c.run_sh(&["--cpus", "9999"], "true").fails(125, "range of cpus");
        c.run_sh(&["-m", "64m", "--memory-swap", "32m"], "true").fails(125, "memoryswap");
    });
    s.each("--device-cgroup-rule and the default devices must hold", |c| {
        let made = c.run_sh(&[], "mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk");
        assert!(
            made.err().contains("Operation not permitted") || made.err().contains("Permission denied"),
            "{}",
            made.err()
        );
        assert_eq!(c.sh(&[], "head -c 2 /dev/zero | wc -c; echo x > /dev/null"), "2");
    });
}

pub(super) fn v1() -> bool {
    std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
}

/// A file of the container's cgroup, as the host sees it.
pub(super) fn read(c: &Ctx, name: &str, controller: &str, file: &str) -> String {
    let pid = c.inspect(name, "{{.State.Pid}}");
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let line = text.lines().find(|line| match controller {
        "" => line.starts_with("0::"),
        _ => line.split(':').nth(1).is_some_and(|list| list.split(',').any(|one| one == controller)),
    });
    let path = line.and_then(|line| line.splitn(3, ':').nth(2)).unwrap_or_else(|| panic!("{text}"));
    let file = PathBuf::from("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')).join(file);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned()
}

/// The disk that holds the root filesystem, or the first there is.
fn disk() -> String {
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<_> = disks.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_by_key(|name| !name.starts_with(['v', 's', 'n']));
    let name = names.into_iter().next();
    format!("/dev/{}", name.expect("a disk"))
}
