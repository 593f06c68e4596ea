//! The default bridge: addresses, names, published ports, the way out.

use proa_e2e::{Ctx, Suite, command::until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

/// Serves one page for ever.
const SERVER: &str = "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p 80 >/dev/null; done";

pub(crate) fn add(s: &mut Suite) {
    s.each("a container must have an address on the bridge and a way to others", |c| {
        let (a, b) = (c.name("a"), c.name("b"));
        c.start(&a, &[], SERVER);
        let address = c.inspect(&a, "{{.NetworkSettings.IPAddress}}");
        assert!(!address.is_empty());
        let page = format!(
            "i=0; while [ $i -lt 50 ]; do wget -qO- http://{address} && break; sleep 0.1; i=$((i+1)); done"
        );
        assert_eq!(c.sh(&["--name", &b], &page), "hello");
        let route = c.sh(&[], "ip route show default");
        assert!(route.starts_with("default via "), "{route}");
    });
    s.each("-p must publish on the host", |c| {
        let name = c.name("c");
        let port = free_port();
        c.start(&name, &["-p", &format!("{port}:80")], SERVER);
        assert_eq!(fetch(&format!("127.0.0.1:{port}")), "hello");
        assert_eq!(fetch(&format!("{}:{port}", host_address())), "hello");
        let ports = c.ok(&["port", &name]);
        assert!(ports.contains(&format!("80/tcp -> 0.0.0.0:{port}")), "{ports}");
        let listed = c.ok(&["ps", "--filter", &format!("name={name}"), "--format", "{{.Ports}}"]);
        assert!(listed.contains(&format!("0.0.0.0:{port}->80/tcp")), "{listed}");
    });
    let no_ipv6 = std::net::TcpListener::bind("[::1]:0").is_err().then_some("this host has no IPv6");
    s.needing(no_ipv6, "-p must publish on the loopback of IPv6", |c| {
        let name = c.name("c");
        let port = free_port();
        c.start(&name, &["-p", &format!("{port}:80")], SERVER);
        assert_eq!(fetch(&format!("[::1]:{port}")), "hello");
    });
    s.each("-p must publish to other hosts", |c| {
        let name = c.name("c");
        let port = free_port();
        c.start(&name, &["-p", &format!("{port}:80")], SERVER);
        let host = OtherHost::new(&c.name("x"));
        until("the page from another network namespace", || {
            (host.fetch(&format!("http://{}:{port}", host.gateway)) == "hello").then_some(())
        });
    });
    s.each("an address in -p must publish there only", |c| {
        let name = c.name("c");
        let port = free_port();
        c.start(&name, &["-p", &format!("127.0.0.1:{port}:80")], SERVER);
        assert_eq!(fetch(&format!("127.0.0.1:{port}")), "hello");
        let elsewhere: SocketAddr = format!("{}:{port}", host_address()).parse().unwrap();
        assert!(TcpStream::connect_timeout(&elsewhere, Duration::from_secs(2)).is_err());
    });
    s.each("-P must publish what the image and --expose name", |c| {
        let name = c.name("c");
        c.start(&name, &["-P", "--expose", "80"], SERVER);
        let port = c.ok(&["port", &name, "80/tcp"]);
        let port = port.lines().next().and_then(|l| l.rsplit(':').next()).expect("a port").to_owned();
        assert_eq!(fetch(&format!("127.0.0.1:{port}")), "hello");
    });
    let debian = proa_e2e::fixture(DEBIAN).is_none().then_some("no Debian root filesystem could be built");
    s.needing(debian, "-p must publish udp", udp);
    s.needing(debian, "nginx of Debian must serve its page to the host and to others", nginx);
    s.each("a port of a removed container must be free again", |c| {
        let port = free_port();
        let option = format!("{port}:80");
        for _ in 0..2 {
            let name = c.name("c");
            c.start(&name, &["-p", &option], SERVER);
            assert_eq!(fetch(&format!("127.0.0.1:{port}")), "hello");
            c.ok(&["rm", "-f", &name]);
        }
        assert!(std::net::TcpListener::bind(format!("0.0.0.0:{port}")).is_ok());
    });
    s.each("a port in use must be refused and name the port", |c| {
        let (a, b) = (c.name("a"), c.name("b"));
        let port = free_port();
        let option = format!("{port}:80");
        c.start(&a, &["-p", &option], "sleep 60");
        let out = c.run(&["run", "-d", "--name", &b, "-p", &option, "busybox", "sleep", "60"]);
        out.fails(125, "port is already allocated");
        let holder = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let taken = holder.local_addr().unwrap().port();
        let out = c.run_sh(&["-p", &format!("{taken}:80")], "true");
        out.fails(125, &taken.to_string());
    });
    s.each("a port in use must name who holds it", |c| {
        let (a, b) = (c.name("a"), c.name("b"));
        let option = format!("{}:80", free_port());
        c.start(&a, &["-p", &option], "sleep 60");
        c.run(&["run", "-d", "--name", &b, "-p", &option, "busybox", "sleep", "60"]).fails(125, &a);
    });
    s.each("a container must reach what the host reaches", |c| {
        let host = OtherHost::new(&c.name("x"));
        let server = host.serve();
        let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {} 8000", host.address);
        until("an answer from another host", || c.run_sh(&[], &ask).out().ends_with("hello").then_some(()));
        drop(server);
    });
}

/// The fixture with Debian's nginx and perl.
const DEBIAN: &str = "nginx.tar";

/// Makes the image of this test from the Debian root filesystem.
fn debian(c: &Ctx, changes: &[&str]) -> String {
    let tar = proa_e2e::fixture(DEBIAN).expect("the fixture");
    let image = c.name("image");
    let changes: Vec<&str> = changes.iter().flat_map(|&change| ["--change", change]).collect();
    c.ok(&[&["import"][..], &changes, &[&tar.to_string_lossy(), &image]].concat());
    image
}

fn nginx(c: &Ctx) {
    let image = debian(c, &[r#"CMD ["nginx", "-g", "daemon off;"]"#, "EXPOSE 80"]);
    let name = c.name("c");
    c.ok(&["run", "-d", "--name", &name, "-p", "80", &image]);
    let shown = c.ok(&["port", &name, "80"]);
    let port = shown.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").to_owned();
    let is_page = |page: String| page.contains("Welcome to nginx").then_some(());
    let url = format!("http://127.0.0.1:{port}");
    until("the page of nginx for curl on the host", || {
        let mut curl = Command::new("curl");
        is_page(proa_e2e::command::run(curl.args(["-s", "--max-time", "3", &url]), b"").out())
    });
    let host = OtherHost::new(&c.name("x"));
    let url = format!("http://{}:{port}", host.gateway);
    until("the page of nginx for another host", || is_page(host.fetch(&url)));
    c.ok(&["stop", "-t", "20", &name]);
    assert_eq!(c.inspect(&name, "{{.State.ExitCode}}"), "0", "nginx ends well at its stop signal");
}

/// busybox has no server for datagrams; perl, in every Debian root filesystem, is one in a line.
fn udp(c: &Ctx) {
    let (image, name, port) = (debian(c, &[]), c.name("c"), free_udp_port());
    let script = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 5000, Proto => 'udp') or die; \
        while (1) { my $from = $s->recv(my $data, 1500); $s->send($data, 0, $from) if defined $from }";
    c.ok(&["run", "-d", "--name", &name, "-p", &format!("{port}:5000/udp"), &image, "perl", "-e", script]);
    echo(&format!("127.0.0.1:{port}"));
    echo(&format!("{}:{port}", host_address()));
    let host = OtherHost::new(&c.name("x"));
    host.inside(|| echo(&format!("{}:{port}", host.gateway)));
}

/// Sends datagrams until one comes back.
fn echo(address: &str) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    until(&format!("an echo of {address}"), || {
        socket.send_to(b"ping", address).ok()?;
        let mut buffer = [0; 16];
        let n = socket.recv(&mut buffer).ok()?;
        (buffer.get(..n) == Some(&b"ping"[..])).then_some(())
    });
}

fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.local_addr().expect("its number").port()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

/// An address of the host that is not the loopback.
fn host_address() -> String {
    let out = Command::new("ip").args(["-o", "-4", "addr", "show", "scope", "global"]).output().expect("ip");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|l| !l.contains("proa") && !l.contains("docker")).expect("an address");
    line.split_whitespace().nth(3).and_then(|a| a.split('/').next()).expect("an address").to_owned()
}

/// The body served at `address`, within the limit.
fn fetch(address: &str) -> String {
    until(&format!("a page at {address}"), || fetch_once(address))
}

fn fetch_once(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// A network namespace joined to the host by a veth pair: another host, as far as the kernel knows.
struct OtherHost {
    name: String,
    address: String,
    gateway: String,
}

impl OtherHost {
    fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let link = format!("pe{}x{number}", std::process::id() % 100_000);
        let (address, gateway) = (format!("198.18.{number}.2"), format!("198.18.{number}.1"));
        let host = Self { name: format!("proa-{name}"), address, gateway };
        let n = &host.name;
        ip(&["netns", "add", n]);
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", n]);
        ip(&["addr", "add", &format!("{}/24", host.gateway), "dev", &link]);
        ip(&["link", "set", &link, "up"]);
        ip(&["-n", n, "addr", "add", &format!("{}/24", host.address), "dev", "eth0"]);
        ip(&["-n", n, "link", "set", "eth0", "up"]);
        ip(&["-n", n, "link", "set", "lo", "up"]);
        ip(&["-n", n, "route", "add", "default", "via", &host.gateway]);
        host
    }

    fn fetch(&self, url: &str) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "curl", "-s", "--max-time", "3", url]);
        proa_e2e::command::run(&mut command, b"").out()
    }

    /// Does something in this host's network namespace, on a thread of its own.
    fn inside(&self, act: impl FnOnce() + Send) {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("the namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).expect("to enter the namespace");
                act();
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    /// A server at port 8000 of this host.
    fn serve(&self) -> Server {
        let script =
            "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | busybox nc -l -p 8000 >/dev/null; done";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setsid", "sh", "-c", script]);
        Server(command.spawn().expect("a server"))
    }
}

impl Drop for OtherHost {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        // The shell leads a session of its own: its children end with it.
        let pid = self.0.id();
        let _ = Command::new("kill").args(["-9", "--", &format!("-{pid}")]).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().expect("ip");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}
