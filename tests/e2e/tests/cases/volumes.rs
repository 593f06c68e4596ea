//! Volumes and binds.

use proa_e2e::Suite;

pub(crate) fn add(s: &mut Suite) {
    s.each("-v must bind a directory of the host, read-only if asked", |c| {
        let dir = c.dir("bind");
        std::fs::write(dir.join("in"), "from host").unwrap();
        let bind = format!("{}:/data", dir.display());
        assert_eq!(c.sh(&["-v", &bind], "cat /data/in; echo back > /data/out"), "from host");
        assert_eq!(std::fs::read_to_string(dir.join("out")).unwrap(), "back\n");
        let out = c.run_sh(&["-v", &format!("{bind}:ro")], "echo x > /data/no");
        assert!(out.code != 0 && out.err().contains("Read-only"), "{}", out.err());
    });
    s.each("-v must bind a file", |c| {
        let file = c.dir("bind").join("file");
        std::fs::write(&file, "text").unwrap();
        assert_eq!(c.sh(&["-v", &format!("{}:/etc/file", file.display())], "cat /etc/file"), "text");
    });
    s.each("-v must make a missing directory of the host, --mount must refuse it", |c| {
        let dir = c.dir("bind").join("new");
        c.sh(&["-v", &format!("{}:/data", dir.display())], "true");
        assert!(dir.is_dir());
        let absent = c.dir("bind").join("absent");
        let mount = format!("type=bind,source={},target=/data", absent.display());
        c.run_sh(&["--mount", &mount], "true").fails(125, "bind source path does not exist");
    });
    s.each("a named volume must keep its data and be shared", |c| {
        let (volume, a) = (c.name("v"), c.name("a"));
        c.start(&a, &["-v", &format!("{volume}:/data")], "echo kept > /data/f; sleep 60");
        let read = format!("{volume}:/other");
        proa_e2e::command::until("the file", || {
            (c.run_sh(&["-v", &read], "cat /other/f").out() == "kept").then_some(())
        });
        c.run(&["volume", "rm", &volume]).fails(1, "in use");
        c.ok(&["rm", "-f", &a]);
        assert_eq!(c.sh(&["-v", &read], "cat /other/f"), "kept");
        assert_eq!(c.ok(&["volume", "rm", &volume]), volume);
    });
    s.each("a new volume must take the image's files, unless nocopy", |c| {
        let (volume, empty) = (c.name("v"), c.name("w"));
        let names = c.sh(&["-v", &format!("{volume}:/etc")], "ls /etc/passwd; stat -c %u:%a /etc/plain");
        assert_eq!(names, "/etc/passwd\n0:644");
        assert_eq!(c.run_sh(&["-v", &format!("{empty}:/home:nocopy")], "ls /home").out(), "");
    });
    s.each("an anonymous volume must go with rm -v and with --rm", |c| {
        let count = || c.ok(&["volume", "ls", "-q"]).lines().filter(|l| l.len() == 64).count();
        let name = c.name("c");
        c.start(&name, &["-v", "/anon"], "sleep 60");
        let volume = c.inspect(&name, "{{(index .Mounts 0).Name}}");
        assert_eq!(volume.len(), 64);
        c.ok(&["rm", "-fv", &name]);
        c.run(&["volume", "inspect", &volume]).fails(1, "no such volume");
        let _ = count();
    });
    s.each("a start that fails must leave its volumes unmounted and nothing else behind", |c| {
        let (name, volume) = (c.name("c"), c.name("v"));
        c.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", &volume]);
        let at = c.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", &volume]);
        let bind = format!("{volume}:/v");
        let out = c.run(&["run", "--name", &name, "-v", &bind, "-v", "/anon", "busybox", "no-such-program"]);
        out.fails(127, "executable file not found");
        assert_eq!(proa_e2e::daemon::mounted_below(std::path::Path::new(&at)), [""; 0]);
        assert_eq!(c.inspect(&name, "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
        c.ok(&["rm", "-v", &name]);
        let mount = "type=bind,source=/,target=/v";
        let out = c.run(&["run", "--rm", "--name", &name, "-v", &bind, "--mount", mount, "busybox", "true"]);
        out.fails(125, "duplicate mount point");
    });
    s.each("--volumes-from must mount the same", |c| {
        let a = c.name("a");
        let volume = c.name("v");
        c.start(&a, &["-v", &format!("{volume}:/data")], "echo x > /data/f; sleep 60");
        proa_e2e::command::until("the file", || {
            (c.run_sh(&["--volumes-from", &a], "cat /data/f").out() == "x").then_some(())
        });
        assert_ne!(c.run_sh(&["--volumes-from", &format!("{a}:ro")], "echo y > /data/f").code, 0);
    });
    s.each("--mount must take volumes and tmpfs", |c| {
        let volume = c.name("v");
        let mount = format!("type=volume,source={volume},target=/v");
        let out = c.sh(
            &["--mount", &mount, "--mount", "type=tmpfs,target=/t,tmpfs-size=1m"],
            "echo a > /v/a; grep ' /t ' /proc/mounts",
        );
        assert!(out.contains("tmpfs") && out.contains("size=1024k"), "{out}");
        assert_eq!(c.sh(&["-v", &format!("{volume}:/x")], "cat /x/a"), "a");
    });
    s.each("volume create, ls and inspect must tell of it", |c| {
        let volume = c.name("v");
        assert_eq!(c.ok(&["volume", "create", "--label", "k=v", &volume]), volume);
        assert_eq!(c.ok(&["volume", "ls", "-q", "--filter", &format!("name={volume}")]), volume);
        assert_eq!(
            c.ok(&["volume", "inspect", "-f", "{{.Driver}} {{.Labels.k}} {{.Scope}}", &volume]),
            "local v local"
        );
        let at = c.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", &volume]);
        assert!(std::path::Path::new(&at).is_dir(), "{at}");
        c.run(&["volume", "inspect", "no-such-volume-here"]).fails(1, "no such volume");
        c.run(&["volume", "create", "bad/name"]).fails(1, "invalid");
    });
}
