//! Bad input: a clear error, the right exit code, nothing left behind.

use proa_e2e::Suite;

pub(crate) fn add(s: &mut Suite) {
    s.each("a missing program must exit 127 and name it", |c| {
        let name = c.name("c");
        let out = c.run(&["run", "--name", &name, "busybox", "no-such-program"]);
        out.fails(127, "no-such-program").fails(127, "executable file not found in $PATH");
        assert_eq!(c.inspect(&name, "{{.State.ExitCode}}"), "127");
    });
    s.each("a program that cannot be executed must exit 126", |c| {
        c.run(&["run", "--rm", "busybox", "/etc/plain"]).fails(126, "permission denied");
        assert!(matches!(c.run(&["run", "--rm", "busybox", "/etc"]).code, 126 | 127));
    });
    s.each("an unknown image must exit 125 and name it", |c| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let image = format!("localhost:{port}/no/image");
        c.run(&["run", "--rm", &image]).fails(125, &image);
        c.run(&["run", "--rm", "--pull", "never", "absent-image-x"]).fails(125, "no such image");
    });
    s.each("a bad reference must be refused", |c| {
        c.run(&["run", "--rm", "BUSYBOX"]).fails(125, "must be lowercase");
        c.run(&["pull", "a::b"]).fails(1, "invalid reference format");
    });
    s.each("a name in use must name the holder", |c| {
        let name = c.name("c");
        let id = c.start(&name, &[], "sleep 60");
        let out = c.run(&["run", "-d", "--name", &name, "busybox", "true"]);
        out.fails(125, "is already in use by container").fails(125, &id);
    });
    s.each("an invalid name must be refused", |c| {
        c.run(&["run", "--rm", "--name", "bad/name", "busybox", "true"]).fails(125, "invalid container name");
    });
    s.each("create must exit 1 for what the engine refuses and 125 for what it was given", |c| {
        let name = c.name("c");
        c.ok(&["create", "--name", &name, "busybox", "true"]);
        c.run(&["create", "--name", &name, "busybox", "true"]).fails(1, "is already in use by container");
        c.run(&["create", "--pull", "never", "absent-image-x"]).fails(1, "no such image");
        c.run(&["create", "-p", "x:y", "busybox", "true"]).fails(125, "invalid");
    });
    s.each("an unknown flag must exit 125 and be named", |c| {
        c.run(&["run", "--no-such-flag", "busybox", "true"]).fails(125, "unknown flag: --no-such-flag");
    });
    s.each("an unknown container must be named", |c| {
        for verb in ["start", "stop", "rm", "logs", "kill", "pause", "wait"] {
            c.run(&[verb, "no-such-container"]).fails(1, "no such container: no-such-container");
        }
    });
    s.ours("a typographic dash must be recognised", |c| {
        c.run(&["run", "\u{2013}rm", "busybox", "true"]).fails(125, "dash");
        c.run(&["run", "\u{2014}name", "x", "busybox", "true"]).fails(125, "dash");
    });
    s.each("a daemon that does not run must be told", |c| {
        let mut command = c.command(&["ps"]);
        command.env("DOCKER_HOST", "unix:///tmp/proa-no-such.sock");
        proa_e2e::command::run(&mut command, b"").fails(1, "cannot connect to the");
    });
    s.each("conflicting options must be refused", |c| {
        c.run_sh(
            &["--network", "host", "-p", "1:1", "--hostname", "x", "--network", "container:nope"],
            "true",
        );
        c.run_sh(&["--rm", "--restart", "always"], "true").fails(125, "conflicting options");
        c.run_sh(&["--network", "container:no-such"], "true").fails(125, "no such container");
    });
    s.each("an unknown runtime, log driver or platform must be refused", |c| {
        c.run_sh(&["--runtime", "no-such"], "true").fails(125, "runtime");
        c.run_sh(&["--log-driver", "no-such"], "true").fails(125, "log");
    });
    s.each("a failed run must leave no container with --rm", |c| {
        let name = c.name("c");
        c.run(&["run", "--rm", "--name", &name, "busybox", "no-such-program"]).fails(127, "no-such-program");
        proa_e2e::command::until("it is gone", || (c.run(&["inspect", &name]).code == 1).then_some(()));
    });
}
