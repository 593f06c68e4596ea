//! `-H ssh://…`: through a program named ssh that runs the command on this machine, and through a real one
//! where this machine has a server.

use proa_e2e::command::Output;
use proa_e2e::{Ctx, Suite};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory with an `ssh` that notes its words down and runs the command behind the host here, where the
/// programs of `names` are our own binary.
fn fake(c: &Ctx, suffix: &str, names: &[&str]) -> PathBuf {
    let dir = c.dir(suffix);
    let far = dir.join("far");
    std::fs::create_dir_all(&far).unwrap();
    for name in names {
        std::os::unix::fs::symlink(proa_e2e::proa(), far.join(name)).unwrap();
    }
    let log = dir.join("log");
    script(
        &dir.join("ssh"),
        &format!(
            "echo \"$@\" >> {}\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexport DOCKER_HOST={}\nPATH={} exec /bin/sh -c \"$*\"",
            log.display(),
            c.host,
            far.display()
        ),
    );
    dir
}

fn over(c: &Ctx, dir: &Path, host: &str, args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(&c.client.program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(args).env("DOCKER_HOST", host).env("PATH", format!("{}:{path}", dir.display()));
    command.env("DOCKER_CONFIG", c.dir.join("config"));
    proa_e2e::command::run(&mut command, input)
}

pub(crate) fn add(s: &mut Suite) {
    s.each("an engine behind ssh must be reached", |c| {
        let dir = fake(c, "ssh", &["docker"]);
        let docker =
            |args: &[&str], input: &[u8]| over(c, &dir, "ssh://someone@far.example:2222", args, input);
        let id = docker(&["run", "-d", "--name", &c.name("c"), "busybox", "sleep", "600"], b"").ok();
        assert!(c.ok(&["ps", "-q", "--no-trunc"]).contains(&id));
        // input ends and output goes on
        let counted =
            docker(&["exec", "-i", &c.name("c"), "sh", "-c", "wc -c; echo after"], &[b'x'; 300_000]);
        assert_eq!(counted.ok(), "300000\nafter");
        docker(&["exec", &c.name("c"), "sh", "-c", "exit 7"], b"").fails(7, "");
        let ran = docker(&["run", "--rm", "-i", "busybox", "cat"], b"through\n");
        assert_eq!(ran.ok(), "through");
        let words = std::fs::read_to_string(dir.join("log")).unwrap();
        assert!(words.contains("-l someone -p 2222"), "{words}");
        assert!(words.contains("far.example docker system dial-stdio"), "{words}");
    });
    s.ours("a machine behind ssh that has proa alone must be reached", |c| {
        let dir = fake(c, "ssh", &["proa"]);
        assert!(over(c, &dir, "ssh://far", &["version"], b"").ok().contains("Server:"));
        over(c, &dir, "ssh://far", &["run", "--rm", "busybox", "true"], b"").ok();
        let none = fake(c, "none", &[]);
        over(c, &none, "ssh://far", &["ps"], b"").fails(1, "has exited with exit status 127");
    });
    s.ours("a host that ssh would take for an option must be refused", |c| {
        let dir = fake(c, "ssh", &["docker"]);
        for host in ["ssh://-oProxyCommand=x", "ssh://-x@far", "ssh://far@-x"] {
            over(c, &dir, host, &["ps"], b"").fails(1, "may begin with a dash");
        }
        over(c, &dir, "ssh://u:secret@far", &["ps"], b"").fails(1, "plain-text password is not supported");
        over(c, &dir, "ssh://", &["ps"], b"").fails(1, "hostname is empty");
        assert!(!dir.join("log").exists());
    });
    s.ours("what ssh complains about must be told", |c| {
        let dir = c.dir("ssh");
        script(&dir.join("ssh"), "echo 'Host key verification failed.' >&2; exit 255");
        let out = over(c, &dir, "ssh://far", &["ps"], b"");
        out.fails(1, "has exited with exit status 255").fails(1, "Host key verification failed.");
    });
    s.each("system dial-stdio must pass a connection on", |c| {
        let request = b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
        let answer = c.feed(&["system", "dial-stdio"], request).ok();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("OK"), "{answer}");
    });
    let lack = (!Path::new("/usr/sbin/sshd").exists()).then_some("there is no sshd on this machine");
    s.needing(lack, "an engine behind a real ssh must be reached", real);
}

/// A server of this test alone: its keys, its port, no forwarding.
fn real(c: &Ctx) {
    let dir = c.dir("sshd");
    let path = |name: &str| dir.join(name).display().to_string();
    for key in ["host", "user"] {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]);
        proa_e2e::command::run(&mut command, b"").ok();
    }
    std::fs::copy(dir.join("user.pub"), dir.join("authorized")).unwrap();
    let far = dir.join("far");
    std::fs::create_dir_all(&far).unwrap();
    std::fs::create_dir_all("/run/sshd").unwrap();
    std::os::unix::fs::symlink(proa_e2e::proa(), far.join("docker")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPidFile none\nUsePAM no\nSetEnv DOCKER_HOST={} PATH={}:/bin\n",
        path("host"),
        path("authorized"),
        c.host,
        far.display()
    );
    std::fs::write(dir.join("sshd_config"), text).unwrap();
    let server = Command::new("/usr/sbin/sshd")
        .args(["-D", "-E", &path("log"), "-f", &path("sshd_config")])
        .spawn()
        .unwrap();
    let _server = Server(server);
    let real = format!(
        "exec /usr/bin/ssh -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -F none \"$@\"",
        path("user")
    );
    script(&dir.join("ssh"), &real);
    proa_e2e::command::until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let host = format!("ssh://root@127.0.0.1:{port}");
    let docker = |args: &[&str], input: &[u8]| over(c, &dir, &host, args, input);
    docker(&["ps"], b"").ok();
    let counted = docker(&["run", "--rm", "-i", "busybox", "sh", "-c", "wc -c; exit 3"], &[b'x'; 100_000]);
    assert_eq!((counted.out().as_str(), counted.code), ("100000", 3), "{}", counted.err());
}

struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
