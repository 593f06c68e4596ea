//! Waiting for ends, looking at processes, and attaching over a websocket: what clients ask for beyond commands.

use proa_e2e::command::limit;
use proa_e2e::{Ctx, Suite};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

pub(crate) fn add(s: &mut Suite) {
    s.ours("wait must end by the condition that was asked for", |c| {
        let name = c.name("c");
        c.ok(&[
            "create",
            "--name",
            &name,
            "busybox",
            "sh",
            "-c",
            "trap 'exit 5' TERM; while :; do sleep 0.1; done",
        ]);
        let path = |condition: &str| format!("/containers/{name}/wait?condition={condition}");
        // What does not run is waited for by the first alone, which ends at once.
        assert_eq!(code(&mut open(c, "POST", &path("not-running"), "")), 0);
        let mut exit = open(c, "POST", &path("next-exit"), "");
        let mut removed = open(c, "POST", &path("removed"), "");
        c.ok(&["start", &name]);
        let mut running = open(c, "POST", &path("not-running"), "");
        c.ok(&["kill", &name]);
        assert_eq!((code(&mut exit), code(&mut running)), (137, 137));
        assert_eq!(code(&mut open(c, "POST", &path("not-running"), "")), 137);
        let mut second = open(c, "POST", &path("next-exit"), "");
        c.ok(&["start", &name]);
        c.ok(&["rm", "-f", &name]);
        assert_eq!((code(&mut second), code(&mut removed)), (137, 137));
    });
    s.ours("wait must refuse a condition that it does not know", |c| {
        let other = c.name("d");
        c.ok(&["create", "--name", &other, "busybox", "true"]);
        let bad = c.request("POST", &format!("/containers/{other}/wait?condition=sometimes"), "");
        assert!(
            bad.starts_with("HTTP/1.1 400") && bad.contains("invalid condition: \\\"sometimes\\\""),
            "{bad}"
        );
    });
    let lack = std::process::Command::new("ps").arg("--version").output().err().map(|_| "no ps(1) here");
    s.needing(lack, "top must show the columns that arguments of ps ask for", |c| {
        let name = c.name("c");
        c.start(&name, &[], "exec sleep 4321");
        let pid = c.inspect(&name, "{{.State.Pid}}");
        let line = |args: &[&str]| -> (String, String) {
            let out = c.ok(&[&["top", &name], args].concat());
            let words = |line: Option<&str>| {
                line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let mut lines = out.lines();
            let two = (words(lines.next()), words(lines.next()));
            assert_eq!(lines.next(), None, "{out}");
            two
        };
        assert_eq!(line(&["-o", "pid,comm"]), ("PID COMMAND".into(), format!("{pid} sleep")));
        assert_eq!(line(&["-eo", "pid,args"]), ("PID COMMAND".into(), format!("{pid} sleep 4321")));
        let (heads, row) = line(&["aux"]);
        assert!(heads.starts_with("USER PID %CPU %MEM") && row.ends_with("sleep 4321"), "{heads}\n{row}");
        let (heads, row) = line(&[]);
        assert!(heads.starts_with("UID PID PPID C STIME") && row.ends_with("sleep 4321"), "{heads}\n{row}");
        c.run(&["top", &name, "-o", "comm"]).fails(1, "Couldn't find PID field in ps output");
        c.run(&["top", &name, "-o", "pid,ppid=PID"]).fails(1, "ppid=PID\" is not allowed");
        c.run(&["top", &name, "--no-such-option"]).fails(1, "ps: ");
    });
    s.ours("a websocket must pass what is written and what is typed", |c| {
        let name = c.name("c");
        c.ok(&[
            "run",
            "-di",
            "--name",
            &name,
            "busybox",
            "sh",
            "-c",
            "read line; echo got $line; echo bad >&2; exit 3",
        ]);
        let mut socket =
            websocket(c, &format!("/containers/{name}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1"));
        send(&mut socket, 2, b"hel");
        send(&mut socket, 1, b"lo\n");
        let (mut said, mut last) = (Vec::new(), 0);
        while last != 8 {
            let (kind, bytes) = receive(&mut socket);
            last = kind;
            if kind == 2 {
                said.extend(bytes);
            }
        }
        let mut lines: Vec<String> = String::from_utf8(said).unwrap().lines().map(Into::into).collect();
        // The two streams have no order between them.
        lines.sort();
        assert_eq!(lines, ["bad", "got hello"]);
        assert_eq!(c.ok(&["wait", &name]), "3");
    });
    s.ours("a websocket that closes must leave the container and its other clients", |c| {
        let name = c.name("c");
        c.ok(&["run", "-dit", "--name", &name, "busybox", "cat"]);
        let path = format!("/containers/{name}/attach/ws?stream=1&stdin=1&stdout=1");
        let mut first = websocket(c, &path);
        send(&mut first, 8, &1000u16.to_be_bytes());
        while receive(&mut first).0 != 8 {}
        let mut second = websocket(c, &path);
        send(&mut second, 9, b"ping");
        send(&mut second, 2, b"again\n");
        let (mut said, mut answered) = (String::new(), false);
        while !(said.contains("again") && answered) {
            match receive(&mut second) {
                (10, bytes) => answered = bytes == b"ping",
                (_, bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            }
        }
        assert_eq!(c.inspect(&name, "{{.State.Running}}"), "true");
        let plain = c.request("GET", &path, "");
        assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("websocket"), "{plain}");
    });
}

/// An exchange whose head has come.
fn open(c: &Ctx, method: &str, path: &str, headers: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(c.host.trim_start_matches("unix://")).unwrap();
    stream.set_read_timeout(Some(limit())).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n{headers}\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 101"), "{path}: {head}");
    stream
}

/// The exit code of an answer to `wait`.
fn code(stream: &mut BufReader<UnixStream>) -> i64 {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no answer");
        if let Some(begin) = line.find('{') {
            let answer: serde_json::Value = serde_json::from_str(&line[begin..]).unwrap();
            return answer["StatusCode"].as_i64().unwrap();
        }
    }
}

fn websocket(c: &Ctx, path: &str) -> BufReader<UnixStream> {
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    open(c, "GET", path, headers)
}

/// Sends one short frame as a client does: whole, masked (RFC 6455, section 5.2).
fn send(stream: &mut BufReader<UnixStream>, kind: u8, payload: &[u8]) {
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(payload.len()).unwrap();
    let mut frame = vec![0x80 | kind, 0x80 | length];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    stream.get_mut().write_all(&frame).unwrap();
}

/// One short frame of the server: its kind and payload.
fn receive(stream: &mut BufReader<UnixStream>) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert!(head[0] & 0x80 != 0 && head[1] < 126, "{head:?}");
    let mut payload = vec![0; head[1].into()];
    stream.read_exact(&mut payload).unwrap();
    (head[0] & 0x0f, payload)
}
