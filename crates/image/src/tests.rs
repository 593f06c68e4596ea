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
        let _ = std::fs::remove_dir_all(&self.0);
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
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
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
