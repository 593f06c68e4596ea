//! The conformance suite of storage drivers: all of them make the same file system of the same layers.

use super::*;
use crate::{DriverKind, Snapshot};
use proa_state::Store as State;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// A mounted overlay, unmounted with the test.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Runs `check` on the root file system of a container over the layers, with each driver.
fn with_each_driver(test: &str, layers: &[&[u8]], check: impl Fn(&Path)) {
    if !root() {
        return;
    }
    for driver in [DriverKind::Overlay, DriverKind::Vfs] {
        let dir = TempDir::new(test);
        let state = Arc::new(State::open(&dir.path().join("state")).unwrap());
        let store = ImageStore::open_with(dir.path(), state, driver).unwrap();
        assert_eq!(store.driver_name(), driver.name());
        store.load(docker_archive(layers, &["t"], "").as_slice(), &()).unwrap();
        let image = store.resolve("t").unwrap();
        let snapshot = store.snapshot_prepare("key-1", &image.layers).unwrap();
        assert_eq!(store.snapshot("key-1").unwrap(), snapshot);
        assert!(store.snapshot_prepare("key-1", &image.layers).is_err(), "a key is taken once");
        for bad in ["", "../x", "a/b", "a b"] {
            assert!(store.snapshot_prepare(bad, &image.layers).is_err(), "{bad:?}");
        }
        let before = store.snapshot_usage("key-1").unwrap();
        match &snapshot {
            Snapshot::Directory(path) => {
                check(path);
                std::fs::write(path.join("written"), [0; 1000]).unwrap();
            }
            Snapshot::Overlay { lower, upper, work } => {
                let target = dir.path().join("mnt");
                std::fs::create_dir(&target).unwrap();
                let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
                let data = format!(
                    "lowerdir={},upperdir={},workdir={}",
                    lower.join(":"),
                    upper.display(),
                    work.display()
                );
                let made = Command::new("mount")
                    .args(["-t", "overlay", "overlay", "-o", &data])
                    .arg(&target)
                    .status();
                assert!(made.unwrap().success());
                let mounted = Mounted(target);
                check(&mounted.0);
                std::fs::write(mounted.0.join("written"), [0; 1000]).unwrap();
            }
        }
        assert_eq!(store.snapshot_usage("key-1").unwrap() - before, 1000, "{driver:?}");
        store.snapshot_remove("key-1").unwrap();
        store.snapshot_remove("key-1").unwrap();
        assert!(store.snapshot("key-1").is_err() && store.snapshots().is_empty());
    }
}

#[test]
fn layers_stack_and_whiteouts_hide() {
    let base = tar(&[
        Entry { mode: 0o750, gid: 7, ..Entry::directory("./") },
        file("keep", "1"),
        file("gone", "1"),
        file("dir/a", "1"),
        file("dir/b", "1"),
        file("opaque/old", "1"),
        file("tree/x/y", "1"),
        file("later/old", "1"),
        link(Kind::Symlink, "link", "keep"),
    ]);
    let middle = tar(&[
        Entry { mode: 0o750, gid: 7, ..Entry::directory("./") },
        file(".wh.gone", ""),
        file("dir/.wh.a", ""),
        file("opaque/.wh..wh..opq", ""),
        file("opaque/new", "2"),
        file(".wh.tree", ""),
        file(".wh..wh.plnk", ""),
        file(".wh.later", ""),
        Entry { mode: 0o755, ..Entry::directory("later/") },
        file("later/new", "2"),
    ]);
    let top = tar(&[
        Entry { mode: 0o750, gid: 7, ..Entry::directory("./") },
        file("keep", "33"),
        file("tree", "a file now"),
    ]);
    with_each_driver("stack", &[&base, &middle, &top], |root| {
        let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        assert_eq!(read("keep").as_deref(), Some("33"));
        assert_eq!(read("link").as_deref(), Some("33"));
        assert_eq!(read("gone"), None);
        assert_eq!((read("dir/a"), read("dir/b").as_deref()), (None, Some("1")));
        assert_eq!((read("opaque/old"), read("opaque/new").as_deref()), (None, Some("2")));
        assert_eq!((read("later/old"), read("later/new").as_deref()), (None, Some("2")));
        assert_eq!(read("tree").as_deref(), Some("a file now"));
        let names: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".wh.")), "{names:?}");
        let meta = std::fs::metadata(root).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o750, 7));
    });
}

#[test]
fn a_layer_may_come_twice() {
    let (a, b, empty) = (tar(&[file("d/x", "a")]), tar(&[file("d/x", "b"), file("y", "b")]), tar(&[]));
    with_each_driver("twice", &[&empty, &a, &empty, &b, &a, &empty], |root| {
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        assert_eq!((read("d/x").as_str(), read("y").as_str()), ("a", "b"));
    });
}

#[test]
fn an_image_may_have_no_layer() {
    with_each_driver("none", &[], |root| assert_eq!(std::fs::read_dir(root).unwrap().count(), 0));
}

#[test]
fn attributes_survive() {
    with_each_driver("attributes", &[&rich_layer()], |root| {
        let meta = |path: &str| std::fs::symlink_metadata(root.join(path)).unwrap();
        assert_eq!((meta("bin/su").mode() & 0o7777, meta("bin/su").uid()), (0o4755, 1000));
        assert_eq!((meta("srv").mode() & 0o7777, meta("srv").gid()), (0o2775, 50));
        assert_eq!(meta("srv").mtime(), 1_000_000_000);
        assert_eq!(meta("dev/null").rdev(), rustix::fs::makedev(1, 3));
        let mut capability = [0u8; 64];
        let path = root.join("bin/ping");
        assert_eq!(rustix::fs::getxattr(path, "security.capability", &mut capability).unwrap(), 20);
    });
}

#[test]
fn snapshots_made_of_spares_are_like_those_made_anew() {
    if !root() {
        return;
    }
    let (store, dir) = store("spares");
    let layer = tar(&[Entry { mode: 0o1777, uid: 3, gid: 4, ..Entry::directory("./") }, file("x", "1")]);
    let plain = tar(&[file("y", "1")]);
    store.load(docker_archive(&[&layer], &["a"], "").as_slice(), &()).unwrap();
    store.load(docker_archive(&[&plain], &["b"], "").as_slice(), &()).unwrap();
    let home = dir.path().join("snapshots/overlay");
    let mut seen = Vec::new();
    for round in 0..12 {
        let made_ahead =
            crate::content::names(&home).iter().any(|name| name.starts_with(crate::spare::PREFIX));
        for name in ["a", "b"] {
            let key = format!("{name}{round}");
            let layers = store.resolve(name).unwrap().layers.clone();
            let Snapshot::Overlay { upper, work, .. } = store.snapshot_prepare(&key, &layers).unwrap() else {
                panic!("overlay expected");
            };
            let meta = std::fs::metadata(&upper).unwrap();
            let expected = if name == "a" { (0o1777, 3, 4) } else { (0o755, 0, 0) };
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), expected);
            let empty = |path: &Path| std::fs::read_dir(path).unwrap().next().is_none();
            assert!(empty(&upper) && empty(&work));
        }
        seen.push(made_ahead);
        std::thread::sleep(std::time::Duration::from_millis(if round == 2 { 500 } else { 5 }));
    }
    assert!(seen.contains(&true) && seen.contains(&false));
    assert_eq!(store.snapshots().len(), 24);
}

#[test]
fn other_drivers_say_what_to_use() {
    assert_eq!("overlay2".parse::<DriverKind>().unwrap(), DriverKind::Overlay);
    for name in ["aufs", "devicemapper", "btrfs", "zfs", "nonsense"] {
        let text = name.parse::<DriverKind>().unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("overlay"), "{text}");
    }
}
