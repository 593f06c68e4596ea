//! Several users of one store at once, and a disk that fills up.

use super::*;
use crate::{Ingest, NewImage, RemoveOptions};
use proa_state::Store as State;
use proa_types::{ErrorKind, Kinded};

#[test]
fn the_store_and_an_ingest_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<ImageStore>();
    shared::<Ingest>();
}

#[test]
fn a_lease_keeps_layers_that_are_removed_meanwhile() {
    if !root() {
        return;
    }
    let (store, dir) = store("lease");
    let layer = tar(&[file("x", "1")]);
    store.load(docker_archive(&[&layer], &["old"], "old").as_slice(), &()).unwrap();
    let ingest = store.begin();
    assert!(ingest.has_layer(&Digest::of(&layer)));
    store.remove("old", RemoveOptions::default(), &|_| Vec::new()).unwrap();
    let (config, tag) = (config(&[&layer], "new"), "new".parse().unwrap());
    let new = NewImage { config: &config, manifest: None, tag: Some(&tag), pulled_by: None, parent: None };
    ingest.commit(&new).unwrap();
    drop(ingest);
    let image = store.resolve("new").unwrap();
    store.snapshot_prepare("k", &image.layers).unwrap();
    drop(store);
    let store = open(dir.path());
    let mut saved = Vec::new();
    store.save(&["new".into()], &mut saved).unwrap();
    assert_eq!(store.resolve("new").unwrap().layers, [Digest::of(&layer)]);
}

#[test]
fn loads_removals_and_lookups_at_once_end_in_a_clean_store() {
    if !root() {
        return;
    }
    let (store, dir) = store("parallel");
    let base = tar(&[file("base", &"b".repeat(50_000))]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (store, base) = (&store, &base);
            scope.spawn(move || {
                for round in 0..8 {
                    let name = format!("w{worker}:{round}");
                    let top = tar(&[file("top", &name)]);
                    store.load(docker_archive(&[base, &top], &[&name], &name).as_slice(), &()).unwrap();
                    let image = store.resolve(&name).unwrap();
                    let key = format!("c{worker}-{round}");
                    store.snapshot_prepare(&key, &image.layers).unwrap();
                    store.remove(&name, RemoveOptions { force: true, prune: true }, &|_| Vec::new()).unwrap();
                    store.snapshot_remove(&key).unwrap();
                }
            });
        }
    });
    super::hostile::assert_clean(&store, dir.path());
}

#[test]
fn renames_elsewhere_do_not_disturb_links_with_dots() {
    if !root() {
        return;
    }
    let (store, dir) = store("renames");
    let mut entries = vec![Entry::directory("usr/lib"), link(Kind::Symlink, "a/b/lib", "../../usr/lib")];
    // Other directories in between, so that the link is resolved anew each time.
    entries.extend((0..600).map(|n| match n % 30 {
        0 => file(&format!("a/b/lib/{n}"), "x"),
        _ => file(&format!("d{n}/x"), "x"),
    }));
    let layer = tar(&entries);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let at = |name: &str| dir.path().join(name);
            std::fs::create_dir(at("r0")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(at("r0"), at("r1")).unwrap();
                std::fs::rename(at("r1"), at("r0")).unwrap();
            }
        });
        let loaded = store.load(docker_archive(&[&layer], &["t"], "").as_slice(), &());
        stop.store(true, Ordering::Relaxed);
        loaded.unwrap();
    });
}

/// A small tmpfs, unmounted with the test.
struct Small(TempDir);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    if !root() {
        return;
    }
    let state = TempDir::new("full-state");
    let small = Small(TempDir::new("full"));
    let flags = rustix::mount::MountFlags::empty();
    if rustix::mount::mount("tmpfs", small.0.path(), "tmpfs", flags, c"size=1m").is_err() {
        println!("skipped: cannot mount a tmpfs");
        return;
    }
    let state = Arc::new(State::open(&state.path().join("state")).unwrap());
    let store = ImageStore::open(small.0.path(), state).unwrap();
    let layer = tar(&[file("large", &"x".repeat(3 << 20))]);
    let noise: String =
        (0..400_000u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let compressed = tar(&[file("noise", &noise)]);
    let zipped = gzip(&compressed);
    for layer in [&layer, &zipped] {
        let error = store.load(docker_archive(&[layer], &["t"], "").as_slice(), &()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
        assert!(error.to_string().contains("No space left"), "{error}");
        super::hostile::assert_clean(&store, small.0.path());
    }
}
