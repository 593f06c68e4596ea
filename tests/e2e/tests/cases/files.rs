//! Files into and out of containers, by docker's rules, whatever the container does meanwhile.

use proa_e2e::archive::{file, member, tar};
use proa_e2e::command::until;
use proa_e2e::{Ctx, Suite};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

pub(crate) fn add(s: &mut Suite) {
    s.each("cp must give a file the name that its destination says", names);
    s.each("cp of a directory must follow the ends of both paths", directories);
    s.each("cp must keep modes, times and links, and give what comes out to the caller", attributes);
    s.each("cp -L must follow a link and cp alone must not", follow);
    s.each("cp must read and write archives as streams", streams);
    s.each("cp must reach containers that do not run, and their volumes", stopped);
    s.each("a container must start while its files are looked at, and keep what was copied in", start_after);
    s.each("cp -a into a container must give all to the container's user", owner);
    s.each("cp must refuse what cannot be copied in docker's words", refusals);
    s.each("cp must not write what is read-only", readonly);
    s.each("cp must not leave the container by its links", links);
    s.each("cp must not follow what a container swaps while it is copied", swapped);
    s.each("an archive must not be unpacked outside of the container", escapes);
    s.each("diff must tell what a container added, changed and deleted", diff);
    s.each("commit must make an image with the container's changes", commit);
    s.each("commit must take instructions and keep the rest of the configuration", commit_changes);
    s.each("commit must hold the container still unless it is told not to", commit_pause);
    s.each("export must give a container's files and not its volumes", export);
}

/// A container that sleeps; its shell script runs first.
fn sleeping(ctx: &Ctx, suffix: &str, options: &[&str], script: &str) -> String {
    let name = ctx.name(suffix);
    ctx.start(&name, options, &format!("{script}; touch /tmp/ready; exec sleep 1000"));
    until("the container's files", || {
        (ctx.run(&["exec", &name, "test", "-e", "/tmp/ready"]).code == 0).then_some(())
    });
    name
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn cat(ctx: &Ctx, name: &str, path: &str) -> String {
    ctx.ok(&["exec", name, "cat", path])
}

fn names(ctx: &Ctx) {
    let (name, dir) = (sleeping(ctx, "c", &[], "mkdir /d; echo inside > /d/f"), ctx.dir("cp"));
    std::fs::write(dir.join("f"), "outside\n").unwrap();
    let local = |path: &str| text(&dir.join(path)).to_owned();
    let inside = |path: &str| format!("{name}:{path}");
    ctx.ok(&["cp", &local("f"), &inside("/d/new")]);
    ctx.ok(&["cp", &local("f"), &inside("/tmp")]);
    ctx.ok(&["cp", &local("f"), &inside("/tmp/")]);
    ctx.ok(&["cp", &local("f"), &inside("relative")]);
    for path in ["/d/new", "/tmp/f", "/relative"] {
        assert_eq!(cat(ctx, &name, path), "outside", "{path}");
    }
    ctx.ok(&["cp", &inside("/d/f"), &local("out")]);
    ctx.ok(&["cp", &inside("/d/f"), &local(".")]);
    ctx.ok(&["cp", &inside("d/f"), &local("f2")]);
    for path in ["out", "f", "f2"] {
        assert_eq!(read(&dir.join(path)), "inside\n", "{path}");
    }
}

fn directories(ctx: &Ctx) {
    let (name, dir) =
        (sleeping(ctx, "c", &[], "mkdir -p /d/sub; echo 1 > /d/a; echo 2 > /d/sub/b"), ctx.dir("cp"));
    let local = |path: &str| text(&dir.join(path)).to_owned();
    let inside = |path: &str| format!("{name}:{path}");
    // To a name that is new: its contents; to one that is there: below it; `/.` the contents always.
    ctx.ok(&["cp", &inside("/d"), &local("new")]);
    std::fs::create_dir(dir.join("there")).unwrap();
    ctx.ok(&["cp", &inside("/d"), &local("there")]);
    std::fs::create_dir(dir.join("contents")).unwrap();
    ctx.ok(&["cp", &inside("/d/."), &local("contents")]);
    ctx.ok(&["cp", &inside("/d/."), &format!("{}/", local("slash"))]);
    for path in ["new/sub/b", "there/d/sub/b", "contents/sub/b", "slash/sub/b"] {
        assert_eq!(read(&dir.join(path)), "2\n", "{path}");
    }
    ctx.ok(&["cp", &local("new"), &inside("/in")]);
    ctx.ok(&["cp", &local("new"), &inside("/tmp")]);
    ctx.ok(&["cp", &format!("{}/.", local("new")), &inside("/tmp")]);
    for path in ["/in/sub/b", "/tmp/new/sub/b", "/tmp/sub/b"] {
        assert_eq!(cat(ctx, &name, path), "2", "{path}");
    }
    // The root and all below it, without the kernel's files.
    ctx.ok(&["cp", &inside("/"), &local("root")]);
    assert_eq!(read(&dir.join("root/d/a")), "1\n");
    assert!(!dir.join("root/proc/self").exists() && !dir.join("root/sys/kernel").exists());
}

fn attributes(ctx: &Ctx) {
    let script = "mkdir /d; echo x > /d/f; ln /d/f /d/hard; ln -s f /d/soft; mkfifo /d/pipe; chown 12:34 /d/f; \
                  chmod 4751 /d/f; touch -d '2001-02-03 04:05:06' /d/f; chmod 1777 /d; \
                  dd if=/dev/zero of=/d/long_$(printf 'x%.0s' $(seq 150)) bs=1k count=300 2>/dev/null";
    let (name, dir) = (sleeping(ctx, "c", &[], script), ctx.dir("cp"));
    ctx.ok(&["cp", &format!("{name}:/d"), text(&dir)]);
    let meta = |path: &str| std::fs::symlink_metadata(dir.join("d").join(path)).unwrap();
    let (found, hard) = (meta("f"), meta("hard"));
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o4751, 0, 0));
    assert_eq!(found.mtime(), 981_173_106);
    assert_eq!((found.ino(), found.nlink()), (hard.ino(), 2));
    assert_eq!(std::fs::read_link(dir.join("d/soft")).unwrap(), Path::new("f"));
    assert_eq!(meta("pipe").mode() & 0o170_000, 0o010_000);
    assert_eq!(meta("").mode() & 0o7777, 0o1777);
    assert_eq!(meta(&format!("long_{}", "x".repeat(150))).len(), 300 << 10);
    // Back again: owners as the archive says.
    std::os::unix::fs::chown(dir.join("d/f"), Some(55), Some(66)).unwrap();
    std::fs::set_permissions(dir.join("d/f"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    ctx.ok(&["cp", text(&dir.join("d")), &format!("{name}:/back")]);
    let seen = ctx.ok(&["exec", &name, "stat", "-c", "%a %u:%g %h %Y", "/back/f"]);
    assert_eq!(seen, "4751 55:66 2 981173106");
    assert_eq!(ctx.ok(&["exec", &name, "stat", "-c", "%a %F", "/back/pipe"]), "644 fifo");
}

fn follow(ctx: &Ctx) {
    let script = "mkdir -p /real/dir; echo x > /real/f; echo y > /real/dir/g; ln -s /real/f /link; ln -s real/dir /dirlink";
    let (name, dir) = (sleeping(ctx, "c", &[], script), ctx.dir("cp"));
    let local = |path: &str| text(&dir.join(path)).to_owned();
    ctx.ok(&["cp", &format!("{name}:/link"), &local("plain")]);
    assert_eq!(std::fs::read_link(dir.join("plain")).unwrap(), Path::new("/real/f"));
    ctx.ok(&["cp", "-L", &format!("{name}:/link"), &local("followed")]);
    assert_eq!(read(&dir.join("followed")), "x\n");
    ctx.ok(&["cp", "-L", &format!("{name}:/link"), text(&dir)]);
    assert_eq!(read(&dir.join("link")), "x\n");
    // A slash means the directory.
    ctx.ok(&["cp", &format!("{name}:/dirlink/"), &local("d")]);
    assert_eq!(read(&dir.join("d/g")), "y\n");
    // A destination that is a link is followed.
    std::fs::write(dir.join("src"), "z\n").unwrap();
    ctx.ok(&["cp", &local("src"), &format!("{name}:/dirlink")]);
    assert_eq!(cat(ctx, &name, "/real/dir/src"), "z");
    ctx.ok(&["cp", &local("src"), &format!("{name}:/link")]);
    assert_eq!(cat(ctx, &name, "/real/f"), "z");
    symlink("src", dir.join("local")).unwrap();
    ctx.ok(&["cp", "-L", &local("local"), &format!("{name}:/tmp")]);
    assert_eq!(cat(ctx, &name, "/tmp/local"), "z");
    ctx.ok(&["cp", &local("local"), &format!("{name}:/tmp/as-link")]);
    assert_eq!(ctx.ok(&["exec", &name, "readlink", "/tmp/as-link"]), "src");
}

fn streams(ctx: &Ctx) {
    let name = sleeping(ctx, "c", &[], "mkdir /d; echo x > /d/f");
    let out = ctx.run(&["cp", &format!("{name}:/d"), "-"]);
    assert_eq!(out.code, 0, "{}", out.err());
    let listed = members(&out.stdout);
    assert_eq!(listed, ["d/", "d/f"]);
    assert_eq!(ctx.feed(&["cp", "-", &format!("{name}:/tmp")], &out.stdout).code, 0);
    assert_eq!(cat(ctx, &name, "/tmp/d/f"), "x");
    let packed = proa_e2e::registry::gzip(&tar(&[file("packed", b"hello")]));
    ctx.feed(&["cp", "-", &format!("{name}:/tmp")], &packed).ok();
    assert_eq!(cat(ctx, &name, "/tmp/packed"), "hello");
    ctx.feed(&["cp", "-", &format!("{name}:/d/f")], &out.stdout).fails(1, "must be a directory");
    ctx.feed(&["cp", "-", &format!("{name}:/tmp")], &[b'x'; 2000]).fails(1, "archive");
}

/// Names in an archive.
fn members(bytes: &[u8]) -> Vec<String> {
    let mut listed = std::process::Command::new("tar");
    let out = proa_e2e::command::run(listed.args(["-tf", "-"]), bytes).ok();
    out.lines().map(Into::into).collect()
}

fn stopped(ctx: &Ctx) {
    let (volume, dir) = (ctx.name("volume"), ctx.dir("cp"));
    let bind = dir.join("bind");
    std::fs::create_dir(&bind).unwrap();
    std::fs::write(bind.join("b"), "bound\n").unwrap();
    let name = ctx.name("c");
    let binding = format!("{}:/bound", bind.display());
    let mounts = ["-v", &format!("{volume}:/data"), "-v", &binding];
    ctx.ok(&[&["create", "--name", &name], &mounts[..], &["busybox", "cat", "/data/in", "/own"]].concat());
    std::fs::write(dir.join("f"), "one\n").unwrap();
    ctx.ok(&["cp", text(&dir.join("f")), &format!("{name}:/data/in")]);
    ctx.ok(&["cp", text(&dir.join("f")), &format!("{name}:/own")]);
    ctx.ok(&["cp", text(&dir.join("f")), &format!("{name}:/bound/in")]);
    assert_eq!(read(&bind.join("in")), "one\n");
    ctx.ok(&["cp", &format!("{name}:/bound/b"), text(&dir.join("out"))]);
    assert_eq!(read(&dir.join("out")), "bound\n");
    assert_eq!(ctx.ok(&["start", "-a", &name]), "one\none");
    ctx.ok(&["cp", &format!("{name}:/data/in"), text(&dir.join("again"))]);
    assert_eq!(read(&dir.join("again")), "one\n");
    assert_eq!(ctx.ok(&["start", "-a", &name]), "one\none");
}

fn start_after(ctx: &Ctx) {
    let name = ctx.name("c");
    ctx.ok(&["create", "--name", &name, "busybox", "sh", "-c", "cat /n; exec sleep 1000"]);
    // A look that lasts: nobody takes what it gives.
    ctx.ok(&["start", &name]);
    ctx.ok(&["exec", &name, "sh", "-c", "head -c 20000000 /dev/zero > /big; echo kept > /n"]);
    let mut reader = ctx.spawn(&["cp", &format!("{name}:/"), "-"]);
    let mut first = [0; 512];
    let out = reader.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(out, &mut first).expect("the first header");
    ctx.ok(&["restart", "-t", "0", &name]);
    until("what was kept", || ctx.run(&["logs", &name]).out().contains("kept").then_some(()));
    ctx.ok(&["kill", &name]);
    ctx.ok(&["cp", &format!("{name}:/n"), "-"]);
    ctx.ok(&["start", &name]);
    let _ = reader.kill();
    let _ = reader.wait();
    assert_eq!(cat(ctx, &name, "/n"), "kept");
}

fn owner(ctx: &Ctx) {
    let (name, dir) = (sleeping(ctx, "c", &["-u", "8:9", "--tmpfs", "/x"], "true"), ctx.dir("cp"));
    std::fs::create_dir(dir.join("d")).unwrap();
    std::fs::write(dir.join("d/f"), "x").unwrap();
    std::os::unix::fs::chown(dir.join("d/f"), Some(55), Some(66)).unwrap();
    ctx.ok(&["cp", "-a", text(&dir.join("d")), &format!("{name}:/tmp/a")]);
    ctx.ok(&["cp", text(&dir.join("d")), &format!("{name}:/tmp/b")]);
    let seen = ctx.ok(&["exec", &name, "stat", "-c", "%u:%g", "/tmp/a/f", "/tmp/a", "/tmp/b/f"]);
    assert_eq!(seen, "8:9\n8:9\n55:66");
}

fn refusals(ctx: &Ctx) {
    let (name, dir) = (sleeping(ctx, "c", &[], "mkdir -p /d/sub; echo x > /d/f"), ctx.dir("cp"));
    let local = |path: &str| text(&dir.join(path)).to_owned();
    std::fs::write(dir.join("f"), "x").unwrap();
    std::fs::create_dir_all(dir.join("dir/f")).unwrap();
    let inside = |path: &str| format!("{name}:{path}");
    for (from, to, words) in [
        (inside("/nope"), local("."), "/nope"),
        (inside("/d/f/"), local("."), "not a directory"),
        (local("f"), inside("/no/dir/f"), "/no/dir"),
        (local("nope"), inside("/tmp"), "no such file or directory"),
        (local("dir"), inside("/d/f"), "cannot copy directory"),
        (local("f"), inside("/d/none/"), "no such directory"),
        (inside("/d"), local("f"), "cannot copy directory"),
        (inside("/d/f"), local("none/"), "no such directory"),
        (inside("/d/f"), local("no/dir/f"), "does not exist"),
        (inside("/a"), inside("/b"), "copying between containers is not supported"),
        (local("f"), local("g"), "must specify at least one container source"),
        ("no-such-container-here:/a".into(), local("."), "no-such-container-here"),
        // A directory never becomes a file, nor the reverse.
        (format!("{}/.", local("dir")), inside("/d"), "cannot overwrite"),
    ] {
        ctx.run(&["cp", &from, &to]).fails(1, words);
    }
    ctx.run(&["cp", "", &inside("/a")]).fails(1, "source can not be empty");
    assert_eq!(cat(ctx, &name, "/d/f"), "x");
}

fn readonly(ctx: &Ctx) {
    let (dir, host) = (ctx.dir("cp"), ctx.dir("bind"));
    let binds = [format!("{}:/ro:ro", host.display()), format!("{}:/rw", host.display())];
    let name = ctx.name("c");
    let script = ["-v", &binds[0], "-v", &binds[1], "busybox", "sleep", "1000"];
    ctx.ok(&[&["run", "-d", "--read-only", "--name", &name], &script[..]].concat());
    std::fs::write(dir.join("f"), "x").unwrap();
    let from = text(&dir.join("f")).to_owned();
    for stop in [false, true] {
        if stop {
            ctx.ok(&["kill", &name]);
        }
        ctx.run(&["cp", &from, &format!("{name}:/tmp/f")]).fails(1, "container rootfs is marked read-only");
        ctx.run(&["cp", &from, &format!("{name}:/ro/f")]).fails(1, "mounted volume is marked read-only");
        ctx.ok(&["cp", &from, &format!("{name}:/rw/f")]);
        ctx.ok(&["cp", &format!("{name}:/ro/f"), "-"]);
    }
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1);
}

fn links(ctx: &Ctx) {
    let (dir, host) = (ctx.dir("cp"), ctx.dir("host"));
    std::fs::write(host.join("secret"), "of the host").unwrap();
    let canary = text(&host).to_owned();
    let script = format!(
        "ln -s {canary} /abs; ln -s ../../../../../../../..{canary} /rel; ln -s {canary}/secret /leaf; \
         mkdir -p {canary}; echo inner > {canary}/inner; rm -rf /home; ln -s / /home; ln -s /proc/1/root{canary} /magic"
    );
    let name = sleeping(ctx, "c", &[], &script);
    std::fs::write(dir.join("f"), "planted").unwrap();
    let from = text(&dir.join("f")).to_owned();
    for link in ["/abs", "/rel", "/home/abs", "/home/home/rel"] {
        ctx.ok(&["cp", &from, &format!("{name}:{link}/planted")]);
        assert_eq!(cat(ctx, &name, &format!("{canary}/planted")), "planted", "{link}");
        assert!(!host.join("planted").exists(), "{link}: written on the host");
        ctx.run(&["cp", &format!("{name}:{link}/secret"), "-"]).fails(1, "");
        ctx.ok(&["cp", &format!("{name}:{link}/inner"), "-"]);
    }
    ctx.run(&["cp", "-L", &format!("{name}:/leaf"), "-"]).fails(1, "");
    ctx.run(&["cp", &from, &format!("{name}:/magic/planted")]).fails(1, "");
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1);
    assert_eq!(read(&host.join("secret")), "of the host");
}

fn swapped(ctx: &Ctx) {
    let (dir, host) = (ctx.dir("cp"), ctx.dir("host"));
    std::fs::write(host.join("secret"), "of the host").unwrap();
    let canary = text(&host).to_owned();
    // `at` is a directory, a link to the host's directory, and a file in turn.
    let script = format!(
        "mkdir -p /w/real /w/at{canary}; echo inner > /w/real/secret; ln -s {canary} /w/link; \
         (while :; do mv /w/at /w/old; mv /w/link /w/at; mv /w/at /w/link; mv /w/real /w/at; mv /w/at /w/real; \
         mv /w/old /w/at; done) & true"
    );
    let name = sleeping(ctx, "c", &[], &script);
    std::fs::create_dir_all(dir.join("tree/deep")).unwrap();
    for n in 0..20 {
        std::fs::write(dir.join(format!("tree/deep/f{n}")), "planted").unwrap();
    }
    for _ in 0..25 {
        // They may fail, the container sees to that.
        ctx.run(&["cp", &format!("{}/.", text(&dir.join("tree"))), &format!("{name}:/w/at")]);
        let out = ctx.run(&["cp", &format!("{name}:/w/at/secret"), "-"]);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(!said.contains("of the host"), "a file of the host was read");
        let out = ctx.run(&["cp", "-L", &format!("{name}:/w"), "-"]);
        assert!(!String::from_utf8_lossy(&out.stdout).contains("of the host"), "a file of the host was read");
    }
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1, "written on the host");
}

fn escapes(ctx: &Ctx) {
    let host = ctx.dir("host");
    std::fs::write(host.join("secret"), "of the host").unwrap();
    let canary = text(&host).to_owned();
    let name = sleeping(ctx, "c", &[], "mkdir /in");
    let feed = |members: &[Vec<u8>]| ctx.feed(&["cp", "-", &format!("{name}:/in")], &tar(members));
    feed(&[file("../out", b"x")]).fails(1, "../out");
    feed(&[file("a/../../out", b"x")]).fails(1, "out");
    assert_ne!(ctx.run(&["exec", &name, "test", "-e", "/out"]).code, 0);
    feed(&[member("hard", b'1', &format!("{canary}/secret"), b"")]).fails(1, "hard");
    feed(&[member("hard", b'1', "../../../../etc/passwd", b"")]).fails(1, "hard");
    // Absolute names and links stay in the container.
    feed(&[file("/abs", b"x")]).ok();
    assert_eq!(cat(ctx, &name, "/in/abs"), "x");
    feed(&[member("link", b'2', &canary, b""), file("link/planted", b"x")]);
    assert!(!host.join("planted").exists());
    // A device arrives as one; it cannot be used through a copy.
    let mut zero = member("zero", b'3', "", b"");
    zero[329..344].copy_from_slice(b"0000001\x000000005");
    let sum: u32 = zero
        .iter()
        .take(512)
        .enumerate()
        .map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) })
        .sum();
    zero[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    feed(&[zero]).ok();
    assert_eq!(ctx.ok(&["exec", &name, "stat", "-c", "%F %t:%T", "/in/zero"]), "character special file 1:5");
    let out = ctx.run(&["cp", &format!("{name}:/in"), "-"]);
    assert!(members(&out.stdout).contains(&"in/zero".to_owned()));
    // A header that announces more than comes.
    let mut huge = file("huge", &[b'x'; 5000]);
    huge.truncate(600);
    ctx.feed(&["cp", "-", &format!("{name}:/in")], &huge).fails(1, "");
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 1);
}

fn export(ctx: &Ctx) {
    let name = ctx.name("c");
    let volume = format!("{}:/data", ctx.name("volume"));
    ctx.start(&name, &["-v", &volume], "echo v > /data/v; echo f > /own; touch /tmp/ready; exec sleep 1000");
    until("the container's files", || {
        (ctx.run(&["exec", &name, "test", "-e", "/tmp/ready"]).code == 0).then_some(())
    });
    let dir = ctx.dir("export");
    let path = text(&dir.join("out.tar")).to_owned();
    for stop in [false, true] {
        if stop {
            ctx.ok(&["kill", &name]);
        }
        ctx.ok(&["export", "-o", &path, &name]);
        let listed = members(&std::fs::read(&path).unwrap());
        let has = |path: &str| listed.iter().any(|member| member.trim_end_matches('/') == path);
        assert!(has("own") && has("data") && has("bin/sh") && has("proc"), "{listed:?}");
        assert!(!has("data/v") && !has("proc/1") && !has("dev/null"));
    }
    ctx.run(&["export", "-o", text(&dir.join("no/dir/x")), &name]).fails(1, "no/dir");
    ctx.run(&["export", "no-such-container-here"]).fails(1, "No such container: no-such-container-here");
}

fn diff(ctx: &Ctx) {
    let name = ctx.name("c");
    ctx.ok(&["create", "--name", &name, "busybox", "true"]);
    assert_eq!(ctx.ok(&["diff", &name]), "");
    let script = "mkdir -p /new/sub; echo x > /new/sub/f; rm /bin/ls; echo x >> /etc/passwd; chmod 700 /root; \
                  rm -rf /var; mkdir /var; touch /var/mine; ln -s x /link";
    let name = ctx.name("d");
    ctx.ok(&["run", "--name", &name, "-v", "/volume", "busybox", "sh", "-c", script]);
    let told = ctx.ok(&["diff", &name]);
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    for line in [
        "A /new",
        "A /new/sub",
        "A /new/sub/f",
        "D /bin/ls",
        "C /bin",
        "C /etc/passwd",
        "C /etc",
        "C /root",
        "C /var",
        "A /var/mine",
        "D /var/www",
        "A /link",
        "A /volume",
    ] {
        assert!(lines.contains(&line), "{line} is missing:\n{told}");
    }
    assert!(!told.contains("/proc") && !told.contains("/etc/hosts") && !told.contains("/dev"), "{told}");
    ctx.run(&["diff", "no-such-container-here"]).fails(1, "No such container: no-such-container-here");
}

fn commit(ctx: &Ctx) {
    let (name, image) = (ctx.name("c"), ctx.name("image"));
    let script = "mkdir /d; echo one > /d/f; chown 5:6 /d/f; chmod 4755 /d/f; ln /d/f /d/hard; rm /bin/ls; \
                  rm -rf /var; mkdir -m 700 /var; touch /var/mine; echo two > /volume/v";
    let volume = format!("{}:/volume", ctx.name("volume"));
    ctx.ok(&["run", "--name", &name, "-v", &volume, "-e", "A=1", "-w", "/d", "busybox", "sh", "-c", script]);
    let id = ctx.ok(&["commit", "-a", "me", "-m", "words", &name, &image]);
    assert_eq!(ctx.inspect(&image, "{{.Id}} {{.Author}} {{.Comment}}"), format!("{id} me words"));
    let look = "cat f; stat -c '%a %u:%g %h' f; ls /bin/ls; busybox ls -A /var /volume; stat -c %a /var; echo $A; pwd";
    let out = ctx.run(&[
        "run",
        "--rm",
        &image,
        "sh",
        "-c",
        &look.replace("ls /bin/ls", "test -e /bin/ls || echo gone"),
    ]);
    let look = out.ok();
    // Busybox has its ls under another name than the one that was removed.
    assert_eq!(look, "one\n4755 5:6 2\ngone\n/var:\nmine\n\n/volume:\n700\n1\n/d");
    let layers = |image: &str| ctx.inspect_json(image)["RootFS"]["Layers"].as_array().map_or(0, Vec::len);
    assert_eq!(layers(&image), layers("busybox") + 1);
    // A container of a container, and nothing in it that was not there.
    let (second, image2) = (ctx.name("c2"), ctx.name("image2"));
    ctx.ok(&["run", "--name", &second, &image, "sh", "-c", "rm f; echo more > g"]);
    ctx.ok(&["commit", &second, &image2]);
    let seen = ctx.ok(&["run", "--rm", &image2, "busybox", "ls"]);
    assert_eq!(seen, "g\nhard");
    ctx.run(&["commit", "no-such-container-here"]).fails(1, "No such container: no-such-container-here");
    ctx.run(&["commit", &name, "UPPER"]).fails(1, "must be lowercase");
}

fn commit_changes(ctx: &Ctx) {
    let (name, image) = (ctx.name("c"), ctx.name("image"));
    ctx.ok(&["create", "--name", &name, "-e", "KEPT=yes", "-l", "own=1", "busybox", "echo", "from cmd"]);
    let changes = [
        "ENV A=1 B=2",
        "LABEL x=y",
        "EXPOSE 80/tcp",
        "USER 7:8",
        "WORKDIR /tmp",
        "VOLUME /data",
        "STOPSIGNAL SIGQUIT",
        "ENTRYPOINT [\"echo\"]",
        "CMD [\"hello\"]",
        "ONBUILD RUN true",
        "HEALTHCHECK --interval=5s CMD true",
    ];
    let mut args = vec!["commit"];
    args.extend(changes.iter().flat_map(|change| ["--change", change]));
    ctx.ok(&[&args[..], &[&name, &image]].concat());
    assert_eq!(ctx.ok(&["run", "--rm", &image]), "hello");
    let config = &ctx.inspect_json(&image)["Config"];
    let env = config["Env"].to_string();
    assert!(env.contains("KEPT=yes") && env.contains("A=1") && env.contains("B=2"), "{env}");
    let field = |path: &str| config.pointer(path).map(ToString::to_string).unwrap_or_default();
    assert_eq!(field("/Labels"), r#"{"own":"1","x":"y"}"#);
    assert_eq!(field("/ExposedPorts"), r#"{"80/tcp":{}}"#);
    assert_eq!(field("/Volumes"), r#"{"/data":{}}"#);
    assert_eq!((field("/User"), field("/WorkingDir")), (r#""7:8""#.into(), r#""/tmp""#.into()));
    assert_eq!((field("/StopSignal"), field("/OnBuild/0")), (r#""SIGQUIT""#.into(), r#""RUN true""#.into()));
    assert_eq!(field("/Healthcheck/Interval"), "5000000000");
    ctx.run(&["commit", "--change", "RUN true", &name]).fails(1, "run");
    ctx.run(&["commit", "--change", "EXPOSE 0x", &name]).fails(1, "0x");
}

fn commit_pause(ctx: &Ctx) {
    let name = sleeping(ctx, "c", &[], "true");
    let since = ctx.ok(&["run", "--rm", "busybox", "date", "+%s"]);
    let events = |kind: &str| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
        let (filter, now) = (format!("container={name}"), now.to_string());
        let args = ["events", "--since", &since, "--until", &now, "--filter", &filter, "--filter"];
        ctx.ok(&[&args[..], &[&format!("event={kind}"), "--format", "{{.Action}}"]].concat()).lines().count()
    };
    ctx.ok(&["commit", "--pause=false", &name, &ctx.name("image")]);
    assert_eq!((events("pause"), events("commit")), (0, 1));
    ctx.ok(&["commit", &name, &ctx.name("image")]);
    assert_eq!((events("pause"), events("unpause"), events("commit")), (1, 1, 2));
    assert_eq!(ctx.inspect(&name, "{{.State.Status}}"), "running");
    ctx.ok(&["pause", &name]);
    ctx.ok(&["commit", &name, &ctx.name("image")]);
    assert_eq!(ctx.inspect(&name, "{{.State.Status}}"), "paused");
    ctx.ok(&["unpause", &name]);
}
