//! Archives made to harm: nothing is written outside of the layer, nothing is left behind.

use super::*;
use crate::ImportOptions;
use crate::tar::Limits;

/// Loads a layer that must be refused with a text; the store is as before.
fn refused(layer: &[u8], text: &str) {
    if !root() {
        return;
    }
    let (store, dir) = store("hostile");
    let error = store.load(docker_archive(&[layer], &["bad"], "").as_slice(), &()).unwrap_err().to_string();
    assert!(error.contains(text), "expected {text:?} in: {error}");
    let error = store.import(layer, &ImportOptions::default(), &()).unwrap_err().to_string();
    assert!(error.contains(text), "expected {text:?} in: {error}");
    assert_clean(&store, dir.path());
}

/// Nothing is left of a failed attempt.
pub(crate) fn assert_clean(store: &ImageStore, root: &Path) {
    assert!(store.list().is_empty());
    for dir in ["content/blobs/sha256", "content/ingest", "snapshots/overlay"] {
        let mut names = crate::content::names(&root.join(dir));
        names.retain(|name| name != crate::containers::NO_LAYER && !name.starts_with(crate::spare::PREFIX));
        assert!(names.is_empty(), "{dir} holds {names:?}");
    }
}

#[test]
fn names_that_lead_outside_are_refused() {
    for name in ["../evil", "a/../../evil", "/../evil", "a/b/../../../evil"] {
        refused(&tar(&[file(name, "x")]), "points outside");
    }
    refused(&tar(&[link(Kind::HardLink, "a", "../../../../etc/passwd")]), "links to outside");
    refused(&tar(&[link(Kind::HardLink, "a", "etc/shadow")]), "does not have");
    refused(
        &tar(&[link(Kind::Symlink, "a", "/etc"), link(Kind::HardLink, "b", "a/shadow")]),
        "does not have",
    );
    refused(&tar(&[file("a", "x"), file("a/b", "x")]), "not a directory");
    refused(
        &tar(&[link(Kind::Symlink, "a", "b"), link(Kind::Symlink, "b", "a"), file("a/x", "")]),
        "symbolic link",
    );
    refused(&tar(&[file(".", "x")]), "root of the layer");
    refused(&tar(&[file("a/.wh...", "")]), "whiteout of nothing");
    refused(&tar(&[file(&"d/".repeat(300), "")]), "directories deep");
}

#[test]
fn links_in_the_layer_never_lead_out_of_it() {
    if !root() {
        return;
    }
    let canary = TempDir::new("canary");
    let target = canary.path().display().to_string();
    for entries in [
        vec![link(Kind::Symlink, "d", &target), file("d/x", "evil")],
        vec![link(Kind::Symlink, "d", "../../../../../../../.."), file(&format!("d{target}/x"), "evil")],
        vec![link(Kind::Symlink, "d", "/proc/self/root"), file(&format!("d{target}/x"), "evil")],
        vec![link(Kind::Symlink, "x", &format!("{target}/x")), file("x", "evil")],
        vec![link(Kind::Symlink, "x", &target), Entry::directory("x"), file("x/x", "evil")],
        vec![link(Kind::Symlink, "d", &target), file("d/.wh.keep", ""), file("d/.wh..wh..opq", "")],
        vec![Entry::directory("e"), link(Kind::Symlink, "e", &target), file("e/x", "evil")],
    ] {
        std::fs::write(canary.path().join("keep"), "1").unwrap();
        let (store, _dir) = store("links");
        // Whether it is taken (with the links inside) or refused: outside nothing changes.
        let _ = store.load(docker_archive(&[&tar(&entries)], &["t"], "").as_slice(), &());
        assert_eq!(crate::content::names(canary.path()), ["keep"]);
        assert!(rustix::fs::getxattr(canary.path(), "trusted.overlay.opaque", &mut [0u8; 8]).is_err());
    }
}

#[test]
fn overlays_own_attributes_cannot_be_set() {
    if !root() {
        return;
    }
    let (store, _dir) = store("xattr");
    let attribute = |name: &str| (name.as_bytes().to_vec(), b"y".to_vec());
    let entry = Entry {
        xattrs: vec![
            attribute("trusted.overlay.redirect"),
            attribute("user.overlay.opaque"),
            attribute("user.ok"),
        ],
        ..Entry::directory("d")
    };
    store.load(docker_archive(&[&tar(&[entry])], &["t"], "").as_slice(), &()).unwrap();
    let image = store.resolve("t").unwrap();
    let crate::Snapshot::Overlay { lower, .. } = store.snapshot_prepare("k", &image.layers).unwrap() else {
        panic!()
    };
    let mut list = [0u8; 1024];
    let length = rustix::fs::listxattr(lower[0].join("d"), &mut list).unwrap();
    let list = String::from_utf8_lossy(&list[..length]).into_owned();
    assert!(list.contains("user.ok") && !list.contains("overlay"), "{list}");
}

#[test]
fn broken_archives_are_refused() {
    let good = tar(&[file("a", "some text"), file("b", "more")]);
    let mut bad_sum = good.clone();
    bad_sum[1024] ^= 1;
    refused(&bad_sum, "checksum");
    refused(&good[..1100], "cut short");
    let mut sparse = tar(&[file("a", "x")]);
    sparse[156] = b'S';
    fix_sum(&mut sparse);
    refused(&sparse, "sparse");
    let mut unknown = tar(&[file("a", "x")]);
    unknown[156] = b'Z';
    fix_sum(&mut unknown);
    refused(&unknown, "of a kind");
    let mut negative = tar(&[file("a", "x")]);
    negative[124..136].copy_from_slice(&[0xff; 12]);
    fix_sum(&mut negative);
    refused(&negative, "negative");
    let mut huge = tar(&[file("a", "x")]);
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    fix_sum(&mut huge);
    refused(&huge, "more than");
}

fn fix_sum(tar: &mut [u8]) {
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn bombs_and_floods_are_stopped() {
    if !root() {
        return;
    }
    let (store, dir) = store("bomb");
    store.limit(Limits { entries: 10, bytes: 1 << 20, ..Limits::default() });
    let many: Vec<Entry> = (0..11).map(|n| file(&format!("f{n}"), "")).collect();
    let large = tar(&[file("large", &"x".repeat(2 << 20))]);
    let bomb = gzip(&large);
    for (layer, text) in [(tar(&many), "10 entries"), (large, "1048576 bytes"), (bomb, "1048576 bytes")] {
        let error =
            store.load(docker_archive(&[&layer], &["t"], "").as_slice(), &()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert_clean(&store, dir.path());
    }
    store.limit(Limits { ratio: 100, ratio_from: 1 << 20, ..Limits::default() });
    let zeros = tar(&[file("zeros", &"\0".repeat(8 << 20))]);
    for bomb in [zstd::encode_all(zeros.as_slice(), 1).unwrap(), gzip(&zeros)] {
        let error = store.load(docker_archive(&[&bomb], &["t"], "").as_slice(), &()).unwrap_err().to_string();
        assert!(error.contains("how well it is compressed"), "{error}");
        assert_clean(&store, dir.path());
    }
}

const MANIFEST: &[u8] = br#"[{"Config":"config.json","RepoTags":["t"],"Layers":["l0/layer.tar"]}]"#;

fn text(name: &str, bytes: &[u8]) -> Entry {
    file(name, std::str::from_utf8(bytes).unwrap())
}

#[test]
fn archives_that_contradict_themselves_name_the_member() {
    if !root() {
        return;
    }
    let (store, dir) = store("contradict");
    let layer = tar(&[file("a", "1")]);
    let other = tar(&[file("a", "2")]);
    let good = docker_archive(&[&layer], &["t"], "");
    let swap = |from: &str, to: &str| {
        let at = good.windows(from.len()).rposition(|window| window == from.as_bytes()).unwrap();
        let mut out = good.clone();
        out[at..at + to.len()].copy_from_slice(to.as_bytes());
        out
    };
    let cases = [
        (swap(Digest::of(&layer).as_str(), Digest::of(&other).as_str()), "l0/layer.tar"),
        (
            tar(&[text("config.json", &config(&[&layer], "")), text("manifest.json", MANIFEST)]),
            "l0/layer.tar",
        ),
        (swap("config.json", "xonfig.json"), "xonfig.json"),
        (swap("\"t\"", "\"T\""), "lowercase"),
        (swap("[{", "{{"), "manifest.json"),
        (tar(&[file("readme", "hi")]), "holds no image"),
        (b"hello, this is no archive".to_vec(), "not an image archive"),
        (Vec::new(), "empty"),
        (good[..good.len() - 1500].to_vec(), "cut short"),
    ];
    for (archive, text) in cases {
        let error = store.load(archive.as_slice(), &()).expect_err(text).to_string();
        assert!(error.contains(text), "expected {text:?} in: {error}");
        assert_clean(&store, dir.path());
    }
}
