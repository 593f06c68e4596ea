//! Obligations of a daemon that is killed: with `kill -9`, at steps of its own choosing, at random moments.

// A list of obligations is as long as it is, and an unwrap that fails is a test that fails.
#![allow(clippy::too_many_lines, clippy::unwrap_used)]

use proa_crash::Chance;
use proa_e2e::command::until;
use proa_e2e::{Daemon, Suite};
use std::time::Duration;

fn main() {
    let mut suite = Suite::default();
    suite.alone("a running container must run on and be found again", runs_on);
    suite.alone("an exit while the daemon is down must be known afterwards", exit_meanwhile);
    suite.alone("no line of the log may be lost", logs_complete);
    suite.alone("a published port must be served while the daemon is down", port_served);
    suite.alone("--rm must remove a container that ended while the daemon was down", removed_meanwhile);
    suite.alone("restart policies must be applied after a restart", policy_after_restart);
    suite.alone("killed at every named step, nothing half-made may show", failpoints);
    suite.alone("killed at random moments, nothing may be lost or leak", random_kills);
    suite.alone("containers that come and go must leave nothing behind", loops);
    suite.alone("a clean shutdown must stop containers and leave nothing running", clean_shutdown);
    suite.alone("with live-restore a shutdown must leave containers running", live_restore);
    suite.run()
}

fn daemon(name: &str, extra: &[&str]) -> Daemon {
    let daemon = Daemon::start_proa(name, extra);
    daemon.load_busybox();
    daemon
}

fn restart(daemon: &mut Daemon) {
    daemon.kill();
    daemon.run();
}

fn field(daemon: &Daemon, name: &str, template: &str) -> String {
    daemon.docker(&["inspect", "-f", template, name]).ok()
}

fn runs_on() {
    let mut daemon = daemon("runs-on", &[]);
    daemon.docker(&["run", "-d", "--name", "web", "busybox", "sleep", "600"]).ok();
    let pid = field(&daemon, "web", "{{.State.Pid}}");
    restart(&mut daemon);
    assert_eq!(field(&daemon, "web", "{{.State.Running}} {{.State.Pid}}"), format!("true {pid}"));
    assert_eq!(daemon.docker(&["exec", "web", "echo", "alive"]).ok(), "alive");
    daemon.docker(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(field(&daemon, "web", "{{.State.Status}}"), "exited");
    daemon.docker(&["start", "web"]).ok();
    daemon.docker(&["rm", "-f", "web"]).ok();
}

fn exit_meanwhile() {
    let mut daemon = daemon("exit", &[]);
    daemon.docker(&["run", "-d", "--name", "job", "busybox", "sh", "-c", "sleep 1; exit 42"]).ok();
    let pid = field(&daemon, "job", "{{.State.Pid}}");
    daemon.kill();
    until("the job ends", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    daemon.run();
    assert_eq!(field(&daemon, "job", "{{.State.Status}} {{.State.ExitCode}}"), "exited 42");
    assert_eq!(daemon.docker(&["wait", "job"]).ok(), "42");
}

fn logs_complete() {
    let mut daemon = daemon("logs", &[]);
    let script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.01; done";
    daemon.docker(&["run", "-d", "--name", "talker", "busybox", "sh", "-c", script]).ok();
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    std::thread::sleep(Duration::from_secs(2));
    daemon.run();
    assert_eq!(daemon.docker(&["wait", "talker"]).ok(), "0");
    let text = daemon.docker(&["logs", "talker"]).ok();
    let wanted: Vec<String> = (0..400).map(|n| format!("line {n}")).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
}

fn port_served() {
    let mut daemon = daemon("port", &[]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = "while :; do echo hello | nc -l -p 80; done";
    daemon
        .docker(&["run", "-d", "--name", "web", "-p", &format!("{port}:80"), "busybox", "sh", "-c", script])
        .ok();
    let greeted = || {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (text == "hello\n").then_some(())
    };
    until("a greeting", greeted);
    daemon.kill();
    until("a greeting while the daemon is down", greeted);
    daemon.run();
    until("a greeting after the restart", greeted);
    let second = daemon.docker(&["run", "-d", "-p", &format!("{port}:80"), "busybox", "sleep", "9"]);
    second.fails(125, "port is already allocated");
    daemon.docker(&["rm", "-f", "web"]).ok();
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_ok(), "the port is free after removal");
}

fn removed_meanwhile() {
    let mut daemon = daemon("rm", &[]);
    daemon.docker(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1"]).ok();
    daemon.kill();
    std::thread::sleep(Duration::from_millis(1500));
    daemon.run();
    until("it is removed", || (daemon.docker(&["inspect", "brief"]).code == 1).then_some(()));
    daemon.docker(&["run", "--rm", "--name", "brief", "busybox", "true"]).ok();
}

fn policy_after_restart() {
    let mut daemon = daemon("policy", &[]);
    daemon.docker(&["run", "-d", "--restart", "always", "--name", "up", "busybox", "sleep", "600"]).ok();
    let pid: u32 = field(&daemon, "up", "{{.State.Pid}}").parse().unwrap();
    daemon.kill();
    proa_e2e::daemon::signal(pid, rustix::process::Signal::KILL);
    daemon.run();
    until("it runs again", || (field(&daemon, "up", "{{.State.Running}}") == "true").then_some(()));
    daemon.docker(&["rm", "-f", "up"]).ok();
}

/// Every step at which the engine can be told to die (`PROA_FAILPOINT`). The daemon prints them itself.
fn failpoints() {
    let out = std::process::Command::new(proa_e2e::proa()).args(["daemon", "--failpoints"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let names: Vec<&str> = text.split_whitespace().collect();
    assert!(names.len() >= 8, "the daemon names its failpoints: {text}");
    for name in names {
        let mut daemon = daemon(&format!("fail-{}", name.replace(['.', ':'], "-")), &[]);
        daemon.docker(&["run", "-d", "--name", "other", "busybox", "sleep", "600"]).ok();
        daemon.kill();
        daemon.set_env(&[("PROA_FAILPOINT", name)]);
        daemon.spawn();
        exercise(&daemon);
        // What is done behind a reply may pass it a moment later.
        until(&format!("something passes {name}"), || daemon.died().then_some(()));
        daemon.kill();
        daemon.set_env(&[]);
        daemon.run();
        consistent(&daemon, name);
        assert_eq!(field(&daemon, "other", "{{.State.Running}}"), "true", "after {name}");
        daemon.docker(&["run", "--name", "again", "busybox", "true"]).ok();
        daemon.docker(&["rm", "-f", "again"]).ok();
        nothing_more(&daemon, name);
        daemon.docker(&["rm", "-f", "other"]).ok();
    }
}

/// Uses everything once; the daemon dies somewhere in it, so nothing is expected of the answers.
fn exercise(daemon: &Daemon) {
    until("it answers or dies", || (daemon.answers() || daemon.died()).then_some(()));
    let file = daemon.dir.join("file");
    std::fs::write(&file, "copied").unwrap();
    let (archive, tree) = (daemon.dir.join("image.tar"), daemon.dir.join("tree.tgz"));
    let packed = std::process::Command::new("tar")
        .arg("-C")
        .arg(&daemon.dir)
        .arg("-czf")
        .arg(&tree)
        .arg("file")
        .status();
    assert!(packed.is_ok_and(|status| status.success()), "tar packs a file");
    let [file, archive, tree] = [file, archive, tree].map(|path| path.display().to_string());
    for args in [
        // Filled with what the image has there.
        &["run", "-d", "--name", "victim", "-v", "victim-data:/etc", "busybox", "sleep", "600"][..],
        &["exec", "victim", "true"],
        &["update", "-m", "64m", "--memory-swap", "64m", "victim"],
        &["pause", "victim"],
        &["unpause", "victim"],
        &["commit", "victim", "victim-image"],
        &["cp", &file, "victim:/tmp/file"],
        &["rename", "victim", "renamed"],
        &["rename", "renamed", "victim"],
        &["restart", "-t", "0", "victim"],
        &["kill", "victim"],
        &["start", "victim"],
        &["stop", "-t", "0", "victim"],
        &["rm", "victim"],
        &["run", "-d", "--rm", "--name", "victim", "busybox", "sleep", "600"],
        &["restart", "-t", "0", "victim"],
        &["rm", "-f", "victim"],
        &["run", "--rm", "busybox", "true"],
        &["volume", "create", "victim-volume"],
        &["volume", "rm", "victim-volume"],
        &["save", "-o", &archive, "victim-image"],
        &["rmi", "victim-image"],
        &["load", "-i", &archive],
        &["rmi", "victim-image"],
        &["import", &tree, "victim-tree"],
        &["rmi", "victim-tree"],
    ] {
        if daemon.died() {
            return;
        }
        let _ = daemon.docker(args);
    }
}

/// What is listed can be inspected, removed and made again; nothing is half-made.
fn consistent(daemon: &Daemon, after: &str) {
    // What removes itself, or is about to run again, may take a moment.
    let settled = || {
        let listed = daemon.docker(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
        // Only who asked for it finds it paused.
        let lasts = |state: &str| {
            ["created", "running", "exited"].contains(&state) || (state, after) == ("paused", "pause.frozen")
        };
        let known = |line: &str| line.split_once(' ').is_some_and(|(_, state)| lasts(state));
        listed.lines().all(known).then_some(listed)
    };
    for line in until(&format!("after {after} every container is in a state that lasts"), settled).lines() {
        let (name, state) = line.split_once(' ').unwrap_or((line, ""));
        assert_eq!(field(daemon, name, "{{.State.Status}}"), state, "after {after}: {name}");
        if state == "running" {
            daemon.docker(&["exec", name, "true"]).ok();
            limits_agree(daemon, name, after);
        }
        if name != "other" {
            daemon.docker(&["rm", "-f", name]).ok();
        }
    }
    let _ = daemon.docker(&["rmi", "victim-tree"]);
    for id in daemon.docker(&["images", "-aq"]).ok().lines() {
        daemon.docker(&["run", "--rm", id, "true"]).ok();
    }
    for volume in daemon.docker(&["volume", "ls", "-q"]).ok().lines() {
        // Filled whole, or not at all.
        let mount = format!("{volume}:/etc");
        daemon.docker(&["run", "--rm", "-v", &mount, "busybox", "cat", "/etc/passwd"]).ok();
        daemon.docker(&["volume", "rm", volume]).ok();
    }
    let _ = daemon.docker(&["rmi", "victim-image"]);
    daemon.docker(&["run", "--rm", "--name", "victim", "busybox", "true"]).ok();
}

/// The kernel holds a container to what is said of it, also if an update was cut short.
fn limits_agree(daemon: &Daemon, name: &str, after: &str) {
    let said = field(daemon, name, "{{.HostConfig.Memory}}");
    let kernel =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true";
    let held = daemon.docker(&["exec", name, "sh", "-c", kernel]).ok();
    assert!(said == "0" || held.lines().next() == Some(&*said), "after {after}: {name}: {said}, but {held}");
}

/// On disk there is only what the one container and the one image need.
fn nothing_more(daemon: &Daemon, after: &str) {
    let data = daemon.dir.join("data");
    let entries = |dir: &str| -> Vec<String> {
        let entries = std::fs::read_dir(data.join(dir)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let id = field(daemon, "other", "{{.Id}}");
    until(&format!("after {after} nothing more is on disk"), || {
        let containers = entries("containers");
        let snapshots = entries("snapshots/overlay");
        // Those made ahead are nobody's.
        let alone =
            |name: &String| name.starts_with("c-") && !name.starts_with("c-ready-") && !name.contains(&id);
        let clean = containers.iter().all(|name| *name == id || name.starts_with("ready-"))
            && !snapshots.iter().any(alone)
            && entries("volumes").is_empty()
            && entries("content/ingest").is_empty();
        clean.then_some(())
    });
}

fn random_kills() {
    let mut chance = Chance::seeded();
    let mut daemon = daemon("random", &[]);
    // It says a number every now and then, all the time.
    let count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done";
    daemon.docker(&["run", "-d", "--name", "other", "busybox", "sh", "-c", count]).ok();
    let kills = std::env::var("PROA_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for round in 0..kills {
        let host = daemon.host();
        let worker = std::thread::spawn(move || churn(&host, round));
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        daemon.kill();
        let _ = worker.join();
        daemon.run();
    }
    consistent(&daemon, "random kills");
    let _ = daemon.docker(&["rmi", "random-image"]);
    nothing_more(&daemon, "random kills");
    assert_eq!(field(&daemon, "other", "{{.State.Running}}"), "true");
    let left = daemon.docker(&["ps", "-aq"]).ok();
    assert_eq!(left.lines().count(), 1, "{left}");
    daemon.docker(&["stop", "-t", "0", "other"]).ok();
    let said = daemon.docker(&["logs", "other"]).ok();
    let lost = said.lines().enumerate().find(|(number, line)| *line != number.to_string());
    assert!(lost.is_none() && said.lines().count() > 50, "a line is missing: {lost:?}");
    daemon.docker(&["rm", "-f", "other"]).ok();
}

/// Starts, uses and removes containers until the daemon is gone.
fn churn(host: &str, round: u64) {
    let docker = |args: &[&str]| {
        let mut command = std::process::Command::new(proa_e2e::proa());
        command.args(args).env("DOCKER_HOST", host).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    for number in 0..20 {
        let name = format!("r{round}-{number}");
        if !docker(&["run", "-d", "--name", &name, "-v", "/data", "busybox", "sleep", "600"]) {
            return;
        }
        let between: &[&[&str]] = match (round + number) % 6 {
            0 => &[&["exec", &name, "true"]],
            1 => &[&["restart", "-t", "0", &name]],
            2 => &[&["commit", &name, "random-image"], &["rmi", "random-image"]],
            3 => &[&["cp", "/etc/hostname", &format!("{name}:/tmp")]],
            4 => &[&["update", "-m", "64m", "--memory-swap", "64m", &name], &["stop", "-t", "0", &name]],
            _ => &[&["run", "--rm", "busybox", "true"], &["kill", &name]],
        };
        if !between.iter().all(|args| docker(args)) || !docker(&["rm", "-fv", &name]) {
            return;
        }
    }
}

/// Created, started, waited for and removed, four at a time, and once more each of what else makes something.
fn loops() {
    let daemon = daemon("loops", &[]);
    let loops = std::env::var("PROA_LOOPS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    // What is made once is made before.
    come_and_go(&daemon, 200);
    let (before, kernel) = (settled(&daemon), proa_e2e::leak::Holdings::now());
    come_and_go(&daemon, loops);
    until(&format!("after {loops} containers the engine holds what it held before ({before:?})"), || {
        let now = Held::of(&daemon);
        let grown = now.kib.saturating_sub(before.kib);
        // Buffers and tables keep the size of the busiest moment.
        (now.descriptors <= before.descriptors + 4 && now.threads <= before.threads + 4 && grown < 16 << 10)
            .then_some(())
    });
    // Sandboxes that are kept ready have other names each time, but are not more.
    let mut more = kernel.now_more();
    until("the kernel holds what it held before", || {
        more = kernel.now_more();
        (more <= 0).then_some(())
    });
}

/// What an engine's process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    kib: u64,
}

impl Held {
    fn of(daemon: &Daemon) -> Self {
        let proc = std::path::PathBuf::from(format!("/proc/{}", daemon.pid().unwrap()));
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        Self {
            descriptors: std::fs::read_dir(proc.join("fd")).unwrap().count(),
            threads: usize::try_from(field("Threads:")).unwrap(),
            kib: field("VmRSS:"),
        }
    }
}

/// What it holds once that does not change any more.
fn settled(daemon: &Daemon) -> Held {
    let mut last = Held::of(daemon);
    until("the engine comes to rest", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = Held::of(daemon);
        let rests = now.descriptors == last.descriptors && now.threads == last.threads;
        last = now;
        rests.then_some(now)
    })
}

fn come_and_go(daemon: &Daemon, loops: usize) {
    let begun = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < loops {
            let body = r#"{"Image":"busybox","Cmd":["true"],"Volumes":{"/data":{}}}"#;
            let made = daemon.request_with("POST", "/containers/create", body).unwrap();
            let id = made
                .split("\"Id\":\"")
                .nth(1)
                .unwrap_or_else(|| panic!("{made}"))
                .get(..64)
                .unwrap()
                .to_owned();
            for (method, rest, status) in [
                ("POST", "/start", "204"),
                ("POST", "/wait", "200"),
                ("GET", "/logs?stdout=1", "200"),
                ("GET", "/archive?path=/etc/passwd", "200"),
                ("DELETE", "?v=1", "204"),
            ] {
                let answer = daemon.request(method, &format!("/containers/{id}{rest}")).unwrap();
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {rest}: {answer}");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
}

fn clean_shutdown() {
    let mut daemon = daemon("clean", &["--shutdown-timeout", "2"]);
    daemon.docker(&["run", "-d", "--name", "web", "busybox", "sleep", "600"]).ok();
    let pid = field(&daemon, "web", "{{.State.Pid}}");
    daemon.stop();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the container was stopped");
    assert!(!daemon.socket().exists(), "the socket is gone");
    daemon.run();
    assert_eq!(field(&daemon, "web", "{{.State.Status}}"), "exited");
    daemon.docker(&["start", "web"]).ok();
    daemon.docker(&["rm", "-f", "web"]).ok();
}

fn live_restore() {
    let mut daemon = daemon("live", &["--live-restore"]);
    daemon.docker(&["run", "-d", "--name", "web", "busybox", "sleep", "600"]).ok();
    let pid = field(&daemon, "web", "{{.State.Pid}}");
    daemon.stop();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "the container runs on");
    daemon.run();
    assert_eq!(field(&daemon, "web", "{{.State.Running}} {{.State.Pid}}"), format!("true {pid}"));
    daemon.docker(&["rm", "-f", "web"]).ok();
}
