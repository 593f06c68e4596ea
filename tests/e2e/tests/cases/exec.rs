//! `exec`: a process beside the first.

use proa_e2e::Suite;

pub(crate) fn add(s: &mut Suite) {
    s.each("exec must run in the container and exit with its code", |c| {
        let name = c.name("c");
        c.start(&name, &[], "echo here > /file; sleep 60");
        proa_e2e::command::until("the file", || {
            (c.run(&["exec", &name, "cat", "/file"]).out() == "here").then_some(())
        });
        assert_eq!(c.run(&["exec", &name, "sh", "-c", "exit 12"]).code, 12);
    });
    s.each("exec -i must pass input and its end", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        assert_eq!(c.feed(&["exec", "-i", &name, "cat"], b"typed").ok(), "typed");
    });
    s.each("exec -t must give a terminal", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        let out = c.on_terminal(&["exec", "-it", &name, "tty"], b"");
        assert!(out.out().contains("/dev/pts/"), "{}", out.out());
    });
    s.each("exec -e, -w and -u must be honoured", |c| {
        let name = c.name("c");
        c.start(&name, &["-e", "A=image"], "sleep 60");
        let script = "echo $A $B; pwd; id -u";
        let out = c.ok(&["exec", "-e", "B=exec", "-w", "/var", "-u", "user", &name, "sh", "-c", script]);
        assert_eq!(out, "image exec\n/var\n1000");
    });
    s.each("exec -d must return at once and run on", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        assert_eq!(c.ok(&["exec", "-d", &name, "sh", "-c", "echo done > /d"]), "");
        proa_e2e::command::until("the file", || {
            (c.run(&["exec", &name, "cat", "/d"]).out() == "done").then_some(())
        });
    });
    s.each("exec must share every namespace of the container", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        let script = "for n in pid net ipc mnt uts; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n; done";
        assert_eq!(c.ok(&["exec", &name, "sh", "-c", script]), "");
    });
    s.each("exec must have the container's capabilities", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        let caps = c.ok(&["exec", &name, "grep", "CapEff", "/proc/self/status"]);
        assert!(caps.ends_with("00000000a80425fb"), "{caps}");
    });
    s.each("exec --privileged must give more capabilities", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        let caps = c.ok(&["exec", "--privileged", &name, "grep", "CapEff", "/proc/self/status"]);
        assert!(!caps.ends_with("00000000a80425fb"), "{caps}");
    });
    s.each("exec of a missing program must exit 127 and of a directory 126", |c| {
        let name = c.name("c");
        c.start(&name, &[], "sleep 60");
        c.run(&["exec", &name, "no-such-program"]).fails(127, "executable file not found");
        c.run(&["exec", &name, "/etc/plain"]).fails(126, "permission denied");
    });
    s.each("exec in a stopped container must be refused", |c| {
        let name = c.name("c");
        c.start(&name, &[], "true");
        c.ok(&["wait", &name]);
        c.run(&["exec", &name, "true"]).fails(1, "is not running");
    });
}
