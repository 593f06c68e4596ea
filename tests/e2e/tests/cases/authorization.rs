//! Authorisation plugins, with plugins of this test's own: what they are shown, and that what they do not allow does
//! not happen, however a request is framed.

use proa_e2e::command::until;
use proa_e2e::{Daemon, Suite};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) fn add(s: &mut Suite) {
    s.alone("authorisation plugins must see requests and answers, and deny either", denies);
    s.alone("no framing of a body must hide it from authorisation plugins", framed);
    s.alone(
        "a plugin for authorisation that fails must deny, and one that is missing must stop the start",
        fails,
    );
}

/// What a plugin was shown: the method it was called by, and the document.
type Shown = Arc<Mutex<Vec<(String, serde_json::Value)>>>;
/// What it answers.
type Says = fn(&str, &serde_json::Value) -> String;

/// A plugin; its files are removed on drop.
struct Plugin {
    name: String,
    socket: PathBuf,
    spec: PathBuf,
    shown: Shown,
}

const ALLOW: &str = r#"{"Allow":true}"#;

impl Plugin {
    /// Listens in a directory of the test, and is found by a file in /etc/docker/plugins.
    fn start(name: &str, says: Says) -> Self {
        let name = format!("proa-e2e-{name}-{}", std::process::id());
        let socket = proa_e2e::scratch(&name).join("plugin.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        std::fs::create_dir_all("/etc/docker/plugins").expect("the directory of plugins");
        let spec = PathBuf::from(format!("/etc/docker/plugins/{name}.spec"));
        std::fs::write(&spec, format!("unix://{}\n", socket.display())).expect("the file of the plugin");
        let shown = Shown::default();
        let seen = Arc::clone(&shown);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer(stream, &seen, says);
            }
        });
        Self { name, socket, spec, shown }
    }

    fn shown(&self) -> Vec<(String, serde_json::Value)> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The body of the last request to `path`, as it was shown.
    fn body(&self, path: &str) -> Option<String> {
        let of = |(method, document): &(String, serde_json::Value)| {
            (method.ends_with("AuthZReq")
                && document["RequestUri"].as_str().is_some_and(|uri| uri.contains(path)))
            .then(|| document["RequestBody"].as_str().unwrap_or_default().to_owned())
        };
        self.shown().iter().rev().find_map(of)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.spec);
        if let Some(dir) = self.socket.parent() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

fn answer(stream: UnixStream, shown: &Shown, says: Says) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let method = first.split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let document = serde_json::from_slice(&body).unwrap_or_default();
    let said = match method.as_str() {
        "Plugin.Activate" => r#"{"Implements":["authz"]}"#.to_owned(),
        _ => says(&method, &document),
    };
    shown.lock().unwrap_or_else(PoisonError::into_inner).push((method, document));
    let mut stream = reader.into_inner();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{said}", said.len())
}

/// What the shown body says, decoded.
fn decoded(base64: &str) -> String {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for digit in base64.bytes().filter_map(value) {
        (bits, count) = (bits << 6 | u32::from(digit), count + 6);
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or(0));
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// One request as it stands; the whole answer.
fn raw(daemon: &Daemon, head: &str, body: &[u8]) -> String {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the daemon");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a limit");
    write!(stream, "{head}\r\nHost: docker\r\nConnection: close\r\n").expect("the head");
    // The daemon may refuse while this still writes.
    let _ = stream.write_all(b"\r\n").and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn started(name: &str, plugins: &[&Plugin]) -> Daemon {
    let args: Vec<String> =
        plugins.iter().map(|plugin| format!("--authorization-plugin={}", plugin.name)).collect();
    let daemon = Daemon::start_proa(name, &args.iter().map(String::as_str).collect::<Vec<_>>());
    daemon.load_busybox();
    daemon
}

fn denies() {
    let first = Plugin::start("first", |_, _| ALLOW.into());
    let second = Plugin::start("second", |method, document| {
        let uri = document["RequestUri"].as_str().unwrap_or_default();
        let volume = method.ends_with("AuthZReq") && uri.contains("/volumes/create");
        let answer = method.ends_with("AuthZRes") && uri.contains("/info");
        let privileged =
            decoded(document["RequestBody"].as_str().unwrap_or_default()).contains(r#""Privileged":true"#);
        if volume || answer || privileged {
            r#"{"Allow":false,"Msg":"not here"}"#.into()
        } else {
            ALLOW.into()
        }
    });
    let daemon = started("denies", &[&first, &second]);
    let denied = format!("authorization denied by plugin {}: not here", second.name);
    daemon.docker(&["volume", "create", "proa-denied"]).fails(1, &denied);
    assert!(!daemon.docker(&["volume", "ls", "-q"]).ok().contains("proa-denied"));
    daemon.docker(&["run", "--rm", "--privileged", "busybox", "true"]).fails(125, &denied);
    let info = daemon.request("GET", "/v1.41/info").expect("an answer");
    assert!(info.contains(" 403 ") && info.contains(&denied) && !info.contains("KernelVersion"), "{info}");
    // Streams, hijacked ones too, go on.
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "said"]).ok(), "said");
    daemon.docker(&["run", "-d", "--name", "held", "busybox", "sleep", "60"]).ok();
    assert_eq!(daemon.docker(&["exec", "held", "echo", "here"]).ok(), "here");
    daemon.docker(&["cp", "held:/etc/passwd", "-"]).ok();
    daemon.docker(&["rm", "-f", "held"]).ok();
    for (plugin, all) in [(&first, first.shown()), (&second, second.shown())] {
        let create = all.iter().find(|(method, document)| {
            method == "AuthZPlugin.AuthZRes"
                && document["RequestUri"].as_str().is_some_and(|uri| uri.contains("/containers/create"))
        });
        let (_, shown) = create.unwrap_or_else(|| panic!("{} was not shown a create", plugin.name));
        assert_eq!((&shown["RequestMethod"], &shown["ResponseStatusCode"]), (&"POST".into(), &201.into()));
        assert!(decoded(shown["ResponseBody"].as_str().unwrap_or_default()).contains("\"Id\""), "{shown}");
        assert_eq!(shown["RequestHeaders"]["Content-Type"], "application/json");
    }
}

fn framed() {
    let plugin = Plugin::start("framed", |_, document| {
        let body = decoded(document["RequestBody"].as_str().unwrap_or_default());
        if body.contains("proa-hidden") { r#"{"Allow":false,"Msg":"seen"}"#.into() } else { ALLOW.into() }
    });
    let daemon = started("framed", &[&plugin]);
    let body = r#"{"Name":"proa-hidden"}"#;
    let post = "POST /volumes/create HTTP/1.1\r\n";
    let chunks = format!("5\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &body[..5], body.len() - 5, &body[5..]);
    for (kind, head, sent) in [
        ("chunked", format!("{post}Content-Type: application/json\r\nTransfer-Encoding: chunked"), chunks),
        ("no media type", format!("{post}Content-Length: {}", body.len()), body.into()),
        (
            "another media type",
            format!("{post}Content-Type: text/plain\r\nContent-Length: {}", body.len()),
            body.into(),
        ),
    ] {
        let answer = raw(&daemon, &head, sent.as_bytes());
        assert!(answer.contains(" 403 ") && answer.contains("denied by plugin"), "{kind}: {answer}");
        assert_eq!(decoded(&plugin.body("/volumes/create").unwrap_or_default()), body, "{kind}");
    }
    // With a length of nothing, the handler reads nothing either: what follows is no body.
    let answer =
        raw(&daemon, &format!("{post}Content-Type: application/json\r\nContent-Length: 0"), body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 201") && !answer.contains("proa-hidden"), "{answer}");
    assert_eq!(plugin.body("/volumes/create").as_deref(), Some(""));
    // Larger than what is shown: refused, and nobody is asked about a part of it.
    let large = format!("{}{body}", " ".repeat(1 << 20));
    let asked = plugin.shown().len();
    let answer = raw(
        &daemon,
        &format!("{post}Content-Type: application/json\r\nContent-Length: {}", large.len()),
        large.as_bytes(),
    );
    assert!(answer.contains(" 403 ") && answer.contains("larger than the 1 MiB"), "{answer}");
    assert_eq!(plugin.shown().len(), asked);
    // Both at once is no request.
    let answer =
        raw(&daemon, &format!("{post}Content-Length: 0\r\nTransfer-Encoding: chunked"), b"0\r\n\r\n");
    assert!(!answer.contains("proa-hidden"), "{answer}");
    let volumes = daemon.docker(&["volume", "ls", "-q"]).ok();
    assert!(!volumes.contains("proa-hidden"), "{volumes}");
    // The password of a login is not shown.
    daemon.request_with("POST", "/auth", r#"{"username":"u","password":"secret"}"#);
    assert_eq!(plugin.body("/auth").as_deref(), Some(""));
    for volume in volumes.lines() {
        daemon.docker(&["volume", "rm", volume]).ok();
    }
}

fn fails() {
    let plugin = Plugin::start("fails", |_, document| {
        let uri = document["RequestUri"].as_str().unwrap_or_default();
        if uri.contains("/volumes") { r#"{"Allow":true,"Err":"broken inside"}"#.into() } else { ALLOW.into() }
    });
    let daemon = started("fails", &[&plugin]);
    let failed = format!("plugin {} failed with error: broken inside", plugin.name);
    daemon.docker(&["volume", "ls"]).fails(1, &failed);
    assert!(daemon.docker(&["info"]).out().contains(&format!("Authorization: {}", plugin.name)));
    std::fs::remove_file(&plugin.socket).expect("the plugin's socket");
    until("a denial", || {
        let answer = daemon.request("GET", "/containers/json")?;
        answer.contains(" 500 ").then_some(())
    });
    // Nothing goes past it: the daemon's own end cannot be asked for through the API.
    std::fs::write(&plugin.spec, "unix:///nonexistent/plugin.sock").expect("the file of the plugin");
    let dir = proa_e2e::scratch("authz-missing");
    let out = super::daemon::try_start(&dir, &["--authorization-plugin", "proa-e2e-absent"]);
    out.fails(1, "Error validating authorization plugin: proa-e2e-absent");
    let _ = std::fs::remove_dir_all(dir);
}
