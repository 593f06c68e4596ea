//! What containers use.

use proa_e2e::command::{limit, until};
use proa_e2e::{Ctx, Suite};
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;

pub(crate) fn add(s: &mut Suite) {
    s.each("stats must tell memory, limit and processes of a container", |c| {
        let name = c.name("c");
        c.start(&name, &["-m", "64m", "--pids-limit", "20"], "sleep 300 & sleep 300 & wait");
        // The shell may not have begun the others yet.
        until("three processes", || (row(c, &name, "{{.PIDs}}") == "3").then_some(()));
        let line = row(c, &name, "{{.Name}} {{.Container}} {{.MemUsage}} {{.MemPerc}}");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..2], [&name, &name], "{line}");
        assert!(words[2].ends_with("iB") && words[3..5] == ["/", "64MiB"], "{line}");
        let share: f64 = words[5].trim_end_matches('%').parse().unwrap();
        assert!(share > 0.0 && share < 100.0, "{line}");
        let heads = c.ok(&["stats", "--no-stream", &name]);
        let heads: Vec<&str> = heads.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(heads.join(" "), "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS");
    });
    s.each("stats must tell the processor time that a container spends", |c| {
        let (busy, idle) = (c.name("busy"), c.name("idle"));
        c.start(&busy, &[], "while :; do :; done");
        c.start(&idle, &[], "sleep 300");
        until("it is busy", || (percent(&row(c, &busy, "{{.CPUPerc}}")) > 1.0).then_some(()));
        until("it is idle", || (percent(&row(c, &idle, "{{.CPUPerc}}")) < 1.0).then_some(()));
    });
    s.each("stats must tell what goes over the network", |c| {
        let name = c.name("c");
        c.start(
            &name,
            &[],
            "while :; do ping -c 1 -W 1 -s 1000 $(ip route | awk '/default/{print $3}'); sleep 0.1; done",
        );
        until("traffic", || {
            let line = row(c, &name, "{{.NetIO}}");
            let sent = line.split(" / ").nth(1).unwrap_or_default().to_owned();
            (sent.ends_with("kB") || sent.ends_with("MB")).then_some(())
        });
        let alone = c.name("none");
        c.start(&alone, &["--network", "none"], "sleep 300");
        assert_eq!(row(c, &alone, "{{.NetIO}}"), "0B / 0B");
    });
    s.each("stats of a container that does not run must be zero, and of none an error", |c| {
        let name = c.name("c");
        c.ok(&["create", "--name", &name, "busybox", "true"]);
        let line = row(c, &name, "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}");
        assert_eq!(line, format!("{name} 0.00% 0B / 0B 0"));
        c.run(&["stats", "--no-stream", "no-such-container"])
            .fails(1, "No such container: no-such-container");
    });
    s.each("stats must keep telling until it is stopped", |c| {
        let name = c.name("c");
        c.start(&name, &[], "exec sleep 300");
        let wanted = format!("{name} 1");
        let child = c.spawn(&["stats", "--format", "{{.Name}} {{.PIDs}}", &name]);
        let told = told_by(child, |lines| lines.filter(|line| line.ends_with(&wanted)).take(3).count());
        assert_eq!(told, 3);
    });
    s.each("stats must show containers that start, and no more those that end", |c| {
        let (first, second) = (c.name("a"), c.name("b"));
        c.start(&first, &[], "sleep 300");
        let child = c.spawn(&["stats", "--format", "{{.Name}}"]);
        let shown = told_by(child, |lines| {
            let mut shown = lines.any(|line| line.ends_with(&first));
            c.start(&second, &[], "sleep 300");
            shown &= lines.any(|line| line.ends_with(&second));
            c.ok(&["rm", "-f", &first]);
            // In a table without the first, the second is seen twice with nothing of it in between.
            let mut since = 0;
            shown
                && lines.any(|line| {
                    since =
                        if line.ends_with(&first) { 0 } else { since + usize::from(line.ends_with(&second)) };
                    since >= 3
                })
        });
        assert!(shown);
    });
    s.each("stats --all must show those that do not run", |c| {
        let name = c.name("c");
        c.ok(&["create", "--name", &name, "busybox", "true"]);
        let listed =
            |args: &[&str]| c.ok(&[&["stats", "--no-stream", "--format", "{{.Name}}"], args].concat());
        assert!(!listed(&[]).lines().any(|line| line == name));
        assert!(listed(&["-a"]).lines().any(|line| line == name));
    });
    s.ours("stats on a terminal must write the table in its place", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 300");
        let mut command = c.terminal_command(&["stats", &name]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let homes = told_by(command.spawn().unwrap(), |lines| {
            lines.filter(|line| line.contains("\u{1b}[HCONTAINER ID")).take(2).count()
        });
        assert_eq!(homes, 2);
    });
    s.ours("a stats answer must have the shape of its version", |c| {
        let name = c.name("c");
        c.start(&name, &["--cpus", "0.5", "--pids-limit", "20"], "exec sleep 300");
        let get = |version: &str, query: &str| c.get(&format!("/{version}/containers/{name}/stats?{query}"));
        let one = get("v1.54", "stream=0&one-shot=1");
        assert_eq!(one["os_type"], "linux");
        assert_eq!(one["pids_stats"]["limit"], 20);
        assert_eq!(one["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(one["name"], format!("/{name}"));
        assert!(one["cpu_stats"]["system_cpu_usage"].as_u64() > Some(0), "{one}");
        assert!(one["cpu_stats"]["online_cpus"].as_u64() > Some(0), "{one}");
        assert!(one["memory_stats"]["limit"].as_u64() > Some(1 << 20), "{one}");
        assert!(one["networks"]["eth0"]["rx_bytes"].is_u64(), "{one}");
        let two = get("v1.41", "stream=0");
        assert!(
            two.get("os_type").is_none() && two["precpu_stats"]["system_cpu_usage"].as_u64() > Some(0),
            "{two}"
        );
        let text = c.request("GET", &format!("/v1.54/containers/{name}/stats?one-shot=1"), "");
        assert!(
            text.starts_with("HTTP/1.1 400") && text.contains("cannot have stream=true and one-shot=true"),
            "{text}"
        );
    });
}

type Line = fn(std::io::Result<String>) -> Option<String>;

/// What is made of the lines that a command writes, which is ended then, or when it takes too long.
fn told_by<T>(
    mut child: Child,
    read: impl FnOnce(&mut std::iter::MapWhile<Lines<BufReader<ChildStdout>>, Line>) -> T,
) -> T {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok as Line);
    let (done, is_done) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        // Also told by a panic of the reader, which drops the sender.
        let _ = is_done.recv_timeout(limit());
        let _ = child.kill();
        let _ = child.wait();
    });
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&mut lines)));
    drop(done);
    let _ = watcher.join();
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// One field or several of a container's row.
fn row(c: &Ctx, name: &str, format: &str) -> String {
    c.ok(&["stats", "--no-stream", "--format", format, name])
}

fn percent(text: &str) -> f64 {
    text.trim_end_matches('%').parse().unwrap_or(0.0)
}
