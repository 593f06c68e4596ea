//! A process that uses the store is killed at any moment: what the next one finds is whole, and nothing else.

use super::*;
use crate::RemoveOptions;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CHILD: &str = "PROA_IMAGE_CRASH_DIR";

/// A child that is killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Loads, starts from, and removes images for ever.
fn work(dir: &Path) {
    let store = open(dir);
    let zipped = gzip(&rich_layer());
    for round in 0u64.. {
        let name = format!("img:{round}");
        let top = tar(&[file("top", &format!("{round}").repeat(3000))]);
        let _ = store.load(docker_archive(&[&rich_layer(), &top], &[&name], &name).as_slice(), &());
        let _ = store.import(zipped.as_slice(), &crate::ImportOptions::default(), &());
        if let Ok(image) = store.resolve(&name) {
            let _ = store.snapshot_prepare(&format!("key{round}"), &image.layers);
        }
        if round % 3 == 2 {
            let _ = store.snapshot_remove(&format!("key{}", round - 1));
            let force = RemoveOptions { force: true, prune: true };
            let _ = store.remove(&format!("img:{}", round - 1), force, &|_| Vec::new());
        }
    }
}

#[test]
fn a_store_whose_user_was_killed_is_whole() {
    if let Ok(dir) = std::env::var(CHILD) {
        return work(Path::new(&dir));
    }
    if !root() {
        return;
    }
    let dir = TempDir::new("crash");
    let mut images = 0;
    for round in 0..8u64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::crash::a_store_whose_user_was_killed_is_whole", "--nocapture"]);
        command.env(CHILD, dir.path()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = Killed(command.spawn().unwrap());
        std::thread::sleep(Duration::from_millis(60 + 83 * round));
        drop(child);
        images += check(&open(dir.path()), dir.path());
    }
    assert!(images > 0, "the child was never fast enough to load anything");
}

/// Everything in the tables is on disk and whole; everything on disk is in the tables. The number of images.
fn check(store: &ImageStore, root: &Path) -> usize {
    let images = store.list();
    for image in &images {
        store.save(&[image.id.to_string()], std::io::sink()).unwrap();
        for tag in &image.repo_tags {
            assert_eq!(store.resolve(tag).unwrap().id, image.id);
        }
    }
    for key in store.snapshots() {
        let crate::Snapshot::Overlay { lower, upper, work } = store.snapshot(&key).unwrap() else { panic!() };
        assert!(upper.is_dir() && work.is_dir() && lower.iter().all(|layer| layer.is_dir()), "{key}");
    }
    let catalog = store.inner.catalog();
    let mut dirs: Vec<String> = catalog.layers.values().map(|layer| layer.dir.clone()).collect();
    let mut found = crate::content::names(&root.join("snapshots/overlay"));
    let other = |name: &String| name.starts_with("c-") || name.starts_with(crate::spare::PREFIX);
    found.retain(|name| name != crate::containers::NO_LAYER && !other(name));
    dirs.sort();
    found.sort();
    assert_eq!(dirs, found);
    let mut blobs: Vec<String> =
        catalog.layers.values().flat_map(|l| &l.blobs).map(|b| b.digest.hex().to_owned()).collect();
    blobs.retain(|hex| root.join("content/blobs/sha256").join(hex).exists());
    let mut found = crate::content::names(&root.join("content/blobs/sha256"));
    blobs.sort();
    found.sort();
    assert_eq!(blobs, found);
    assert!(crate::content::names(&root.join("content/ingest")).is_empty());
    images.len()
}
