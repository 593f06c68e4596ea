//! What goes in must come out: layers rebuilt exactly, images saved and loaded with the same id.

use super::*;
use crate::{ImportOptions, Snapshot};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

#[test]
fn a_layer_is_unpacked_with_everything_and_rebuilt_exactly() {
    if !root() {
        return;
    }
    let (store, _dir) = store("rebuild");
    let layer = rich_layer();
    store.load(docker_archive(&[&layer], &["t:1"], "").as_slice(), &()).unwrap();
    let image = store.resolve("t:1").unwrap();
    let Snapshot::Overlay { lower, .. } = store.snapshot_prepare("k", &image.layers).unwrap() else {
        panic!()
    };
    let at = |path: &str| lower[0].join(path);
    let meta = |path: &str| std::fs::symlink_metadata(at(path)).unwrap();
    assert_eq!(std::fs::read_to_string(at("srv/a")).unwrap(), "replaced");
    assert_eq!(std::fs::read_to_string(at("srv/b")).unwrap(), "hello");
    assert_eq!(std::fs::read_to_string(at("usr/lib/through-link")).unwrap(), "x");
    assert_eq!((meta("srv").mode() & 0o7777, meta("srv").gid()), (0o2775, 50));
    assert_eq!((meta("srv").mtime(), meta("srv").mtime_nsec()), (1_000_000_000, 5));
    assert_eq!(meta("srv/a").gid(), 0);
    assert_eq!((meta("bin/su").mode() & 0o7777, meta("bin/su").uid()), (0o4755, 1000));
    assert_eq!((meta("bin/su").mtime(), meta("bin/su").mtime_nsec()), (-5, 250_000_000));
    let mut capability = [0u8; 64];
    let length = rustix::fs::getxattr(at("bin/ping"), "security.capability", &mut capability).unwrap();
    assert_eq!(length, 20);
    assert!(meta("dev/null").file_type().is_char_device() && meta("run/pipe").file_type().is_fifo());
    assert_eq!(meta("dev/null").permissions().mode() & 0o777, 0o666);
    assert!(meta("gone").is_file());
    let (mut tar, size) = store.inner.layer_tar(&image.layers[0]).unwrap();
    let mut rebuilt = Vec::new();
    tar.read_to_end(&mut rebuilt).unwrap();
    assert_eq!(size, layer.len() as u64);
    assert!(rebuilt == layer, "the rebuilt tar differs");
    assert!(store.inner.catalog().layers[&image.layers[0]].recipe);
}

#[test]
fn saved_images_load_with_the_same_id_also_compressed_and_several_at_once() {
    if !root() {
        return;
    }
    let (store, _dir) = store("save");
    let (base, top) = (rich_layer(), tar(&[file("top", "1")]));
    store.load(docker_archive(&[&base, &top], &["a:1", "a:2"], "x").as_slice(), &()).unwrap();
    // A compressed layer is kept as it is.
    let zipped = gzip(&tar(&[file("z", "z")]));
    let plain = tar(&[file("z", "z")]);
    let archive = docker_archive(&[&zipped], &["z:1"], "z");
    let archive = replace(&archive, Digest::of(&zipped).as_str(), Digest::of(&plain).as_str());
    store.load(archive.as_slice(), &()).unwrap();
    let mut saved = Vec::new();
    store.save(&["a".into(), "z:1".into()], &mut saved).unwrap();
    let mut again = Vec::new();
    store.save(&["a".into(), "z:1".into()], &mut again).unwrap();
    assert!(saved == again, "saving is not deterministic");
    let by_id = store.resolve("a:1").unwrap().id.hex()[..12].to_owned();
    for bytes in [saved.clone(), gzip(&saved)] {
        let (other, _dir) = super::store("reload");
        let loaded = other.load(bytes.as_slice(), &()).unwrap();
        let tags: Vec<_> = loaded.iter().map(|loaded| loaded.tag.clone().unwrap()).collect();
        assert_eq!(tags, ["a:1", "a:2", "z:1"]);
        for name in ["a:1", "a:2", "z:1"] {
            assert_eq!(other.resolve(name).unwrap().id, store.resolve(name).unwrap().id);
        }
        let mut nameless = Vec::new();
        other.save(std::slice::from_ref(&by_id), &mut nameless).unwrap();
        assert_eq!(store.load(nameless.as_slice(), &()).unwrap()[0].tag, None);
    }
    assert!(
        store
            .save(&["nope".into()], &mut Vec::new())
            .unwrap_err()
            .to_string()
            .contains("No such image: nope:latest")
    );
}

/// Replaces text of the same length; the archive's members have no checksums of their own.
fn replace(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}

#[test]
fn an_imported_tree_becomes_an_image() {
    if !root() {
        return;
    }
    let (store, _dir) = store("import");
    let tree = tar(&[file("etc/motd", "hi")]);
    let options = ImportOptions {
        changes: vec!["CMD [\"cat\", \"/etc/motd\"]".into(), "ENV A=b".into()],
        message: "mine".into(),
        platform: Some("linux/arm64".parse().unwrap()),
        reference: Some("my/tree".parse().unwrap()),
    };
    for bytes in [tree.clone(), gzip(&tree)] {
        let image = store.import(bytes.as_slice(), &options, &()).unwrap();
        assert_eq!(image.repo_tags, ["my/tree:latest"]);
        assert_eq!(image.config.architecture, "arm64");
        assert_eq!(image.config.config.cmd.as_deref().unwrap(), ["cat", "/etc/motd"]);
        assert_eq!(store.history("my/tree").unwrap()[0].comment, "mine");
        assert_eq!(image.size, 2);
    }
    let bad = ImportOptions { changes: vec!["RUN x".into()], ..ImportOptions::default() };
    assert!(store.import(tree.as_slice(), &bad, &()).is_err());
    for (bytes, text) in
        [(&b"PK\x03\x04 not a tar"[..], "neither a tar"), (b"\xfd7zXZ\0abc", "xz -d"), (b"", "neither")]
    {
        let error = store.import(bytes, &ImportOptions::default(), &()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn archives_of_the_oldest_form_become_images() {
    if !root() {
        return;
    }
    let (base, top) = (tar(&[file("base", "1")]), tar(&[file("top", "1")]));
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let shared = r#""created":"2015-01-01T00:00:00Z","architecture":"amd64","os":"linux""#;
    let first = format!(r#"{{"id":"{a}",{shared},"container_config":{{"Cmd":["/bin/sh","-c","one"]}}}}"#);
    let second = format!(r#"{{"id":"{b}","parent":"{a}",{shared},"config":{{"Cmd":["sh"]}}}}"#);
    let repositories = format!(r#"{{"old/app":{{"1":"{b}"}}}}"#);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let archive = tar(&[
        file(&format!("{b}/json"), &second),
        file(&format!("{b}/layer.tar"), &text(&top)),
        file(&format!("{a}/json"), &first),
        file(&format!("{a}/layer.tar"), &text(&base)),
        file("repositories", &repositories),
    ]);
    let (store, _dir) = store("legacy");
    assert_eq!(store.load(archive.as_slice(), &()).unwrap()[0].tag.as_deref(), Some("old/app:1"));
    let image = store.resolve("old/app:1").unwrap();
    assert_eq!(image.layers, [Digest::of(&base), Digest::of(&top)]);
    assert_eq!(image.config.config.cmd.as_deref().unwrap(), ["sh"]);
    let steps: Vec<String> =
        store.history("old/app:1").unwrap().iter().map(|row| row.created_by.clone()).collect();
    assert_eq!(steps, ["", "/bin/sh -c one"]);
    let circle = tar(&[
        file(&format!("{a}/json"), &format!(r#"{{"id":"{a}","parent":"{a}"}}"#)),
        file(&format!("{a}/layer.tar"), &text(&base)),
        file("repositories", &format!(r#"{{"old/app":{{"1":"{a}"}}}}"#)),
    ]);
    let error = store.load(circle.as_slice(), &()).unwrap_err().to_string();
    assert!(error.contains("does not end"), "{error}");
}
