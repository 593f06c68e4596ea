//! Bringing in an image as a pull does: layers at once, resumed, verified, all or nothing.

use super::*;
use crate::{Error, NewImage};
use proa_oci::image::{Descriptor, Manifest, media};
use std::io::Read;

struct Remote {
    blobs: Vec<(Descriptor, Digest, Vec<u8>)>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

fn remote() -> Remote {
    let plain = [rich_layer(), tar(&[file("b", &"b".repeat(300_000))]), tar(&[file("c", "c")])];
    let mut blobs = Vec::new();
    for (n, layer) in plain.iter().enumerate() {
        let (kind, blob) = match n {
            0 => (media::LAYER_GZIP, gzip(layer)),
            1 => (media::LAYER_ZSTD, zstd::encode_all(layer.as_slice(), 1).unwrap()),
            _ => (media::LAYER, layer.clone()),
        };
        blobs.push((Descriptor::new(kind, Digest::of(&blob), blob.len() as u64), Digest::of(layer), blob));
    }
    let layers: Vec<&[u8]> = plain.iter().map(Vec::as_slice).collect();
    let config = config(&layers, "pull");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.into()),
        config: Descriptor::new(media::CONFIG, Digest::of(&config), config.len() as u64),
        layers: blobs.iter().map(|(descriptor, ..)| descriptor.clone()).collect(),
        annotations: Default::default(),
    };
    Remote { blobs, config, manifest: serde_json::to_vec(&manifest).unwrap() }
}

fn new<'a>(remote: &'a Remote, tag: &'a proa_oci::Reference) -> NewImage<'a> {
    let manifest = Some((media::MANIFEST, remote.manifest.as_slice()));
    NewImage { config: &remote.config, manifest, tag: Some(tag), pulled_by: None, parent: None }
}

#[test]
fn layers_come_at_once_and_the_same_blobs_go_out() {
    if !root() {
        return;
    }
    let (store, dir) = store("pull");
    let remote = remote();
    let tag = "reg.example/app:1".parse().unwrap();
    let ingest = store.begin();
    std::thread::scope(|scope| {
        // Twice each: the second waits for the first, and reads nothing.
        for (descriptor, diff, bytes) in remote.blobs.iter().chain(&remote.blobs) {
            let ingest = &ingest;
            scope.spawn(move || ingest.layer(descriptor, diff, &mut bytes.as_slice(), &()).unwrap());
        }
    });
    let image = ingest.commit(&new(&remote, &tag)).unwrap();
    assert_eq!(image.id, Digest::of(&remote.config));
    drop((ingest, store));
    let store = open(dir.path());
    let image = store.resolve(image.id.as_str()).unwrap();
    let plan = store.push_plan(&image).unwrap();
    assert!(plan.manifest == remote.manifest && plan.media_type == media::MANIFEST);
    for (descriptor, _, bytes) in &remote.blobs {
        let mut blob = store.blob(&descriptor.digest).unwrap();
        let mut read = Vec::new();
        blob.reader.read_to_end(&mut read).unwrap();
        assert!(read == *bytes && blob.size == descriptor.size);
    }
    for digest in [&plan.config.digest, &Digest::of(&remote.manifest)] {
        let mut read = Vec::new();
        store.blob(digest).unwrap().reader.read_to_end(&mut read).unwrap();
        assert_eq!(Digest::of(&read), *digest);
    }
    let again = store.begin();
    assert!(remote.blobs.iter().all(|(_, diff, _)| again.has_layer(diff)));
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    if !root() {
        return;
    }
    let (store, _dir) = store("resume");
    let remote = remote();
    let (descriptor, diff, bytes) = &remote.blobs[1];
    let ingest = store.begin();
    let half = &bytes[..bytes.len() / 2];
    let error = ingest.layer(descriptor, diff, &mut &*half, &()).unwrap_err();
    assert!(matches!(error, Error::Stream { .. }), "{error}");
    drop(ingest);
    let ingest = store.begin();
    let have = usize::try_from(ingest.received(&descriptor.digest)).unwrap();
    assert_eq!(have, half.len());
    // One that did not ask starts anew, and one that asked before that has to ask again.
    let other = store.begin();
    assert!(other.layer(descriptor, diff, &mut &bytes[..1], &()).is_err());
    let error = ingest.layer(descriptor, diff, &mut &bytes[have..], &()).unwrap_err();
    assert!(error.to_string().contains("try again"), "{error}");
    let have = usize::try_from(ingest.received(&descriptor.digest)).unwrap();
    assert_eq!(have, 1);
    ingest.layer(descriptor, diff, &mut &bytes[have..], &()).unwrap();
    assert_eq!(ingest.received(&descriptor.digest), 0);
}

#[test]
fn wrong_content_is_refused_and_nothing_stays_without_a_commit() {
    if !root() {
        return;
    }
    let (store, dir) = store("verify");
    let remote = remote();
    let tag = "app".parse().unwrap();
    let ingest = store.begin();
    let (descriptor, diff, bytes) = &remote.blobs[0];
    let mut changed = bytes.clone();
    let last = changed.len() - 20;
    changed[last] ^= 1;
    assert!(ingest.layer(descriptor, diff, &mut changed.as_slice(), &()).is_err());
    let other = Digest::of(b"other");
    let error = ingest.layer(descriptor, &other, &mut bytes.as_slice(), &()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    let promised = Descriptor { digest: other, ..descriptor.clone() };
    let error = ingest.layer(&promised, diff, &mut bytes.as_slice(), &()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    ingest.layer(descriptor, diff, &mut bytes.as_slice(), &()).unwrap();
    let error = ingest.commit(&new(&remote, &tag)).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
    drop(ingest);
    super::hostile::assert_clean(&store, dir.path());
}

#[test]
fn a_loaded_image_is_compressed_once_for_a_push() {
    if !root() {
        return;
    }
    let (store, _dir) = store("push");
    let layer = rich_layer();
    store.load(docker_archive(&[&layer], &["t"], "").as_slice(), &()).unwrap();
    let image = store.resolve("t").unwrap();
    let plan = store.push_plan(&image).unwrap();
    assert_eq!(store.push_plan(&image).unwrap(), plan);
    let blob = store.blob(&plan.layers[0].digest).unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(blob.reader).read_to_end(&mut plain).unwrap();
    assert!(plain == layer);
}

#[test]
fn what_a_crash_leaves_is_swept_and_unsynced_layers_are_not_trusted() {
    if !root() {
        return;
    }
    let (store, dir) = store("crash");
    let layer = tar(&[file("x", "1")]);
    store.load(docker_archive(&[&layer], &["t"], "").as_slice(), &()).unwrap();
    let leftover = dir.path().join("snapshots/overlay/0123456789ab/fs");
    std::fs::create_dir_all(&leftover).unwrap();
    std::fs::write(dir.path().join("content/blobs/sha256").join("0".repeat(64)), "x").unwrap();
    std::fs::write(dir.path().join("content/ingest/load-1"), "x").unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(!leftover.exists() && store.resolve("t").is_ok());
    for dir in ["content/blobs/sha256", "content/ingest"] {
        assert!(crate::content::names(&store.inner.layers.join("../..").join(dir)).is_empty());
    }
    // As if the host had gone down before the layer was synced.
    let diff = Digest::of(&layer);
    let mut record = store.inner.catalog().layers[&diff].clone();
    record.unsettled = Some("another boot".into());
    let put = |u: &mut proa_state::Update<'_>| u.put(&crate::record::LAYERS, diff.as_str(), &record);
    store.inner.state.update(proa_state::Durability::Immediate, put).unwrap();
    drop(store);
    let store = open(dir.path());
    super::hostile::assert_clean(&store, dir.path());
    store.load(docker_archive(&[&layer], &["t"], "").as_slice(), &()).unwrap();
}
