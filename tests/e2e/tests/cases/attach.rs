//! Attached clients: streams, detach keys, signals, sizes.

use proa_e2e::{Suite, command, command::until};
use std::io::{Read, Write};

pub(crate) fn add(s: &mut Suite) {
    s.each("attach must show output from now on and pass input", |c| {
        let name = c.name("c");
        c.ok(&["run", "-d", "-i", "--name", &name, "busybox", "sh", "-c", "read x; echo got $x"]);
        let out = c.feed(&["attach", &name], b"line\n");
        assert_eq!(out.ok(), "got line");
    });
    s.each("attach must exit with the container's code", |c| {
        let name = c.name("c");
        c.ok(&["run", "-d", "-i", "--name", &name, "busybox", "sh", "-c", "read x; exit 8"]);
        assert_eq!(c.feed(&["attach", &name], b"\n").code, 8);
    });
    s.each("detach keys must leave the container running", |c| {
        let name = c.name("c");
        let mut command = c.terminal_command(&["run", "-it", "--name", &name, "busybox", "sh"]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().expect("script(1)");
        until("it runs", || {
            (c.run(&["inspect", "-f", "{{.State.Running}}", &name]).out() == "true").then_some(())
        });
        let mut stdin = child.stdin.take().expect("stdin");
        // The keys count only once the client has attached: its prompt says so.
        let mut stdout = child.stdout.take().expect("stdout");
        let mut seen = [0; 1];
        let _ = stdout.read(&mut seen);
        stdin.write_all(b"\x10\x11").expect("detach keys");
        until("the client ends", || child.try_wait().ok().flatten());
        assert_eq!(c.inspect(&name, "{{.State.Running}}"), "true");
    });
    s.each("signals must be passed on to the container", |c| {
        let name = c.name("c");
        let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";
        let child = c.spawn(&["run", "--name", &name, "busybox", "sh", "-c", script]);
        until("it is ready", || c.run(&["logs", &name]).out().contains("ready").then_some(()));
        proa_e2e::daemon::signal(child.id(), rustix::process::Signal::INT);
        let out = child.wait_with_output().expect("the client ends");
        assert_eq!(out.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&out.stdout).contains("caught"));
    });
    s.each("a slow reader must lose nothing", |c| {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
        let mut child = c.spawn(&["run", "--rm", "busybox", "sh", "-c", script]);
        let mut stdout = child.stdout.take().expect("stdout");
        std::thread::sleep(std::time::Duration::from_millis(700));
        let mut text = String::new();
        stdout.read_to_string(&mut text).expect("utf-8");
        assert_eq!(text.lines().count(), 20_000);
        assert_eq!(text.lines().last(), Some("line 19999"));
        assert!(child.wait().is_ok_and(|status| status.success()));
    });
    s.each("the terminal's size must reach the container", |c| {
        let mut command = std::process::Command::new("script");
        let client = c.client.program.display();
        let line =
            format!("stty rows 33 cols 111; '{client}' run --rm -it busybox sh -c 'sleep 0.5; stty size'");
        command.args(["-qefc", &line, "/dev/null"]).env("DOCKER_HOST", &c.host).env("TERM", "xterm");
        let out = command::run(&mut command, b"");
        assert!(out.out().contains("33 111"), "{}", out.out());
    });
}
