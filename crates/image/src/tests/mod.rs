//! What tests share: a store of their own, which goes when they end, also by panic.

use crate::ImageStore;
use proa_state::Store;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(test: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/tmp/proa-image-{}-{next}-{test}", std::process::id());
        std::fs::create_dir(&path).unwrap();
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // The store may live a moment longer, and its worker may make a directory just now.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Whether the test runs as root; says so if it cannot run.
pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root (owners, device nodes, trusted attributes)");
    }
    root
}

/// A store in a directory of its own.
pub(crate) fn store(test: &str) -> (ImageStore, TempDir) {
    let dir = TempDir::new(test);
    (open(dir.path()), dir)
}

/// Opens the store below a directory, again and again while a background thread still holds it.
pub(crate) fn open(dir: &Path) -> ImageStore {
    for _ in 0..500 {
        match Store::open(&dir.join("state")) {
            Ok(state) => return ImageStore::open(dir, Arc::new(state)).unwrap(),
            Err(proa_state::Error::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(20)),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the state file stays locked");
}

#[test]
fn the_built_in_image_loads_and_can_be_mounted() {
    if !root() {
        return;
    }
    let (store, dir) = store("hello");
    let loaded = store.load(crate::builtin::hello_world(), &()).unwrap();
    assert_eq!(loaded[0].tag.as_deref(), Some("hello-world:latest"));
    let image = store.resolve("hello-world").unwrap();
    assert_eq!(store.resolve(&image.id.hex()[..8]).unwrap(), image);
    let crate::Snapshot::Overlay { lower, upper, .. } = store.snapshot_prepare("k1", &image.layers).unwrap()
    else {
        panic!("overlay expected");
    };
    assert!(upper.is_dir());
    let output = std::process::Command::new(lower[0].join("hello")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Hello from Proa!"), "{text}");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.snapshots(), ["k1"]);
    assert_eq!(store.resolve("hello-world:latest").unwrap().id, image.id);
    store.snapshot_remove("k1").unwrap();
    assert!(!upper.exists());
}

mod crash;
mod drivers;
mod foreign;
mod hostile;
mod layouts;
mod names;
mod properties;
mod pull;
mod round_trip;
mod shared;

use crate::tar::{Entry, Kind, Writer};
use proa_oci::Digest;

/// A tar of these entries; a file's payload is its link field, which files do not use otherwise.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for entry in entries {
        let payload = if entry.kind == Kind::File { entry.link.clone() } else { Vec::new() };
        let mut written = entry.clone();
        if entry.kind == Kind::File {
            written.link.clear();
        }
        writer.entry(&written, &mut payload.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

/// A file with a payload, for [`tar`].
pub(crate) fn file(path: &str, payload: &str) -> Entry {
    Entry { link: payload.as_bytes().to_vec(), ..Entry::file(path, 0o644, payload.len() as u64) }
}

/// A link of a kind.
pub(crate) fn link(kind: Kind, path: &str, target: &str) -> Entry {
    Entry { kind, link: target.as_bytes().to_vec(), ..Entry::file(path, 0o777, 0) }
}

/// Compresses.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image configuration over plain layers.
pub(crate) fn config(layers: &[&[u8]], extra: &str) -> Vec<u8> {
    let diffs: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let diffs = serde_json::to_string(&diffs).unwrap();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"],"Labels":{{"a":"{extra}"}}}},"created":"2024-01-01T00:00:00Z","rootfs":{{"type":"layers","diff_ids":{diffs}}},"history":[]}}"#
    )
    .into_bytes()
}

/// A docker archive of one image.
pub(crate) fn docker_archive(layers: &[&[u8]], tags: &[&str], extra: &str) -> Vec<u8> {
    let config = config(layers, extra);
    let names: Vec<String> = (0..layers.len()).map(|n| format!("l{n}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": tags, "Layers": names}]);
    let mut writer = Writer::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        writer.entry(&Entry::file(name, 0o644, bytes.len() as u64), &mut &*bytes).unwrap();
    };
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("config.json", &config);
    add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    writer.finish().unwrap()
}

/// A small tree with everything a layer can hold.
pub(crate) fn rich_layer() -> Vec<u8> {
    let capability = vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(150));
    tar(&[
        Entry { mode: 0o755, ..Entry::directory("./") },
        Entry { mode: 0o2775, gid: 50, mtime: (1_000_000_000, 5), ..Entry::directory("srv/") },
        file("srv/a", "hello"),
        Entry { mode: 0o4755, uid: 1000, gid: 1000, mtime: (-5, 250_000_000), ..file("bin/su", "suid") },
        Entry { xattrs: vec![(b"security.capability".to_vec(), capability)], ..file("bin/ping", "cap") },
        link(Kind::HardLink, "srv/b", "srv/a"),
        link(Kind::Symlink, "lib", "usr/lib"),
        Entry { mode: 0o644, ..Entry::directory("usr/lib/") },
        file("lib/through-link", "x"),
        Entry { kind: Kind::Character, device: (1, 3), ..Entry::file("dev/null", 0o666, 0) },
        Entry { kind: Kind::Fifo, ..Entry::file("run/pipe", 0o600, 0) },
        file(&long, "long"),
        file("srv/a2", &"y".repeat(100_000)),
        file("srv/a", "replaced"),
        file("gone/x", "1"),
        file("gone", "a file where a directory was"),
        file("empty", ""),
    ])
}
