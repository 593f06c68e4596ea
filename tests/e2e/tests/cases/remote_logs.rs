//! Logs that are sent away: receivers of every kind get every line in their form, whatever becomes of them the
//! container does not wait, and `logs` reads all the same.

use proa_e2e::command::until;
use proa_e2e::{Ctx, Daemon, Receiver, Suite};
use std::io::Read;
use std::path::Path;

pub(crate) fn add(s: &mut Suite) {
    add_forms(s);
    add_refusals(s);
    add_trouble(s);
}

/// Runs a script with a log driver until it ends; the container's name.
fn logged(c: &Ctx, suffix: &str, driver: &str, options: &[&str], script: &str) -> String {
    let name = c.name(suffix);
    let mut args = vec!["--log-driver", driver];
    args.extend(options.iter().flat_map(|option| ["--log-opt", option]));
    c.start(&name, &args, script);
    name
}

fn add_forms(s: &mut Suite) {
    s.each("syslog must get every line, by every kind of socket and in every format", |c| {
        let dir = c.dir("syslog");
        let (stream, datagram) = (dir.join("stream"), dir.join("datagram"));
        let (udp, tcp) = (Receiver::udp(), Receiver::tcp());
        let (unix, unixgram) = (Receiver::unix(&stream), Receiver::unix_datagrams(&datagram));
        for (kind, receiver, format, begins) in [
            ("udp", &udp, "", "<134>"),
            ("tcp", &tcp, "rfc3164", "<134>"),
            ("unix", &unix, "rfc5424", "<134>1 "),
            ("unixgram", &unixgram, "rfc5424micro", "<134>1 "),
        ] {
            let address = format!("syslog-address={kind}://{}", receiver.address);
            let format = format!("syslog-format={format}");
            let options = [&address, &format, "syslog-facility=local0", "tag={{.Name}}/{{.ImageName}}"];
            let name = logged(c, kind, "syslog", &options, "echo one; sleep 0.2; echo two >&2");
            c.ok(&["wait", &name]);
            let text = receiver.until("two");
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 2, "{kind}: {text}");
            assert!(lines[0].starts_with(begins) && lines[0].ends_with(" one"), "{kind}: {text}");
            assert!(lines[1].starts_with("<131>") && lines[1].ends_with(" two"), "{kind}: {text}");
            assert!(lines[0].contains(&format!("{name}/busybox")), "{kind}: {text}");
            let out = c.run(&["logs", &name]);
            assert_eq!((out.out().as_str(), out.err().trim()), ("one", "two"), "{kind}");
        }
    });
    s.each(
        "gelf must get a document for each line, whole or in pieces, with what is told of the container",
        |c| {
            let (udp, tcp) = (Receiver::udp(), Receiver::tcp());
            let about = ["labels=team", "env=SITE", "tag={{.ID}}"];
            let name = c.name("tcp");
            let address = format!("gelf-address=tcp://{}", tcp.address);
            let mut args =
                vec!["--label", "team=x", "-e", "SITE=b", "--log-driver", "gelf", "--log-opt", &address];
            args.extend(about.iter().flat_map(|option| ["--log-opt", option]));
            c.start(&name, &args, "echo hello; echo; echo bad >&2");
            let text = tcp.until("bad");
            let documents: Vec<serde_json::Value> = text
                .split_terminator('\0')
                .map(|text| serde_json::from_str(text).expect("a document"))
                .collect();
            let first =
                documents.iter().find(|document| document["short_message"] == "hello").expect("hello");
            assert_eq!((&first["version"], &first["level"]), (&"1.1".into(), &6.into()), "{first}");
            assert_eq!((&first["_team"], &first["_SITE"]), (&"x".into(), &"b".into()), "{first}");
            assert_eq!(first["_container_name"], name.as_str(), "{first}");
            assert_eq!(first["_command"], "sh -c echo hello; echo; echo bad >&2", "{first}");
            assert!(first["timestamp"].as_f64() > Some(1e9) && first["_image_id"].is_string(), "{first}");
            let second = documents.iter().find(|document| document["short_message"] == "bad").expect("bad");
            assert_eq!(second["level"], 3, "{second}");

            let address = format!("gelf-address=udp://{}", udp.address);
            let script = "head -c 6000 /dev/zero | tr '\\0' x; echo";
            let plain = [address.as_str(), "gelf-compression-type=none"];
            logged(c, "udp", "gelf", &plain, script);
            let pieces = until("the pieces", || {
                let pieces = udp.packets();
                let count = pieces.first().and_then(|piece| piece.get(11)).copied();
                (count.map(usize::from) == Some(pieces.len())).then_some(pieces)
            });
            assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.starts_with(&[0x1e, 0x0f])));
            let mut pieces = pieces;
            pieces.sort_by_key(|piece| piece[10]);
            let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece[12..].to_vec()).collect();
            let document: serde_json::Value = serde_json::from_slice(&whole).expect("a document");
            assert_eq!(document["short_message"].as_str().map(str::len), Some(6000));

            let packed = Receiver::udp();
            let address = format!("gelf-address=udp://{}", packed.address);
            logged(c, "packed", "gelf", &[&address], "echo packed");
            let packet = until("the packet", || packed.packets().pop());
            let mut text = String::new();
            flate2::read::GzDecoder::new(packet.as_slice()).read_to_string(&mut text).expect("gzip");
            assert!(text.contains("\"short_message\":\"packed\""), "{text}");
        },
    );
    s.each("fluentd must get a message for each line, by port and by path", |c| {
        let path = c.dir("fluentd").join("socket");
        let (tcp, unix) = (Receiver::tcp(), Receiver::unix(&path));
        for (kind, receiver, address) in
            [("tcp", &tcp, tcp.address.clone()), ("unix", &unix, format!("unix://{}", path.display()))]
        {
            let name = c.name(kind);
            let address = format!("fluentd-address={address}");
            let tag = format!("tag=docker.{kind}");
            let options = ["--label", "team=x", "--log-driver", "fluentd", "--log-opt", &address];
            let more = [
                "--log-opt",
                &tag,
                "--log-opt",
                "labels-regex=^te",
                "--log-opt",
                "fluentd-sub-second-precision=true",
            ];
            let id = c.start(&name, &[&options[..], &more].concat(), "echo one; sleep 0.1; echo two >&2");
            receiver.until("two");
            let bytes = receiver.bytes();
            let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
            let tag =
                [&[0xa0 | (7 + kind.len()) as u8][..], b"docker.", kind.as_bytes(), &[0xd7, 0]].concat();
            assert!(has(&tag), "{kind}: tag and time: {}", receiver.text());
            for (field, value) in [
                ("log", "one"),
                ("log", "two"),
                ("source", "stdout"),
                ("source", "stderr"),
                ("team", "x"),
                ("container_id", &id),
                ("container_name", &format!("/{name}")),
            ] {
                let field = [&[0xa0 | field.len() as u8][..], field.as_bytes()].concat();
                let head = if value.len() < 32 {
                    vec![0xa0 | value.len() as u8]
                } else {
                    vec![0xd9, value.len() as u8]
                };
                let wanted = [&field[..], &head, value.as_bytes()].concat();
                assert!(has(&wanted), "{kind}: {value}: {}", receiver.text());
            }
            c.ok(&["wait", &name]);
            assert_eq!(c.ok(&["logs", "--tail", "1", &name]), "");
            assert_eq!(c.run(&["logs", &name]).out(), "one");
        }
    });
    s.ours("journald must get every line with what is told of the container, a long one too", |c| {
        let path = Path::new("/run/systemd/journal/socket");
        if path.exists() {
            // This machine has a journal: it is not taken away from it.
            let name = logged(c, "c", "journald", &[], "echo one");
            c.ok(&["wait", &name]);
            assert_eq!(c.ok(&["logs", &name]), "one");
            return;
        }
        let _journal = Journal::make(path);
        let receiver = Receiver::unix_datagrams(path);
        let name = c.name("c");
        let options = [
            "-e",
            "APP_SITE=b",
            "--log-driver",
            "journald",
            "--log-opt",
            "env-regex=^APP",
            "--log-opt",
            "tag=t",
        ];
        let id = c.start(&name, &options, "echo one; head -c 40000 /dev/zero | tr '\\0' x; echo end");
        c.ok(&["wait", &name]);
        let text = receiver.until("end\n");
        for line in [
            "MESSAGE=one",
            "PRIORITY=6",
            &format!("CONTAINER_ID_FULL={id}"),
            &format!("CONTAINER_NAME={name}"),
            "CONTAINER_TAG=t",
            "SYSLOG_IDENTIFIER=t",
            "APP_SITE=b",
            "CONTAINER_PARTIAL_MESSAGE=true",
            "CONTAINER_PARTIAL_ORDINAL=3",
            "CONTAINER_PARTIAL_LAST=true",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert_eq!(c.ok(&["logs", &name]).len(), 4 + 40_000 + 3);
    });
    s.each("syslog over TLS must trust the authority that it is told, and no other", |c| {
        let certificate = c.dir("tls").join("certificate.pem");
        let peer = Receiver::tls(&certificate);
        let address = format!("syslog-address=tcp+tls://{}", peer.address);
        let trusted = format!("syslog-tls-ca-cert={}", certificate.display());
        let name = logged(c, "c", "syslog", &[&address, &trusted, "syslog-format=rfc5424"], "echo secret");
        c.ok(&["wait", &name]);
        let text = peer.until("\n");
        let (count, line) = text.split_once(' ').expect("a length and a line");
        assert!(line.contains("secret") && count.parse() == Ok(line.len()), "{text}");
        let untrusted = ["run", "--rm", "--log-driver", "syslog", "--log-opt", &address, "busybox", "true"];
        c.run(&untrusted).fails(125, "failed to initialize logging driver");
    });
}

/// The directory of the journal's socket, where there is none.
struct Journal<'a>(&'a Path);

impl<'a> Journal<'a> {
    fn make(path: &'a Path) -> Self {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("the journal's directory");
        Self(path)
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
        // Only what is empty goes.
        for dir in self.0.ancestors().skip(1).take(2) {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

fn add_refusals(s: &mut Suite) {
    s.each("options of log drivers must be checked before a container is made", |c| {
        for (driver, option, text) in [
            (
                "syslog",
                "syslog-address=nowhere",
                "syslog-address should be in form proto://address, got nowhere",
            ),
            ("syslog", "syslog-facility=local9", "invalid syslog facility"),
            ("syslog", "syslog-format=rfc1", "syslog format"),
            ("syslog", "nope=1", "unknown log opt 'nope' for syslog log driver"),
            ("gelf", "tag=x", "gelf-address is a required parameter"),
            ("gelf", "gelf-address=udp://h", "gelf: please provide gelf-address as proto://host:port"),
            ("fluentd", "fluentd-address=h:1/x", "should not contain a path element"),
            ("fluentd", "nope=1", "unknown log opt 'nope' for fluentd log driver"),
            ("journald", "nope=1", "unknown log opt 'nope' for journald log driver"),
            ("json-file", "nope=1", "unknown log opt 'nope' for json-file log driver"),
            ("json-file", "mode=fast", "logger: logging mode not supported: fast"),
            (
                "json-file",
                "max-buffer-size=1m",
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            ("papyrus", "x=1", "logger: no log driver named 'papyrus' is registered"),
        ] {
            let args = ["create", "--log-driver", driver, "--log-opt", option, "busybox", "true"];
            c.run(&args).fails(1, text);
        }
    });
    s.ours("a log driver of one vendor's service must be refused with what there is", |c| {
        for driver in ["awslogs", "gcplogs", "splunk", "etwlogs"] {
            let out = c.run(&["run", "--rm", "--log-driver", driver, "busybox", "true"]);
            let named = out.fails(125, &format!("no log driver named '{driver}' is registered"));
            assert!(
                named.err().contains("use json-file, local, syslog, gelf, fluentd, journald"),
                "{}",
                out.err()
            );
        }
    });
    s.each("a receiver that cannot be reached must be told at the start", |c| {
        // The port was free a moment ago, and nobody listens on it.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        for (driver, option) in [
            ("syslog", format!("syslog-address=tcp://127.0.0.1:{port}")),
            ("fluentd", format!("fluentd-address=127.0.0.1:{port}")),
        ] {
            let out =
                c.run(&["run", "--rm", "--log-driver", driver, "--log-opt", &option, "busybox", "true"]);
            out.fails(125, "failed to initialize logging driver: ");
            assert!(out.err().contains("connect: connection refused"), "{}", out.err());
        }
    });
    s.each("info must list the log drivers", |c| {
        let listed = c.ok(&["info", "--format", "{{json .Plugins.Log}}"]);
        for driver in ["fluentd", "gelf", "journald", "json-file", "local", "syslog"] {
            assert!(listed.contains(&format!("\"{driver}\"")), "{listed}");
        }
    });
}

fn add_trouble(s: &mut Suite) {
    s.ours("a receiver that does not read must not stall the container", |c| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("syslog-address=tcp://{}", listener.local_addr().expect("its address"));
        // Far more than the kernel holds for a peer that is silent.
        let script = "i=0; while [ $i -lt 300 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done; echo end";
        let name = logged(c, "c", "syslog", &[&address], script);
        assert_eq!(c.ok(&["wait", &name]), "0");
        assert_eq!(c.ok(&["logs", "--tail", "1", &name]), "end");
        drop(listener);
    });
    s.ours("a receiver that was away must get every line when it is back", |c| {
        let first = Receiver::tcp();
        let address = first.address.clone();
        let option = format!("syslog-address=tcp://{address}");
        let script =
            "i=0; while [ $i -lt 40 ]; do echo \"line $i.\"; i=$((i+1)); sleep 0.05; done; sleep 1000";
        let name = logged(c, "c", "syslog", &[&option], script);
        first.until("line 5.");
        drop(first);
        until("all are written", || c.ok(&["logs", "--tail", "1", &name]).contains("line 39.").then_some(()));
        let second = Receiver::tcp_at(&address);
        let text = second.until("line 39.");
        // What the first connection had taken is not known; what was written while nobody was there comes, in order.
        let numbers: Vec<u32> = text
            .lines()
            .filter_map(|line| line.rsplit_once("line ")?.1.trim_end_matches('.').parse().ok())
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        assert!(numbers.first().is_some_and(|first| *first < 39), "{numbers:?}");
        c.ok(&["kill", &name]);
    });
    s.ours(
        "an asynchronous fluentd must let the container start, and get every line when it is there",
        |c| {
            let port =
                std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
            let address = format!("fluentd-address={port}");
            let options = [address.as_str(), "fluentd-async=true", "fluentd-retry-wait=100ms"];
            let name =
                logged(c, "c", "fluentd", &options, "for i in 1 2 3; do echo \"line $i.\"; done; sleep 1000");
            until("all are written", || c.ok(&["logs", &name]).contains("line 3.").then_some(()));
            let receiver = Receiver::tcp_at(&port.to_string());
            let text = receiver.until("line 3.");
            assert!(text.contains("line 1.") && text.contains("line 2."), "{text}");
            c.ok(&["kill", &name]);
        },
    );
    s.ours(
        "a non-blocking log must keep as much as it may, lose the oldest, and say how much was lost",
        |c| {
            let port =
                std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
            let address = format!("fluentd-address={port}");
            let options = [
                &address,
                "fluentd-async=true",
                "fluentd-retry-wait=100ms",
                "mode=non-blocking",
                "max-buffer-size=4k",
            ];
            let script =
                "i=0; while [ $i -lt 1000 ]; do echo \"line $i.\"; i=$((i+1)); done; echo end; sleep 1000";
            let name = logged(c, "c", "fluentd", &options, script);
            until("all are written", || c.ok(&["logs", "--tail", "1", &name]).contains("end").then_some(()));
            let receiver = Receiver::tcp_at(&port.to_string());
            let text = receiver.until("end");
            // What was under way when it was noticed that nobody is there comes too; then the gap is told.
            let kept = (0..1000).filter(|number| text.contains(&format!("line {number}."))).count();
            // A gap is told where it is; there may be several.
            let gaps: Vec<usize> = text
                .split("proa: ")
                .skip(1)
                .filter_map(|rest| rest.split(' ').next()?.parse().ok())
                .collect();
            assert_eq!(kept + gaps.iter().sum::<usize>(), 1000, "{kept} kept, gaps of {gaps:?}");
            assert!(kept > 100 && text.contains("line 999."), "{kept}");
            assert_eq!(c.ok(&["logs", &name]).lines().count(), 1001);
            c.ok(&["kill", &name]);
        },
    );
    s.ours("a log that is not kept here must be sent all the same", |c| {
        let receiver = Receiver::udp();
        let address = format!("syslog-address=udp://{}", receiver.address);
        let name = logged(c, "c", "syslog", &[&address, "cache-disabled=true"], "echo gone");
        c.ok(&["wait", &name]);
        receiver.until("gone");
        c.run(&["logs", &name]).fails(1, "configured logging driver does not support reading");
    });
    s.ours("the last line of a container with --rm must be sent", |c| {
        let receiver = Receiver::tcp();
        let address = format!("syslog-address=tcp://{}", receiver.address);
        for turn in 0..5 {
            let last = format!("last words {turn}");
            c.sh(&["--log-driver", "syslog", "--log-opt", &address], &format!("echo {last}"));
            receiver.until(&last);
        }
    });
    s.alone("a log must be sent while the daemon is down, and after it has come back", || {
        let mut daemon = Daemon::start_proa("remote-logs", &[]);
        daemon.load_busybox();
        for client in proa_e2e::Client::all().iter().filter(|client| client.is_ours()) {
            let c = Ctx::new(client, &daemon);
            let receiver = Receiver::tcp();
            let address = format!("syslog-address=tcp://{}", receiver.address);
            let script = "while [ ! -e /go ]; do echo before; sleep 0.1; done; echo after; sleep 1000";
            let name = logged(&c, "c", "syslog", &[&address], script);
            receiver.until("before");
            daemon.kill();
            let before = receiver.bytes().len();
            until("lines while it is down", || (receiver.bytes().len() > before + 100).then_some(()));
            daemon.run();
            c.ok(&["exec", &name, "touch", "/go"]);
            receiver.until("after");
            assert!(c.ok(&["logs", &name]).ends_with("before\nafter"));
            c.ok(&["rm", "-f", &name]);
        }
    });
}
