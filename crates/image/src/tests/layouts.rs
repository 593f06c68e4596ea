//! OCI layouts: several platforms, names, and documents that are not what they are said to be.

use super::*;
use proa_oci::Platform;
use proa_oci::image::media;
use serde_json::{Value, json};

/// Members of a layout.
#[derive(Default)]
struct Layout(Vec<(String, Vec<u8>)>);

impl Layout {
    fn blob(&mut self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.0.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    /// An image with a layer of its own.
    fn image(&mut self, name: &str) -> Value {
        let layer = tar(&[file(name, name)]);
        let config = self.blob(media::CONFIG, &config(&[&layer], name));
        let layer = self.blob(media::LAYER, &layer);
        let manifest =
            json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer]});
        self.blob(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap())
    }

    fn archive(&self, manifests: &[Value]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap();
        let ends = [("index.json".to_owned(), index), ("oci-layout".to_owned(), b"{}".to_vec())];
        for (name, bytes) in self.0.iter().chain(&ends) {
            writer.entry(&Entry::file(name, 0o644, bytes.len() as u64), &mut bytes.as_slice()).unwrap();
        }
        writer.finish().unwrap()
    }
}

fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
    descriptor[key] = value;
    descriptor
}

fn platform(text: &str) -> Value {
    serde_json::to_value(text.parse::<Platform>().unwrap()).unwrap()
}

/// Labels of the images a layout gives, by tag.
fn loaded(archive: &[u8]) -> Vec<(Option<String>, String)> {
    let (store, _dir) = store("layout");
    let loaded = store.load(archive, &()).unwrap();
    let label = |id: &Digest| store.resolve(id.as_str()).unwrap().config.config.labels["a"].clone();
    loaded.into_iter().map(|image| (image.tag, label(&image.id))).collect()
}

#[test]
fn the_image_for_this_platform_is_taken() {
    if !root() {
        return;
    }
    let mut layout = Layout::default();
    let other = with(layout.image("other"), "platform", platform("linux/s390x"));
    let host = with(layout.image("host"), "platform", platform(&Platform::host().to_string()));
    let attestation = json!({"architecture": "unknown", "os": "unknown"});
    let attestation = with(layout.image("attestation"), "platform", attestation);
    let name = json!({"io.containerd.image.name": "docker.io/library/multi:1", "org.opencontainers.image.ref.name": "1"});
    let expected = vec![(Some("multi:1".to_owned()), "host".to_owned())];
    // All in the top index.
    let named: Vec<Value> =
        [&other, &host, &attestation].map(|d| with(d.clone(), "annotations", name.clone())).into();
    assert_eq!(loaded(&layout.archive(&named)), expected);
    // In an index of their own, as buildx writes them.
    let list = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [other.clone(), host, attestation]});
    let list = layout.blob(media::INDEX, &serde_json::to_vec(&list).unwrap());
    assert_eq!(loaded(&layout.archive(&[with(list, "annotations", name)])), expected);
    // Only another one: better than none.
    let bare = json!({"org.opencontainers.image.ref.name": "latest"});
    assert_eq!(loaded(&layout.archive(&[with(other, "annotations", bare)])), [(None, "other".to_owned())]);
}

#[test]
fn documents_that_are_not_what_they_are_said_to_be_are_refused() {
    if !root() {
        return;
    }
    let (store, dir) = store("layout-bad");
    let mut layout = Layout::default();
    let image = layout.image("x");
    let both = json!({"schemaVersion": 2, "manifests": [image.clone()], "layers": [], "config": {}});
    let both = layout.blob(media::INDEX, &serde_json::to_vec(&both).unwrap());
    let missing = with(image.clone(), "digest", json!(Digest::of(b"missing")));
    let mut swapped = Layout::default();
    let wanted = swapped.image("x");
    let at = swapped.0.len() - 1;
    swapped.0[at].1 = b"{}".to_vec();
    let cases = [
        (layout.archive(&[both]), "fields of a manifest"),
        (layout.archive(&[missing]), "not in the archive"),
        (layout.archive(&[with(image, "digest", json!("sha256:1"))]), "index.json"),
        (swapped.archive(&[wanted]), "digest is"),
        (layout.archive(&[]), "no image for this platform"),
    ];
    for (archive, text) in cases {
        let error = store.load(archive.as_slice(), &()).expect_err(text).to_string();
        assert!(error.contains(text), "expected {text:?} in: {error}");
        super::hostile::assert_clean(&store, dir.path());
    }
}
