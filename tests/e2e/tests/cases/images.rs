//! Images: archives, tags, history, removal, a real registry.

use proa_e2e::{Ctx, Suite};

pub(crate) fn add(s: &mut Suite) {
    s.each("images must list what is there", |c| {
        let table = c.ok(&["images"]);
        assert!(table.lines().next().is_some_and(|l| l.contains("IMAGE")), "{table}");
        assert!(table.contains("busybox"), "{table}");
        let id = c.ok(&["images", "-q", "--no-trunc", "busybox"]);
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    });
    s.each("tag and rmi must add and take a name", |c| {
        let tag = c.name("image");
        c.ok(&["tag", "busybox", &tag]);
        assert_eq!(c.inspect(&tag, "{{.Id}}"), c.inspect("busybox", "{{.Id}}"));
        let out = c.ok(&["rmi", &tag]);
        assert_eq!(out, format!("Untagged: {tag}:latest"));
        c.run(&["inspect", &tag]).fails(1, "no such");
    });
    s.each("save and load must give the same image", |c| {
        let (tag, file) = (c.name("image"), c.dir("save").join("image.tar"));
        c.ok(&["import", "--change", "ENV SAVED=1", &small_tar(c), &tag]);
        let id = c.inspect(&tag, "{{.Id}}");
        c.ok(&["save", "-o", &file.to_string_lossy(), &tag]);
        c.ok(&["rmi", &tag]);
        let said = c.ok(&["load", "-i", &file.to_string_lossy()]);
        assert!(said.contains(&format!("Loaded image: {tag}:latest")), "{said}");
        assert_eq!(c.inspect(&tag, "{{.Id}}"), id);
        assert!(c.ok(&["run", "--rm", "--entrypoint", "/hi", &tag]).contains("hi from a layer"));
    });
    s.each("load must read from standard input, compressed too", |c| {
        let (tag, dir) = (c.name("image"), c.dir("load"));
        c.ok(&["import", &small_tar(c), &tag]);
        let file = dir.join("image.tar");
        c.ok(&["save", "-o", &file.to_string_lossy(), &tag]);
        c.ok(&["rmi", &tag]);
        let packed = std::process::Command::new("gzip").arg("-c").arg(&file).output().expect("gzip").stdout;
        assert!(c.feed(&["load"], &packed).ok().contains("Loaded image"));
    });
    s.each("load of a broken archive must fail clearly and leave nothing", |c| {
        let unnamed = || c.ok(&["images", "-q", "--filter", "dangling=true"]);
        let before = unnamed();
        for bytes in [&b"not a tar"[..], &[0u8; 4096][..], &[0x1f, 0x8b, 8, 0, 1, 2, 3, 4][..]] {
            let out = c.feed(&["load"], bytes);
            assert_ne!(out.code, 0, "{}", out.out());
            assert!(!out.err().is_empty());
        }
        // What other tests import has no name for a moment.
        let left = || unnamed().lines().any(|id| !before.contains(id));
        proa_e2e::command::until("no unnamed image is left", || (!left()).then_some(()));
    });
    s.each("import must honour --change and --message", |c| {
        let tag = c.name("image");
        let args = [
            "import",
            "-c",
            "ENV A=b",
            "-c",
            "WORKDIR /var",
            "-c",
            "ENTRYPOINT [\"/hi\"]",
            "-m",
            "made by hand",
        ];
        c.ok(&[&args[..], &[&small_tar(c), &tag]].concat());
        let shown =
            c.inspect(&tag, "{{.Config.Env}} {{.Config.WorkingDir}} {{.Config.Entrypoint}} {{.Comment}}");
        assert_eq!(shown, "[A=b] /var [/hi] made by hand");
        assert!(c.ok(&["history", &tag]).contains("made by hand"));
    });
    s.each("rmi of an image in use must be refused", |c| {
        let (tag, name) = (c.name("image"), c.name("c"));
        c.ok(&["import", &small_tar(c), &tag]);
        c.ok(&["create", "--name", &name, &tag, "/hi"]);
        c.run(&["rmi", &tag]).fails(1, "conflict");
        c.ok(&["rm", &name]);
        c.ok(&["rmi", &tag]);
    });
    let carried = proa_e2e::against_reference().then_some("it carries no image, and no registry is reached");
    s.needing(carried, "hello-world must greet", |c| {
        let out = c.run(&["run", "--rm", "hello-world"]);
        assert!(out.ok().contains("Hello from"), "{}", out.out());
    });
    if proa_e2e::client::Client::all().is_empty()
        || !std::path::Path::new("/usr/bin/docker-registry").exists()
    {
        s.skipped("push and pull", "Debian's docker-registry is not installed");
        return;
    }
    s.each("push and pull must bring the same image through a real registry", registry);
    s.each("a registry that is down, or an image that is not there, must be told", |c| {
        let port = free_port();
        c.run(&["pull", &format!("localhost:{port}/nothing")]).fails(1, "refused");
    });
}

fn registry(c: &Ctx) {
    let registry = Registry::start(c);
    let (local, remote) = (c.name("image"), format!("localhost:{}/team/app:v1", registry.port));
    c.ok(&["import", &small_tar(c), &local]);
    c.ok(&["tag", &local, &remote]);
    let id = c.inspect(&local, "{{.Id}}");
    let pushed = c.ok(&["push", &remote]);
    let digest = pushed.split_whitespace().find(|w| w.starts_with("sha256:")).expect("a digest").to_owned();
    assert!(c.inspect(&remote, "{{json .RepoDigests}}").contains(&digest));
    c.ok(&["rmi", &remote, &local]);
    let pulled = c.ok(&["pull", &remote]);
    assert!(pulled.contains(&digest) && pulled.contains("Downloaded newer image"), "{pulled}");
    assert_eq!(c.inspect(&remote, "{{.Id}}"), id);
    assert!(c.ok(&["pull", &remote]).contains("up to date"));
    c.run(&["pull", &format!("localhost:{}/team/absent", registry.port)]).fails(1, "not found");
    assert!(c.ok(&["run", "--rm", &remote, "/hi"]).contains("hi from a layer"));
    c.ok(&["rmi", &remote]);
}

/// A tar with one static program, `/hi`: busybox's `echo` by a script would need a shell, so it is a copy.
fn small_tar(c: &Ctx) -> String {
    let dir = c.dir("small");
    let tar = dir.join("small.tar");
    if !tar.exists() {
        let script = r##"set -e; cd "$1"; mkdir -p root/bin; cp /bin/busybox root/bin/sh; ln -sf sh root/bin/echo
            printf '#!/bin/sh\necho hi from a layer\n' > root/hi; chmod 755 root/hi; tar -C root -cf small.tar ."##;
        let out = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(&dir).output().expect("sh");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    tar.to_string_lossy().into_owned()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port()
}

/// Debian's registry on a loopback port of its own.
struct Registry {
    child: std::process::Child,
    port: u16,
}

impl Registry {
    fn start(c: &Ctx) -> Self {
        let port = free_port();
        let dir = c.dir("registry");
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            dir.join("data").display()
        );
        std::fs::write(&config, text).expect("config");
        let mut command = std::process::Command::new("/usr/bin/docker-registry");
        command.arg("serve").arg(&config).stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = command.spawn().expect("docker-registry");
        let registry = Self { child, port };
        proa_e2e::command::until("the registry answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
