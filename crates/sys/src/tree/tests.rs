use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A directory of the test's own, removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("proa-sys-{}-tree-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self, below: &str) -> OwnedFd {
        fs::create_dir_all(self.0.join(below)).unwrap();
        fs::File::open(self.0.join(below)).unwrap().into()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("a/file"), b"hello").unwrap();
    fs::hard_link(dir.join("a/file"), dir.join("a/b/other")).unwrap();
    fs::set_permissions(dir.join("a/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(dir.join("a"), fs::Permissions::from_mode(0o1770)).unwrap();
    symlink("/etc/passwd", dir.join("link")).unwrap();
    symlink("..", dir.join("a/up")).unwrap();
    fs::hard_link(dir.join("link"), dir.join("link2")).unwrap();
}

#[test]
fn a_copy_has_everything_of_the_original() {
    if !is_root() {
        return;
    }
    let tmp = Temporary::new("copy");
    let (from, to) = (tmp.open("from"), tmp.open("to"));
    let (source, target) = (tmp.0.join("from"), tmp.0.join("to"));
    fill(&source);
    std::os::unix::fs::chown(source.join("a/file"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(source.join("a/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::lchown(source.join("link"), Some(7), Some(8)).unwrap();
    std::os::unix::fs::chown(&source, Some(99), Some(98)).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o2711)).unwrap();
    let fifo = rustix::fs::mknodat(&from, "fifo", FileType::Fifo, Mode::from_raw_mode(0o622), 0);
    fifo.unwrap();
    rustix::fs::mknodat(
        &from,
        "null",
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    rustix::fs::mknodat(&from, "socket", FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    let has_xattr =
        rustix::fs::setxattr(source.join("a/file"), "user.note", b"kept", rustix::fs::XattrFlags::empty())
            .is_ok();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 32 << 20).unwrap();
    copy(from.as_fd(), to.as_fd()).unwrap();

    for name in
        ["", "a", "a/b", "a/file", "a/b/other", "link", "link2", "a/up", "fifo", "null", "socket", "sparse"]
    {
        let old = fs::symlink_metadata(source.join(name)).unwrap();
        let new = fs::symlink_metadata(target.join(name)).unwrap();
        let facts = |m: &fs::Metadata| {
            (
                m.mode(),
                m.uid(),
                m.gid(),
                m.mtime(),
                m.mtime_nsec(),
                m.rdev(),
                m.nlink(),
                m.file_type().is_fifo(),
            )
        };
        assert_eq!(facts(&old), facts(&new), "{name:?}");
    }
    assert_eq!(fs::read(target.join("a/b/other")).unwrap(), b"hello");
    assert_eq!(fs::read_link(target.join("link")).unwrap(), Path::new("/etc/passwd"));
    let inode = |name: &str| fs::symlink_metadata(target.join(name)).unwrap().ino();
    assert_eq!(inode("a/file"), inode("a/b/other"));
    assert_eq!(inode("link"), inode("link2"));
    let copied = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!(copied.len(), 64 << 20);
    assert!(copied.blocks() * 512 < 1 << 20, "the holes were filled: {} blocks", copied.blocks());
    if has_xattr {
        let mut value = [0u8; 16];
        let length = rustix::fs::getxattr(target.join("a/file"), "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    assert_eq!(size(from.as_fd()).unwrap(), size(to.as_fd()).unwrap());
}

#[test]
fn nothing_is_written_over() {
    let tmp = Temporary::new("over");
    let (from, to) = (tmp.open("from"), tmp.open("to"));
    fs::write(tmp.0.join("from/x"), b"new").unwrap();
    fs::write(tmp.0.join("canary"), b"old").unwrap();
    symlink(tmp.0.join("canary"), tmp.0.join("to/x")).unwrap();
    let error = copy(from.as_fd(), to.as_fd()).unwrap_err();
    assert_eq!(error.path, Path::new("x"));
    assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(tmp.0.join("canary")).unwrap(), b"old");
}

#[test]
fn removal_follows_no_link() {
    let tmp = Temporary::new("remove");
    let top = tmp.open("");
    fs::create_dir(tmp.0.join("outside")).unwrap();
    fs::write(tmp.0.join("outside/canary"), b"x").unwrap();
    fs::create_dir_all(tmp.0.join("tree/sub")).unwrap();
    fill(&tmp.0.join("tree"));
    symlink(tmp.0.join("outside"), tmp.0.join("tree/sub/way")).unwrap();
    symlink(tmp.0.join("outside"), tmp.0.join("direct")).unwrap();
    remove(top.as_fd(), c"tree").unwrap();
    remove(top.as_fd(), c"direct").unwrap();
    remove(top.as_fd(), c"was never there").unwrap();
    assert!(!tmp.0.join("tree").exists() && fs::symlink_metadata(tmp.0.join("direct")).is_err());
    assert!(tmp.0.join("outside/canary").exists());
}

#[test]
fn a_very_deep_tree_is_removed() {
    let tmp = Temporary::new("deep");
    let top = tmp.open("");
    let mut dir = tmp.open("deep");
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = open_dir(dir.as_fd(), c"d").unwrap();
    }
    drop(dir);
    assert!(size(top.as_fd()).is_err(), "too deep to measure, and said so");
    remove(top.as_fd(), c"deep").unwrap();
    assert!(is_empty(top.as_fd()).unwrap());
}

/// While a tree is copied and removed, somebody swaps its directories for links to the outside.
#[test]
fn a_tree_that_changes_meanwhile_never_leads_outside() {
    let tmp = Temporary::new("race");
    let top = tmp.open("");
    fs::create_dir(tmp.0.join("outside")).unwrap();
    fs::write(tmp.0.join("outside/canary"), b"x").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let root = &tmp.0;
        scope.spawn(|| {
            let _ = fs::create_dir_all(root.join("swap"));
            let _ = symlink(root.join("outside"), root.join("swap/bait"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (dir, bait) = (root.join("tree/a"), root.join("swap/bait"));
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    dir,
                    rustix::fs::CWD,
                    bait,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        });
        for round in 0..200 {
            fs::create_dir_all(root.join("tree")).unwrap();
            if fs::symlink_metadata(root.join("tree/a")).is_err() {
                let _ = fs::create_dir_all(root.join("tree/a/b"));
                let _ = fs::write(root.join("tree/a/b/f"), b"y");
            }
            let (from, to) = (tmp.open("tree"), tmp.open(&format!("copy{round}")));
            let _ = copy(from.as_fd(), to.as_fd());
            let _ = remove(top.as_fd(), c"tree");
            assert!(root.join("outside/canary").exists(), "round {round}");
            assert!(
                !root.join(format!("copy{round}/a/canary")).is_file()
                    || fs::symlink_metadata(root.join(format!("copy{round}/a"))).unwrap().is_symlink()
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(tmp.0.join("outside")).unwrap().count(), 1, "nothing was made outside");
}
