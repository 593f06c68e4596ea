//! Isolation: the defaults, and known escapes as tests (docs/THREAT-MODEL.md names them).

use proa_e2e::{Ctx, Suite};

pub(crate) fn add(s: &mut Suite) {
    s.each("capabilities must be docker's fourteen, nothing inheritable", |c| {
        let sets = c.sh(&[], "grep Cap /proc/self/status");
        for (set, value) in [
            ("CapInh", "0000000000000000"),
            ("CapPrm", "00000000a80425fb"),
            ("CapEff", "00000000a80425fb"),
            ("CapBnd", "00000000a80425fb"),
            ("CapAmb", "0000000000000000"),
        ] {
            assert!(sets.contains(&format!("{set}:\t{value}")), "{set}: {sets}");
        }
    });
    s.each("--cap-drop and --cap-add must change them", |c| {
        let caps = |options: &[&str]| c.sh(options, "grep CapEff /proc/self/status");
        assert!(caps(&["--cap-drop", "ALL"]).ends_with("0000000000000000"));
        assert!(caps(&["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"]).ends_with("0000000000000400"));
        assert!(caps(&["--cap-add", "CAP_SYS_TIME"]).ends_with("00000000aa0425fb"));
        c.run_sh(&["--cap-add", "NOPE"], "true").fails(125, "capability");
    });
    s.each("a user who is not root must have no capabilities", |c| {
        assert!(c.sh(&["-u", "1000"], "grep CapEff /proc/self/status").ends_with("0000000000000000"));
    });
    s.each("--privileged must give what the daemon has", |c| {
        let host = std::fs::read_to_string("/proc/self/status").unwrap();
        let bound = host.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).expect("CapBnd").to_owned();
        assert_eq!(c.sh(&["--privileged"], "grep CapEff /proc/self/status | cut -f2"), bound);
        assert_eq!(c.sh(&["--privileged"], "mkdir /m && mount -t tmpfs none /m && echo ok"), "ok");
        assert!(c.sh(&["--privileged"], "grep Seccomp: /proc/self/status").ends_with('0'));
    });
    s.each("system calls must be filtered by default and unconfined on demand", |c| {
        assert!(c.sh(&[], "grep Seccomp: /proc/self/status").ends_with('2'));
        assert!(
            c.sh(&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status").ends_with('0')
        );
        let out = c.run_sh(&[], "unshare -U true");
        assert!(out.code != 0 && out.err().contains("not permitted"), "{}", out.err());
    });
    s.each("a profile from a file must be applied", |c| {
        let file = c.dir("profile").join("deny.json");
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
        std::fs::write(&file, profile).unwrap();
        let option = format!("seccomp={}", file.display());
        let out = c.run_sh(&["--security-opt", &option], "mkdir /x");
        assert!(out.code != 0 && out.err().contains("not permitted"), "{}", out.err());
        assert_eq!(c.sh(&["--security-opt", &option], "echo fine"), "fine");
    });
    s.each("no-new-privileges must be set when asked", |c| {
        assert!(c.sh(&[], "grep NoNewPrivs /proc/self/status").ends_with('0'));
        assert!(
            c.sh(&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status")
                .ends_with('1')
        );
    });
    s.each("sensitive files of /proc and /sys must be masked or read-only", masks);
    s.each("/proc/interrupts must be masked", |c| must_be_empty(c, "/proc/interrupts"));
    s.each("the host's descriptors must not reach the container", |c| {
        let name = c.name("c");
        c.start(&name, &[], "exec sleep 60");
        let seen = proa_e2e::command::until("the program", || {
            let text = c.run(&["exec", &name, "ls", "/proc/1/fd"]).out();
            c.run(&["exec", &name, "cat", "/proc/1/comm"]).out().contains("sleep").then_some(text)
        });
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"], "CVE-2024-21626");
    });
    s.each("a working directory in /proc/self/fd must not lead out", |c| {
        for fd in 3..12 {
            let out =
                c.run_sh(&["-w", &format!("/proc/self/fd/{fd}")], "cat ../../../../../etc/shadow; ls ..");
            assert!(!out.out().contains("root:"), "CVE-2024-21626 through {fd}: {}", out.out());
        }
    });
    s.each("the engine's program must not be writable from inside", |c| {
        let binary = proa_e2e::proa();
        let before = std::fs::metadata(&binary).map(|m| (m.len(), m.modified().ok())).unwrap();
        let name = c.name("c");
        c.start(&name, &[], "while :; do for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || { echo x > $p/exe; } 2>/dev/null; done; done");
        for _ in 0..5 {
            c.run(&["exec", &name, "/proc/self/exe", "true"]);
        }
        assert_eq!(std::fs::metadata(&binary).map(|m| (m.len(), m.modified().ok())).unwrap(), before, "CVE-2019-5736");
    });
    s.each("links in an image's /dev, /proc, /sys and /etc must not lead out", hostile_links);
    s.each("no socket of the engine may be abstract", |_| {
        let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
        assert!(
            !sockets.lines().any(|l| l
                .split_whitespace()
                .nth(7)
                .is_some_and(|p| p.starts_with('@') && p.contains("proa"))),
            "CVE-2020-15257"
        );
    });
    let lack = apparmor_is_lacking();
    s.needing(
        lack,
        "AppArmor profiles must be applied, and refused by name where they are not loaded",
        apparmor,
    );
    s.each("mounts over /proc must be refused", |c| {
        assert_ne!(c.run_sh(&["-v", "/tmp:/proc"], "true").code, 0);
        assert_ne!(c.run_sh(&["-v", "/tmp:/proc/sys"], "true").code, 0);
    });
    let stalls = proa_e2e::against_reference().then_some("dockerd 20.10 may stall for good");
    s.needing(stalls, "a user table that never ends must not stall or fill the engine", |c| {
        let tag = hostile_image(c, "mkdir -p etc; mkfifo etc/passwd; ln -s passwd etc/group");
        let out = c.run(&["run", "--rm", "-u", "someone", &tag, "/bin/sh", "-c", "true"]);
        assert_ne!(out.code, 0, "CVE-2024-9676");
    });
}

/// The profile that `cargo xtask test vm` loads: all is allowed but to read `/etc/plain`.
const PROFILE: &str = "proa-test";

fn apparmor_is_lacking() -> Option<&'static str> {
    let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        return Some("this kernel runs without AppArmor");
    }
    let missing = !loaded.contains(&format!("{PROFILE} ("));
    missing.then_some("the profile proa-test is not loaded; the machine of `cargo xtask test vm` has it")
}

fn apparmor(c: &Ctx) {
    const CURRENT: &str = "cat /proc/self/attr/current";
    let option = format!("apparmor={PROFILE}");
    let confined = format!("{PROFILE} (enforce)");
    assert_eq!(c.sh(&["--security-opt", &option], CURRENT), confined);
    let denied = c.run_sh(&["--security-opt", &option], "cat /etc/plain");
    assert!(denied.code != 0 && denied.err().contains("Permission denied"), "{}", denied.err());
    let name = c.name("c");
    c.start(&name, &["--security-opt", &option], "sleep 60");
    assert_eq!(c.ok(&["exec", &name, "sh", "-c", CURRENT]), confined);
    assert_eq!(c.inspect(&name, "{{.AppArmorProfile}}"), PROFILE);
    assert_eq!(c.sh(&["--security-opt", "apparmor=unconfined"], CURRENT), "unconfined");
    c.run_sh(&["--security-opt", "apparmor=no-such-profile"], "true")
        .fails(125, "\"no-such-profile\" is not loaded");
    if !c.reference {
        assert_eq!(c.sh(&[], CURRENT), "unconfined");
        let told = c.ok(&["info", "--format", "{{.SecurityOptions}}"]);
        assert!(told.contains("name=apparmor,profile=unconfined"), "{told}");
    }
}

/// A masked file reads as nothing.
fn must_be_empty(c: &Ctx, path: &str) {
    let script = format!("[ -e {path} ] || exit 0; head -c 1 {path} | wc -c");
    let text = c.run_sh(&[], &script).out();
    assert!(text.is_empty() || text == "0", "{path}: {text}");
}

fn masks(c: &Ctx) {
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        must_be_empty(c, path);
    }
    for path in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
        assert_eq!(c.run_sh(&[], &format!("ls {path} 2>/dev/null")).out(), "", "{path}");
    }
    for path in [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/sys/kernel/profiling",
        "/proc/irq/default_smp_affinity",
    ] {
        let out = c.run_sh(&[], &format!("[ -e {path} ] || exit 9; echo x > {path}"));
        assert_ne!(out.code, 0, "{path} could be written");
    }
    let mounts = c.sh(&[], "cat /proc/self/mountinfo");
    assert!(mounts.lines().any(|l| l.contains(" /sys ") && l.contains(" ro,")), "{mounts}");
}

fn hostile_links(c: &Ctx) {
    let canary = c.dir("canary");
    std::fs::write(canary.join("resolv.conf"), "host").unwrap();
    let to = canary.display();
    let tag = hostile_image(
        c,
        &format!(
            "mkdir -p etc; for d in dev proc sys; do rm -rf $d; ln -s {to} $d; done; for f in resolv.conf hosts hostname; do ln -sf {to}/$f etc/$f; done"
        ),
    );
    let _ = c.run(&["run", "--rm", &tag, "/bin/sh", "-c", "true"]);
    let names: Vec<_> = std::fs::read_dir(&canary).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["resolv.conf"], "CVE-2026-41579");
    assert_eq!(std::fs::read_to_string(canary.join("resolv.conf")).unwrap(), "host");
}

/// An image of a busybox shell and what `script` does in its root directory.
pub(super) fn hostile_image(c: &Ctx, script: &str) -> String {
    let (dir, tag) = (c.dir("hostile"), c.name("image"));
    let all = format!(
        "set -e; cd '{}'; rm -rf root; mkdir -p root/bin; cp /bin/busybox root/bin/sh; cd root; {script}; tar -cf ../h.tar .",
        dir.display()
    );
    let out = std::process::Command::new("sh").args(["-c", &all]).output().expect("sh");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    c.ok(&["import", &dir.join("h.tar").to_string_lossy(), &tag]);
    tag
}
