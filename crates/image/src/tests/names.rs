//! Names: tags, removal by docker's rules, lookups, filters.

use super::*;
use crate::{Error, ImageUse, Removal, RemoveOptions};
use proa_types::{ErrorKind, Filters, Kinded};

const FORCE: RemoveOptions = RemoveOptions { force: true, prune: true };
const GENTLE: RemoveOptions = RemoveOptions { force: false, prune: true };

fn nobody(_: &Digest) -> Vec<ImageUse> {
    Vec::new()
}

fn used(running: bool) -> impl Fn(&Digest) -> Vec<ImageUse> {
    move |_| vec![ImageUse { container: "c".repeat(64), running }]
}

fn untagged(name: &str) -> Removal {
    Removal::Untagged(name.into())
}

#[test]
fn names_are_given_and_images_go_with_their_last() {
    if !root() {
        return;
    }
    let (store, dir) = store("rmi");
    let (base, top) = (tar(&[file("base", "1")]), tar(&[file("top", "1")]));
    store.load(docker_archive(&[&base, &top], &["a"], "a").as_slice(), &()).unwrap();
    store.load(docker_archive(&[&base], &["b"], "b").as_slice(), &()).unwrap();
    let image = store.tag("a", "localhost:5000/x:2").unwrap();
    assert_eq!(image.repo_tags, ["a:latest", "localhost:5000/x:2"]);
    assert!(matches!(store.tag("a", &format!("y@{}", image.id)), Err(Error::TagWithDigest(_))));
    assert!(matches!(store.tag("a", "Y"), Err(Error::Reference(_))));
    assert_eq!(store.remove("a", GENTLE, &used(true)).unwrap(), [untagged("a:latest")]);
    let lines = store.remove("localhost:5000/x:2", GENTLE, &nobody).unwrap();
    let chain = image.chain();
    let expected = [
        untagged("localhost:5000/x:2"),
        Removal::Deleted(image.id.clone()),
        Removal::Deleted(chain[1].clone()),
    ];
    assert_eq!(lines, expected, "the base layer is still used");
    assert!(matches!(store.resolve("a"), Err(Error::NotFound(text)) if text == "a:latest"));
    store.remove("b", GENTLE, &nobody).unwrap();
    super::hostile::assert_clean(&store, dir.path());
}

#[test]
fn conflicts_are_told_in_dockers_words() {
    if !root() {
        return;
    }
    let (store, _dir) = store("conflict");
    let layer = tar(&[file("x", "1")]);
    store.load(docker_archive(&[&layer], &["a"], "").as_slice(), &()).unwrap();
    let id = store.resolve("a").unwrap().id.clone();
    let short = id.short().to_owned();
    let fails = |text: &str, options, in_use: &dyn Fn(&Digest) -> Vec<ImageUse>| {
        let error = store.remove(text, options, in_use).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        error.to_string()
    };
    assert_eq!(
        fails("a", GENTLE, &used(false)),
        format!(
            "conflict: unable to remove repository reference \"a\" (must force) - container cccccccccccc is \
             using its referenced image {short}"
        )
    );
    let by = |kind: &str, force: &str| {
        format!(
            "conflict: unable to delete {short} ({force}) - image is being used by {kind} container cccccccccccc"
        )
    };
    assert_eq!(fails(&short, GENTLE, &used(false)), by("stopped", "must be forced"));
    assert_eq!(fails(&short, FORCE, &used(true)), by("running", "cannot be forced"));
    assert_eq!(fails("a", FORCE, &used(true)), by("running", "cannot be forced"));
    store.tag("a", "b").unwrap();
    let several = format!(
        "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
    );
    assert_eq!(fails(&short, GENTLE, &nobody), several);
    let image = store.resolve("a").unwrap();
    store.snapshot_prepare("held", &image.layers).unwrap();
    let lines = store.remove(&short, FORCE, &used(false)).unwrap();
    assert_eq!(lines, [untagged("a:latest"), untagged("b:latest"), Removal::Deleted(id)]);
    assert_eq!(store.inner.catalog().layers.len(), 1, "the container keeps its layer");
    store.snapshot_remove("held").unwrap();
    assert_eq!(store.inner.catalog().layers.len(), 0);
}

#[test]
fn digest_names_go_with_the_last_tag_of_their_repository() {
    if !root() {
        return;
    }
    let (store, dir) = store("digests");
    let layer = tar(&[file("x", "1")]);
    store.load(docker_archive(&[&layer], &["r/a:1"], "").as_slice(), &()).unwrap();
    let id = store.resolve("r/a:1").unwrap().id.clone();
    let pushed = format!("r/a@{}", Digest::of(b"manifest"));
    store.pushed(&id, &pushed.parse().unwrap()).unwrap();
    assert_eq!(store.resolve(&pushed).unwrap().repo_digests, std::slice::from_ref(&pushed));
    drop(store);
    let store = open(dir.path());
    store.tag(&pushed, "other:1").unwrap();
    assert_eq!(store.remove("r/a:1", GENTLE, &nobody).unwrap(), [untagged("r/a:1"), untagged(&pushed)]);
    assert_eq!(store.resolve("other:1").unwrap().repo_digests, Vec::<String>::new());
}

#[test]
fn lookups_prefer_names_and_refuse_what_is_ambiguous() {
    if !root() {
        return;
    }
    let (store, _dir) = store("lookup");
    let layer = tar(&[file("x", "1")]);
    let names: Vec<String> = (0..20).map(|n| format!("img{n}")).collect();
    for name in &names {
        store.load(docker_archive(&[&layer], &[name], name).as_slice(), &()).unwrap();
    }
    let ids: Vec<Digest> = names.iter().map(|name| store.resolve(name).unwrap().id.clone()).collect();
    let twice = |id: &&Digest| ids.iter().filter(|other| other.hex()[..1] == id.hex()[..1]).count() > 1;
    let ambiguous = ids.iter().find(twice).unwrap();
    assert!(matches!(store.resolve(&ambiguous.hex()[..1]), Err(Error::Ambiguous(_))));
    for id in &ids {
        assert_eq!(store.resolve(id.as_str()).unwrap().id, *id);
        assert_eq!(store.resolve(id.hex()).unwrap().id, *id);
        assert_eq!(store.resolve(&id.as_str()[..30]).unwrap().id, *id);
    }
    // A name that looks like the start of an id.
    let start = &ids[0].hex()[..6];
    store.tag("img1", start).unwrap();
    assert_eq!(store.resolve(start).unwrap().id, ids[1]);
    for (text, message) in [
        ("nope", "No such image: nope:latest"),
        ("NOPE", "invalid reference format"),
        ("", "invalid reference"),
    ] {
        let error = store.resolve(text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn filters_choose_images_and_history_tells_their_steps() {
    if !root() {
        return;
    }
    let (store, _dir) = store("filter");
    let layer = tar(&[file("x", "12345")]);
    store.load(docker_archive(&[&layer], &["app/web:1"], "one").as_slice(), &()).unwrap();
    store.load(docker_archive(&[&layer], &[], "two").as_slice(), &()).unwrap();
    let count = |filters: &[(&str, &str)]| {
        let mut all = Filters::default();
        for (key, value) in filters {
            all.0.entry((*key).into()).or_default().insert((*value).into());
        }
        store.filtered(&all).map(|images| images.len())
    };
    assert_eq!(count(&[]).unwrap(), 2);
    assert_eq!(count(&[("dangling", "true")]).unwrap(), 1);
    assert_eq!(count(&[("dangling", "false"), ("label", "a=one")]).unwrap(), 1);
    assert_eq!(count(&[("reference", "app/*")]).unwrap(), 1);
    assert_eq!(count(&[("before", "app/web:1")]).unwrap(), 0);
    assert_eq!(count(&[("until", "2025-01-01T00:00:00Z")]).unwrap(), 2);
    assert!(count(&[("nope", "1")]).is_err() && count(&[("dangling", "maybe")]).is_err());
    let rows = store.history("app/web:1").unwrap();
    assert_eq!((rows.len(), rows[0].size, rows[0].tags.as_slice()), (1, 5, &["app/web:1".to_owned()][..]));
    assert_eq!(store.resolve("app/web:1").unwrap().size, 5);
}
