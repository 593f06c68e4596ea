use super::*;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

/// A data root of the test's own, removed at the end with what is mounted in it.
struct Root(PathBuf);

impl Root {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("proa-volume-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Volumes {
        let store = Arc::new(Store::open(&self.0.join("state")).unwrap());
        Volumes::open(&self.0, store).unwrap()
    }

    fn entries(&self) -> Vec<String> {
        let list = fs::read_dir(self.0.join("volumes")).unwrap();
        let mut names: Vec<String> = list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for name in fs::read_dir(self.0.join("volumes")).into_iter().flatten().flatten() {
            let _ = rustix::mount::unmount(name.path().join("_data"), rustix::mount::UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn named(name: &str) -> VolumeSpec {
    VolumeSpec { name: Some(name.into()), ..VolumeSpec::default() }
}

fn tmpfs(name: &str) -> VolumeSpec {
    let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,nosuid")];
    VolumeSpec { options: options.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), ..named(name) }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

#[test]
fn a_volume_is_made_found_kept_and_removed() {
    let root = Root::new("life");
    let volumes = root.open();
    let mut spec = named("data");
    spec.labels.insert("a".into(), "b".into());
    let volume = volumes.create(&spec).unwrap();
    assert_eq!(volume.mountpoint, root.0.join("volumes/data/_data"));
    assert_eq!(fs::metadata(root.0.join("volumes")).unwrap().mode() & 0o7777, 0o701);
    assert_eq!(fs::metadata(root.0.join("volumes/data")).unwrap().mode() & 0o7777, 0o701);
    assert_eq!(fs::metadata(&volume.mountpoint).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(volumes.create(&named("data")).unwrap(), volume, "again is the same, labels too");
    let anonymous = volumes.create(&VolumeSpec::default()).unwrap();
    assert!(anonymous.anonymous && name::is_anonymous(&anonymous.name));
    fs::write(volume.mountpoint.join("f"), b"12345").unwrap();
    assert_eq!(volumes.usage("data").unwrap(), Some(5));
    // Anonymous ones are on disk with the next durable commit.
    volumes.create(&named("other")).unwrap();
    drop(volumes);
    let volumes = root.open();
    assert_eq!(volumes.list().unwrap().len(), 3);
    assert_eq!(volumes.inspect("data").unwrap(), volume);
    volumes.remove("data", false).unwrap();
    assert!(matches!(volumes.inspect("data"), Err(Error::NotFound(_))));
    assert_eq!(volumes.remove("data", false).unwrap_err().to_string(), "get data: no such volume");
    volumes.remove("data", true).unwrap();
    assert_eq!(
        root.entries(),
        [anonymous.name, "other".to_owned()]
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_volume_in_use_stays_and_says_who() {
    let root = Root::new("use");
    let volumes = root.open();
    volumes.create(&named("data")).unwrap();
    volumes.create(&named("data2")).unwrap();
    let anonymous = volumes.create(&VolumeSpec::default()).unwrap().name;
    let (a, b) = (ContainerId::random(), ContainerId::random());
    volumes.acquire("data", &a).unwrap();
    volumes.acquire("data", &b).unwrap();
    volumes.acquire(&anonymous, &b).unwrap();
    assert!(matches!(volumes.acquire("nope", &a), Err(Error::NotFound(_))));
    let error = volumes.remove("data", true).unwrap_err();
    assert_eq!(proa_types::Kinded::kind(&error), proa_types::ErrorKind::Conflict);
    let text = error.to_string();
    assert!(text.starts_with("remove data: volume is in use - [") && text.contains(a.as_str()), "{text}");
    let unused = |all| volumes.unused(all).unwrap().into_iter().map(|v| v.name).collect::<Vec<_>>();
    assert_eq!(unused(true), ["data2"]);
    assert!(unused(false).is_empty());
    assert_eq!(volumes.release(&a).unwrap(), ["data"]);
    assert_eq!(volumes.users("data").unwrap(), std::slice::from_ref(&b));
    // The other one is gone without a word.
    volumes.reconcile(&|_| false, &|_| false).unwrap();
    assert!(volumes.users("data").unwrap().is_empty());
    assert_eq!(unused(false), [anonymous]);
    volumes.remove("data", false).unwrap();
}

#[test]
fn wrong_requests_leave_nothing() {
    let root = Root::new("wrong");
    let volumes = root.open();
    for name in ["a/b", "..", ".trash-x", "a"] {
        assert!(volumes.create(&named(name)).is_err(), "{name}");
    }
    let driver = VolumeSpec { driver: "nope".into(), ..named("data") };
    assert_eq!(
        volumes.create(&driver).unwrap_err().to_string(),
        "create data: error looking up volume plugin nope: plugin \"nope\" not found"
    );
    let options = VolumeSpec { options: [("foo".to_owned(), String::new())].into(), ..named("data") };
    assert!(matches!(volumes.create(&options), Err(Error::Option(_))));
    assert!(volumes.list().unwrap().is_empty() && root.entries().is_empty());
}

#[test]
fn an_empty_volume_takes_the_images_data_once() {
    if !is_root() {
        return;
    }
    let root = Root::new("populate");
    let volumes = root.open();
    let image = root.0.join("image");
    fs::create_dir(&image).unwrap();
    fs::write(image.join("f"), b"from the image").unwrap();
    fs::hard_link(image.join("f"), image.join("g")).unwrap();
    symlink("/etc/passwd", image.join("link")).unwrap();
    std::os::unix::fs::chown(&image, Some(33), Some(44)).unwrap();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o1750)).unwrap();
    let source = fs::File::open(&image).unwrap();
    for (name, mounted) in [("plain", false), ("busy", true)] {
        let volume = volumes.create(&named(name)).unwrap();
        let before = fs::metadata(&volume.mountpoint).unwrap().ino();
        if mounted {
            volumes.mount(name, &ContainerId::random()).unwrap();
        }
        assert!(volumes.populate(name, source.as_fd()).unwrap());
        let data = fs::metadata(&volume.mountpoint).unwrap();
        assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (33, 44, 0o1750));
        assert_eq!(data.ino() == before, mounted, "a directory somebody looks at is not replaced");
        assert_eq!(fs::read(volume.mountpoint.join("g")).unwrap(), b"from the image");
        assert_eq!(fs::metadata(volume.mountpoint.join("g")).unwrap().nlink(), 2);
        fs::write(volume.mountpoint.join("f"), b"changed").unwrap();
        assert!(!volumes.populate(name, source.as_fd()).unwrap());
        assert_eq!(fs::read(volume.mountpoint.join("f")).unwrap(), b"changed");
        assert!(!root.0.join("volumes").join(name).join("_copy").exists());
    }
}

#[test]
fn a_volume_with_options_is_mounted_while_somebody_runs() {
    if !is_root() {
        return;
    }
    let root = Root::new("mount");
    let volumes = root.open();
    let volume = volumes.create(&tmpfs("fast")).unwrap();
    let mounted = || fs::metadata(&volume.mountpoint).unwrap().dev() != fs::metadata(&root.0).unwrap().dev();
    let (a, b) = (ContainerId::random(), ContainerId::random());
    assert!(!mounted());
    match volumes.mount("fast", &a) {
        Err(Error::Mount { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            println!("skipped: mounting is not allowed here");
            return;
        }
        other => assert_eq!(other.unwrap(), volume.mountpoint),
    }
    volumes.mount("fast", &b).unwrap();
    assert!(mounted());
    assert_eq!(volumes.usage("fast").unwrap(), None);
    volumes.unmount("fast", &a).unwrap();
    assert!(mounted(), "the other one still runs");
    volumes.unmount("fast", &b).unwrap();
    assert!(!mounted());
    volumes.mount("fast", &a).unwrap();
    volumes.acquire("fast", &a).unwrap();
    drop(volumes);
    // The daemon is new; the container still runs, then does not.
    let volumes = root.open();
    volumes.reconcile(&|_| true, &|_| true).unwrap();
    assert!(mounted());
    drop(volumes);
    let volumes = root.open();
    volumes.reconcile(&|_| true, &|_| false).unwrap();
    assert!(!mounted());
    volumes.release(&a).unwrap();
    volumes.remove("fast", false).unwrap();
    let mut bad = tmpfs("bad");
    bad.options.insert("type".into(), "nosuchfs".into());
    volumes.create(&bad).unwrap();
    let text = volumes.mount("bad", &a).unwrap_err().to_string();
    assert!(
        text.contains("failed to mount local volume: mount tmpfs:") && text.contains("nosuchfs"),
        "{text}"
    );
}

#[test]
fn what_a_crash_left_is_completed_or_cleared_away() {
    let root = Root::new("crash");
    let volumes = root.open();
    volumes.create(&named("going")).unwrap();
    volumes.create(&named("half")).unwrap();
    fs::write(root.0.join("volumes/going/_data/f"), b"x").unwrap();
    let record = volumes.record("going").unwrap();
    let gone = VolumeRecord { removing: true, ..record };
    volumes.store.update(Durability::Immediate, |u| u.put(&VOLUMES, "going", &gone)).unwrap();
    assert!(matches!(volumes.inspect("going"), Err(Error::NotFound(_))));
    drop(volumes);
    fs::create_dir_all(root.0.join("volumes/.trash-1/_data/x")).unwrap();
    fs::create_dir_all(root.0.join("volumes/half/_copy/x")).unwrap();
    fs::create_dir_all(root.0.join("volumes/found/_data")).unwrap();
    fs::create_dir_all(root.0.join("volumes/lost+found")).unwrap();
    let volumes = root.open();
    assert_eq!(root.entries(), ["found", "half", "lost+found"]);
    let names: Vec<_> = volumes.list().unwrap().into_iter().map(|v| v.name).collect();
    assert_eq!(names, ["found", "half"]);
    assert!(!root.0.join("volumes/half/_copy").exists());
    // A directory that went missing comes back.
    fs::remove_dir_all(root.0.join("volumes/half")).unwrap();
    let path = volumes.mount("half", &ContainerId::random()).unwrap();
    assert!(path.is_dir());
}

#[test]
fn a_volume_goes_in_the_update_of_its_container() {
    let root = Root::new("with");
    let volumes = root.open();
    let (a, b) = (ContainerId::random(), ContainerId::random());
    let name = |digit: &str| digit.repeat(64);
    let (own, shared) = (name("a"), name("b"));
    for name in [&own, &shared] {
        volumes.create(&VolumeSpec { anonymous: true, ..named(name) }).unwrap();
        volumes.acquire(name, &a).unwrap();
    }
    volumes.acquire(&shared, &b).unwrap();
    let removed = volumes.store.update(Durability::Immediate, |update| {
        Volumes::release_in(update, &a)?;
        Volumes::remove_in(update, [own.as_str(), shared.as_str(), "nope"])
    });
    assert_eq!(removed.unwrap(), std::slice::from_ref(&own), "one is used by another container");
    assert!(matches!(volumes.inspect(&own), Err(Error::NotFound(_))));
    assert_eq!(volumes.list().unwrap().len(), 1);
    let retired = volumes.retire(&own).unwrap().unwrap();
    assert!(!root.0.join("volumes").join(&own).exists());
    assert!(volumes.retire(&own).unwrap().is_none());
    volumes.delete(retired).unwrap();
    assert_eq!(root.entries(), std::slice::from_ref(&shared));
    // A new one of the name, while the former one's data is still there.
    volumes.store.update(Durability::Immediate, |u| Volumes::release_in(u, &b)).unwrap();
    fs::write(root.0.join("volumes").join(&shared).join("_data/f"), b"x").unwrap();
    volumes.store.update(Durability::Immediate, |u| Volumes::remove_in(u, [shared.as_str()])).unwrap();
    let again = volumes.create(&named(&shared)).unwrap();
    assert!(!again.mountpoint.join("f").exists());
    assert!(volumes.retire(&shared).unwrap().is_none());
    assert!(again.mountpoint.exists());
}

#[test]
fn removal_with_a_container_that_a_crash_interrupted_is_completed() {
    let root = Root::new("with-crash");
    let volumes = root.open();
    let (marked, retired, kept) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
    for name in [&marked, &retired, &kept] {
        volumes.create(&VolumeSpec { anonymous: true, ..named(name) }).unwrap();
    }
    volumes.store.update(Durability::Immediate, |u| Volumes::remove_in(u, [marked.as_str()])).unwrap();
    // The table's change was in memory only.
    fs::rename(root.0.join("volumes").join(&retired), root.0.join("volumes/.trash-x")).unwrap();
    drop(volumes);
    let volumes = root.open();
    assert_eq!(root.entries(), std::slice::from_ref(&kept));
    let names: Vec<_> = volumes.list().unwrap().into_iter().map(|v| v.name).collect();
    assert_eq!(names, [kept]);
}

#[test]
fn what_is_mounted_in_a_volume_by_somebody_else_is_not_deleted() {
    if !is_root() {
        return;
    }
    let root = Root::new("foreign");
    let volumes = root.open();
    let volume = volumes.create(&named("data")).unwrap();
    let other = root.0.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("canary"), b"x").unwrap();
    if rustix::mount::mount_bind(&other, &volume.mountpoint).is_err() {
        println!("skipped: mounting is not allowed here");
        return;
    }
    let error = volumes.remove("data", false).unwrap_err().to_string();
    assert!(error.contains("mounted"), "{error}");
    assert!(other.join("canary").exists());
    assert!(volumes.inspect("data").is_ok(), "it is still a volume");
    rustix::mount::unmount(&volume.mountpoint, rustix::mount::UnmountFlags::DETACH).unwrap();
    volumes.remove("data", false).unwrap();
    assert!(other.join("canary").exists());
}

#[test]
fn many_threads_make_one_volume() {
    let root = Root::new("threads");
    let volumes = root.open();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..5 {
                    volumes.create(&named(&format!("v{n}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(volumes.list().unwrap().len(), 5);
}

#[test]
fn a_clone_has_the_data_and_is_a_volume_of_its_own() {
    if !is_root() {
        return;
    }
    let root = Root::new("clone");
    let volumes = root.open();
    let spec = VolumeSpec { labels: BTreeMap::from([("a".into(), "1".into())]), ..named("source") };
    volumes.create(&spec).unwrap();
    let data = root.0.join("volumes/source/_data");
    fs::write(data.join("f"), b"x").unwrap();
    fs::hard_link(data.join("f"), data.join("g")).unwrap();
    let labels = BTreeMap::from([("b".into(), "2".into())]);
    let made = volumes.clone_as("source", "copy", &labels).unwrap();
    assert_eq!(made.labels, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]));
    let copy = root.0.join("volumes/copy/_data");
    fs::write(data.join("f"), b"changed").unwrap();
    assert_eq!(fs::read(copy.join("g")).unwrap(), b"x");
    assert_eq!(fs::metadata(copy.join("f")).unwrap().nlink(), 2);
    assert!(matches!(volumes.clone_as("source", "copy", &labels), Err(Error::Exists(_))));
    assert!(matches!(volumes.clone_as("source", "source", &labels), Err(Error::Exists(_))));
    assert!(matches!(volumes.clone_as("none", "other", &labels), Err(Error::NotFound(_))));
    let user = ContainerId::random();
    volumes.mount("source", &user).unwrap();
    let told = volumes.clone_as("source", "other", &labels).unwrap_err().to_string();
    assert_eq!(told, format!("clone source: volume is in use - [{user}]"));
    assert_eq!(root.entries(), ["copy", "source"]);
}

#[test]
fn a_volume_that_cannot_be_filled_is_never_there() {
    let root = Root::new("make");
    let volumes = root.open();
    let told = volumes.make(&named("half"), |_| {
        assert!(matches!(volumes.inspect("half"), Err(Error::NotFound(_))));
        Err(Error::Differs("half".into()))
    });
    assert!(matches!(told, Err(Error::Differs(_))));
    assert!(root.entries().is_empty() && volumes.list().unwrap().is_empty());
    // as a crash would leave it: a record, and a part of the data
    volumes.create(&named("half")).unwrap();
    let record = VolumeRecord { removing: true, ..volumes.record("half").unwrap() };
    volumes.store.update(Durability::Immediate, |u| u.put(&VOLUMES, "half", &record)).unwrap();
    drop(volumes);
    let volumes = root.open();
    assert!(root.entries().is_empty() && volumes.list().unwrap().is_empty());
    volumes.make::<Error>(&named("half"), |_| Ok(())).unwrap();
    assert!(volumes.inspect("half").is_ok());
}

#[test]
fn a_rename_is_done_or_not_done() {
    let root = Root::new("rename");
    let volumes = root.open();
    volumes.create(&named("old")).unwrap();
    fs::write(root.0.join("volumes/old/_data/f"), b"x").unwrap();
    volumes.create(&named("other")).unwrap();
    assert!(matches!(volumes.rename("old", "other"), Err(Error::Exists(_))));
    assert!(matches!(volumes.rename("none", "new"), Err(Error::NotFound(_))));
    assert!(matches!(volumes.rename("old", "a/b"), Err(Error::InvalidName(_))));
    let user = ContainerId::random();
    volumes.acquire("old", &user).unwrap();
    assert!(matches!(volumes.rename("old", "new"), Err(Error::Busy { .. })));
    volumes.release(&user).unwrap();
    let renamed = volumes.rename("old", "new").unwrap();
    assert_eq!(fs::read(renamed.mountpoint.join("f")).unwrap(), b"x");
    assert!(matches!(volumes.inspect("old"), Err(Error::NotFound(_))));
    // as a crash before the directory was renamed would leave it
    let record = VolumeRecord { moved_from: Some("new".into()), ..volumes.record("new").unwrap() };
    volumes
        .store
        .update(Durability::Immediate, |u| {
            u.remove(&VOLUMES, "new")?;
            u.put(&VOLUMES, "third", &record)
        })
        .unwrap();
    drop(volumes);
    let volumes = root.open();
    assert_eq!(root.entries(), ["other", "third"]);
    assert_eq!(fs::read(root.0.join("volumes/third/_data/f")).unwrap(), b"x");
    // and one after it, when the old name has been given away again
    volumes.create(&named("new")).unwrap();
    let record = VolumeRecord { moved_from: Some("new".into()), ..volumes.record("third").unwrap() };
    volumes.store.update(Durability::Immediate, |u| u.put(&VOLUMES, "third", &record)).unwrap();
    drop(volumes);
    let volumes = root.open();
    let names: Vec<_> = volumes.list().unwrap().into_iter().map(|v| v.name).collect();
    assert_eq!(names, ["new", "other", "third"]);
    assert_eq!(root.entries(), ["new", "other", "third"]);
}
