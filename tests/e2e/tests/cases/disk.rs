//! A full disk: a clear error, nothing left behind, and all well again when there is room.

use super::registry::{command, contents, nothing_new};
use proa_e2e::archive::{file, image, noise, tar};
use proa_e2e::command::{run, until};
use proa_e2e::registry::{Manner, Strange};
use proa_e2e::{Client, Daemon, Suite};
use proa_oci::Digest;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn add(s: &mut Suite) {
    s.alone("a full disk must be told by load, import and pull, and leave nothing", takes_in);
    s.alone("a full disk must be told by run, create, tag and volume, and be forgotten with room", records);
    s.alone("a full disk must not hold a container up, nor its log", logs);
}

/// What every client must say.
const FULL: &str = "no space left on device";

/// A data root of its own size: a memory file system, mounted before the daemon starts.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(name: &str, size: &str) -> Self {
        let disk = Self(proa_e2e::scratch(name).join("data"));
        std::fs::create_dir_all(&disk.0).unwrap();
        let options = format!("size={size},mode=710");
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&disk.0).output();
        let out = out.expect("mount");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        disk
    }

    /// Takes all the room there is.
    fn fill(&self) -> Filling {
        let path = self.0.join("filling");
        let mut filling = std::fs::File::create(&path).unwrap();
        let block = vec![1u8; 4096];
        while std::io::Write::write_all(&mut filling, &block).is_ok() {}
        Filling(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The kernel takes an ended container's mounts apart behind its end, and holds the disk until then.
        for _ in 0..200 {
            if Command::new("umount").arg(&self.0).output().is_ok_and(|out| out.status.success()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if let Some(dir) = self.0.parent() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// What takes the room, until it is dropped.
struct Filling(PathBuf);

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An archive of an image with one layer of this many bytes.
fn large(dir: &Path, size: usize) -> PathBuf {
    let layer = tar(&[file("large", &noise(size, 9))]);
    let path = dir.join("large.tar");
    std::fs::write(&path, image("large:latest", std::slice::from_ref(&layer), &[Digest::of(&layer)]))
        .unwrap();
    path
}

fn takes_in() {
    let disk = Disk::mount("disk-in", "24m");
    let daemon = Daemon::start("disk-in", &[]);
    daemon.load_busybox();
    let registry = Strange::start();
    let pulled = registry.serve("large", Manner::Well, &[tar(&[file("l", &noise(30 << 20, 4))])]);
    let archive = large(&daemon.dir, 30 << 20);
    let packed = daemon.dir.join("large.tar.gz");
    std::fs::write(&packed, proa_e2e::registry::gzip(&std::fs::read(&archive).unwrap())).unwrap();
    let before = contents(&daemon);
    for client in Client::all() {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        for args in [
            ["load", "-i", &text(&archive)],
            ["load", "-i", &text(&packed)],
            ["import", &text(&archive), "imported"],
            ["pull", "-q", &pulled],
        ] {
            run(&mut command(&client, &daemon, &args), b"").fails(1, FULL);
            nothing_new(&daemon, &before, &args.join(" "));
            assert_eq!(daemon.docker(&["images", "-q"]).ok().lines().count(), 1, "{args:?}");
        }
    }
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "fine"]).ok(), "fine");
    drop((daemon, disk));
}

fn records() {
    let disk = Disk::mount("disk-records", "16m");
    let daemon = Daemon::start("disk-records", &[]);
    daemon.load_busybox();
    daemon.docker(&["run", "-d", "--name", "old", "busybox", "sleep", "600"]).ok();
    let before = contents(&daemon);
    let full = disk.fill();
    for client in Client::all() {
        let refused = |code: i32, args: &[&str]| {
            let out = run(&mut command(&client, &daemon, args), b"");
            // Little may fit into what is allotted already; what does not must be told.
            if out.code != 0 {
                out.fails(code, FULL);
            }
            out.code != 0
        };
        let tag = format!("tag-{}", client.name);
        let mut failed = 0;
        for n in 0..40 {
            let (name, volume) = (format!("c{n}-{}", client.name), format!("v{n}-{}", client.name));
            let ran = refused(125, &["run", "-d", "--name", &name, "busybox", "true"]);
            let created = refused(1, &["create", "--name", &format!("d{name}"), "busybox", "true"]);
            failed += u32::from(ran) + u32::from(created);
            refused(1, &["volume", "create", &volume]);
            refused(1, &["tag", "busybox", &format!("{tag}:{n}")]);
            if failed > 3 {
                break;
            }
        }
        assert!(failed > 3, "{}: the disk is not full", client.name);
        // What is there is still there, and can be looked at and stopped.
        assert!(run(&mut command(&client, &daemon, &["ps"]), b"").ok().contains("old"));
        assert_eq!(run(&mut command(&client, &daemon, &["exec", "old", "echo", "x"]), b"").ok(), "x");
    }
    drop(full);
    for client in Client::all() {
        let out = run(&mut command(&client, &daemon, &["run", "--rm", "busybox", "echo", "again"]), b"");
        assert_eq!(out.ok(), "again", "{}", client.name);
    }
    let ids = daemon.docker(&["ps", "-aq", "--filter", "ancestor=busybox"]).ok();
    for id in ids.split_whitespace() {
        daemon.docker(&["rm", "-fv", id]).ok();
    }
    for name in daemon.docker(&["volume", "ls", "-q"]).ok().split_whitespace() {
        daemon.docker(&["volume", "rm", name]).ok();
    }
    let tags = daemon.docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    for tag in tags.split_whitespace().filter(|tag| tag.starts_with("tag-")) {
        daemon.docker(&["rmi", tag]).ok();
    }
    nothing_new(&daemon, &before, "failures on a full disk");
    // The store is whole: the next start reads it.
    let mut daemon = daemon;
    daemon.stop();
    daemon.run();
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "after"]).ok(), "after");
    drop((daemon, disk));
}

fn logs() {
    let disk = Disk::mount("disk-logs", "16m");
    let daemon = Daemon::start("disk-logs", &[]);
    daemon.load_busybox();
    let script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; \
        until [ -e /go ]; do sleep 0.1; done; echo last; exit 7";
    let full = disk.fill();
    daemon.docker(&["run", "-d", "--name", "talks", "--tmpfs", "/t", "busybox", "sh", "-c", script]);
    let started = daemon.docker(&["ps", "-q", "--filter", "name=talks"]).ok() != "";
    drop(full);
    if !started {
        let _ = daemon.docker(&["rm", "-f", "talks"]);
        daemon.docker(&["run", "-d", "--name", "talks", "busybox", "sh", "-c", script]).ok();
    }
    let full = disk.fill();
    std::thread::sleep(std::time::Duration::from_secs(5));
    drop(full);
    daemon.docker(&["exec", "-d", "talks", "touch", "/go"]).ok();
    assert_eq!(daemon.docker(&["wait", "talks"]).ok(), "7");
    until("the line written when there was room again", || {
        daemon.docker(&["logs", "talks"]).ok().ends_with("last").then_some(())
    });
    let text = daemon.docker(&["logs", "talks"]).ok();
    assert!(text.lines().all(|line| line == "last" || line.starts_with("line ")), "{text}");
    daemon.docker(&["rm", "talks"]).ok();
    drop((daemon, disk));
}
