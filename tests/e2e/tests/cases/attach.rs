//! Attached clients: streams, detach keys, signals, sizes.

use proa_e2e::{Ctx, Daemon, Suite, command, command::until};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

pub(crate) fn add(s: &mut Suite) {
    s.each("attach must show output from now on and pass input", |c| {
        let name = c.name("c");
        c.ok(&["run", "-d", "-i", "--name", &name, "busybox", "sh", "-c", "read x; echo got $x"]);
        let mut child = c.spawn(&["attach", &name]);
        // Held open until the end: see the next obligation.
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(b"line\n").expect("a line");
        let out = child.wait_with_output().expect("the client ends");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "got line\n");
        drop(stdin);
    });
    s.each("attach must show what the container says after the input has ended", |c| {
        let name = c.name("c");
        let script = "read x; sleep 1; echo got $x";
        c.ok(&["run", "-d", "-i", "--name", &name, "busybox", "sh", "-c", script]);
        assert_eq!(c.feed(&["attach", &name], b"line\n").ok(), "got line");
    });
    s.each("attach must exit with the container's code", |c| {
        let name = c.name("c");
        c.ok(&["run", "-d", "-i", "--name", &name, "busybox", "sh", "-c", "read x; exit 8"]);
        assert_eq!(c.feed(&["attach", &name], b"\n").code, 8);
    });
    s.each("detach keys must leave the container running", |c| leave(c, &[], b"\x10\x11"));
    s.each("--detach-keys must be the keys that detach", |c| {
        leave(c, &["--detach-keys", "ctrl-x,q"], b"\x18q");
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
    s.alone("output must not come along with the head of a connection that becomes raw", head_alone);
    s.ours("attach with logs=1 must give the log and then the stream, without gap or double", |c| {
        let script = "n=0; while [ $n -lt 1200 ]; do printf \"line $n \"; [ $((n % 40)) = 0 ] && sleep 0.02; echo end; n=$((n+1)); done; until [ -e /go ]; do sleep 0.05; done";
        let wanted: String = (0..1200).map(|n| format!("line {n} end\n")).collect();
        for terminal in [false, true] {
            let name = c.name(if terminal { "tty" } else { "plain" });
            let options = if terminal { &["-t"][..] } else { &[] };
            c.start(&name, options, script);
            let streams: Vec<_> = (0..5)
                .map(|n| {
                    std::thread::sleep(std::time::Duration::from_millis(100 * n));
                    raw_attach(c, &name, "logs=1&stream=1")
                })
                .collect();
            c.ok(&["exec", "-d", &name, "touch", "/go"]);
            c.ok(&["wait", &name]);
            for (number, stream) in streams.into_iter().enumerate() {
                let bytes = after_head(stream);
                let text = if terminal { text(&bytes).replace('\r', "") } else { text(&unframed(&bytes)) };
                assert!(text == wanted, "stream {number} of {name}: {} bytes", text.len());
            }
            let bytes = after_head(raw_attach(c, &name, "logs=1"));
            let text = if terminal { text(&bytes).replace('\r', "") } else { text(&unframed(&bytes)) };
            assert!(text == wanted, "the log alone of {name}: {} bytes", text.len());
        }
    });
}

/// Clients read the head through a buffer which some leave behind when the connection becomes raw.
fn head_alone() {
    let daemon = Daemon::start("head", &[]);
    daemon.load_busybox();
    daemon.docker(&["run", "--name", "ended", "busybox", "echo", "hello"]).ok();
    daemon.docker(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]).ok();
    let path = "/v1.41/containers/ended/attach?logs=1&stdout=1";
    let attached = request(&daemon, path, "");
    let command = r#"{"AttachStdout":true,"Cmd":["echo","hello"]}"#;
    let answer = daemon.request_with("POST", "/v1.41/containers/runs/exec", command).unwrap();
    let id = answer.split('"').find(|word| word.len() == 64).expect(&answer);
    let executed = request(&daemon, &format!("/v1.41/exec/{id}/start"), "{}");
    // What the start says of a terminal decides on frames, whatever the exec has.
    let command = r#"{"AttachStdout":true,"Tty":true,"Cmd":["printf","hello\\n"],"detachKeys":"ctrl-a"}"#;
    let answer = daemon.request_with("POST", "/v1.41/containers/runs/exec", command).unwrap();
    let id = answer.split('"').find(|word| word.len() == 64).expect(&answer);
    let view = daemon.request("GET", &format!("/v1.41/exec/{id}/json")).unwrap();
    assert!(view.contains(r#""DetachKeys":"ctrl-a""#), "{view}");
    let terminal = request(&daemon, &format!("/v1.41/exec/{id}/start"), "{}");
    // Time for more than the head to come.
    std::thread::sleep(std::time::Duration::from_millis(300));
    for mut stream in [attached, executed, terminal] {
        let mut head = vec![0; 8192];
        let length = stream.read(&mut head).unwrap();
        let head = text(&head[..length]);
        assert!(head.starts_with("HTTP/1.1 101 ") && head.ends_with("\r\n\r\n"), "{head:?}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(text(&unframed(&rest)).replace('\r', ""), "hello\n");
    }
}

/// A connection of the daemon's own socket, after a request that asks for an upgrade.
fn request(daemon: &Daemon, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(proa_e2e::command::limit())).unwrap();
    let head = "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A connection of the API as it is, after the request.
fn raw_attach(c: &Ctx, name: &str, query: &str) -> UnixStream {
    let mut stream = UnixStream::connect(c.host.trim_start_matches("unix://")).unwrap();
    stream.set_read_timeout(Some(proa_e2e::command::limit())).unwrap();
    let path = format!("/v1.41/containers/{name}/attach?stdout=1&stderr=1&{query}");
    let head = "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    stream
}

/// What follows the head of an answer, to the end.
fn after_head(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let head = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 101 "), "{}", text(&bytes));
    bytes.split_off(head + 4)
}

/// The content of a multiplexed stream.
fn unframed(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let length = u32::from_be_bytes(head[4..].try_into().unwrap()) as usize;
        let (piece, rest) = rest.split_at(length);
        out.extend_from_slice(piece);
        bytes = rest;
    }
    out
}

/// Leaves a shell by typing `keys`.
fn leave(c: &Ctx, options: &[&str], keys: &[u8]) {
    let name = c.name("c");
    let args = [&["run", "-it", "--name", &name], options, &["busybox", "sh"]].concat();
    let mut command = c.terminal_command(&args);
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
    stdin.write_all(keys).expect("detach keys");
    until("the client ends", || child.try_wait().ok().flatten());
    assert_eq!(c.inspect(&name, "{{.State.Running}}"), "true");
}
