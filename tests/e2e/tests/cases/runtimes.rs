//! Other runtimes: programs with the OCI command line, registered by name.

use proa_e2e::command::until;
use proa_e2e::daemon::{Daemon, mounted_below};
use proa_e2e::{Client, Ctx, Suite};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Debian's programs.
const PROGRAMS: [&str; 2] = ["/usr/sbin/runc", "/usr/bin/crun"];
const RUNC: usize = 0;
const CRUN: usize = 1;
/// A trial of each program.
type Each = [fn(); 2];

pub(crate) fn add(s: &mut Suite) {
    let tests: [(&str, Each); 5] = [
        (
            "another runtime must run containers: output, exit code, terminal, exec, stop, kill",
            [runs::<RUNC>, runs::<CRUN>],
        ),
        (
            "another runtime must get ports, limits and the system-call filter",
            [has_surroundings::<RUNC>, has_surroundings::<CRUN>],
        ),
        ("another runtime's refusals must be told in docker's words", [refuses::<RUNC>, refuses::<CRUN>]),
        ("another runtime's container must outlive a killed daemon", [survives::<RUNC>, survives::<CRUN>]),
        ("the default runtime must be the one that was chosen", [is_chosen::<RUNC>, is_chosen::<CRUN>]),
    ];
    for (name, each) in tests {
        for (program, test) in PROGRAMS.into_iter().zip(each) {
            let name = format!("{name}: {}", program.rsplit('/').next().unwrap_or(program));
            if proa_e2e::against_reference() {
                s.skipped(&name, "it is about Proa's own way to other runtimes");
            } else if !Path::new(program).exists() {
                s.skipped(&name, &format!("{program} is not installed"));
            } else if program == PROGRAMS[CRUN] && mixed_cgroups() {
                s.skipped(&name, "crun runs nothing where cgroups of v1 and v2 both have controllers");
            } else {
                s.alone(&name, test);
            }
        }
    }
}

/// Whether this host has cgroups of v1, and controllers in v2 beside.
fn mixed_cgroups() -> bool {
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/unified/cgroup.controllers");
    controllers.is_ok_and(|text| !text.trim().is_empty())
}

const BY_OTHER: [&str; 2] = ["--runtime", "other"];

fn daemon<const PROGRAM: usize>(name: &str, extra: &[&str]) -> (Daemon, Ctx) {
    let other = format!("other={}", PROGRAMS[PROGRAM]);
    let extra = [&["--add-runtime", &other], extra].concat();
    let daemon = Daemon::start_proa(&format!("runtime{PROGRAM}-{name}"), &extra);
    daemon.load_busybox();
    let ctx = Ctx::new(&Client::all()[0], &daemon);
    (daemon, ctx)
}

/// After every container is removed, nothing is left of it: no monitor, no mount, no cgroup.
fn nothing_left(daemon: &Daemon, cgroups: &[PathBuf]) {
    until("monitors of foreign containers are gone", || {
        let shims = std::fs::read_dir(daemon.dir.join("exec/shims")).ok();
        let foreign = shims?.flatten().filter(|shim| shim.path().join("runtime").exists()).count();
        (foreign == 0).then_some(())
    });
    assert_eq!(mounted_below(&daemon.dir.join("exec")), Vec::<String>::new());
    for cgroup in cgroups {
        assert!(!cgroup.exists(), "{}", cgroup.display());
    }
}

/// The directory of a container's memory cgroup.
fn cgroup(c: &Ctx, name: &str) -> PathBuf {
    let pid = c.inspect(name, "{{.State.Pid}}");
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |kind: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (kinds, path) = rest.split_once(':')?;
            kinds.split(',').any(|one| one == kind).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    match of("memory") {
        Some(path) => Path::new("/sys/fs/cgroup/memory").join(path),
        None => Path::new("/sys/fs/cgroup").join(of("").expect(&text)),
    }
}

fn runs<const PROGRAM: usize>() {
    let (daemon, c) = daemon::<PROGRAM>("runs", &[]);
    let out = c.run_sh(&BY_OTHER, "echo out; echo err >&2; exit 7");
    assert_eq!((out.code, out.out(), out.err().trim()), (7, "out".into(), "err"), "{}", out.line);
    let fed = c.feed(&["run", "-i", "--rm", "--runtime", "other", "busybox", "cat"], b"typed\n");
    assert_eq!(fed.ok(), "typed");
    let args = ["run", "-t", "--rm", "--runtime", "other", "busybox", "sh", "-c", "tty; exit 3"];
    let out = c.on_terminal(&args, b"");
    assert!(out.code == 3 && out.out().contains("/dev/pts/0"), "{} {}", out.code, out.out());

    c.start("long", &BY_OTHER, "trap 'echo bye; exit 9' TERM; while :; do sleep 0.1; done");
    assert_eq!(c.inspect("long", "{{.HostConfig.Runtime}} {{.State.Running}}"), "other true");
    let out = c.run(&["exec", "long", "sh", "-c", "echo in; cat /proc/1/cmdline >/dev/null; exit 5"]);
    assert_eq!((out.code, out.out()), (5, "in".into()), "{}", out.err());
    let out = c.on_terminal(&["exec", "-t", "long", "tty"], b"");
    assert!(out.ok().contains("/dev/pts/"), "{}", out.out());
    c.run(&["exec", "long", "nope"]).fails(127, "not found in $PATH");
    c.ok(&["pause", "long"]);
    assert_eq!(c.inspect("long", "{{.State.Status}}"), "paused");
    c.ok(&["unpause", "long"]);
    assert!(c.ok(&["top", "long"]).contains("sleep"), "top");
    c.ok(&["stop", "long"]);
    assert_eq!(c.inspect("long", "{{.State.ExitCode}}"), "9");
    assert!(c.ok(&["logs", "long"]).ends_with("bye"));
    c.ok(&["start", "long"]);
    c.ok(&["kill", "long"]);
    assert_eq!(c.ok(&["wait", "long"]), "137");
    c.ok(&["start", "long"]);
    let cgroup = cgroup(&c, "long");
    assert!(cgroup.is_dir(), "{}", cgroup.display());
    c.ok(&["rm", "-f", "long"]);
    nothing_left(&daemon, &[cgroup]);
}

fn has_surroundings<const PROGRAM: usize>() {
    let (daemon, c) = daemon::<PROGRAM>("has", &[]);
    let serve = "while :; do echo served | nc -l -p 80; done";
    let options = ["--runtime", "other", "-p", "127.0.0.1::80", "-m", "64m", "--tmpfs", "/scratch"];
    c.start("web", &[&options[..], &["-v", "kept:/kept"]].concat(), serve);
    let address = c.ok(&["port", "web", "80"]);
    until("the published port answers", || {
        let mut text = String::new();
        let mut stream = std::net::TcpStream::connect(&address).ok()?;
        stream.write_all(b"\n").ok()?;
        stream.read_to_string(&mut text).ok()?;
        (text == "served\n").then_some(())
    });
    for pid in ["1", "self"] {
        let score = c.ok(&["exec", "web", "cat", &format!("/proc/{pid}/oom_score_adj")]);
        assert_eq!(score, "0", "the monitor's protection is not the container's ({pid})");
    }
    let cgroup = cgroup(&c, "web");
    let limit = |cgroup: &Path| {
        let file = ["memory.limit_in_bytes", "memory.max"].map(|file| cgroup.join(file));
        let text = file.iter().find_map(|file| std::fs::read_to_string(file).ok()).expect("limit");
        text.trim().parse::<u64>().expect("limit")
    };
    assert_eq!(limit(&cgroup), 64 << 20);
    let body = format!("{{\"Memory\":{},\"MemorySwap\":-1}}", 96 << 20);
    let updated = daemon.request_with("POST", "/containers/web/update", &body).expect("an answer");
    if !updated.starts_with("HTTP/1.1 501") {
        assert_eq!(limit(&cgroup), 96 << 20, "{updated}");
    }
    let status = c.ok(&["exec", "web", "grep", "Seccomp:", "/proc/1/status"]);
    assert!(status.ends_with('2'), "{status}");
    c.ok(&["exec", "web", "sh", "-c", "echo x > /kept/file && echo y > /scratch/file && hostname -i"]);
    c.ok(&["rm", "-f", "web"]);
    assert_eq!(c.sh(&["-v", "kept:/kept"], "cat /kept/file"), "x");
    let hog = "x=a; while :; do x=$x$x; done";
    let options = ["run", "--name", "hog", "--runtime", "other", "-m", "32m", "--memory-swap", "32m"];
    assert_eq!(c.run(&[&options[..], &["busybox", "sh", "-c", hog]].concat()).code, 137);
    assert_eq!(c.inspect("hog", "{{.State.OOMKilled}}"), "true");
    c.ok(&["rm", "-v", "hog"]);
    nothing_left(&daemon, &[cgroup]);
}

fn refuses<const PROGRAM: usize>() {
    let (daemon, c) = daemon::<PROGRAM>("refuses", &["--add-runtime", "absent=/nope/runtime"]);
    c.run(&["run", "--runtime", "x", "busybox", "true"]).fails(125, "unknown or invalid runtime name: x");
    let run = |words: &[&str]| c.run(&[&["run", "--rm", "--runtime", "other", "busybox"], words].concat());
    run(&["nope"]).fails(127, "not found in $PATH");
    run(&["/etc"]).fails(126, "/etc");
    c.run(&["run", "--rm", "--runtime", "absent", "busybox", "true"]).fails(127, "/nope/runtime");
    c.run(&["run", "--rm", "--init", "--runtime", "other", "busybox", "true"]).fails(125, "--init");
    for own in ["runc", "io.containerd.runc.v2", "proa"] {
        assert_eq!(c.sh(&["--runtime", own], "echo own"), "own");
    }
    assert_eq!(c.ok(&["ps", "-aq"]), "");
    nothing_left(&daemon, &[]);
}

fn survives<const PROGRAM: usize>() {
    let (mut daemon, c) = daemon::<PROGRAM>("survives", &[]);
    c.start("kept", &BY_OTHER, "trap 'echo went; exit 4' USR1; while :; do sleep 0.1; done");
    let pid = c.inspect("kept", "{{.State.Pid}}");
    daemon.kill();
    daemon.run();
    assert_eq!(c.inspect("kept", "{{.State.Pid}} {{.State.Running}}"), format!("{pid} true"));
    assert_eq!(c.ok(&["exec", "kept", "echo", "here"]), "here");
    c.ok(&["kill", "-s", "USR1", "kept"]);
    assert_eq!(c.ok(&["wait", "kept"]), "4");
    assert_eq!(c.ok(&["logs", "kept"]), "went");
    c.ok(&["rm", "kept"]);
    nothing_left(&daemon, &[]);
}

fn is_chosen<const PROGRAM: usize>() {
    let (daemon, c) = daemon::<PROGRAM>("chosen", &["--default-runtime", "other"]);
    c.start("it", &[], "sleep 60");
    assert_eq!(c.inspect("it", "{{.HostConfig.Runtime}}"), "other");
    assert_eq!(c.ok(&["info", "--format", "{{.DefaultRuntime}}"]), "other");
    c.ok(&["rm", "-f", "it"]);
    nothing_left(&daemon, &[]);
}
