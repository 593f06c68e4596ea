//! The life of a container: create, start, stop, restart, kill, pause, rename, wait, remove, ps, inspect.

use proa_e2e::{Suite, command::until};

pub(crate) fn add(s: &mut Suite) {
    s.each("create must make a container that start runs", |c| {
        let name = c.name("c");
        let id = c.ok(&["create", "--name", &name, "busybox", "sh", "-c", "echo ran; exit 5"]);
        assert_eq!(c.inspect(&name, "{{.Id}} {{.State.Status}}"), format!("{id} created"));
        assert_eq!(c.run(&["start", "-a", &name]).code, 5);
        assert_eq!(c.ok(&["logs", &name]), "ran");
    });
    s.each("start of a running container must do nothing", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        let pid = c.inspect(&name, "{{.State.Pid}}");
        c.ok(&["start", &name]);
        assert_eq!(c.inspect(&name, "{{.State.Pid}}"), pid);
    });
    s.each("a container must keep its files over stop and start", |c| {
        let name = c.name("c");
        c.ok(&["run", "--name", &name, "busybox", "sh", "-c", "echo kept >> /file; cat /file"]);
        c.ok(&["start", &name]);
        c.ok(&["wait", &name]);
        assert_eq!(c.ok(&["logs", &name]), "kept\nkept\nkept");
    });
    s.each("stop must send the signal, wait, then kill", |c| {
        let (soft, hard) = (c.name("soft"), c.name("hard"));
        c.start(&soft, &[], "trap 'exit 0' TERM; while :; do sleep 0.1; done");
        c.start(&hard, &[], "trap '' TERM; while :; do sleep 0.1; done");
        assert_eq!(c.ok(&["stop", "-t", "20", &soft]), soft);
        c.ok(&["stop", "-t", "1", &hard]);
        assert_eq!(c.inspect(&soft, "{{.State.ExitCode}}"), "0");
        assert_eq!(c.inspect(&hard, "{{.State.ExitCode}}"), "137");
    });
    s.each("restart must start anew", |c| {
        let name = c.name("c");
        c.start(&name, &[], "echo up; exec sleep 60");
        let pid = c.inspect(&name, "{{.State.Pid}}");
        c.ok(&["restart", "-t", "0", &name]);
        assert_ne!(c.inspect(&name, "{{.State.Pid}}"), pid);
        assert_eq!(c.inspect(&name, "{{.State.Running}}"), "true");
        until("two lines", || (c.ok(&["logs", &name]) == "up\nup").then_some(()));
    });
    s.each("kill must send the signal asked for", |c| {
        let name = c.name("c");
        c.start(&name, &[], "trap 'echo hup' HUP; while :; do sleep 0.05; done");
        until("the trap is set and answers", || {
            c.ok(&["kill", "-s", "HUP", &name]);
            c.ok(&["logs", &name]).contains("hup").then_some(())
        });
        c.ok(&["kill", &name]);
        assert_eq!(c.ok(&["wait", &name]), "137");
    });
    s.each("pause must stop the processes and unpause must let them run", |c| {
        let name = c.name("c");
        c.start(&name, &[], "while :; do date +%N >> /n; sleep 0.02; done");
        c.ok(&["pause", &name]);
        assert_eq!(c.inspect(&name, "{{.State.Status}}"), "paused");
        c.run(&["exec", &name, "true"]).fails(1, "paused");
        c.ok(&["unpause", &name]);
        assert_eq!(c.inspect(&name, "{{.State.Status}}"), "running");
        c.ok(&["exec", &name, "true"]);
    });
    s.each("rename must move the name and free the old one", |c| {
        let (old, new) = (c.name("old"), c.name("new"));
        c.start(&old, &[], "sleep 60");
        c.ok(&["rename", &old, &new]);
        assert_eq!(c.inspect(&new, "{{.Name}}"), format!("/{new}"));
        c.start(&old, &[], "true");
    });
    s.each("wait must print the exit code, also of a container long gone", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 0.3; exit 6");
        assert_eq!(c.ok(&["wait", &name]), "6");
        assert_eq!(c.ok(&["wait", &name]), "6");
    });
    s.each("rm must refuse a running container and rm -f must remove it", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        c.run(&["rm", &name]).fails(1, "cannot remove");
        c.ok(&["rm", "-f", &name]);
        c.run(&["inspect", &name]).fails(1, "no such");
    });
    s.each("ids must be found by prefix", |c| {
        let name = c.name("c");
        let id = c.start(&name, &[], "sleep 60");
        assert_eq!(c.inspect(&id[..8], "{{.Name}}"), format!("/{name}"));
    });
    s.each("a container must start and exec after its image was removed by force", |c| {
        let (name, image, tar) = (c.name("c"), c.name("image"), c.dir("image").join("root.tar"));
        let Some(base) = proa_e2e::fixture("busybox.tar") else { return };
        // A layer that no other image has.
        std::fs::copy(base, &tar).unwrap();
        std::fs::write(c.dir("image").join("own"), &image).unwrap();
        let dir = c.dir("image").to_string_lossy().into_owned();
        let mut append = std::process::Command::new("tar");
        append.args(["-C", &dir, "-rf", &tar.to_string_lossy(), "own"]);
        proa_e2e::command::run(&mut append, b"").ok();
        c.ok(&["import", "--change", "ENV OWN=here", &tar.to_string_lossy(), &image]);
        let script = "cat /own; echo; echo $OWN; exec sleep $T";
        c.ok(&["run", "--name", &name, "-e", "T=0", &image, "sh", "-c", script]);
        c.ok(&["rmi", "-f", &image]);
        c.run(&["run", "--rm", "--pull", "never", &image, "true"]).fails(125, "no such image");
        assert_eq!(c.ok(&["start", "-a", &name]), format!("{image}\nhere"));
        let idle = c.name("idle");
        c.ok(&["import", &tar.to_string_lossy(), &image]);
        c.ok(&["run", "-d", "--name", &idle, "-e", "OWN=too", &image, "sleep", "60"]);
        c.ok(&["stop", "-t", "0", &idle]);
        c.ok(&["rmi", "-f", &image]);
        c.ok(&["start", &idle]);
        assert_eq!(c.ok(&["exec", &idle, "sh", "-c", "cat /own; echo; echo $OWN"]), format!("{image}\ntoo"));
        assert!(c.inspect(&idle, "{{.Image}}").starts_with("sha256:"));
        assert!(c.ok(&["ps", "-a"]).contains(&idle));
    });
    listing(s);
}

fn listing(s: &mut Suite) {
    s.each("ps must show running containers, and all with -a", |c| {
        let (up, down) = (c.name("up"), c.name("down"));
        let id = c.start(&up, &[], "sleep 60");
        c.start(&down, &[], "exit 3");
        c.ok(&["wait", &down]);
        let running = c.ok(&["ps"]);
        assert!(running.starts_with("CONTAINER ID   IMAGE"), "{running}");
        let row = running.lines().find(|l| l.contains(&up)).unwrap_or_else(|| panic!("{running}"));
        assert!(
            row.starts_with(&id[..12]) && row.contains("\"sh -c 'sleep 60'\"") && row.contains("Up "),
            "{row}"
        );
        assert!(!running.contains(&down), "{running}");
        let all = c.ok(&["ps", "-a"]);
        assert!(all.lines().any(|l| l.contains(&down) && l.contains("Exited (3)")), "{all}");
    });
    s.each("ps must filter, format and print ids alone", |c| {
        let name = c.name("c");
        let id = c.start(&name, &["--label", "tier=web"], "sleep 60");
        let by_name = format!("name={name}");
        assert_eq!(c.ok(&["ps", "-q", "--filter", &by_name]), id[..12]);
        assert_eq!(c.ok(&["ps", "-q", "--no-trunc", "--filter", &by_name]), id);
        let format = "{{.Names}} {{.Label \"tier\"}} {{.State}}";
        assert_eq!(c.ok(&["ps", "--filter", &by_name, "--format", format]), format!("{name} web running"));
        assert_eq!(c.ok(&["ps", "-q", "--filter", &by_name, "--filter", "status=exited"]), "");
        assert_eq!(c.ok(&["ps", "-q", "--filter", &by_name, "--filter", "label=tier=db"]), "");
    });
    s.each("inspect must tell the whole of a container", |c| {
        let name = c.name("c");
        let id = c.start(&name, &["-e", "K=v", "-m", "64m"], "sleep 60");
        let all = c.inspect_json(&name);
        assert_eq!(all["Id"], id.as_str());
        assert_eq!(all["Config"]["Cmd"], serde_json::json!(["sh", "-c", "sleep 60"]));
        assert_eq!(all["HostConfig"]["Memory"], 64 << 20);
        assert_eq!(all["State"]["Status"], "running");
        assert!(all["State"]["Pid"].as_i64().unwrap_or(0) > 0, "{all}");
        assert!(
            all["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().is_some_and(|a| !a.is_empty())
        );
        assert!(all["Image"].as_str().is_some_and(|i| i.starts_with("sha256:")));
        assert!(all["Created"].as_str().is_some_and(|t| t.ends_with('Z')));
    });
    s.each("top must list the processes", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 61");
        assert!(c.ok(&["top", &name]).contains("sleep 61"));
    });
}
