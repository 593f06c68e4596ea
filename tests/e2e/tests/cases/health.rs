//! Health checks: what is asked of a container, what is shown and told of it, and what an unhealthy one leads to.

use proa_e2e::command::until;
use proa_e2e::{Ctx, Daemon, Suite};
use serde_json::Value;

pub(crate) fn add(s: &mut Suite) {
    s.each("a health check must make a container healthy and unhealthy, and tell both", |c| {
        let name = c.name("c");
        let check = ["--health-cmd", "test -f /ok", "--health-interval", "100ms", "--health-retries", "2"];
        let since = now();
        c.start(&name, &check, "sleep 1000");
        until_status(c, &name, "unhealthy");
        c.ok(&["exec", &name, "touch", "/ok"]);
        until_status(c, &name, "healthy");
        let health = health(c, &name);
        assert_eq!(health["FailingStreak"], 0, "{health}");
        let row = c.ok(&["ps", "--filter", &format!("name={name}"), "--format", "{{.Status}}"]);
        assert!(row.starts_with("Up ") && row.ends_with(" (healthy)"), "{row}");
        for (filter, found) in [("health=healthy", true), ("health=unhealthy", false), ("health=none", false)]
        {
            assert_eq!(c.ok(&["ps", "--filter", filter]).contains(&name), found, "{filter}");
        }
        let until = now();
        let filter = format!("container={name}");
        let period = ["events", "--since", &since, "--until", &until];
        let told = c.ok(&[&period[..], &["--filter", &filter, "--format", "{{.Action}}"]].concat());
        let health = told.lines().filter(|line| line.starts_with("health_status")).collect::<Vec<_>>();
        assert_eq!(health, ["health_status: unhealthy", "health_status: healthy"], "{told}");
        let probe = "exec_create: /bin/sh -c test -f /ok\nexec_start: /bin/sh -c test -f /ok\nexec_die";
        assert!(told.contains(probe), "{told}");
    });
    s.each(
        "a container must be starting until its first probe, and one without a check must have no health",
        |c| {
            let (checked, plain) = (c.name("checked"), c.name("plain"));
            c.start(&checked, &["--health-cmd", "true", "--health-interval", "1h"], "sleep 1000");
            c.start(&plain, &[], "sleep 1000");
            assert_eq!(
                health(c, &checked),
                serde_json::json!({"Status": "starting", "FailingStreak": 0, "Log": []})
            );
            let row = c.ok(&["ps", "--filter", &format!("name={checked}"), "--format", "{{.Status}}"]);
            assert!(row.ends_with(" (health: starting)"), "{row}");
            assert_eq!(c.inspect_json(&plain)["State"].get("Health"), None);
            assert!(c.ok(&["ps", "--filter", "health=none"]).contains(&plain));
            assert!(c.ok(&["ps", "--filter", "health=starting"]).contains(&checked));
            c.run(&["ps", "--filter", "health=fine"]).fails(1, "health");
        },
    );
    s.each("the last five probes must be kept, their output bounded", |c| {
        let name = c.name("c");
        let cmd = "head -c 5000 /dev/zero | tr '\\0' x; echo; exit 7";
        c.start(&name, &["--health-cmd", cmd, "--health-interval", "50ms"], "sleep 1000");
        let log = until("six probes", || {
            let health = health(c, &name);
            (health["FailingStreak"].as_i64() > Some(5)).then(|| health["Log"].clone())
        });
        let log = log.as_array().unwrap();
        assert_eq!(log.len(), 5);
        for probe in log {
            let output = probe["Output"].as_str().unwrap();
            assert_eq!(output, format!("{}...", "x".repeat(4096)));
            assert_eq!(probe["ExitCode"], 7, "{probe}");
            assert!(probe["Start"].as_str() < probe["End"].as_str(), "{probe}");
        }
    });
    s.each("a probe that cannot be run must fail with the reason", |c| {
        let name = c.name("c");
        let image = format!("{}:latest", c.name("image"));
        import(c, &["HEALTHCHECK --interval=50ms --retries=1 CMD [\"/no-such-probe\", \"now\"]"], &image);
        c.ok(&["run", "-d", "--name", &name, &image, "sleep", "1000"]);
        until_status(c, &name, "unhealthy");
        let probe = last(&health(c, &name));
        assert!(probe["ExitCode"] != 0, "{probe}");
        assert!(probe["Output"].as_str().is_some_and(|text| text.contains("no-such-probe")), "{probe}");
    });
    s.each("a probe that takes too long must be killed with what it has started", |c| {
        let name = c.name("c");
        let cmd = "echo begun; sleep 1235; echo never";
        let check = ["--health-cmd", cmd, "--health-interval", "50ms", "--health-timeout", "200ms"];
        c.start(&name, &check, "sleep 1000");
        until_status(c, &name, "unhealthy");
        let probe = last(&health(c, &name));
        assert_eq!(probe["Output"], "Health check exceeded timeout (200ms): begun\n", "{probe}");
        until("at most the present one runs", || {
            // Its shell names it too.
            let (all, shells) = (c.ok(&["top", &name]), c.ok(&["top", &name]));
            let count = |text: &str| text.lines().filter(|line| line.ends_with(" sleep 1235")).count();
            (count(&all) <= 1 && count(&shells) <= 1).then_some(())
        });
    });
    of_images(s);
    over_time(s);
    healing(s);
    s.alone("health must go on when the daemon was killed, and be shown as each version had it", goes_on);
}

fn of_images(s: &mut Suite) {
    s.each("an image's health check must be run, completed and turned off", |c| {
        let (own, other, none) = (c.name("own"), c.name("other"), c.name("none"));
        let image = format!("{}:latest", c.name("image"));
        import(
            c,
            &["HEALTHCHECK --interval=100ms --timeout=20s --retries=4 CMD test -f /etc/passwd"],
            &image,
        );
        c.ok(&["run", "-d", "--name", &own, &image, "sleep", "1000"]);
        until_status(c, &own, "healthy");
        let options = ["--health-retries", "9", "--health-cmd", "true"];
        c.ok(&[&["run", "-d", "--name", &other], &options[..], &[&image, "sleep", "1000"]].concat());
        let check = &c.inspect_json(&other)["Config"]["Healthcheck"];
        assert_eq!(check["Test"], serde_json::json!(["CMD-SHELL", "true"]), "{check}");
        let seconds = |value: &Value| value.as_i64().unwrap_or(0) / 1_000_000;
        assert_eq!((seconds(&check["Interval"]), seconds(&check["Timeout"])), (100, 20_000), "{check}");
        assert_eq!(check["Retries"], 9, "{check}");
        until_status(c, &other, "healthy");
        c.ok(&["run", "-d", "--name", &none, "--no-healthcheck", &image, "sleep", "1000"]);
        let all = c.inspect_json(&none);
        assert_eq!(all["Config"]["Healthcheck"]["Test"], serde_json::json!(["NONE"]));
        assert_eq!(all["State"].get("Health"), None, "{all}");
    });
    s.each("times of a health check that make no sense must be refused by name", |c| {
        for option in ["interval", "timeout", "start-period"] {
            let flag = format!("--health-{option}=100us");
            let wanted = format!("{} in Healthcheck cannot be less than 1ms", option.replace('-', ""));
            c.run(&["create", "--health-cmd", "true", &flag, "busybox", "true"]).fails(1, &wanted);
        }
    });
}

fn over_time(s: &mut Suite) {
    s.each("failures in the start period must not count", |c| {
        let name = c.name("c");
        let check = ["--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1"];
        c.start(&name, &[&check[..], &["--health-start-period", "1h"]].concat(), "sleep 1000");
        let health = until("a probe", || {
            let health = health(c, &name);
            health["Log"].as_array().is_some_and(|log| !log.is_empty()).then_some(health)
        });
        assert_eq!(
            (&health["Status"], &health["FailingStreak"]),
            (&"starting".into(), &0.into()),
            "{health}"
        );
        assert_eq!(last(&health)["ExitCode"], 1);
    });
    s.each("a paused or stopped container must not be probed, and again when it runs", |c| {
        let (name, clock) = (c.name("c"), c.name("clock"));
        let check = ["--health-cmd", "true", "--health-interval", "50ms"];
        c.start(&clock, &check, "sleep 1000");
        c.start(&name, &check, "sleep 1000");
        until_status(c, &name, "healthy");
        c.ok(&["pause", &name]);
        let quiet = |what: &str| {
            // One that was under way has ended when the other has had several.
            passes(c, &clock);
            let before = health(c, &name);
            passes(c, &clock);
            assert_eq!(health(c, &name), before, "{what}");
        };
        quiet("paused");
        c.ok(&["unpause", &name]);
        until_status(c, &name, "healthy");
        passes(c, &name);
        c.ok(&["stop", "-t", "0", &name]);
        quiet("stopped");
        assert_eq!(health(c, &name)["Status"], "unhealthy");
        c.ok(&["start", &name]);
        until_status(c, &name, "healthy");
    });
}

fn healing(s: &mut Suite) {
    const LABEL: &str = "--label=proa.health.on-failure";
    const ILL: [&str; 6] = [
        "--health-cmd=test ! -e /ill",
        "--health-interval=50ms",
        "--health-retries=1",
        "--stop-signal=KILL",
        "-e",
        "A=b",
    ];
    s.each("a container whose label asks must be restarted when it is unhealthy", |c| {
        let name = c.name("c");
        let label = format!("{LABEL}=restart");
        c.run(&["run", "--rm", &label, "busybox", "true"]).fails(125, "conflicting options");
        let options = [&ILL[..], &[&label]].concat();
        c.start(&name, &options, "rm -f /ill; echo up; exec sleep 1000");
        until_status(c, &name, "healthy");
        c.ok(&["exec", &name, "touch", "/ill"]);
        until("it was restarted and is healthy", || {
            let now = c.inspect(&name, "{{.RestartCount}} {{.State.Status}} {{.State.Health.Status}}");
            (now == "1 running healthy").then_some(())
        });
        assert_eq!(c.ok(&["logs", &name]), "up\nup");
        c.ok(&["stop", &name]);
        assert_eq!(c.inspect(&name, "{{.State.Status}}"), "exited");
    });
    s.each("a container whose label asks must be killed or stopped when it is unhealthy", |c| {
        let label = format!("{LABEL}=reboot");
        c.run(&["run", "--rm", &label, "busybox", "true"]).fails(125, "write none, kill, restart or stop");
        for (action, policy, wanted) in [("kill", "no", "exited 137"), ("stop", "always", "exited 137")] {
            let name = c.name(action);
            let label = format!("{LABEL}={action}");
            let options = [&ILL[..], &[&label, "--restart", policy]].concat();
            c.start(&name, &options, "exec sleep 1000");
            until_status(c, &name, "healthy");
            c.ok(&["exec", "-d", &name, "touch", "/ill"]);
            until(wanted, || {
                (c.inspect(&name, "{{.State.Status}} {{.State.ExitCode}}") == wanted).then_some(())
            });
        }
    });
}

fn goes_on() {
    let mut daemon = Daemon::start("health", &[]);
    daemon.load_busybox();
    let (healthy, ill) = ("healthy", "ill");
    let status = |daemon: &Daemon, name: &str, wanted: &str| {
        until(wanted, || {
            let shown = daemon.docker(&["inspect", "-f", "{{.State.Health.Status}}", name]).ok();
            (shown == wanted).then_some(())
        });
    };
    for name in [healthy, ill] {
        let check = ["--health-cmd=test ! -e /ill", "--health-interval=100ms", "--health-retries=1"];
        let label = "--label=proa.health.on-failure=restart";
        let run = ["run", "-d", "--name", name, "--stop-signal=KILL", label];
        let script = ["busybox", "sh", "-c", "rm -f /ill; exec sleep 1000"];
        daemon.docker(&[&run[..], &check, &script].concat()).ok();
        status(&daemon, name, "healthy");
    }
    daemon.kill();
    daemon.run();
    // What was known is not forgotten, and it is asked again.
    let health = || daemon.docker(&["inspect", "-f", "{{json .State.Health}}", healthy]).ok();
    assert!(health().starts_with("{\"Status\":\"healthy\""), "{}", health());
    until("a probe of the new daemon", || health().contains("\"ExitCode\":0").then_some(()));
    daemon.docker(&["exec", ill, "touch", "/ill"]).ok();
    until("it was restarted and is healthy", || {
        let format = "{{.RestartCount}} {{.State.Status}} {{.State.Health.Status}}";
        (daemon.docker(&["inspect", "-f", format, ill]).ok() == "1 running healthy").then_some(())
    });
    let list = |version: &str| daemon.request("GET", &format!("/v{version}/containers/json")).unwrap();
    assert!(
        list("1.52").contains("\"Health\":{\"Status\":\"healthy\",\"FailingStreak\":0}"),
        "{}",
        list("1.52")
    );
    assert!(!list("1.51").contains("\"Health\":"), "{}", list("1.51"));
    let body = r#"{"Image":"busybox","Healthcheck":{"Test":["CMD","true"],"StartInterval":7000000000}}"#;
    for (version, shown) in [("1.43", false), ("1.44", true)] {
        let name = format!("v{version}");
        let made = daemon.request_with("POST", &format!("/v{version}/containers/create?name={name}"), body);
        assert!(made.is_some_and(|answer| answer.starts_with("HTTP/1.1 201")));
        let all = daemon.docker(&["inspect", &name]).ok();
        assert_eq!(all.contains("\"StartInterval\""), shown, "{all}");
    }
}

/// The health that inspect shows.
fn health(c: &Ctx, name: &str) -> Value {
    c.inspect_json(name)["State"]["Health"].clone()
}

fn last(health: &Value) -> Value {
    health["Log"].as_array().and_then(|log| log.last().cloned()).unwrap_or_default()
}

fn until_status(c: &Ctx, name: &str, wanted: &str) {
    until(&format!("{name} is {wanted}"), || (health(c, name)["Status"] == wanted).then_some(()));
}

/// Waits until a container has been probed several times.
fn passes(c: &Ctx, name: &str) {
    let newest = last(&health(c, name))["End"].as_str().unwrap_or_default().to_owned();
    until("six probes", || {
        let log = health(c, name)["Log"].clone();
        let oldest = log.as_array().and_then(|log| log.first().cloned()).unwrap_or_default();
        oldest["Start"].as_str().is_some_and(|start| *start > *newest).then_some(())
    });
}

fn import(c: &Ctx, changes: &[&str], image: &str) {
    let tar = proa_e2e::fixture("busybox.tar").expect("the fixture");
    let tar = tar.to_string_lossy();
    let changes = changes.iter().flat_map(|change| ["--change", change]).collect::<Vec<_>>();
    c.ok(&[&["import"], &changes[..], &[&tar, image]].concat());
}

fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}
