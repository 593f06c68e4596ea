//! Restart policies: who comes back, when, and who does not.

use proa_e2e::command::{Output, until};
use proa_e2e::{Ctx, Daemon, Suite};

pub(crate) fn add(s: &mut Suite) {
    s.each("--restart on-failure:2 must try twice more and stop", |c| {
        let name = c.name("c");
        c.start(&name, &["--restart", "on-failure:2"], "echo try; exit 1");
        until("two restarts", || {
            (c.inspect(&name, "{{.RestartCount}} {{.State.Status}}") == "2 exited").then_some(())
        });
        assert_eq!(c.ok(&["logs", &name]), "try\ntry\ntry");
        // Started by hand, it has all its tries again.
        c.ok(&["start", &name]);
        until("two more restarts", || {
            let again = c.inspect(&name, "{{.RestartCount}} {{.State.Status}}") == "2 exited";
            (again && c.ok(&["logs", &name]).lines().count() == 6).then_some(())
        });
    });
    s.each("--restart on-failure must leave a container down that ended well", |c| {
        let (name, other) = (c.name("c"), c.name("other"));
        c.start(&name, &["--restart", "on-failure"], "echo once");
        // One that fails comes back meanwhile.
        c.start(&other, &["--restart", "on-failure:3"], "exit 1");
        until("three restarts", || (c.inspect(&other, "{{.RestartCount}}") == "3").then_some(()));
        assert_eq!(c.inspect(&name, "{{.RestartCount}} {{.State.Status}}"), "0 exited");
        assert_eq!(c.ok(&["logs", &name]), "once");
    });
    s.each("--restart always must come back after a crash and stay down after stop", |c| {
        let (name, clock) = (c.name("c"), c.name("clock"));
        c.start(&name, &["--restart", "always"], "sleep 1000");
        kill_init(c, &name);
        until("it runs again", || {
            let text = c.inspect(&name, "{{.State.Running}} {{.State.Restarting}} {{.RestartCount}}");
            (text == "true false 1").then_some(())
        });
        c.ok(&["stop", "-t", "0", &name]);
        // Another comes back several times meanwhile.
        c.start(&clock, &["--restart", "always"], "exit 1");
        until("two restarts", || restarts(c, &clock).filter(|&count| count >= 2));
        assert_eq!(c.inspect(&name, "{{.State.Status}} {{.RestartCount}}"), "exited 1");
    });
    s.each("kill by a user must end a container for good, and a signal that ends nothing must not", |c| {
        let (killed, hung, clock) = (c.name("killed"), c.name("hung"), c.name("clock"));
        c.start(&killed, &["--restart", "always"], "sleep 1000");
        c.start(
            &hung,
            &["--restart", "unless-stopped", "--stop-signal", "TERM"],
            "trap : HUP; while :; do sleep 0.1; done",
        );
        c.ok(&["kill", &killed]);
        c.ok(&["kill", "-s", "HUP", &hung]);
        c.start(&clock, &["--restart", "always"], "exit 1");
        until("two restarts", || restarts(c, &clock).filter(|&count| count >= 2));
        assert_eq!(c.inspect(&killed, "{{.State.Status}} {{.RestartCount}}"), "exited 0");
        // The signal may have come before its trap was set, and then ended it.
        kill_init(c, &hung);
        until("it runs again", || {
            let text = c.inspect(&hung, "{{.State.Running}} {{.State.Restarting}}");
            (text == "true false" && c.inspect(&hung, "{{.RestartCount}}") != "0").then_some(())
        });
    });
    s.each("each pause before a restart must be twice as long as the one before", |c| {
        let name = c.name("c");
        c.start(&name, &["--restart", "on-failure:4"], "date; exit 1");
        until("four restarts", || {
            (c.inspect(&name, "{{.RestartCount}} {{.State.Status}}") == "4 exited").then_some(())
        });
        let log = c.ok(&["logs", "-t", &name]);
        let times = log.lines().map(|line| seconds(line.split(' ').next().unwrap_or_default()));
        let times = times.collect::<Vec<_>>();
        assert_eq!(times.len(), 5, "{log}");
        for (pair, least) in times.windows(2).zip([0.1, 0.2, 0.4, 0.8]) {
            let gap = (pair[1] - pair[0]).rem_euclid(86_400.0);
            assert!(gap >= least, "{gap} is less than {least}:\n{log}");
        }
    });
    between(s);
    s.alone("policies must hold when the daemon ended, and when it was killed", over_daemons);
}

/// While a container waits for its next start.
fn between(s: &mut Suite) {
    s.each("a restarting container must be shown, and refuse what needs it to run", |c| {
        let name = c.name("c");
        c.start(&name, &["--restart", "always"], "exit 3");
        let shown = while_restarting(c, &name, &["inspect", "-f", "{{json .State}}", &name]).ok();
        for part in ["\"Running\":true", "\"Restarting\":true", "\"ExitCode\":3", "\"Pid\":0"] {
            assert!(shown.contains(part), "{shown}");
        }
        let filter = format!("name={name}");
        let row = while_restarting(c, &name, &["ps", "--filter", &filter, "--format", "{{.Status}}"]).ok();
        assert!(row.starts_with("Restarting (3) ") && row.ends_with(" ago"), "{row}");
        let rows = ["ps", "-q", "--filter", &filter, "--filter", "status=restarting"];
        assert_ne!(while_restarting(c, &name, &rows).ok(), "");
        let wait = "is restarting, wait until the container is running";
        while_restarting(c, &name, &["exec", &name, "true"]).fails(1, wait);
        while_restarting(c, &name, &["pause", &name]).fails(1, wait);
        while_restarting(c, &name, &["rm", &name]).fails(1, "restarting");
        while_restarting(c, &name, &["start", &name]).ok();
        assert_ne!(c.inspect(&name, "{{.RestartCount}}"), "0");
    });
    s.each("stop, kill and rm -f must end a restarting container", |c| {
        for (words, left) in [(&["stop"][..], "exited 3"), (&["kill"], "exited 3"), (&["rm", "-f"], "")] {
            let name = c.name(words[0]);
            c.start(&name, &["--restart", "always"], "exit 3");
            until("it is restarting", || {
                (c.inspect(&name, "{{.State.Status}}") == "restarting").then_some(())
            });
            // It may run for a moment just now, and end by itself before it is killed.
            until("it is ended", || (c.run(&[words, &[&name]].concat()).code == 0).then_some(()));
            match left {
                "" => drop(c.run(&["inspect", &name]).fails(1, "no such")),
                _ => until(left, || {
                    let status = c.inspect(&name, "{{.State.Status}}");
                    (status == "exited").then_some(())
                }),
            }
            let (count, clock) = (c.run(&["inspect", "-f", "{{.RestartCount}}", &name]).out(), c.name(left));
            let clock = format!("{}-{}", clock.replace(' ', ""), words[0]);
            c.start(&clock, &["--restart", "always"], "exit 1");
            until("two restarts", || restarts(c, &clock).filter(|&count| count >= 2));
            assert_eq!(c.run(&["inspect", "-f", "{{.RestartCount}}", &name]).out(), count);
            c.ok(&["rm", "-f", &clock]);
        }
    });
}

fn over_daemons() {
    let mut daemon = Daemon::start("restarts", &[]);
    daemon.load_busybox();
    let start = |name: &str, policy: &str, script: &str| {
        let run = ["run", "-d", "--name", name, "--stop-signal", "KILL", "--restart", policy];
        daemon.docker(&[&run[..], &["busybox", "sh", "-c", script]].concat()).ok();
    };
    for (policy, name) in [("always", "a"), ("unless-stopped", "u"), ("on-failure", "o"), ("no", "n")] {
        start(&format!("{name}-up"), policy, "exec sleep 1000");
        start(&format!("{name}-stopped"), policy, "exec sleep 1000");
        daemon.docker(&["stop", &format!("{name}-stopped")]).ok();
    }
    start("well", "on-failure", "exit 0");
    daemon.docker(&["create", "--name", "never", "--restart", "always", "busybox", "true"]).ok();
    daemon.docker(&["wait", "well"]).ok();
    daemon.stop();
    daemon.run();
    let came_back = |daemon: &Daemon, up: &[&str], down: &[&str]| {
        for name in up {
            until(name, || (status(daemon, name) == "running").then_some(()));
        }
        for name in down {
            let shown = status(daemon, name);
            assert!(matches!(shown.as_str(), "exited" | "created"), "{name} is {shown}");
        }
    };
    let down = ["u-stopped", "o-stopped", "n-up", "n-stopped", "well", "never"];
    came_back(&daemon, &["a-up", "a-stopped", "u-up"], &down);
    // A killed daemon leaves them running; what ends meanwhile comes back as its policy has it.
    daemon.docker(&["start", "n-up"]).ok();
    daemon.docker(&["stop", "u-up"]).ok();
    // One that a user had stopped and the new daemon started is under its policy again.
    let crashed = daemon.docker(&["inspect", "-f", "{{.State.Pid}}", "a-stopped"]).ok().parse().unwrap();
    proa_e2e::daemon::signal(crashed, rustix::process::Signal::KILL);
    until("it runs again", || {
        let format = "{{.State.Pid}} {{.State.Status}} {{.RestartCount}}";
        let now = daemon.docker(&["inspect", "-f", format, "a-stopped"]).ok();
        (now.ends_with(" running 1") && !now.starts_with(&format!("{crashed} "))).then_some(())
    });
    let pid = |name: &str| daemon.docker(&["inspect", "-f", "{{.State.Pid}}", name]).ok().parse().unwrap();
    let ended: Vec<u32> = ["a-up", "n-up"].map(pid).into();
    daemon.kill();
    ended.iter().for_each(|pid| proa_e2e::daemon::signal(*pid, rustix::process::Signal::KILL));
    daemon.run();
    came_back(
        &daemon,
        &["a-up", "a-stopped"],
        &["u-up", "u-stopped", "o-stopped", "n-up", "n-stopped", "well"],
    );
}

fn status(daemon: &Daemon, name: &str) -> String {
    daemon.docker(&["inspect", "-f", "{{.State.Status}}", name]).ok()
}

/// What a command answers while a container waits for its next start: one that starts meanwhile is waited for anew, in
/// a longer pause.
fn while_restarting(c: &Ctx, name: &str, args: &[&str]) -> Output {
    let stand = || c.inspect(name, "{{.RestartCount}} {{.State.Status}}");
    until("an answer in a pause", || {
        let before = stand();
        if !before.ends_with(" restarting") {
            return None;
        }
        let output = c.run(args);
        (stand() == before).then_some(output)
    })
}

fn restarts(c: &Ctx, name: &str) -> Option<u32> {
    c.inspect(name, "{{.RestartCount}}").parse().ok()
}

/// Ends the container's first process from the host, as a crash would.
fn kill_init(c: &Ctx, name: &str) {
    let pid =
        until("it runs", || c.inspect(name, "{{.State.Pid}}").parse::<u32>().ok().filter(|&pid| pid != 0));
    proa_e2e::daemon::signal(pid, rustix::process::Signal::KILL);
}

/// Seconds of the day in a timestamp.
fn seconds(time: &str) -> f64 {
    let clock = time.split_once('T').map_or("", |(_, clock)| clock).trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or(0.0))
}
