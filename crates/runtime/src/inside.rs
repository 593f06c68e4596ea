//! Paths inside a container's root: opened so that no link leads out (openat2(2) `RESOLVE_IN_ROOT`), and made
//! inside it only.

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Opens an existing file without access (`O_PATH`); the last component may be a link as well.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_with(root, path, OFlags::PATH)
}

/// Opens an existing file with these flags.
pub(crate) fn open_with(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere disturbed the walk.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens a directory, and makes it and those above it (0755) where they are missing.
pub(crate) fn directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    match open_with(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut walked = PathBuf::from(".");
    let mut current = open_with(root, &walked, OFlags::PATH | OFlags::DIRECTORY)?;
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => return Err(Errno::INVAL),
            _ => continue,
        };
        walked.push(name);
        current = match open_with(root, &walked, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                match mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(&current, name, flags, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(current)
}

/// Opens a file that is no directory, and makes it, empty, and the directories above it where they are missing.
pub(crate) fn file(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    match open(root, path) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = split(path)?;
    let parent = directory(root, parent)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The directory a path's last component is in (made where missing), and that component.
pub(crate) fn parent<'a>(
    root: BorrowedFd<'_>,
    path: &'a Path,
) -> Result<(OwnedFd, &'a std::ffi::OsStr), Errno> {
    let (parent, name) = split(path)?;
    Ok((directory(root, parent)?, name))
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr), Errno> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Errno::INVAL),
    }
}

/// The whole of a regular file of at most `limit` bytes; none when it is missing, longer, or no regular file (a fifo
/// would block, CVE-2024-9676).
pub(crate) fn read_text(root: BorrowedFd<'_>, path: &Path, limit: u64) -> Option<String> {
    use std::io::Read;
    let fd = open_with(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    let stat = rustix::fs::fstat(fd.as_fd()).ok()?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(fd).take(limit + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= limit).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The path cleaned of `.`, `..` and doubled slashes, absolute, as text alone says (`..` above the root stays there).
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

/// A cleaned absolute path without its first slash, to be opened below a directory.
pub(crate) fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn root(name: &str) -> (Dir, OwnedFd) {
        let dir = std::env::temp_dir().join(format!("proa-runtime-{}-{name}", std::process::id()));
        std::fs::create_dir_all(dir.join("root")).unwrap();
        std::fs::create_dir_all(dir.join("host")).unwrap();
        let fd = openat(rustix::fs::CWD, dir.join("root"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        (Dir(dir), fd.unwrap())
    }

    #[test]
    fn links_in_the_root_never_lead_out_of_it() {
        let (dir, fd) = root("links");
        symlink("../../host", dir.0.join("root/up")).unwrap();
        symlink(dir.0.join("host"), dir.0.join("root/abs")).unwrap();
        symlink("/dir", dir.0.join("root/in")).unwrap();
        for path in ["up/x/y", "abs/x", "in/x"] {
            let _ = directory(fd.as_fd(), Path::new(path));
            let _ = file(fd.as_fd(), &Path::new(path).join("file"));
        }
        assert_eq!(std::fs::read_dir(dir.0.join("host")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_is_made_inside() {
        let (dir, fd) = root("made");
        directory(fd.as_fd(), Path::new("a/b/c")).unwrap();
        file(fd.as_fd(), Path::new("a/b/d/file")).unwrap();
        assert!(dir.0.join("root/a/b/c").is_dir());
        assert!(dir.0.join("root/a/b/d/file").is_file());
        assert!(directory(fd.as_fd(), Path::new("new/../x")).is_err());
    }

    #[test]
    fn paths_are_cleaned_by_their_text() {
        assert_eq!(clean(Path::new("/a//b/./../c/")), Path::new("/a/c"));
        assert_eq!(clean(Path::new("../../x")), Path::new("/x"));
        assert_eq!(relative(Path::new("/a/b")), Path::new("a/b"));
    }

    #[test]
    fn only_regular_files_are_read() {
        let (dir, fd) = root("read");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.0.join("root/fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        std::fs::write(dir.0.join("root/text"), "hello").unwrap();
        assert_eq!(read_text(fd.as_fd(), Path::new("fifo"), 100), None);
        assert_eq!(read_text(fd.as_fd(), Path::new("text"), 100).as_deref(), Some("hello"));
        assert_eq!(read_text(fd.as_fd(), Path::new("text"), 4), None);
    }
}
