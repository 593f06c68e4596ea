//! Registries that are down, lie, or break off: a clear error, exit code 1 (125 of `run`), nothing left behind.

use proa_e2e::archive::{file, noise, tar};
use proa_e2e::command::{run, until};
use proa_e2e::registry::{Manner, Strange};
use proa_e2e::{Client, Daemon, Suite};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

pub(crate) fn add(s: &mut Suite) {
    s.alone("a registry that misbehaves must be told and leave nothing", misbehaves);
    s.alone("a transfer that breaks must be resumed where it broke", resumes);
    s.alone("a pull whose client goes must stop and leave nothing but what came", client_goes);
    s.alone("a pull during kill -9 must leave nothing after the restart, and go on from there", killed);
    s.alone("pulls of one image at once must share one transfer", shared);
    let name = "a registry with a certificate nobody trusts must be refused";
    if address().is_none() || !std::path::Path::new(PROGRAM).exists() {
        s.skipped(name, "it needs an address besides the loopback, and Debian's docker-registry");
    } else {
        s.alone(name, certificate);
    }
}

/// Two layers that do not compress: `/big`, as large as said, and `/small`.
fn layers(size: usize) -> Vec<Vec<u8>> {
    vec![tar(&[file("big", &noise(size, 3))]), tar(&[file("small", &noise(20_000, 5))])]
}

/// What the daemon keeps: names of everything a few directories deep below its data root.
pub(crate) fn contents(daemon: &Daemon) -> BTreeSet<String> {
    fn walk(dir: &std::path::Path, depth: u32, all: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            // Directories made ahead, for any container.
            if entry.file_name().to_string_lossy().starts_with("spare-") {
                continue;
            }
            all.insert(entry.path().display().to_string());
            if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), depth - 1, all);
            }
        }
    }
    let mut all = BTreeSet::new();
    walk(&daemon.dir.join("data"), 3, &mut all);
    all
}

/// Fails unless everything the daemon keeps was there before; it may clean up behind the reply.
pub(crate) fn nothing_new(daemon: &Daemon, before: &BTreeSet<String>, after: &str) {
    until(&format!("nothing is left after {after}: {:?}", contents(daemon).difference(before)), || {
        contents(daemon).is_subset(before).then_some(())
    });
}

/// The command of one client against this daemon.
pub(crate) fn command(client: &Client, daemon: &Daemon, args: &[&str]) -> Command {
    let mut command = Command::new(&client.program);
    command.args(args).env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.dir.join("config"));
    command
}

fn misbehaves() {
    let daemon = Daemon::start("strange", &[]);
    daemon.load_busybox();
    let registry = Strange::start();
    let said: [(Manner, &[&str]); 11] = [
        (Manner::Truncated, &["EOF", "broke off"]),
        (Manner::Altered, &["digest", "checksum", "flate"]),
        (Manner::Longer, &["larger", "digest", "verification failed", "size"]),
        (Manner::Password, &["no basic auth credentials", "authentication required", "denied"]),
        (Manner::TokenRefused, &["who are you"]),
        (Manner::Absent, &["manifest unknown", "not found"]),
        (Manner::Broken, &["500"]),
        (Manner::NotJson, &["cannot be read", "invalid character", "unsupported"]),
        (Manner::Endless, &["larger than", "EOF", "too large"]),
        (Manner::HangsUp, &["EOF", "connection", "closed"]),
        (Manner::Redirects, &["redirect"]),
    ];
    let before = contents(&daemon);
    for (manner, words) in said {
        let name = registry.serve(&format!("{manner:?}").to_lowercase(), manner, &layers(200_000));
        for client in Client::all() {
            let out = run(&mut command(&client, &daemon, &["pull", &name]), b"");
            let all = format!("{}\n{}", out.out(), out.err());
            let clear = words.iter().any(|word| all.to_lowercase().contains(&word.to_lowercase()));
            assert!(out.code == 1 && clear, "{manner:?}, {}: exit {}\n{all}", client.name, out.code);
            assert!(all.contains(&registry.authority) || all.contains("layer"), "{manner:?}: {all}");
            // What came of a transfer that broke off is kept for the next attempt, and for nothing else.
            let kept = |path: &String| path.ends_with(".partial");
            until(&format!("nothing is left after {manner:?}"), || {
                contents(&daemon).difference(&before).all(kept).then_some(())
            });
        }
        let client = &Client::all()[0];
        let out = run(&mut command(client, &daemon, &["run", "--rm", &name]), b"");
        assert_eq!(out.code, 125, "{manner:?}: {}", out.err());
        registry.set(&format!("{manner:?}").to_lowercase(), Manner::Well);
    }
    // The same name, once the registry behaves: what was kept of a broken transfer does no harm.
    let name = format!("{}/truncated", registry.authority);
    daemon.docker(&["pull", &name]).ok();
    daemon.docker(&["rmi", &name]).ok();
    nothing_new(&daemon, &before, "a good pull and rmi");
    let none = daemon.docker(&["images", "-aq", "--filter", "reference=*/*"]).ok();
    assert_eq!(none, "", "a row was left");
}

fn resumes() {
    let daemon = Daemon::start("resumes", &[]);
    let registry = Strange::start();
    let name = registry.serve("breaks", Manner::BreaksOnce, &layers(600_000));
    daemon.docker(&["pull", &name]).ok();
    let ranges = registry.asked().iter().filter(|line| line.contains("bytes=")).count();
    assert!(ranges >= 1, "{:?}", registry.asked());
    assert!(!contents(&daemon).iter().any(|path| path.ends_with(".partial")));
}

/// Starts a slow pull and waits until some of the large layer has come.
fn slow_pull(daemon: &Daemon, name: &str) -> Child {
    let client = &Client::all()[0];
    let mut command = command(client, daemon, &["pull", name]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let ingest = daemon.dir.join("data/content/ingest");
    until("some bytes of the layer", || {
        let sizes = std::fs::read_dir(&ingest).ok()?.flatten().filter_map(|e| Some(e.metadata().ok()?.len()));
        sizes.max().filter(|&most| most > 200_000)
    });
    child.expect("the client")
}

fn client_goes() {
    let daemon = Daemon::start_proa("client-goes", &[]);
    let registry = Strange::start();
    let name = registry.serve("slow", Manner::Slow, &layers(6_000_000));
    let before = contents(&daemon);
    let mut child = slow_pull(&daemon, &name);
    let _ = child.kill();
    let _ = child.wait();
    until("the layers' directories are gone", || {
        contents(&daemon).difference(&before).all(|path| path.ends_with(".partial")).then_some(())
    });
    assert!(daemon.answers());
    let size = || -> u64 {
        let dir = std::fs::read_dir(daemon.dir.join("data/content/ingest")).unwrap();
        dir.flatten().filter_map(|e| Some(e.metadata().ok()?.len())).sum()
    };
    let had = size();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(size(), had, "the transfer went on for nobody");
    again(&daemon, &registry, &name, &before);
}

/// The same pull, now well: it goes on where the first one ended, and leaves nothing when the image goes.
fn again(daemon: &Daemon, registry: &Strange, name: &str, before: &BTreeSet<String>) {
    registry.set("slow", Manner::Well);
    daemon.docker(&["pull", name]).ok();
    let asked = registry.asked();
    assert!(asked.iter().any(|line| line.contains("bytes=")), "it began anew: {asked:?}");
    daemon.docker(&["rmi", name]).ok();
    nothing_new(daemon, before, "the pull and rmi");
}

fn killed() {
    let mut daemon = Daemon::start_proa("killed-pull", &[]);
    let registry = Strange::start();
    let name = registry.serve("slow", Manner::Slow, &layers(6_000_000));
    let before = contents(&daemon);
    let mut child = slow_pull(&daemon, &name);
    daemon.kill();
    let _ = child.wait();
    daemon.run();
    assert_eq!(daemon.docker(&["images", "-aq"]).ok(), "");
    let left: Vec<String> = contents(&daemon).difference(&before).cloned().collect();
    assert!(left.iter().all(|path| path.ends_with(".partial")), "{left:?}");
    again(&daemon, &registry, &name, &before);
}

fn shared() {
    let daemon = Daemon::start_proa("shared-pull", &[]);
    let registry = Strange::start();
    let name = registry.serve("slow", Manner::Slow, &layers(2_000_000));
    let clients: Vec<Client> = Client::all().into_iter().cycle().take(6).collect();
    let pulls: Vec<Child> = clients
        .iter()
        .map(|client| {
            let mut command = command(client, &daemon, &["pull", &name]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("a client")
        })
        .collect();
    for pull in pulls {
        let out = pull.wait_with_output().expect("its end");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let asked = registry.asked();
    let mut blobs: Vec<&String> = asked.iter().filter(|line| line.contains("/blobs/")).collect();
    blobs.sort();
    let all = blobs.len();
    // The configuration is a small document that each pull reads; a layer comes once.
    blobs.dedup();
    let transfers = all - (blobs.len() - 2) * clients.len();
    assert_eq!((blobs.len(), transfers), (3, 2), "{asked:#?}");
}

fn certificate() {
    let tls = Tls::start();
    let daemon = Daemon::start("certificate", &[]);
    let before = contents(&daemon);
    for client in Client::all() {
        let name = format!("{}/app", tls.authority);
        let out = run(&mut command(&client, &daemon, &["pull", &name]), b"");
        out.fails(1, "certificate").fails(1, &tls.authority);
        let out = run(&mut command(&client, &daemon, &["run", "--rm", &name]), b"");
        out.fails(125, "certificate");
    }
    // Plain HTTP where TLS is due.
    let host = tls.authority.rsplit_once(':').map(|(host, _)| host.to_owned()).unwrap_or_default();
    let plain = Strange::start_at(&host);
    let name = plain.serve("app", Manner::Well, &layers(10_000));
    for client in Client::all() {
        run(&mut command(&client, &daemon, &["pull", &name]), b"").fails(1, "HTTP response to HTTPS client");
    }
    nothing_new(&daemon, &before, "refused certificates");
}

/// Debian's registry.
const PROGRAM: &str = "/usr/bin/docker-registry";

/// An address of this host that is not the loopback's and not of a container network.
fn address() -> Option<String> {
    let out = Command::new("ip").args(["-o", "-4", "addr", "show", "scope", "global"]).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let ours = |line: &&str| ["proa", "docker", "198.18."].iter().any(|word| line.contains(word));
    let line = text.lines().find(|line| !ours(line))?;
    Some(line.split_whitespace().nth(3)?.split('/').next()?.to_owned())
}

/// Debian's registry at an address of this host that is not the loopback, with a certificate of its own making.
struct Tls {
    child: Child,
    dir: std::path::PathBuf,
    authority: String,
}

impl Tls {
    fn start() -> Self {
        let host = address().expect("an address");
        let listener = std::net::TcpListener::bind((host.as_str(), 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        drop(listener);
        let dir = proa_e2e::scratch("tls-registry");
        let pair = rcgen::generate_simple_self_signed([host.clone()]).expect("a certificate");
        std::fs::write(dir.join("cert.pem"), pair.cert.pem()).expect("the certificate");
        std::fs::write(dir.join("key.pem"), pair.signing_key.serialize_pem()).expect("the key");
        let d = dir.display();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {d}/data\nhttp:\n  \
             addr: {host}:{port}\n  tls:\n    certificate: {d}/cert.pem\n    key: {d}/key.pem\n"
        );
        std::fs::write(dir.join("config.yml"), config).expect("the configuration");
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docker-registry");
        let tls = Self { child, dir, authority: format!("{host}:{port}") };
        until("the registry answers", || std::net::TcpStream::connect((host.as_str(), port)).ok());
        tls
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
