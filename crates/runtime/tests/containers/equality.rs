//! A sandbox prepared long ago, one prepared a moment ago, and a process started later: all confined alike.

use crate::Test;
use crate::world::{Running, World, process, spec};
use rustix::process::Pid;
use std::time::Duration;

pub(crate) const TESTS: &[Test] = &[
    ("warm_and_cold_containers_are_the_same", warm_and_cold_containers_are_the_same),
    (
        "capabilities_are_dockers_and_nothing_is_inheritable",
        capabilities_are_dockers_and_nothing_is_inheritable,
    ),
    ("an_exec_is_confined_as_the_first_process", an_exec_is_confined_as_the_first_process),
    ("masked_paths_are_empty_and_read_only_ones_stay", masked_paths_are_empty_and_read_only_ones_stay),
    ("a_specification_for_another_sandbox_is_refused", a_specification_for_another_sandbox_is_refused),
];

/// Everything the kernel says about a process' confinement.
const LOOK: &str = "grep -vE '^(Vm|Rss|Hugetlb|voluntary|nonvoluntary|Cpus|Mems|Threads|SigQ|THP|Pid|Tgid|PPid|NSpid|NStgid|NSsid|NSpgid|untag|x86|Core|Ngid)' /proc/self/status
    cut -d' ' -f4- /proc/self/mountinfo | sort
    cat /proc/self/limits /proc/self/oom_score_adj /proc/self/cgroup
    for fd in 0 1 2 3 4 5 6 7 8 9 10; do [ -e /proc/1/fd/$fd ] && echo fd $fd; done
    ls -l /dev | grep -v total; cat /proc/1/sessionid; cat /proc/mounts | wc -l; id; umask 2>&1; cat /proc/sys/kernel/hostname";

fn pid_of(running: &Running) -> Pid {
    Pid::from_raw(running.container().pid()).unwrap()
}

fn warm_and_cold_containers_are_the_same() {
    let world = World::new("equal");
    let spec = spec(LOOK);
    let warm = world.prepare(&spec);
    std::thread::sleep(Duration::from_millis(400));
    let (warm, code) = world.start_in(warm, &spec, |_| {}).unwrap().finish();
    let (cold, _) = world.run(&spec);
    assert_eq!(code, 0, "{warm}");
    // Times of device nodes and numbers of cgroups differ from run to run only.
    let plain = |text: &str| -> Vec<String> {
        let digits = |word: &str| word.contains(':') && word.len() == 5;
        text.lines()
            .map(|line| line.split(' ').filter(|word| !digits(word)).collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(plain(&warm), plain(&cold));
    assert!(warm.contains("fd 2") && !warm.contains("fd 3"), "descriptors of the runtime stay open: {warm}");
}

fn capabilities_are_dockers_and_nothing_is_inheritable() {
    let world = World::new("caps");
    let mut spec = spec("");
    // Without a shell, which ignores signals of its own.
    spec.process.as_mut().unwrap().args = vec!["cat".into(), "/proc/self/status".into()];
    let (text, _) = world.run(&spec);
    let host = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = host.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let expected = 0xa804_25fb & u64::from_str_radix(bounding, 16).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(text.contains(&format!("{set}:\t{expected:016x}")), "{text}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t{:016x}", 0)), "{text}");
    }
    assert!(text.contains("Seccomp:\t2"), "{text}");
    assert!(text.contains(&format!("SigIgn:\t{:016x}", 0)), "{text}");
}

fn an_exec_is_confined_as_the_first_process() {
    let world = World::new("exec");
    let mut spec = spec("sleep 60");
    let running = world.start(&spec).unwrap();
    let namespaces = |pid: &str| {
        ["mnt", "net", "uts", "ipc", "pid", "cgroup", "user"]
            .map(|ns| std::fs::read_link(format!("/proc/{pid}/ns/{ns}")).unwrap())
    };
    assert_ne!(namespaces(&pid_of(&running).as_raw_pid().to_string())[0], namespaces("self")[0]);
    let script =
        "grep -E '^(Cap|Seccomp|NoNew|Uid|Gid|Groups)' /proc/$P/status; cat /proc/$P/cgroup /proc/$P/limits
        for ns in mnt net uts ipc pid cgroup user; do readlink /proc/$P/ns/$ns; done";
    let (exec, code) = running.exec(&process(&spec, &format!("P=self; {script}"))).unwrap();
    let (init, _) = running.exec(&process(&spec, &format!("P=1; {script}"))).unwrap();
    assert_eq!(code, 0);
    // The process it looks at is the shell's child for one and init for the other.
    assert_eq!(exec, init);
    spec.process.as_mut().unwrap().args = vec!["nope".into()];
    let error = running.exec(spec.process.as_ref().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), r#"exec: "nope": executable file not found in $PATH"#);
    assert_eq!(running.container().pids().unwrap(), [running.container().pid()]);
}

fn masked_paths_are_empty_and_read_only_ones_stay() {
    let world = World::new("masks");
    let script = "cat /proc/keys /proc/timer_list; ls /sys/firmware /proc/acpi | grep -v :; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/x; do echo 1 > $f && echo wrote $f; done; \
        mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; echo end";
    let (text, _) = world.run(&spec(script));
    let lines: Vec<&str> =
        text.lines().filter(|l| !l.trim().is_empty() && !l.contains("can't create")).collect();
    assert_eq!(lines, ["end"], "{text}");
}

fn a_specification_for_another_sandbox_is_refused() {
    let world = World::new("other");
    let sandbox = world.prepare(&spec("true"));
    let mut other = spec("true");
    other.linux.masked_paths.clear();
    assert!(world.start_in(sandbox, &other, |_| {}).is_err());
}
