//! Archives of other tools, and other tools on ours. Each part is skipped where the tool is missing.

use super::*;
use std::process::Command;

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {tool} is not installed");
    }
    root() && found
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_reads_ours_and_we_read_what_it_writes() {
    if !has("skopeo") {
        return;
    }
    let (store, dir) = store("skopeo");
    store
        .load(docker_archive(&[&rich_layer(), &tar(&[file("t", "1")])], &["sk:1"], "").as_slice(), &())
        .unwrap();
    let id = store.resolve("sk:1").unwrap().id.clone();
    let ours = dir.path().join("ours.tar");
    store.save(&["sk:1".into()], std::fs::File::create(&ours).unwrap()).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let unpacked = dir.path().join("ours");
    std::fs::create_dir(&unpacked).unwrap();
    run(Command::new("tar").arg("-xf").arg(&ours).arg("-C").arg(&unpacked));
    let copy = |from: &str, to: &str| {
        run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", from, to]));
    };
    let docker = format!("docker-archive:{}", at("ours.tar"));
    copy(&docker, &format!("docker-archive:{}:sk:2", at("docker.tar")));
    copy(&docker, &format!("oci-archive:{}:sk:3", at("oci.tar")));
    copy(&format!("oci:{}", at("ours")), &format!("docker-archive:{}:sk:4", at("from-oci.tar")));
    for (file, tag) in [("docker.tar", "sk:2"), ("oci.tar", "sk:3"), ("from-oci.tar", "sk:4")] {
        let loaded = store.load(std::fs::File::open(at(file)).unwrap(), &()).unwrap();
        assert_eq!(loaded[0].tag.as_deref(), Some(tag), "{file}");
        if file != "oci.tar" {
            assert_eq!(loaded[0].id, id, "{file}");
        }
        let (fresh, _dir) = super::store("skopeo-fresh");
        assert_eq!(fresh.load(std::fs::File::open(at(file)).unwrap(), &()).unwrap(), loaded);
    }
}

#[test]
fn podman_reads_ours_and_we_read_what_it_writes() {
    if !has("podman") {
        return;
    }
    let (store, dir) = store("podman");
    // podman refuses layers in which one entry replaces another.
    let layer = tar(&[Entry::directory("d"), file("d/a", "1"), link(Kind::HardLink, "d/b", "d/a")]);
    store.load(docker_archive(&[&layer], &["pod:1"], "").as_slice(), &()).unwrap();
    let id = store.resolve("pod:1").unwrap().id.clone();
    let at = |name: &str| dir.path().join(name).display().to_string();
    store.save(&["pod:1".into()], std::fs::File::create(at("ours.tar")).unwrap()).unwrap();
    let podman = |args: &[&str]| {
        let (graph, state) = (at("graph"), at("run"));
        run(Command::new("podman")
            .args(["--root", &graph, "--runroot", &state, "--storage-driver", "vfs"])
            .args(args))
    };
    podman(&["load", "-q", "-i", &at("ours.tar")]);
    for format in ["docker-archive", "oci-archive"] {
        let file = at(format);
        podman(&["save", "-q", "--format", format, "-o", &file, "docker.io/library/pod:1"]);
        let loaded = store.load(std::fs::File::open(&file).unwrap(), &()).unwrap();
        assert_eq!(loaded[0].tag.as_deref(), Some("pod:1"));
        if format == "docker-archive" {
            assert_eq!(loaded[0].id, id);
        }
    }
}
