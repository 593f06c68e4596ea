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
    from_others(s);
    filled(s);
    parts(s);
    listed(s);
    s.alone("volumes must be shown and refused as each version had it", by_version);
}

fn from_others(s: &mut Suite) {
    s.each("--volumes-from must mount the same, read-only if asked, with mounts of its own over it", |c| {
        let (a, b, volume, dir) = (c.name("a"), c.name("b"), c.name("v"), c.dir("bind"));
        let (named, bind) = (format!("{volume}:/data"), format!("{}:/host:ro", dir.display()));
        c.ok(&["create", "--name", &a, "-v", &named, "-v", &bind, "-v", "/anon", "busybox", "true"]);
        c.sh(&["--volumes-from", &a], "echo x > /data/f; echo y > /anon/g");
        assert_eq!(c.sh(&["--volumes-from", &format!("{a}:rw")], "cat /data/f /anon/g"), "x\ny");
        assert!(c.run_sh(&["--volumes-from", &a], "echo z > /host/h").err().contains("Read-only"));
        let read_only = format!("{a}:ro");
        assert!(c.run_sh(&["--volumes-from", &read_only], "echo z > /data/f").err().contains("Read-only"));
        // Through two, and with a place of its own.
        let own = format!("{}:/data", c.name("own"));
        c.ok(&["create", "--name", &b, "--volumes-from", &read_only, "-v", &own, "busybox", "true"]);
        let script = "ls /data; cat /anon/g; echo q > /data/own";
        assert_eq!(c.sh(&["--volumes-from", &b], script), "y");
        c.run(&["create", "--volumes-from", &format!("{a}:rx"), "busybox"]).fails(1, "invalid mode");
    });
    s.each("an anonymous volume must live as long as a container uses it, and a named one longer", |c| {
        let (a, b, named) = (c.name("a"), c.name("b"), c.name("v"));
        let bind = format!("{named}:/named");
        c.ok(&["create", "--name", &a, "-v", "/anon", "-v", &bind, "busybox", "true"]);
        c.ok(&["create", "--name", &b, "--volumes-from", &a, "busybox", "true"]);
        let volume =
            c.inspect(&a, "{{range .Mounts}}{{if eq .Destination \"/anon\"}}{{.Name}}{{end}}{{end}}");
        assert_eq!(volume.len(), 64, "{volume}");
        c.sh(&["--volumes-from", &a], "echo kept > /anon/f");
        c.ok(&["rm", "-v", &a]);
        assert_eq!(c.sh(&["--volumes-from", &b], "cat /anon/f"), "kept");
        c.run(&["volume", "rm", &volume]).fails(1, "in use");
        c.ok(&["rm", "-v", &b]);
        c.run(&["volume", "inspect", &volume]).fails(1, "no such volume");
        c.ok(&["volume", "rm", &named]);
        // Without -v it stays.
        c.ok(&["create", "--name", &a, "-v", "/anon", "busybox", "true"]);
        let volume = c.inspect(&a, "{{(index .Mounts 0).Name}}");
        c.ok(&["rm", &a]);
        c.ok(&["volume", "rm", &volume]);
    });
}

fn filled(s: &mut Suite) {
    s.each("a new volume must take owners, modes and links of the image's files", |c| {
        let (dir, image, volume) = (c.dir("image"), format!("{}:latest", c.name("image")), c.name("v"));
        let Some(base) = proa_e2e::fixture("busybox.tar") else { return };
        let script = "cp \"$0\" root.tar && mkdir -m 750 data && echo a > data/plain && ln data/plain data/hard \
            && ln -s /outside data/soft && mkfifo data/fifo && mkdir -m 1777 data/sticky && cp data/plain data/set \
            && touch -d @1000000000 data/plain && chown -h 7:8 data data/soft data/set && chmod 4751 data/set \
            && tar -rf root.tar data";
        let mut make = std::process::Command::new("sh");
        make.args(["-ec", script, &base.to_string_lossy()]).current_dir(&dir);
        proa_e2e::command::run(&mut make, b"").ok();
        c.ok(&["import", &dir.join("root.tar").to_string_lossy(), &image]);
        let bind = format!("{volume}:/data");
        let look = "cd /data; stat -c '%n %u:%g %a %h' . plain hard soft set sticky; stat -c %Y plain; \
            readlink soft; test -p fifo && test plain -ef hard && echo same";
        let wanted = c.ok(&["run", "--rm", &image, "sh", "-c", look]);
        assert!(wanted.contains("set 7:8 4751 1") && wanted.ends_with("same"), "{wanted}");
        assert_eq!(c.ok(&["run", "--rm", "-v", &bind, &image, "sh", "-c", look]), wanted);
        // It is the volume's own, and it is filled once only.
        assert_eq!(c.sh(&["-v", &format!("{volume}:/m")], "cat /m/plain; cd /m; rm plain hard soft fifo set"), "a");
        assert_eq!(c.ok(&["run", "--rm", "-v", &bind, &image, "ls", "/data"]), "sticky");
        let empty = format!("type=volume,source={},target=/data,volume-nocopy", c.name("w"));
        assert_eq!(c.ok(&["run", "--rm", "--mount", &empty, &image, "ls", "/data"]), "");
    });
}

fn parts(s: &mut Suite) {
    s.ours("--mount volume-subpath must mount a part of a volume, and nothing outside it", |c| {
        let (volume, name) = (c.name("v"), c.name("c"));
        let script = "mkdir -p /v/sub/deep; echo in > /v/sub/f; ln -s sub /v/link; ln -s /etc /v/away; ln -s ../.. /v/up";
        c.sh(&["-v", &format!("{volume}:/v")], script);
        let part = |path: &str| format!("type=volume,source={volume},target=/m,volume-subpath={path}");
        assert_eq!(c.sh(&["--mount", &part("sub")], "cat /m/f; ls /m; echo out > /m/deep/g"), "in\ndeep\nf");
        assert_eq!(c.sh(&["--mount", &part("link/deep/g")], "cat /m"), "out");
        assert_eq!(c.sh(&["--mount", &part("./sub/../sub")], "cat /m/f"), "in");
        c.run_sh(&["--mount", &part("missing")], "true").fails(125, "cannot access path");
        for path in ["away", "up", "away/passwd"] {
            c.run_sh(&["--mount", &part(path)], "true").fails(125, "leads out of the volume");
        }
        for path in ["../x", "/sub", "sub/../.."] {
            c.run_sh(&["--mount", &part(path)], "true").fails(125, "within the volume");
        }
        c.ok(&["create", "--name", &name, "--mount", &part("sub"), "busybox", "true"]);
        assert_eq!(c.sh(&["--volumes-from", &name], "cat /m/f"), "in");
        let shown = c.inspect(&name, "{{json (index .HostConfig.Mounts 0).VolumeOptions}}");
        assert_eq!(shown, "{\"Subpath\":\"sub\"}");
    });
}

fn listed(s: &mut Suite) {
    s.each("volume ls must filter by use, label, driver and name", |c| {
        let (used, free, name) = (c.name("used"), c.name("free"), c.name("c"));
        c.ok(&["volume", "create", "--label", "tier=web", "--label", "x", &used]);
        c.ok(&["volume", "create", "--label", "tier=db", &free]);
        c.ok(&["create", "--name", &name, "-v", &format!("{used}:/data"), "busybox"]);
        let all = format!("name={}", used.trim_end_matches("-used"));
        let list = |filters: &[&str]| {
            let filters = filters.iter().flat_map(|filter| ["--filter", filter]).collect::<Vec<_>>();
            c.ok(&[&["volume", "ls", "-q", "--filter", &all], &filters[..]].concat())
        };
        let both = format!("{free}\n{used}");
        assert_eq!(list(&[]), both);
        assert_eq!(list(&["dangling=true"]), free);
        assert_eq!(list(&["dangling=0"]), used);
        assert_eq!(list(&["label=tier"]), both);
        assert_eq!(list(&["label=tier=web"]), used);
        assert_eq!(list(&["label=x", "label=tier=db"]), "");
        assert_eq!(list(&["driver=local"]), both);
        assert_eq!(list(&["driver=nfs"]), "");
        assert_eq!(c.ok(&["volume", "ls", "-q", "--filter", &format!("name={free}$")]), free);
        c.run(&["volume", "ls", "--filter", "dangling=perhaps"]).fails(1, "invalid filter");
        c.run(&["volume", "ls", "--filter", "colour=red"]).fails(1, "invalid filter");
    });
    s.each("options of the local driver must be checked, and mount what they name", |c| {
        let (volume, bound, dir) = (c.name("v"), c.name("b"), c.dir("source"));
        for (options, wanted) in [
            (&["type=tmpfs"][..], "missing required option"),
            (&["o=size=1m"], "missing required option"),
            (&["colour=red"], "invalid option"),
            (&["size=10m"], "quota"),
        ] {
            let options = options.iter().flat_map(|option| ["-o", option]).collect::<Vec<_>>();
            c.run(&[&["volume", "create"], &options[..], &[&volume]].concat()).fails(1, wanted);
            c.run(&["volume", "inspect", &volume]).fails(1, "no such volume");
        }
        let tmpfs = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000,noexec"];
        c.ok(&[&["volume", "create"], &tmpfs[..], &[&volume]].concat());
        let mounted = c.sh(&["-v", &format!("{volume}:/v")], "grep ' /v ' /proc/mounts; stat -c %u /v");
        for part in ["tmpfs /v tmpfs", "noexec", "size=1024k", "uid=1000", "\n1000"] {
            assert!(mounted.contains(part), "{mounted}");
        }
        let device = format!("device={}", dir.display());
        c.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, &bound]);
        c.sh(&["-v", &format!("{bound}:/v")], "echo through > /v/f");
        assert_eq!(std::fs::read_to_string(dir.join("f")).unwrap(), "through\n");
        c.ok(&["volume", "rm", &bound]);
        assert!(dir.join("f").exists());
        let gone = c.name("gone");
        c.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/no/such/place", &gone]);
        c.run_sh(&["-v", &format!("{gone}:/v")], "true").fails(125, "no such file or directory");
    });
}

fn by_version() {
    let daemon = proa_e2e::Daemon::start("volumes", &[]);
    daemon.load_busybox();
    let put = daemon.request_with("PUT", "/v1.44/volumes/any?version=1", r#"{"Spec":{}}"#).unwrap();
    assert!(put.starts_with("HTTP/1.1 503") && put.contains("swarm is unavailable"), "{put}");
    let body = r#"{"Name":"c","ClusterVolumeSpec":{"Group":"g"}}"#;
    let made = daemon.request_with("POST", "/volumes/create", body).unwrap();
    assert!(made.starts_with("HTTP/1.1 503"), "{made}");
    let mount = r#"{"Type":"volume","Source":"vol","Target":"/m","VolumeOptions":{"Subpath":"sub"}}"#;
    let body = format!(r#"{{"Image":"busybox","Cmd":["true"],"HostConfig":{{"Mounts":[{mount}]}}}}"#);
    for (version, shown) in [("1.44", false), ("1.45", true)] {
        let path = format!("/v{version}/containers/create?name=v{version}");
        let made = daemon.request_with("POST", &path, &body).unwrap();
        assert!(made.starts_with("HTTP/1.1 201"), "{made}");
        let all = daemon.docker(&["inspect", &format!("v{version}")]).ok();
        assert_eq!(all.contains("\"Subpath\""), shown, "{all}");
    }
    // It was there already: it is told once that it was made.
    daemon.docker(&["volume", "create", "vol"]).ok();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let period = ["events", "--since", "1", "--until", &now, "--filter", "volume=vol"];
    let told = daemon.docker(&[&period[..], &["--format", "{{.Action}}"]].concat()).ok();
    assert_eq!(told.matches("create").count(), 1, "{told}");
}
