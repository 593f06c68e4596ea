//! `run`: its flags, one by one, as seen from inside the container.

use proa_e2e::{Ctx, Suite};

pub(crate) fn add(s: &mut Suite) {
    s.each("--uts host must give the host's name, and none of its own", |c| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(c.sh(&["--uts", "host"], "hostname"), host.trim());
        assert_ne!(c.sh(&[], "hostname"), host.trim());
        c.run_sh(&["--uts", "host", "--hostname", "own"], "true").fails(125, "conflicting options");
    });
    s.each("--platform must be the image's", |c| {
        let (own, other) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
        let platform = |arch: &str| format!("linux/{arch}");
        assert_eq!(c.sh(&["--pull", "never", "--platform", &platform(own)], "echo ran"), "ran");
        let refused = c.run_sh(&["--pull", "never", "--platform", &platform(other)], "echo ran");
        assert_eq!(refused.code, 125, "{}{}", refused.out(), refused.err());
        assert!(refused.err().contains(other), "{}", refused.err());
    });
    s.each("run must print what the program prints", |c| {
        assert_eq!(c.sh(&[], "echo out"), "out");
        let both = c.run_sh(&[], "echo out; echo err >&2");
        assert_eq!((both.out().as_str(), both.err().trim()), ("out", "err"));
    });
    s.each("run must exit with the program's code", |c| {
        for code in [0, 1, 3, 125, 255] {
            assert_eq!(c.run_sh(&[], &format!("exit {code}")).code, code);
        }
    });
    s.each("run must exit with 128 and the signal's number", |c| {
        assert_eq!(c.run_sh(&["--init"], "kill -9 $$").code, 137);
        assert_eq!(c.run_sh(&["--init"], "kill -TERM $$").code, 143);
    });
    s.each("run -i must pass standard input and its end", |c| {
        let out = c.feed(&["run", "--rm", "-i", "busybox", "cat"], b"one\ntwo\n");
        assert_eq!(out.ok(), "one\ntwo");
    });
    s.each("run -i must pass ten megabytes unharmed", |c| {
        let bytes: Vec<u8> =
            (0..10_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let out = c.feed(&["run", "--rm", "-i", "busybox", "cat"], &bytes);
        assert_eq!(out.code, 0, "{}", out.err());
        assert!(out.stdout == bytes, "{} bytes came back", out.stdout.len());
    });
    s.each("run -t must give a terminal", |c| {
        let out = c.on_terminal(&["run", "--rm", "-it", "busybox", "tty"], b"");
        assert!(out.out().contains("/dev/pts/0") || out.out().contains("/dev/console"), "{}", out.out());
    });
    s.each("run -it must pass typed lines and the shell's exit code", |c| {
        let out = c.on_terminal(&["run", "--rm", "-it", "busybox", "sh"], b"echo si$((40+2))gn\nexit 7\n");
        assert!(out.out().contains("si42gn"), "{}", out.out());
        assert_eq!(out.code, 7, "{}", out.out());
    });
    s.each("run -d must print the id and go on", |c| {
        let name = c.name("d");
        let id = c.start(&name, &[], "sleep 60");
        assert_eq!(id.len(), 64);
        assert_eq!(c.inspect(&name, "{{.Id}} {{.State.Running}}"), format!("{id} true"));
    });
    s.each("run --rm must leave no container", |c| {
        let name = c.name("rm");
        c.sh(&["--name", &name], "true");
        c.run(&["inspect", &name]).fails(1, "no such");
    });
    s.each("run without --rm must leave the container with its code", |c| {
        let name = c.name("kept");
        let out = c.run(&["run", "--name", &name, "busybox", "sh", "-c", "exit 4"]);
        assert_eq!(out.code, 4);
        assert_eq!(c.inspect(&name, "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    });
    environment(s);
    identity(s);
    files(s);
    namespaces(s);
    process(s);
}

fn environment(s: &mut Suite) {
    s.each("run -e and --env-file must set variables", |c| {
        let file = c.dir("env").join("file");
        std::fs::write(&file, "# comment\nFROM_FILE=f 1\n\n").unwrap();
        let file = file.to_string_lossy().into_owned();
        let out = c.sh(&["-e", "A=1", "--env", "B=two words", "--env-file", &file], "echo $A/$B/$FROM_FILE");
        assert_eq!(out, "1/two words/f 1");
    });
    s.each("run -e NAME must take the value from the client", |c| {
        let mut command = c.command(&["run", "--rm", "-e", "HANDED", "-e", "ABSENT", "busybox", "env"]);
        let out = proa_e2e::command::run(command.env("HANDED", "over"), b"").ok();
        assert!(out.lines().any(|l| l == "HANDED=over"), "{out}");
        assert!(!out.contains("ABSENT"), "{out}");
    });
    s.each("run must set PATH, HOSTNAME and HOME, and TERM with a terminal", |c| {
        let out = c.sh(&["--hostname", "box"], "echo $PATH; echo $HOSTNAME; echo $HOME; echo x$TERM");
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(out, format!("{path}\nbox\n/root\nx"));
        let out = c.on_terminal(&["run", "--rm", "-t", "busybox", "sh", "-c", "echo x$TERM"], b"");
        assert!(out.out().contains("xxterm"), "{}", out.out());
    });
    s.each("run -w must set and make the working directory", |c| {
        assert_eq!(c.sh(&["-w", "/var/www"], "pwd"), "/var/www");
        assert_eq!(c.sh(&["-w", "/new/deep"], "pwd"), "/new/deep");
    });
    s.each("run --entrypoint must replace the entry point", |c| {
        assert_eq!(c.ok(&["run", "--rm", "--entrypoint", "echo", "busybox", "hi"]), "hi");
    });
    s.each("run --label, --label-file and --annotation must be kept", |c| {
        let file = c.dir("label").join("file");
        std::fs::write(&file, "from.file=yes\n").unwrap();
        let name = c.name("l");
        c.start(&name, &["--label", "a=b", "--label-file", &file.to_string_lossy()], "true");
        let labels = c.inspect(&name, "{{json .Config.Labels}}");
        assert!(labels.contains(r#""a":"b""#) && labels.contains(r#""from.file":"yes""#), "{labels}");
    });
    s.each("run --cidfile must write the id", |c| {
        let file = c.dir("cid").join("id");
        let name = c.name("cid");
        c.ok(&["run", "--cidfile", &file.to_string_lossy(), "--name", &name, "busybox", "true"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), c.inspect(&name, "{{.Id}}"));
        c.run(&["run", "--cidfile", &file.to_string_lossy(), "busybox", "true"])
            .fails(125, "container ID file found");
    });
}

fn identity(s: &mut Suite) {
    s.each("run must be root by default", |c| {
        let groups = c.sh(&[], "id -u; id -g");
        assert_eq!(groups, "0\n0");
    });
    s.each("run -u must take numbers and names", |c| {
        assert_eq!(c.sh(&["-u", "1000"], "id -u; id -g; echo $HOME"), "1000\n1000\n/home");
        assert_eq!(c.sh(&["-u", "user"], "id -u; id -g; id -G"), "1000\n1000\n1000 50");
        assert_eq!(c.sh(&["-u", "7:8"], "id -u; id -g"), "7\n8");
        assert_eq!(c.sh(&["-u", "user:staff"], "id -g"), "50");
    });
    s.each("run -u must refuse unknown names and numbers out of range", |c| {
        c.run_sh(&["-u", "nobody-here"], "true").fails(125, "unable to find user nobody-here");
        assert_ne!(c.run_sh(&["-u", "4294967296"], "id -u").code, 0);
        assert_ne!(c.run_sh(&["-u", "-1"], "id -u").code, 0);
    });
    s.each("run --group-add must add groups", |c| {
        let groups = c.sh(&["-u", "1000", "--group-add", "staff", "--group-add", "777"], "id -G");
        assert!(groups.split(' ').any(|g| g == "50") && groups.split(' ').any(|g| g == "777"), "{groups}");
    });
    s.each("run --hostname must name the container only", |c| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(c.sh(&["--hostname", "inside"], "hostname; cat /etc/hostname"), "inside\ninside");
        assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
    });
    s.each("run without --hostname must use the short id", |c| {
        let name = c.name("h");
        let id = c.start(&name, &[], "hostname; sleep 30");
        assert_eq!(c.ok(&["exec", &name, "hostname"]), id[..12]);
    });
}

fn files(s: &mut Suite) {
    s.each("run --read-only must refuse writes and leave tmpfs writable", |c| {
        let out = c.run_sh(
            &["--read-only", "--tmpfs", "/run:size=1m,mode=700"],
            "echo x > /run/a && cat /run/a; echo x > /b",
        );
        assert_eq!(out.out(), "x");
        assert!(out.err().contains("Read-only file system"), "{}", out.err());
    });
    s.each("run --tmpfs must mount with its options", |c| {
        let out = c.sh(
            &["--tmpfs", "/scratch:size=2m,mode=1700"],
            "grep ' /scratch ' /proc/mounts; stat -c %a /scratch",
        );
        assert!(out.contains("size=2048k") && out.contains("noexec") && out.ends_with("1700"), "{out}");
    });
    s.each("run --shm-size must size /dev/shm", |c| {
        assert!(c.sh(&[], "grep ' /dev/shm ' /proc/mounts").contains("size=65536k"));
        assert!(c.sh(&["--shm-size", "8m"], "grep ' /dev/shm ' /proc/mounts").contains("size=8192k"));
    });
    s.each("run --device must give the device and its access", |c| {
        let out = c.sh(&["--device", "/dev/zero:/dev/nought:r"], "head -c 3 /dev/nought | od -An -tx1");
        assert_eq!(out.trim(), "00 00 00");
    });
    s.each("run --add-host and --dns must write the files", |c| {
        let out = c.sh(&["--add-host", "db:10.1.2.3", "--hostname", "me"], "cat /etc/hosts");
        assert!(out.lines().any(|l| l == "10.1.2.3\tdb"), "{out}");
        assert!(out.contains("127.0.0.1\tlocalhost") && out.contains("me"), "{out}");
        let out = c.sh(
            &["--dns", "9.9.9.9", "--dns-search", "corp.test", "--dns-option", "ndots:3"],
            "cat /etc/resolv.conf",
        );
        assert!(
            out.contains("nameserver 9.9.9.9") && out.contains("search corp.test") && out.contains("ndots:3"),
            "{out}"
        );
    });
    s.each("run must hide the host's files", |c| {
        let marker = c.dir("marker").join("host-only");
        std::fs::write(&marker, "x").unwrap();
        assert_eq!(c.run_sh(&[], &format!("cat {}", marker.display())).code, 1);
    });
}

fn namespaces(s: &mut Suite) {
    s.each("run must start as process 1 and see only its own processes", |c| {
        assert_eq!(c.sh(&[], "echo $$"), "1");
        let processes = c.sh(&[], "ls /proc | grep -c '^[0-9]'");
        assert!(processes.parse::<u32>().unwrap() <= 4, "{processes}");
    });
    s.each("run must have namespaces of its own", |c| {
        let kinds = ["pid", "net", "ipc", "mnt", "uts"];
        let inside = c.sh(&[], "for n in pid net ipc mnt uts; do readlink /proc/self/ns/$n; done");
        for (kind, inside) in kinds.iter().zip(inside.lines()) {
            let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_ne!(host.to_string_lossy(), inside, "{kind}");
        }
    });
    s.each("run --pid, --ipc, --uts and --network host must share the host's", |c| {
        for (flag, kind) in
            [("--pid=host", "pid"), ("--ipc=host", "ipc"), ("--uts=host", "uts"), ("--network=host", "net")]
        {
            let inside = c.sh(&[flag], &format!("readlink /proc/self/ns/{kind}"));
            let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_eq!(host.to_string_lossy(), inside, "{flag}");
        }
    });
    s.each("run --pid, --ipc and --network container:X must share X's", |c| {
        let name = c.name("ns");
        c.start(&name, &["--ipc", "shareable"], "sleep 60");
        for (flag, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--network", "net")] {
            let theirs = c.ok(&["exec", &name, "readlink", &format!("/proc/self/ns/{kind}")]);
            let ours = c.sh(&[flag, &format!("container:{name}")], &format!("readlink /proc/self/ns/{kind}"));
            assert_eq!(theirs, ours, "{flag}");
        }
    });
    s.each("run --network none must have the loopback only", |c| {
        assert_eq!(c.sh(&["--network", "none"], "ls /sys/class/net"), "lo");
    });
    s.each("run --sysctl must set parameters of the container's namespaces only", |c| {
        assert_eq!(
            c.sh(&["--sysctl", "net.ipv4.ip_default_ttl=77"], "cat /proc/sys/net/ipv4/ip_default_ttl"),
            "77"
        );
        assert_eq!(c.sh(&["--sysctl", "kernel.msgmax=5000"], "cat /proc/sys/kernel/msgmax"), "5000");
        assert_ne!(c.run_sh(&["--sysctl", "kernel.panic=5"], "true").code, 0);
    });
}

fn process(s: &mut Suite) {
    s.each("run --ulimit must set limits", |c| {
        assert_eq!(c.sh(&["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn"), "100\n200");
        assert_eq!(c.sh(&["--ulimit", "core=0"], "ulimit -c"), "0");
    });
    s.each("run --init must reap and forward signals", |c| {
        let out = c.sh(&["--init"], "echo $$; (sleep 0.1 &) ; sleep 0.5; ps -o stat= | grep -c Z || true");
        let lines: Vec<&str> = out.lines().collect();
        assert_ne!(lines.first(), Some(&"1"), "{out}");
        assert_eq!(lines.last(), Some(&"0"), "{out}");
    });
    s.each("run --oom-score-adj must be set", |c| {
        assert_eq!(c.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    });
    s.each("run --stop-signal must be the signal that stops", |c| {
        let name = c.name("stop");
        c.start(&name, &["--stop-signal", "USR1"], "trap 'exit 9' USR1; while :; do sleep 0.1; done");
        c.ok(&["stop", "-t", "20", &name]);
        assert_eq!(c.inspect(&name, "{{.State.ExitCode}}"), "9");
    });
    s.each("run must take arguments after the image as they are", |c: &Ctx| {
        assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "-e", "--rm", "-it"]).trim(), "--rm -it");
    });
}
