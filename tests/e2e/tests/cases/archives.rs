//! Archives that are broken or made to harm: a clear error, exit code 1, nothing left, bounded memory.

use super::disk::Disk;
use super::registry::{command, contents, nothing_new};
use proa_e2e::archive::{file, image, member, noise, tar};
use proa_e2e::command::run;
use proa_e2e::registry::gzip;
use proa_e2e::{Client, Daemon, Suite};
use proa_oci::Digest;

pub(crate) fn add(s: &mut Suite) {
    s.alone("a malformed archive must be refused by load and import and leave nothing", malformed);
    s.alone("an archive that unpacks to far more than there is room must not take memory", bomb);
}

fn malformed() {
    let daemon = Daemon::start_proa("malformed", &[]);
    let layer = tar(&[file("a", &noise(60_000, 2))]);
    let good = image("bad:latest", std::slice::from_ref(&layer), &[Digest::of(&layer)]);
    let wrapped = |layer: Vec<u8>| image("bad:latest", std::slice::from_ref(&layer), &[Digest::of(&layer)]);
    let packed = gzip(&good);
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(b"other")
    );
    // Far more than the engine reads of it, and than any buffer between holds.
    let long = [b"this is not an archive at all".to_vec(), noise(32 << 20, 3)].concat();
    let load: [(&str, Vec<u8>, &str); 10] = [
        ("truncated", half(&good), "cut short"),
        ("truncated gzip", half(&packed), "incomplete deflate stream"),
        ("wrong digest", image("bad:latest", &[layer], &[Digest::of(b"other")]), "digest"),
        ("traversal", wrapped(tar(&[file("../../evil", b"x")])), "points outside"),
        ("absolute link", wrapped(tar(&[member("l", b'1', "/etc/shadow", b"")])), "does not have"),
        ("no image", tar(&[file("readme", b"hello")]), "holds no image"),
        (
            "no layer",
            tar(&[file("config.json", config.as_bytes()), file("manifest.json", MISSING)]),
            "not in the archive",
        ),
        ("no JSON", tar(&[file("manifest.json", b"{{{")]), "manifest.json"),
        ("a member outside", tar(&[file("../manifest.json", b"[]")]), "points outside"),
        ("much that is none", long.clone(), "archive"),
    ];
    let before = contents(&daemon);
    for client in Client::all() {
        for (what, bytes, words) in &load {
            let out = run(&mut command(&client, &daemon, &["load"]), bytes);
            assert_eq!(out.code, 1, "{what}: {}", out.err());
            out.fails(1, words);
            nothing_new(&daemon, &before, what);
        }
        for (what, bytes, words) in [
            ("truncated", half(&tar(&[file("a", &noise(60_000, 2))])), "archive"),
            ("traversal", tar(&[file("a/../../evil", b"x")]), "points outside"),
            ("text", b"this is not an archive at all".to_vec(), "archive"),
            ("empty", Vec::new(), "archive"),
            ("much that is none", long.clone(), "archive"),
        ] {
            let out = run(&mut command(&client, &daemon, &["import", "-", "bad"]), &bytes);
            assert_eq!(out.code, 1, "import of {what}: {}", out.err());
            out.fails(1, words);
            nothing_new(&daemon, &before, what);
        }
        assert_eq!(daemon.docker(&["images", "-aq"]).ok(), "", "a row was left");
    }
    assert!(!std::path::Path::new("/evil").exists() && !daemon.dir.join("evil").exists());
}

const MISSING: &[u8] = br#"[{"Config":"config.json","RepoTags":null,"Layers":["gone.tar"]}]"#;

/// The most memory a process has held so far, in KiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("the daemon's memory")
}

fn bomb() {
    let disk = Disk::mount("bomb", "24m");
    let daemon = Daemon::start_proa("bomb", &[]);
    let before = contents(&daemon);
    let (pid, had) = (daemon.pid().expect("a daemon"), peak(daemon.pid().expect("a daemon")));
    let large = tar(&[file("zeros", &vec![0; 300 << 20])]);
    let (inner, once) = (gzip(&large), Digest::of(&large));
    drop(large);
    let archive = image("bomb:latest", &[inner], &[once]);
    // Compressed twice: small on its way, 300 MB in the end.
    let twice = gzip(&archive);
    for client in Client::all() {
        let out = run(&mut command(&client, &daemon, &["load"]), &twice);
        out.fails(1, "no space left on device");
        nothing_new(&daemon, &before, "the bomb");
    }
    let grew = peak(pid).saturating_sub(had);
    assert!(grew < 96 << 10, "the daemon grew by {grew} KiB");
    drop((daemon, disk));
}
