//! The daemon's edge: its sockets, its configuration, its signals, and other daemons beside it.

use proa_e2e::command::{Output, run, until};
use proa_e2e::daemon::signal;
use proa_e2e::{Client, Ctx, Daemon, Suite};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn add(s: &mut Suite) {
    s.alone("a daemon with --tlsverify must serve clients of its authority and no others", verified);
    s.alone("a daemon on plain tcp must serve the loopback and refuse to serve others", plain);
    s.alone("a daemon must serve the socket it was passed, and leave it behind", activated);
    s.alone("a daemon told to reload must take what may change and name the rest", reloads);
    s.alone("a daemon told to reload a broken file must keep its settings", keeps);
    s.alone("a daemon told to validate must name what is wrong and start nothing", validates);
    s.alone("a daemon must refuse an option given twice, and a key nobody knows", refuses);
    s.alone("a daemon must refuse the pid file of a live one and name its process", held);
    s.alone("a daemon's socket must be closed to others, and replace only a stale one", sockets);
    s.alone("two daemons side by side must not touch each other", side_by_side);
    s.alone("a daemon told to end must be done within its time, with exit code 0", ends);
    s.alone("a daemon with --metrics-addr must tell Prometheus what it did, and nothing else", measured);
}

/// The metrics are docker's, count what happened, and are on a socket of their own.
fn measured() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let daemon = Daemon::start_proa("metrics", &["--metrics-addr", &address]);
    daemon.load_busybox();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    for client in Client::all().iter().filter(|client| client.is_ours()) {
        let c = Ctx::new(client, &daemon);
        let (up, ended) = (c.name("up"), c.name("ended"));
        c.start(&up, &["--health-cmd", "true", "--health-interval", "50ms"], "sleep 1000");
        c.start(&ended, &[], "true");
        c.ok(&["wait", &ended]);
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        let text = until("a probe is counted", || {
            let text = ask("/metrics");
            (value(&text, "engine_daemon_health_checks_total") > Some(0.0)).then_some(text)
        });
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("text/plain; version=0.0.4"), "{text}");
        for (name, wanted) in [
            ("engine_daemon_container_states_containers{state=\"running\"}", 1.0),
            ("engine_daemon_container_states_containers{state=\"stopped\"}", 1.0),
            ("engine_daemon_container_states_containers{state=\"paused\"}", 0.0),
            ("engine_daemon_container_actions_seconds_count{action=\"start\"}", 2.0),
            ("engine_daemon_container_actions_seconds_bucket{action=\"create\",le=\"+Inf\"}", 2.0),
            ("engine_daemon_container_actions_seconds_count{action=\"delete\"}", 0.0),
            ("engine_daemon_health_checks_failed_total", 0.0),
        ] {
            assert_eq!(value(&text, name), Some(wanted), "{name}: {text}");
        }
        for name in ["engine_daemon_events_total", "process_open_fds", "process_resident_memory_bytes"] {
            assert!(value(&text, name) > Some(0.0), "{name}: {text}");
        }
        assert!(text.contains("\nengine_daemon_engine_info{architecture=\""), "{text}");
        assert!(ask("/version").starts_with("HTTP/1.1 404"));
        c.ok(&["rm", "-f", &up, &ended]);
    }
}

/// A port of the loopback that was free a moment ago.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// A client at this address, with certificates from this directory if any.
fn at(client: &Client, daemon: &Daemon, host: &str, certificates: Option<&Path>, args: &[&str]) -> Output {
    let mut command = Command::new(&client.program);
    command.args(args).env("DOCKER_HOST", host).env("DOCKER_CONFIG", daemon.dir.join("config"));
    for name in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"] {
        command.env_remove(name);
    }
    if let Some(dir) = certificates {
        command.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", dir);
    }
    run(&mut command, b"")
}

/// An authority that signs certificates.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        Self(rcgen::CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// A directory as `DOCKER_CERT_PATH` wants it: this authority's certificate, and one signed by `signer`.
    fn folder(&self, dir: PathBuf, signer: Option<&Self>, usage: rcgen::ExtendedKeyUsagePurpose) -> PathBuf {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("ca.pem"), AsRef::<rcgen::Certificate>::as_ref(&self.0).pem()).unwrap();
        if let Some(signer) = signer {
            let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &signer.0).unwrap();
            std::fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
            std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        }
        dir
    }
}

fn verified() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let dir = proa_e2e::scratch("tlsverify");
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = ours.folder(dir.join("server"), Some(&ours), ServerAuth);
    let good = ours.folder(dir.join("good"), Some(&ours), ClientAuth);
    let bare = ours.folder(dir.join("bare"), None, ClientAuth);
    let foreign = ours.folder(dir.join("foreign"), Some(&other), ClientAuth);
    let distrusting = other.folder(dir.join("distrusting"), Some(&ours), ClientAuth);
    let port = free_port();
    let host = format!("tcp://127.0.0.1:{port}");
    let file = |name: &str| server.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let args = ["--host", &host, "--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let daemon = Daemon::start_proa("tlsverify", &args);
    let refusals = || daemon.log().matches("a client was refused").count();
    // One that connects and says nothing must hold up nobody.
    let silent = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    for client in Client::all() {
        let asked = at(&client, &daemon, &host, Some(&good), &["version", "--format", "{{.Server.Os}}"]);
        assert_eq!(asked.ok(), "linux", "{}", client.name);
        for (who, folder) in [("no certificate", &bare), ("one of another authority", &foreign)] {
            let before = refusals();
            let out = at(&client, &daemon, &host, Some(folder), &["version", "--format", "{{.Server.Os}}"]);
            assert_ne!(out.code, 0, "{} with {who}: {}", client.name, out.out());
            assert!(!out.out().contains("linux"), "{} with {who}: {}", client.name, out.out());
            until(&format!("the refusal of {} with {who} is logged", client.name), || {
                (refusals() > before).then_some(())
            });
        }
        let out = at(&client, &daemon, &host, Some(&distrusting), &["ps"]);
        assert_ne!(out.code, 0, "{} trusted a stranger", client.name);
        let out = at(&client, &daemon, &host, None, &["ps"]);
        assert_ne!(out.code, 0, "{} was served without TLS", client.name);
    }
    drop(silent);
    assert!(daemon.answers(), "the socket beside it is served");
}

fn plain() {
    let port = free_port();
    let host = format!("tcp://127.0.0.1:{port}");
    let daemon = Daemon::start_proa("plain", &["--host", &host]);
    for client in Client::all() {
        let asked = at(&client, &daemon, &host, None, &["version", "--format", "{{.Server.Os}}"]);
        assert_eq!(asked.ok(), "linux", "{}", client.name);
    }
    let all = format!("tcp://0.0.0.0:{}", free_port());
    try_start(&daemon.dir.join("open"), &["--host", &all]).fails(1, &all).fails(1, "--tlsverify");
    try_start(&daemon.dir.join("taken"), &["--host", &host]).fails(1, &host).fails(1, "in use");
}

/// Starts a daemon that is expected to end by itself.
pub(crate) fn try_start(dir: &Path, args: &[&str]) -> Output {
    std::fs::create_dir_all(dir).unwrap();
    let mut command = Command::new(proa_e2e::proa());
    command.arg("daemon").arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
    run(command.args(args), b"")
}

fn activated() {
    let mut daemon = Daemon::start_activated("activated");
    for client in Client::all() {
        at(&client, &daemon, &daemon.host(), None, &["ps"]).ok();
    }
    daemon.stop();
    assert!(daemon.socket().exists(), "the socket belongs to whoever opened it");
    // One that comes while the daemon is away is served by the next.
    std::thread::scope(|scope| {
        let waiting = scope.spawn({
            let host = daemon.host();
            let config = daemon.dir.join("config");
            move || {
                let mut command = Command::new(proa_e2e::proa());
                run(command.arg("ps").env("DOCKER_HOST", host).env("DOCKER_CONFIG", config), b"")
            }
        });
        daemon.run();
        waiting.join().unwrap().ok();
    });
    try_start(&daemon.dir.join("none"), &["--host", "fd://"]).fails(1, "no socket was passed");
}

/// A daemon with this configuration, and where it is written.
fn configured(name: &str, text: &str, args: &[&str]) -> (Daemon, PathBuf) {
    let file = proa_e2e::scratch(name).join("daemon.json");
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    let args = [&["--config-file", path.as_str()], args].concat();
    (Daemon::start_proa(name, &args), file)
}

/// Writes the file, sends SIGHUP and waits until the log says so; what was logged since.
fn reload(daemon: &Daemon, file: &Path, text: &str, said: &str) -> String {
    let before = daemon.log().len();
    std::fs::write(file, text).unwrap();
    signal(daemon.pid().unwrap(), Signal::HUP);
    until(&format!("the log says {said:?}:\n{}", daemon.log()), || {
        let log = daemon.log();
        log.get(before..).filter(|log| log.contains(said)).map(Into::into)
    })
}

const INFO: &str = "{{.Debug}} {{.LiveRestoreEnabled}} {{json .Labels}} {{json .RegistryConfig.Mirrors}} \
                    {{json .RegistryConfig.InsecureRegistryCIDRs}} {{json .RegistryConfig.IndexConfigs}}";

fn reloads() {
    let (daemon, file) =
        configured("reloads", r#"{"labels":["site=a"],"mtu":1400}"#, &["--shutdown-timeout", "7"]);
    let said = daemon.docker(&["info", "--format", INFO]).ok();
    assert!(said.starts_with(r#"false false ["site=a"]"#) && !said.contains("lab:5000"), "{said}");
    let newer = r#"{"labels":["site=b","rack=2"],"debug":true,"live-restore":true,"registry-mirrors":["http://127.0.0.1:9"],
        "insecure-registries":["lab:5000","10.9.0.0/16"],"mtu":1300,"data-root-of-nobody":1}"#;
    // Not yet: a key nobody knows.
    reload(&daemon, &file, newer, "data-root-of-nobody");
    assert_eq!(daemon.docker(&["info", "--format", INFO]).ok(), said, "nothing of a bad file is taken");
    let newer = newer.replace(r#","data-root-of-nobody":1"#, "");
    let log = reload(&daemon, &file, &newer, "until a restart");
    assert!(log.contains("mtu") && !log.contains("labels"), "what cannot be reloaded is named: {log}");
    for client in Client::all() {
        let said = at(&client, &daemon, &daemon.host(), None, &["info", "--format", INFO]).ok();
        assert!(said.starts_with(r#"true true ["site=b","rack=2"]"#), "{}: {said}", client.name);
        for part in ["http://127.0.0.1:9", "lab:5000", "10.9.0.0/16"] {
            assert!(said.contains(part), "{}: {part} in {said}", client.name);
        }
        let text = at(&client, &daemon, &daemon.host(), None, &["info"]).ok();
        for part in ["site=b", "lab:5000", "10.9.0.0/16", "http://127.0.0.1:9", "Live Restore Enabled: true"]
        {
            assert!(text.contains(part), "{}: {part} in {text}", client.name);
        }
    }
    // The mirror is not only shown: it is asked first, and nothing answers there. The level of the log has changed too.
    let out = daemon.docker(&["pull", "proa-e2e-no-such-image"]);
    assert!(out.code == 1 && daemon.log().contains("DEBUG"), "{}: {}", out.err(), daemon.log());
    // Taking it all back is a change like any other.
    reload(&daemon, &file, r#"{"mtu":1400}"#, "read anew");
    let said = daemon.docker(&["info", "--format", INFO]).ok();
    assert!(said.starts_with("false false []") && !said.contains("lab:5000"), "{said}");
}

fn keeps() {
    let (mut daemon, file) = configured("keeps", r#"{"labels":["site=a"]}"#, &["--debug"]);
    let said = daemon.docker(&["info", "--format", INFO]).ok();
    for (text, why) in [
        ("{\"labels\":", "not a JSON object"),
        (r#"{"labels":"site=b"}"#, "labels: expected a list"),
        (r#"{"labels":["site=b"],"log-level":"loud"}"#, "invalid logging level: loud"),
        (r#"{"labels":["site=b"],"debug":false}"#, "both as a flag and in the configuration file: debug"),
    ] {
        reload(&daemon, &file, text, why);
        assert_eq!(daemon.docker(&["info", "--format", INFO]).ok(), said, "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    signal(daemon.pid().unwrap(), Signal::HUP);
    until("the missing file is told", || daemon.log().contains("No such file").then_some(()));
    assert_eq!(daemon.docker(&["info", "--format", INFO]).ok(), said);
    daemon.stop();
}

fn validates() {
    let dir = proa_e2e::scratch("validates");
    let file = dir.join("daemon.json");
    let path = file.display().to_string();
    let check = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).unwrap();
        try_start(&dir, &[&["--validate", "--config-file", &path], args].concat())
    };
    let out = check(r#"{"debug":true,"labels":["a=b"],"log-opts":{"max-size":"1m"},"hosts":["fd://"]}"#, &[]);
    out.fails(0, "configuration OK");
    check("", &[]).fails(0, "configuration OK");
    let ids = || std::fs::read("/etc/subuid").unwrap_or_default();
    let before = ids();
    check(r#"{"userns-remap":"default"}"#, &[]).fails(0, "configuration OK");
    assert!(ids() == before, "checking has set ids aside");
    for (text, key) in [
        (r#"{"no-such-key":1}"#, "no-such-key"),
        (r#"{"debug":"yes"}"#, "debug"),
        (r#"{"mtu":1}"#, "mtu"),
        (r#"{"log-driver":"papyrus"}"#, "log-driver"),
        (r#"{"storage-driver":"papyrus"}"#, "storage-driver"),
        (r#"{"bip":"here"}"#, "bip"),
        (r#"{"labels":["a=1","a=2"]}"#, "label"),
        (r#"{"userns-remap":"no-such-user"}"#, "userns-remap"),
        ("{", path.as_str()),
    ] {
        check(text, &[]).fails(1, key);
    }
    check(r#"{"debug":true}"#, &["--debug"]).fails(1, "debug");
    std::fs::remove_file(&file).unwrap();
    try_start(&dir, &["--validate", "--config-file", &path]).fails(1, &path);
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "checking made something: {left:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn refuses() {
    let dir = proa_e2e::scratch("refuses");
    let file = dir.join("daemon.json");
    let path = file.display().to_string();
    let start = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).unwrap();
        try_start(&dir, &[&["--config-file", &path], args].concat())
    };
    let both = "the following directives are specified both as a flag and in the configuration file";
    let out = start(r#"{"labels":["a=1"]}"#, &["--label", "b=2"]);
    out.fails(1, &format!("{both}: labels: (from flag: [b=2], from file: [a=1])"));
    let out = start(r#"{"hosts":["fd://"],"debug":true}"#, &["-H", "unix:///x", "-D=false"]);
    out.fails(1, both).fails(1, "hosts: (from flag").fails(1, "debug: (from flag: false, from file: true)");
    start(r#"{"colour":"red"}"#, &[])
        .fails(1, "the following directives don't match any configuration option: colour");
    start("{}", &["--colour=red"]).fails(1, "unknown flag: --colour");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn held() {
    let daemon = Daemon::start_proa("held", &[]);
    let pidfile = daemon.dir.join("pid");
    let pid = daemon.pid().unwrap();
    assert_eq!(std::fs::read_to_string(&pidfile).unwrap().trim(), pid.to_string());
    let path = pidfile.display().to_string();
    let host = format!("unix://{}", daemon.dir.join("second.sock").display());
    let out = try_start(&daemon.dir.join("second"), &["--host", &host, "--pidfile", &path]);
    out.fails(1, &pid.to_string()).fails(1, &path);
    assert_eq!(
        std::fs::read_to_string(&pidfile).unwrap().trim(),
        pid.to_string(),
        "the file is the first one's"
    );
    assert!(daemon.answers() && !daemon.dir.join("second.sock").exists());
}

fn sockets() {
    let mut daemon = Daemon::start_proa("sockets", &[]);
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    // A live socket is not taken from the one that serves it.
    let host = daemon.host();
    try_start(&daemon.dir.join("second"), &["--host", &host]).fails(1, "another daemon answers there");
    assert!(daemon.answers());
    daemon.kill();
    assert!(daemon.socket().exists(), "a killed daemon leaves its socket");
    daemon.run();
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    daemon.stop();
    assert!(!daemon.socket().exists(), "the socket goes with the daemon");
    // What is no socket is nobody's to remove.
    std::fs::write(daemon.socket(), "mine").unwrap();
    try_start(&daemon.dir.join("second"), &["--host", &host]).fails(1, "not a socket");
    assert!(!std::fs::metadata(daemon.socket()).unwrap().file_type().is_socket());
    std::fs::remove_file(daemon.socket()).unwrap();
}

fn side_by_side() {
    let (mut one, two) = (Daemon::start_proa("one", &[]), Daemon::start_proa("two", &[]));
    for daemon in [&one, &two] {
        daemon.load_busybox();
        daemon.docker(&["run", "-d", "--name", "same", "busybox", "sleep", "1000"]).ok();
        daemon.docker(&["volume", "create", "same"]).ok();
    }
    let id = |daemon: &Daemon| daemon.docker(&["inspect", "--format", "{{.Id}}", "same"]).ok();
    let pid = |daemon: &Daemon| daemon.docker(&["inspect", "--format", "{{.State.Pid}}", "same"]).ok();
    let address = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    let (first, second) = (id(&one), id(&two));
    assert_ne!(first, second);
    let addresses = [&one, &two].map(|daemon| daemon.docker(&["inspect", "--format", address, "same"]).ok());
    assert_ne!(addresses[0], addresses[1], "the networks are apart");
    let kept = pid(&two);
    assert_eq!(one.docker(&["ps", "-aq", "--no-trunc"]).ok(), first);
    assert_eq!(two.docker(&["ps", "-aq", "--no-trunc"]).ok(), second);
    one.docker(&["inspect", &second]).fails(1, "no such");
    one.docker(&["rm", "-f", "same"]).ok();
    one.docker(&["volume", "rm", "same"]).ok();
    one.docker(&["rmi", "busybox"]).ok();
    one.stop();
    assert_eq!(pid(&two), kept, "it runs on");
    let said = two.docker(&["exec", "same", "ip", "-o", "addr", "show", "eth0"]).ok();
    assert!(said.contains(&addresses[1]), "{said}");
    two.docker(&["volume", "inspect", "same"]).ok();
    two.docker(&["run", "--rm", "busybox", "true"]).ok();
}

fn ends() {
    let mut daemon = Daemon::start_proa("ends", &["--shutdown-timeout", "1"]);
    daemon.load_busybox();
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    for name in ["one", "two"] {
        let args = ["run", "-d", "--stop-timeout", "300", "--name", name, "busybox", "sh", "-c", deaf];
        daemon.docker(&args).ok();
    }
    let pid = daemon.docker(&["inspect", "--format", "{{.State.Pid}}", "one"]).ok();
    let begun = Instant::now();
    daemon.stop();
    let took = begun.elapsed();
    // The containers' own time is 300 seconds; a busy machine may take its time for the rest.
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    assert!(!Path::new("/proc").join(&pid).exists(), "the containers ended with it");
    for file in [daemon.socket(), daemon.dir.join("pid")] {
        assert!(!file.exists(), "{} is left", file.display());
    }
    daemon.run();
    let said = daemon.docker(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]).ok();
    assert_eq!(said.matches("Exited (137)").count(), 2, "{said}");
}
