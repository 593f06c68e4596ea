//! The command line, as containerd, conmon and people call it; and the reference runtime beside it where there is one.

use crate::Test;
use crate::world::World;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const TESTS: &[Test] = &[
    ("a_container_goes_through_its_commands", a_container_goes_through_its_commands),
    ("failures_are_in_the_log_and_leave_nothing", failures_are_in_the_log_and_leave_nothing),
    ("a_bundle_is_the_same_under_the_reference_runtime", a_bundle_is_the_same_under_the_reference_runtime),
];

/// A bundle and a state directory; containers left in it are deleted.
struct Bundle {
    world: World,
    config: Value,
}

impl Bundle {
    fn new(name: &str, script: &str) -> Self {
        let world = World::new(name);
        let mut bundle = Self { world, config: Value::Null };
        assert!(bundle.run(&["spec", "-b", "."]).status.success());
        let text = std::fs::read(bundle.world.dir.join("config.json")).unwrap();
        bundle.config = serde_json::from_slice(&text).unwrap();
        bundle.config["process"]["terminal"] = false.into();
        bundle.config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        bundle.write();
        bundle
    }

    fn write(&self) {
        std::fs::write(self.world.dir.join("config.json"), self.config.to_string()).unwrap();
    }

    fn state(&self) -> PathBuf {
        self.world.dir.join("state")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("runtime").arg("--root").arg(self.state()).args(args);
        command.current_dir(&self.world.dir).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that leaves a process with its streams, which therefore are no pipes.
    fn leave(&self, args: &[&str]) -> bool {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    fn status(&self) -> String {
        let state: Value = serde_json::from_slice(&self.run(&["state", &id()]).stdout).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.run(&["delete", "--force", &id()]);
    }
}

fn id() -> String {
    format!("t-{}", std::process::id())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn a_container_goes_through_its_commands() {
    let bundle = Bundle::new("commands", "sleep 60");
    let id = id();
    assert!(bundle.leave(&["create", "--pid-file", "pid", &id]));
    assert_eq!(bundle.status(), "created");
    assert!(!bundle.leave(&["create", &id]), "the id is taken");
    assert!(bundle.leave(&["start", &id]));
    assert!(!bundle.leave(&["start", &id]), "it runs already");
    assert_eq!(bundle.status(), "running");
    let exec = bundle.run(&[
        "exec",
        "-e",
        "A=b",
        "-u",
        "1:2",
        "--cwd",
        "/tmp",
        &id,
        "sh",
        "-c",
        "echo $A; id -u; pwd; exit 7",
    ]);
    assert_eq!((text(&exec.stdout).as_str(), exec.status.code()), ("b\n1\n/tmp\n", Some(7)));
    assert_eq!(bundle.run(&["exec", &id, "nope"]).status.code(), Some(127));
    let pid = std::fs::read_to_string(bundle.world.dir.join("pid")).unwrap();
    assert_eq!(text(&bundle.run(&["ps", "-f", "json", &id]).stdout).trim(), format!("[{pid}]"));
    assert!(bundle.leave(&["pause", &id]));
    assert_eq!(bundle.status(), "paused");
    assert!(bundle.leave(&["resume", &id]));
    assert!(bundle.leave(&["update", "--memory", "64m", &id]));
    assert!(!bundle.leave(&["delete", &id]), "it runs");
    assert!(bundle.leave(&["kill", &id, "KILL"]));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while bundle.status() != "stopped" {
        assert!(std::time::Instant::now() < end, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(!bundle.leave(&["kill", &id, "TERM"]));
    assert!(bundle.leave(&["delete", &id]));
    assert!(!bundle.leave(&["state", &id]));
    assert_eq!(std::fs::read_dir(bundle.state()).unwrap().count(), 0);
}

fn failures_are_in_the_log_and_leave_nothing() {
    let mut bundle = Bundle::new("failures", "true");
    bundle.config["process"]["args"] = serde_json::json!(["nope"]);
    bundle.write();
    let id = id();
    let output = bundle.run(&["--log", "log", "--log-format", "json", "create", &id]);
    assert_eq!(output.status.code(), Some(127), "{}", text(&output.stderr));
    let log = std::fs::read_to_string(bundle.world.dir.join("log")).unwrap();
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["time"].is_string());
    assert!(
        line["msg"].as_str().unwrap().ends_with(r#"exec: "nope": executable file not found in $PATH"#),
        "{line}"
    );
    assert_eq!(std::fs::read_dir(bundle.state()).unwrap().count(), 0);
    for words in
        [&["nonsense"][..], &["create", "--nope", "x"], &["create"], &["state", "../x"], &["create", "a/b"]]
    {
        let output = bundle.run(words);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{words:?}");
    }
}

fn a_bundle_is_the_same_under_the_reference_runtime() {
    let Some(runc) = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists())
    else {
        println!("skipped: no runc here");
        return;
    };
    let script = "grep -E '^(Cap|NoNew|Seccomp|Uid|Gid|Groups|SigBlk)' /proc/self/status; umask; env; pwd; hostname
        cat /proc/self/limits /proc/self/oom_score_adj; ls -ln /dev | cut -c1-50 | sort
        cut -d' ' -f5,6 /proc/self/mountinfo | sort; for fd in 3 4 5 6 7 8; do [ -e /proc/1/fd/$fd ] && echo $fd; done; true";
    let bundle = Bundle::new("reference", script);
    let ours = bundle.run(&["run", &id()]);
    let theirs = Command::new(runc)
        .args(["--root"])
        .arg(bundle.state().join("runc"))
        .args(["run", &id()])
        .current_dir(&bundle.world.dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(theirs.status.success(), "{}", text(&theirs.stderr));
    // Masks and cgroups are mounted with fewer rights here; that they are there is compared.
    let plain = |output: &Output| -> Vec<String> {
        let stricter = ["/proc/acpi", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/sys/fs/cgroup "];
        let place = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let masked = |line: &str| stricter.iter().any(|path| line.starts_with(path));
        text(&output.stdout)
            .lines()
            // The device that masks a file is mounted as the host's or as the container's /dev says of access times.
            .map(
                |line| {
                    if line.starts_with("/proc/kcore ") { line.replace(",relatime", "") } else { line.into() }
                },
            )
            .map(|line: String| if masked(&line) { place(&line) } else { line })
            .collect()
    };
    assert_eq!(plain(&ours), plain(&theirs), "{}", text(&ours.stderr));
}
