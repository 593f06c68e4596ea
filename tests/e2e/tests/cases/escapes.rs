//! Known escapes from containers, each by its number; docs/THREAT-MODEL.md names them all.

use super::security::hostile_image;
use proa_e2e::command::until;
use proa_e2e::{Client, Ctx, Daemon, Suite};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) fn add(s: &mut Suite) {
    let no_compiler = std::process::Command::new("cc").arg("--version").output().is_err();
    let lack = no_compiler.then_some("there is no C compiler to make a hostile library with");
    s.needing(lack, "cp must not load a library of the container (CVE-2019-14271)", libraries);
    s.each("cp must not run a program of the container (CVE-2026-41567)", unpackers);
    s.ours("cp must not follow a mount point that is swapped (CVE-2026-42306, CVE-2026-41568)", mount_points);
    s.each("no working directory of exec must lead out (CVE-2024-21626)", working_directories);
    s.each("masks must hold whatever an image has as /dev/null (CVE-2025-31133)", null_devices);
    s.each("a terminal must hold whatever an image has as /dev/console (CVE-2025-52565)", consoles);
    s.each("nothing must be mounted into /proc by volume, image or tmpfs (CVE-2025-52881)", proc_mounts);
    s.each(
        "every form of a user must be that user or be refused (CVE-2026-30892, CVE-2024-40635)",
        user_forms,
    );
    s.ours("user tables of any size must not fill the engine (CVE-2026-47262)", huge_tables);
    s.each("exec must inherit no capability (CVE-2022-24769, CVE-2022-29162)", exec_capabilities);
    s.each("the primary group must be among all groups (CVE-2022-36109)", groups);
    s.each(
        "labels and annotations must give no device and run nothing (CVE-2026-53492, -53488)",
        annotations,
    );
    s.each(
        "a network without IPv6 must have none and take no advertisement (CVE-2024-32473, CVE-2020-13401)",
        no_ipv6,
    );
    s.each(
        "side channels of /proc and /sys must be masked (GHSA-jq35-85cj-fj4p, GHSA-6fw5-f8r9-fgfm)",
        side_channels,
    );
    s.each("the kernel's keyrings and the host's devices must be out of reach", out_of_reach);
    s.alone("others on the host must not reach files of images and containers (CVE-2021-41091)", data_root);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

/// Whether the canary directory is as empty as it was.
fn untouched(canary: &Path, what: &str) {
    let found: Vec<_> = std::fs::read_dir(canary).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(found.is_empty(), "{what}: {found:?}");
}

fn libraries(c: &Ctx) {
    let (dir, canary) = (c.dir("library"), c.dir("canary"));
    let source = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void hit(void) {{ open(\"{}/loaded\", O_CREAT | O_WRONLY, 0600); open(\"/loaded\", O_CREAT | O_WRONLY, 0600); }}\n",
        text(&canary)
    );
    std::fs::write(dir.join("hit.c"), source).unwrap();
    let library = dir.join("hit.so");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-nostartfiles", "-o", text(&library), text(&dir.join("hit.c"))])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let from = text(&library);
    let script = format!(
        "for d in lib lib64 usr/lib lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu; do mkdir -p $d; for l in libnss_files.so.2 libnss_dns.so.2 libnss_compat.so.2 libc.so.6 libresolv.so.2; do cp {from} $d/$l; done; done; \
         mkdir -p etc; echo 'passwd: files compat' > etc/nsswitch.conf; echo /lib/libnss_files.so.2 > etc/ld.so.preload; echo data > file"
    );
    let (tag, name) = (hostile_image(c, &script), c.name("c"));
    c.ok(&["run", "-d", "--name", &name, &tag, "/bin/sh", "-c", "while :; do read x < /file; done"]);
    std::fs::write(dir.join("in"), "in").unwrap();
    for _ in 0..3 {
        c.ok(&["cp", text(&dir.join("in")), &format!("{name}:/in")]);
        c.ok(&["cp", &format!("{name}:/file"), text(&dir.join("out"))]);
        c.ok(&["cp", "-a", text(&dir.join("in")), &format!("{name}:/in2")]);
    }
    untouched(&canary, "a library of the container was loaded");
    assert_ne!(c.run(&["cp", &format!("{name}:/loaded"), text(&dir.join("loaded"))]).code, 0);
}

fn unpackers(c: &Ctx) {
    let (dir, canary, name) = (c.dir("archives"), c.dir("canary"), c.name("c"));
    let program = format!("#!/bin/sh\\necho hit > {}/ran\\necho hit > /ran\\n", text(&canary));
    let plant = format!(
        "for d in bin usr/bin usr/local/bin sbin usr/sbin; do mkdir -p /$d; for p in xz unxz xzcat unpigz pigz gzip gunzip zstd unzstd bzip2 bunzip2 tar git; do rm -f /$d/$p; printf '{program}' > /$d/$p; chmod 755 /$d/$p; done; done; sleep 600"
    );
    c.start(&name, &[], &plant);
    until("the programs", || {
        (c.run(&["exec", &name, "test", "-x", "/usr/sbin/git"]).code == 0).then_some(())
    });
    std::fs::write(dir.join("file"), "content").unwrap();
    for (end, with) in [("gz", "gzip -c"), ("bz2", "bzip2 -c"), ("xz", "xz -c"), ("zst", "zstd -c")] {
        let archive = dir.join(format!("x.tar.{end}"));
        let make = format!("tar -C '{}' -c file | {with} > '{}'", text(&dir), text(&archive));
        let made = std::process::Command::new("sh").args(["-c", &make]).output().unwrap();
        let bytes = std::fs::read(&archive).unwrap_or_default();
        if made.status.success() && !bytes.is_empty() {
            // Unpacked in the engine, or refused; never by a program.
            c.feed(&["cp", "-", &format!("{name}:/tmp")], &bytes);
        }
    }
    untouched(&canary, "a program of the container was run on the host");
    assert_ne!(c.run(&["exec", &name, "test", "-e", "/ran"]).code, 0, "a program of the container was run");
}

fn mount_points(c: &Ctx) {
    let (dir, canary, name) = (c.dir("cp"), c.dir("canary"), c.name("c"));
    // The directories on the way to a volume and to a bind are links to the host's directory in turn.
    let script = format!(
        "mkdir -p {canary}; ln -s {canary} /link; while :; do mv /v /old; mv /link /v; mv /v /link; mv /old /v; done",
        canary = text(&canary)
    );
    let (volume, bind) = (format!("{}:/v/data", c.name("v")), format!("{}:/v/bind", text(&c.dir("bind"))));
    c.start(&name, &["-v", &volume, "-v", &bind], &script);
    std::fs::create_dir_all(dir.join("tree/data")).unwrap();
    std::fs::write(dir.join("tree/data/planted"), "planted").unwrap();
    for _ in 0..40 {
        // They may fail, the container sees to that.
        c.run(&["cp", &format!("{}/.", text(&dir.join("tree"))), &format!("{name}:/v")]);
        c.run(&["cp", text(&dir.join("tree/data/planted")), &format!("{name}:/v/data/x")]);
        c.run(&["cp", &format!("{name}:/v/bind"), "-"]);
    }
    untouched(&canary, "made on the host");
}

fn working_directories(c: &Ctx) {
    let name = c.name("c");
    c.start(&name, &[], "sleep 600");
    for fd in 3..33 {
        for form in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/../../../..")] {
            let script = "cat ./etc/shadow ../../../../../etc/shadow 2>/dev/null; ls -id /; ls -id .";
            let out = c.run(&["exec", "-w", &form, &name, "sh", "-c", script]);
            assert!(!out.out().contains("root:"), "{form}: {}", out.out());
            assert!(out.code != 0 || !out.out().contains("shadow"), "{form}: {}", out.out());
        }
    }
}

fn null_devices(c: &Ctx) {
    for (what, script) in [
        (
            "a link",
            "mkdir -p dev; ln -s /proc/sys/kernel/core_pattern dev/null; ln -s /proc/sysrq-trigger dev/zero",
        ),
        ("a file", "mkdir -p dev; echo planted > dev/null"),
        ("a directory", "mkdir -p dev/null"),
    ] {
        let tag = hostile_image(c, script);
        let show = "read x < /proc/timer_list; echo \"=$x\"; read y < /proc/keys; echo \"=$y\"; [ -c /dev/null ] && echo device";
        let out = c.run(&["run", "--rm", &tag, "/bin/sh", "-c", show]).out();
        // Shown as nothing, or not at all.
        assert!(!out.contains("planted") && out.contains("device"), "{what}: {out}");
        assert!(out.lines().filter(|line| line.starts_with('=')).all(|line| line == "="), "{what}: {out}");
        c.run(&["rmi", "-f", &tag]);
    }
}

fn consoles(c: &Ctx) {
    let canary = c.dir("canary");
    let to = text(&canary);
    let tag = hostile_image(
        c,
        &format!(
            "mkdir -p dev/pts; ln -s {to}/console dev/console; ln -s {to}/pts dev/pts/0; ln -s {to}/ptmx dev/ptmx; ln -s {to}/tty dev/tty"
        ),
    );
    let show = "[ -c /dev/console ] && [ ! -L /dev/console ] && [ -c /dev/pts/0 ] && echo held";
    let out = c.on_terminal(&["run", "--rm", "-t", &tag, "/bin/sh", "-c", show], b"");
    assert!(out.out().contains("held"), "{}", out.out());
    untouched(&canary, "made on the host");
}

fn proc_mounts(c: &Ctx) {
    let (volume, dir) = (c.name("v"), c.dir("bind"));
    for place in
        ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys", "/proc/sys/kernel", "/proc/1", "/proc/net"]
    {
        let (named, bound) = (format!("{volume}:{place}"), format!("{}:{place}", text(&dir)));
        for options in [["-v", named.as_str()], ["-v", bound.as_str()], ["--tmpfs", place]] {
            let out = c.run_sh(&options, "echo started");
            assert!(out.code != 0 && !out.out().contains("started"), "{options:?}: {}", out.out());
        }
    }
    let link = hostile_image(c, "mkdir -p data; ln -s /proc/self/attr data/link; ln -s /proc data/proc");
    for place in ["/data/link", "/data/proc", "/data/proc/sys"] {
        let out = c.run(&[
            "run",
            "--rm",
            "-v",
            &format!("{volume}:{place}"),
            &link,
            "/bin/sh",
            "-c",
            "echo started",
        ]);
        assert!(out.code != 0, "through a link of the image: {place}");
    }
}

fn user_forms(c: &Ctx) {
    let table = "mkdir -p etc; echo 'root:x:0:0::/:' > etc/passwd; echo '1000:x:0:0::/:' >> etc/passwd; echo 'named:x:1234:1235::/:' >> etc/passwd; echo 'grp:x:77:' > etc/group; echo '5:x:0:' >> etc/group";
    let (tag, name) = (hostile_image(c, table), c.name("c"));
    c.ok(&["run", "-d", "--name", &name, &tag, "/bin/sh", "-c", "sleep 600"]);
    let show = "while read k v rest; do case $k in Uid:|Gid:) echo $v;; esac; done < /proc/self/status";
    let seen = |out: proa_e2e::command::Output| (out.code == 0).then(|| out.out().replace('\n', ":"));
    for (form, wanted) in [
        ("0", Some("0:0")),
        ("00", Some("0:0")),
        ("1000", Some("1000:0")),
        ("1000:", Some("1000:0")),
        (":5", Some("0:5")),
        ("7:5", Some("7:5")),
        ("named", Some("1234:1235")),
        ("named:grp", Some("1234:77")),
        ("1234", Some("1234:1235")),
        ("2147483647", Some("2147483647:0")),
        ("2147483648", None),
        ("4294967295", None),
        ("4294967296", None),
        ("-1", None),
        ("1000000000000", None),
        ("99999999999999999999", None),
        ("0:4294967295", None),
        ("0:-1", None),
        ("nobody-here", None),
        ("named:no-such-group", None),
    ] {
        let wanted = wanted.map(str::to_owned);
        let run = c.run(&["run", "--rm", &format!("--user={form}"), &tag, "/bin/sh", "-c", show]);
        assert_eq!(seen(run), wanted, "run -u {form}");
        let exec = c.run(&["exec", &format!("--user={form}"), &name, "/bin/sh", "-c", show]);
        assert_eq!(seen(exec), wanted, "exec -u {form}");
    }
}

/// Most memory that the daemon of these trials ever had, in KiB.
fn resident(daemon_dir: &Path) -> u64 {
    let pid = std::fs::read_to_string(daemon_dir.join("pid")).unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn huge_tables(c: &Ctx) {
    let name = c.name("c");
    let long = "echo 'root:x:0:0::/:/bin/sh' > /etc/passwd; truncate -s 2G /etc/passwd; truncate -s 2G /etc/group; sleep 600";
    c.start(&name, &[], long);
    let large = ["exec", &name, "sh", "-c", "[ $(stat -c %s /etc/group) = 2147483648 ]"];
    until("the tables", || (c.run(&large).code == 0).then_some(()));
    let before = resident(&c.dir);
    for user in ["root", "someone", "1000", "0:group"] {
        c.run(&["exec", "-u", user, &name, "true"]);
    }
    let after = resident(&c.dir);
    assert!(after < before + (32 << 10), "from {before} to {after} KiB");
    assert_eq!(c.ok(&["exec", "-u", "0:0", &name, "echo", "still"]), "still");
}

fn exec_capabilities(c: &Ctx) {
    let name = c.name("c");
    c.start(&name, &[], "sleep 600");
    for options in [&[][..], &["-u", "1000"], &["--privileged"]] {
        let command = [&["exec"], options, &[name.as_str(), "grep", "Cap", "/proc/self/status"]].concat();
        let sets = c.ok(&command);
        for set in ["CapInh", "CapAmb"] {
            assert!(sets.contains(&format!("{set}:\t0000000000000000")), "{options:?}: {sets}");
        }
    }
}

fn groups(c: &Ctx) {
    assert_eq!(c.sh(&["-u", "1000:2000"], "id -G"), "2000");
    let of = c.sh(&["-u", "1000:2000", "--group-add", "3000"], "grep Groups /proc/self/status");
    assert!(of.contains("2000") && of.contains("3000"), "{of}");
}

fn annotations(c: &Ctx) {
    let canary = c.dir("canary");
    let run = format!("/bin/sh -c 'echo hit > {}/ran'", text(&canary));
    let label = |key: &str, value: &str| format!("{key}={value}");
    let options = [
        label("cdi.k8s.io/vendor", "vendor.com/device=one"),
        label("io.containers.capabilities", "CAP_SYS_ADMIN"),
        label("run.oci.hooks.stdout", text(&canary.join("hook"))),
        label("containerd.io/restart.loguri", &format!("binary:///bin/sh?-c={run}")),
        label("io.containerd.runc.v2.group", &run),
        label("org.opencontainers.image.exec", &run),
    ];
    let flags: Vec<&str> = options.iter().flat_map(|option| ["--label", option.as_str()]).collect();
    let seen = c.sh(&flags, "grep CapEff /proc/self/status; env | grep -c DEVICE; ls /dev/vendor 2>&1; true");
    assert!(seen.contains("00000000a80425fb") && seen.contains("\n0\n"), "{seen}");
    untouched(&canary, "a label was obeyed");
}

fn no_ipv6(c: &Ctx) {
    let script = "cat /proc/net/if_inet6 2>/dev/null | grep -v ' lo$'; cat /proc/sys/net/ipv6/conf/eth0/accept_ra 2>/dev/null; true";
    let seen = c.sh(&[], script);
    let lines: Vec<&str> = seen.lines().collect();
    let addresses = lines.iter().filter(|line| line.ends_with("eth0")).count();
    assert_eq!(addresses, 0, "{seen}");
    // Switched off as a whole, or deaf.
    let off = c.sh(&[], "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6 2>/dev/null || echo 1");
    let deaf = lines.last().is_none_or(|last| *last == "0");
    assert!(off == "1" || deaf, "{off} {seen}");
}

fn side_channels(c: &Ctx) {
    let script = "cat /proc/interrupts 2>/dev/null | head -c 1 | wc -c; ls -A /sys/devices/virtual/powercap 2>/dev/null | wc -l; for d in /sys/devices/system/cpu/cpu*/thermal_throttle; do [ -d $d ] && ls -A $d; done; true";
    assert_eq!(c.sh(&[], script), "0\n0");
}

fn out_of_reach(c: &Ctx) {
    let script = "cat /proc/keys | wc -c; mknod /k c 1 2 && cat /k | head -c 1 | wc -c; mknod /d b 8 0 && head -c 1 /d | wc -c; mount -t tmpfs none /mnt; unshare -m true; echo $?; true";
    let out = c.run_sh(&[], script);
    let numbers: Vec<String> = out.out().lines().map(|line| line.trim().to_owned()).collect();
    assert_eq!(numbers, ["0", "0", "0", "1"], "{}", out.err());
}

fn data_root() {
    let daemon = Daemon::start_proa("modes", &[]);
    daemon.load_busybox();
    let c = Ctx::new(&Client::all().remove(0), &daemon);
    let name = c.name("c");
    c.start(
        &name,
        &["-v", &format!("{}:/v", c.name("v"))],
        "cp /bin/busybox /suid; chmod 4755 /suid; cp /suid /v/suid; sleep 600",
    );
    until("the program", || (c.run(&["exec", &name, "test", "-u", "/v/suid"]).code == 0).then_some(()));
    let found =
        std::process::Command::new("find").arg(daemon.dir.join("data")).args(["-name", "suid"]).output();
    let found = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
    assert!(found.lines().count() >= 2, "{found}");
    for file in found.lines().map(PathBuf::from) {
        let closed = file
            .ancestors()
            .skip(1)
            .take_while(|dir| *dir != daemon.dir)
            .any(|dir| std::fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0));
        assert!(closed, "others can reach {}", file.display());
    }
    for private in ["state", "containers", "content", "snapshots"] {
        let Ok(meta) = std::fs::metadata(daemon.dir.join("data").join(private)) else { continue };
        assert_eq!(meta.permissions().mode() & 0o007, 0, "{private}");
    }
}
