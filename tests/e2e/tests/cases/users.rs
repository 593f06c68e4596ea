//! User namespaces: `userns-remap`, `--userns host`, and ids of a container's own with `--userns auto`.

use proa_e2e::command::until;
use proa_e2e::{Client, Ctx, Daemon, Suite};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Ids that the tests' daemons hand out; nobody else's on this machine.
const FIRST: u32 = 1_500_000_000;

pub(crate) fn add(s: &mut Suite) {
    s.ours("an unknown user namespace must be refused by name", |c| {
        c.run_sh(&["--userns", "other"], "true").fails(125, "invalid user mode");
        if !c.reference {
            c.run_sh(&["--userns", "auto:size=3"], "true").fails(125, "size must be a number");
            c.run_sh(&["--userns", "auto:keep=1"], "true").fails(125, "write host, auto or auto:size=N");
        }
    });
    s.alone("--userns auto must give each container ids that no other has, and take them back", alone);
    s.alone("files of a container with ids of its own must be its users' everywhere", files);
    s.alone("volumes, copies and commits must have the ids that the container sees", carried);
    s.alone("containers with ids of their own must run, exec, signal, log and share namespaces", lives);
    s.alone("what reaches around a user namespace must be refused in docker's words", refused);
    s.alone("ids of containers must be known again after the daemon was killed", known);
    s.alone("userns-remap must map every container but those with --userns host", remapped);
}

fn pool(count: u32) -> String {
    format!("{FIRST}:{count}")
}

fn daemon(name: &str, extra: &[&str]) -> (Daemon, Ctx) {
    let pool = pool(65536 * 8);
    let daemon = Daemon::start_proa(name, &[&["--userns-auto-range", pool.as_str()], extra].concat());
    daemon.load_busybox();
    let c = Ctx::new(&Client::all().remove(0), &daemon);
    (daemon, c)
}

/// The first id of the host that a container's root is.
fn first(c: &Ctx, options: &[&str]) -> u32 {
    let map = c.sh(options, "cat /proc/self/uid_map");
    map.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{map}"))
}

fn root_of(c: &Ctx, name: &str) -> u32 {
    let pid = c.inspect(name, "{{.State.Pid}}");
    std::fs::metadata(format!("/proc/{pid}")).map_or(u32::MAX, |meta| meta.uid())
}

fn alone() {
    let pool = pool(65536 * 2);
    let daemon = Daemon::start_proa("userns", &["--userns-auto-range", &pool]);
    daemon.load_busybox();
    let c = Ctx::new(&Client::all().remove(0), &daemon);
    let names: Vec<String> = ["one", "two", "three"].iter().map(|name| c.name(name)).collect();
    for name in &names[..2] {
        c.start(name, &["--userns", "auto"], "exec sleep 600");
    }
    assert_eq!((root_of(&c, &names[0]), root_of(&c, &names[1])), (FIRST, FIRST + 65536));
    assert_eq!(c.inspect(&names[0], "{{.HostConfig.UsernsMode}}"), "auto");
    let out = c.run(&["create", "--name", &names[2], "--userns", "auto", "busybox"]);
    assert!(out.code == 1 && out.err().contains("no 65536 user ids side by side are left"), "{}", out.err());
    c.ok(&["rm", "-f", &names[0]]);
    let options = ["--userns", "auto:size=4096"];
    assert_eq!(c.sh(&options, "cat /proc/self/uid_map | xargs"), format!("0 {FIRST} 4096"));
    // It removed itself, and its ids are free again before it is gone from the list.
    assert_eq!(first(&c, &["--userns", "auto"]), FIRST);
    assert_eq!(c.sh(&[], "cat /proc/self/uid_map | xargs"), "0 0 4294967295");
}

fn files() {
    let (daemon, c) = daemon("userns-files", &[]);
    let name = c.name("c");
    let script = "touch /mine; chown 7:8 /mine; mkdir -p /d/e; chown 9 /d; exec sleep 600";
    c.start(&name, &["--userns", "auto"], script);
    let stat = |path: &str| c.ok(&["exec", &name, "stat", "-c", "%u:%g", path]);
    until("the files", || (c.run(&["exec", &name, "stat", "-c", "%u", "/d"]).out() == "9").then_some(()));
    assert_eq!((stat("/mine"), stat("/bin"), stat("/etc/hosts")), ("7:8".into(), "0:0".into(), "0:0".into()));
    assert_eq!(c.ok(&["exec", &name, "sh", "-c", "echo more >> /etc/hosts && rm /bin/vi && echo ok"]), "ok");
    // On the disk they are as the container has them, so that an image can be made of them.
    let upper = upper(&daemon);
    let meta = std::fs::metadata(upper.join("mine")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (7, 8));
    let changed = c.ok(&["diff", &name]);
    assert!(changed.contains("A /mine") && changed.contains("D /bin/vi"), "{changed}");
    // Not the host's files, even if they are there for all to see.
    let host = c.dir("host");
    std::fs::write(host.join("secret"), "x").unwrap();
    std::fs::set_permissions(host.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let bind = format!("{}:/host", host.display());
    let seen = c.run_sh(&["--userns", "auto", "-v", &bind], "stat -c %u /host/secret; cat /host/secret");
    assert!(seen.code != 0 && seen.out() == "65534" && seen.err().contains("denied"), "{}", seen.err());
    assert_eq!(c.sh(&["--userns", "auto", "--tmpfs", "/t:uid=5"], "stat -c %u /t"), "5");
    assert_eq!(c.sh(&["--userns", "auto", "-w", "/new/dir"], "stat -c %u /new; pwd"), "0\n/new/dir");
    assert_eq!(c.sh(&["--userns", "auto", "--read-only"], "touch /x 2>/dev/null || echo no"), "no");
}

/// The directory of changes of the one container there is.
fn upper(daemon: &Daemon) -> std::path::PathBuf {
    let found =
        std::process::Command::new("find").arg(daemon.dir.join("data")).args(["-name", "mine"]).output();
    let text = String::from_utf8_lossy(&found.unwrap().stdout).into_owned();
    Path::new(text.lines().next().expect("the file")).parent().unwrap().to_owned()
}

fn carried() {
    let (_daemon, c) = daemon("userns-carried", &[]);
    let (name, volume, image) = (c.name("c"), c.name("v"), c.name("image"));
    let mount = format!("{volume}:/etc");
    let script = "touch /etc/made; chown 5:6 /etc/made; mkdir /t; exec sleep 600";
    c.start(&name, &["--userns", "auto", "-v", &mount], script);
    until("its files", || (c.run(&["exec", &name, "stat", "-c", "%u", "/t"]).code == 0).then_some(()));
    // The image's files were copied into the new volume, and belong to the container's root.
    assert_eq!(c.ok(&["exec", &name, "stat", "-c", "%u:%g", "/etc/passwd"]), "0:0");
    for options in [&[][..], &["--userns", "auto"], &["--userns", "auto:size=2000"]] {
        let mount = format!("{volume}:/v");
        let options = [options, &["-v", mount.as_str()]].concat();
        assert_eq!(c.sh(&options, "stat -c %u:%g /v/made /v/passwd"), "5:6\n0:0");
    }
    let list = |archive: &str| {
        let listed = std::process::Command::new("tar").args(["--numeric-owner", "-tvf", archive]).output();
        String::from_utf8_lossy(&listed.unwrap().stdout).into_owned()
    };
    let copied = |path: &str| {
        let out = c.command(&["cp", &format!("{name}:{path}"), "-"]).output().unwrap();
        let file = c.dir("out").join("cp.tar");
        std::fs::write(&file, out.stdout).unwrap();
        list(&file.to_string_lossy())
    };
    assert!(copied("/etc/made").contains(" 5/6 "), "{}", copied("/etc/made"));
    // Into it and out of it.
    let dir = c.dir("cp");
    std::fs::write(dir.join("in"), "in").unwrap();
    let into = dir.join("in").display().to_string();
    std::os::unix::fs::chown(dir.join("in"), Some(12), Some(13)).unwrap();
    for target in ["/t/in", "/etc/in", "/new"] {
        c.ok(&["cp", "-a", &into, &format!("{name}:{target}")]);
        assert_eq!(c.ok(&["exec", &name, "stat", "-c", "%u:%g", target]), "12:13", "{target}");
    }
    c.ok(&["cp", &into, &format!("{name}:/t/plain")]);
    assert_eq!(c.ok(&["exec", &name, "stat", "-c", "%u:%g", "/t/plain"]), "12:13");
    std::os::unix::fs::chown(dir.join("in"), Some(70_000), Some(0)).unwrap();
    let refused = c.run(&["cp", "-a", &into, &format!("{name}:/t/no")]);
    assert!(refused.code == 1 && refused.err().contains("does not have"), "{}", refused.err());
    let archive = dir.join("export.tar").display().to_string();
    for stopped in [false, true] {
        if stopped {
            c.ok(&["stop", "-t", "0", &name]);
            assert!(copied("/etc/made").contains(" 5/6 "), "{}", copied("/etc/made"));
        }
        c.ok(&["export", "-o", &archive, &name]);
        let text = list(&archive);
        let line = text.lines().find(|line| line.ends_with(" t/in")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(" 12/13 "), "stopped: {stopped}: {line}");
    }
    c.ok(&["commit", &name, &image]);
    assert_eq!(c.ok(&["run", "--rm", &image, "stat", "-c", "%u:%g", "/t/in", "/t"]), "12:13\n0:0");
    c.ok(&["start", &name]);
    assert_eq!(c.ok(&["exec", &name, "stat", "-c", "%u:%g", "/t/in"]), "12:13");
    c.ok(&["rm", "-f", &name]);
}

fn lives() {
    let (_daemon, c) = daemon("userns-lives", &[]);
    let (name, other) = (c.name("c"), c.name("other"));
    let auto = ["--userns", "auto"];
    c.start(
        &name,
        &[&auto[..], &["-p", "127.0.0.1::80", "-h", "box"]].concat(),
        "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done",
    );
    until("its output", || (c.run(&["logs", &name]).out() == "up").then_some(()));
    assert_eq!(
        c.ok(&["exec", &name, "sh", "-c", "id -u; hostname; grep CapEff /proc/self/status | cut -f2"]),
        "0\nbox\n00000000a80425fb"
    );
    assert_eq!(c.ok(&["exec", "-u", "1000", &name, "id", "-u"]), "1000");
    assert_ne!(c.run(&["exec", "-u", "70000", &name, "true"]).code, 0);
    // It may do what root of its own network may, and nothing to the host's.
    assert_eq!(
        c.sh(&[&auto[..], &["--cap-add", "NET_ADMIN"]].concat(), "ip link set lo down && echo ok"),
        "ok"
    );
    let denied = c.run_sh(
        &[&auto[..], &["--cap-add", "ALL"]].concat(),
        "mknod /disk b 8 0; echo 1 > /proc/sys/kernel/panic",
    );
    assert!(denied.err().contains("not permitted") && denied.code != 0, "{}", denied.err());
    // Sharing a namespace is sharing users.
    let joined = format!("container:{name}");
    for option in ["--network", "--pid", "--ipc"] {
        if option == "--ipc" {
            continue;
        }
        let options = [&auto[..], &[option, joined.as_str()]].concat();
        let mine = c.sh(&options, "cat /proc/self/uid_map; touch /x && stat -c %u /x");
        assert!(mine.contains(&root_of(&c, &name).to_string()) && mine.ends_with("\n0"), "{option}: {mine}");
    }
    c.start(&other, &[], "sleep 600");
    let apart = c.run_sh(&[&auto[..], &["--network", &format!("container:{other}")]].concat(), "true");
    apart.fails(125, "run both with the same --userns");
    // One whose users are the host's may look in.
    assert_eq!(c.sh(&["--network", &joined], "echo in"), "in");
    c.ok(&["stop", &name]);
    assert_eq!(c.inspect(&name, "{{.State.ExitCode}}"), "7");
    let terminal = c.on_terminal(
        &["run", "--rm", "-t", "--userns", "auto", "busybox", "sh", "-c", "tty; stat -c %u /dev/pts/0"],
        b"",
    );
    assert!(terminal.out().contains("/dev/pts/0"), "{}", terminal.out());
    assert_eq!(
        c.sh(&[&auto[..], &["--device", "/dev/full:/dev/x", "--init"]].concat(), "stat -c %t:%T /dev/x"),
        "1:7"
    );
}

fn refused() {
    let (_daemon, c) = daemon("userns-refused", &[]);
    for (options, said) in [
        (
            &["--privileged"][..],
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        ),
        (
            &["--network", "host"],
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (&["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
    ] {
        c.run_sh(&[&["--userns", "auto"], options].concat(), "true").fails(125, &said.to_lowercase());
    }
    // Nothing was taken for those.
    assert_eq!(first(&c, &["--userns", "auto"]), FIRST);
}

fn known() {
    let (mut daemon, c) = daemon("userns-known", &[]);
    let (kept, removed) = (c.name("kept"), c.name("removed"));
    c.start(&kept, &["--userns", "auto"], "exec sleep 600");
    c.ok(&["run", "-d", "--rm", "--name", &removed, "--userns", "auto", "busybox", "sleep", "600"]);
    daemon.kill();
    daemon.run();
    assert_eq!((root_of(&c, &kept), root_of(&c, &removed)), (FIRST, FIRST + 65536));
    assert_eq!(first(&c, &["--userns", "auto"]), FIRST + 2 * 65536);
    assert_eq!(c.ok(&["exec", &kept, "id", "-u"]), "0");
    c.ok(&["rm", "-f", &removed]);
    assert_eq!(first(&c, &["--userns", "auto"]), FIRST + 65536);
    c.ok(&["restart", "-t", "0", &kept]);
    assert_eq!(root_of(&c, &kept), FIRST);
}

/// Ids set aside on this machine for a name that no user has, for as long as this lives.
struct SetAside(String);

const TABLES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

impl SetAside {
    fn new(first: u32) -> Self {
        let line = format!("proa-e2e-{}:{first}:65536\n", std::process::id());
        for table in TABLES {
            let text = std::fs::read_to_string(table).unwrap_or_default();
            std::fs::write(table, text + &line).unwrap_or_else(|e| panic!("{table}: {e}"));
        }
        Self(line)
    }

    fn name(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        for table in TABLES {
            let text = std::fs::read_to_string(table).unwrap_or_default();
            let _ = std::fs::write(table, text.replace(&self.0, ""));
        }
    }
}

fn remapped() {
    let first = FIRST + (1 << 24);
    let set_aside = SetAside::new(first);
    let (daemon, c) = daemon("userns-remap", &["--userns-remap", set_aside.name()]);
    let out = c.sh(&[], "cat /proc/self/uid_map | xargs");
    assert!(out.starts_with(&format!("0 {first} ")), "{out}");
    // Those that are made ahead too.
    let script = "stat -c %u / /etc/passwd /etc/hosts; touch /x && rm /x; ping -c 1 -W 1 127.0.0.1 | grep -c '1 packets received'";
    for _ in 0..3 {
        assert_eq!(c.sh(&[], script), "0\n0\n0\n1");
    }
    for client in Client::all() {
        let c = Ctx::new(&client, &daemon);
        assert_eq!(c.sh(&["--userns", "host"], "cat /proc/self/uid_map | xargs"), "0 0 4294967295");
        c.run_sh(&["--privileged"], "true")
            .fails(125, "privileged mode is incompatible with user namespaces");
        c.run_sh(&["--network", "host"], "true").fails(125, "cannot share the host's network namespace");
        c.run_sh(&["--pid", "host"], "true").fails(125, "cannot share the host pid namespace");
        assert_eq!(c.sh(&["--privileged", "--userns", "host"], "echo ok"), "ok");
        assert!(c.ok(&["info", "--format", "{{.SecurityOptions}}"]).contains("name=userns"));
    }
    let name = c.name("c");
    c.start(&name, &["--health-cmd", "test $(id -u) = 0", "--health-interval", "1s"], "exec sleep 600");
    until("its health", || (c.inspect(&name, "{{.State.Health.Status}}") == "healthy").then_some(()));
    assert_eq!(root_of(&c, &name), first);
    assert_eq!(c.sh(&["--network", &format!("container:{name}")], "stat -c %u /"), "0");
}
