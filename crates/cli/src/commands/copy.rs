//! The rules of `cp`: which paths mean what, by docker's reading of their ends. Local paths are looked at here;
//! archives are not touched.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::app::reason;
use crate::error::{Result, fail};

/// One end of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// The path, with the `/` or `/.` it ended with.
    pub(crate) path: String,
    pub(crate) exists: bool,
    pub(crate) is_dir: bool,
    /// What the last part is called, where a link gave another.
    pub(crate) rebase: String,
}

/// Where an archive is unpacked, and what the first part of its names becomes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) dir: String,
    pub(crate) rename: Option<String>,
}

/// `CONTAINER:PATH`, or a local path.
pub(crate) fn split(argument: &str) -> (&str, &str) {
    match argument.split_once(':') {
        Some((container, path)) if !argument.starts_with('/') && !container.starts_with('.') => {
            (container, path)
        }
        _ => ("", argument),
    }
}

/// Whether the last part is `.`.
fn is_dot(path: &str) -> bool {
    path == "." || path.trim_end_matches('/').ends_with("/.")
}

/// Whether only a directory can be meant.
fn names_directory(path: &str) -> bool {
    path.ends_with('/') || is_dot(path)
}

/// The path without `.`, `..` and doubled slashes, as its text alone says.
fn clean(path: &str) -> String {
    let mut cleaned = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir if cleaned.file_name().is_some_and(|name| name != "..") => {
                cleaned.pop();
            }
            Component::ParentDir if cleaned.has_root() => {}
            Component::CurDir => {}
            part => cleaned.push(part),
        }
    }
    let text = cleaned.to_string_lossy().into_owned();
    if text.is_empty() { ".".into() } else { text }
}

/// Directory and last part; the last part of `dir/.` is `.`.
pub(crate) fn entry(path: &str) -> (String, String) {
    let cleaned = clean(path);
    if is_dot(path) {
        return (cleaned, ".".into());
    }
    let whole = Path::new(&cleaned);
    let text = |part: Option<&OsStr>, none: &str| {
        part.map_or(none.into(), |part| part.to_string_lossy().into_owned())
    };
    let dir = match whole.parent() {
        Some(dir) if dir.as_os_str().is_empty() => ".".to_owned(),
        Some(dir) => dir.to_string_lossy().into_owned(),
        None => "/".to_owned(),
    };
    (dir, text(whole.file_name(), "/"))
}

/// The absolute form of a local path, with its end kept.
pub(crate) fn absolute(path: &str) -> Result<String> {
    let whole = std::env::current_dir()?.join(path);
    let cleaned = clean(&whole.to_string_lossy());
    Ok(match (is_dot(path), path.ends_with('/')) {
        (true, _) if cleaned == "/" => "/.".into(),
        (true, _) => format!("{cleaned}/."),
        (false, true) if cleaned != "/" => format!("{cleaned}/"),
        _ => cleaned,
    })
}

/// The path a link leads to with the end that `path` has, and the name that `path` has if that is another.
pub(crate) fn followed(path: &str, target: &str) -> (String, String) {
    let mut target = target.to_owned();
    if is_dot(path) && !is_dot(&target) {
        target.push_str("/.");
    }
    if path.ends_with('/') && !target.ends_with('/') {
        target.push('/');
    }
    let (name, found) = (entry(path).1, entry(&target).1);
    let rebase = if name == found { String::new() } else { name };
    (target, rebase)
}

/// A link's target, seen from the directory of the link.
pub(crate) fn beside(path: &str, target: &str) -> String {
    if target.starts_with('/') { target.into() } else { clean(&format!("{}/{target}", entry(path).0)) }
}

/// A local path to copy from. A link that is its last part is followed with `-L` only.
pub(crate) fn source(path: &str, follow: bool) -> Result<End> {
    let resolve = |path: &str| {
        let found = std::fs::canonicalize(path);
        found
            .map(|found| found.to_string_lossy().into_owned())
            .or_else(|cause| fail!("lstat {}: {}", path.trim_end_matches('/'), reason(&cause)))
    };
    let (found, rebase) = if follow || names_directory(path) {
        followed(path, &resolve(path)?)
    } else {
        let (dir, name) = entry(path);
        (Path::new(&resolve(&dir)?).join(name).to_string_lossy().into_owned(), String::new())
    };
    let meta = std::fs::symlink_metadata(&found);
    let meta = meta.or_else(|cause| fail!("lstat {found}: {}", reason(&cause)))?;
    Ok(End { is_dir: meta.is_dir(), path: found, exists: true, rebase })
}

/// A local path to copy to. A link is followed; what is not there may be made in a directory that is.
pub(crate) fn destination(path: &str) -> Result<End> {
    let mut at = path.to_owned();
    for _ in 0..=10 {
        let found = std::fs::symlink_metadata(&at);
        match found {
            Ok(meta) if meta.is_symlink() => {
                let target = std::fs::read_link(&at)?;
                at = beside(&at, &target.to_string_lossy());
            }
            Ok(meta) => {
                return Ok(End { path: at, exists: true, is_dir: meta.is_dir(), rebase: String::new() });
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let parent = entry(&at).0;
                return match std::fs::metadata(&parent) {
                    Ok(meta) if meta.is_dir() => Ok(End { path: at, ..End::default() }),
                    Ok(_) => fail!("not a directory"),
                    Err(cause) => fail!("stat {parent}: {}", reason(&cause)),
                };
            }
            Err(cause) => fail!("lstat {at}: {}", reason(&cause)),
        }
    }
    fail!("too many symlinks in {path}")
}

/// Where what is copied from `from` goes when it is copied to `to`.
pub(crate) fn place(from: &End, to: &End) -> Result<Placed> {
    let (dir, name) = entry(&to.path);
    match (to.exists, from.is_dir) {
        (true, _) if to.is_dir => Ok(Placed { dir: to.path.clone(), rename: None }),
        (true, true) => fail!("cannot copy directory"),
        (false, false) if names_directory(&to.path) => fail!("no such directory"),
        _ => Ok(Placed { dir, rename: Some(name) }),
    }
}

/// Refuses a local path that nothing can be written to.
pub(crate) fn writable(path: &str) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let dir = entry(&clean(path)).0;
    if dir != "." && std::fs::metadata(&dir).is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
    {
        fail!("invalid output path: directory \"{dir}\" does not exist");
    }
    let Ok(meta) = std::fs::metadata(path) else { return Ok(()) };
    let kind = meta.file_type();
    if kind.is_dir() || kind.is_file() {
        return Ok(());
    }
    let word = if kind.is_char_device() || kind.is_block_device() { "a device" } else { "an irregular file" };
    fail!("invalid output path: \"{path}\" must be a directory or a regular file: got {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_must_be_split_as_docker_splits_them() {
        for (argument, container, path) in [
            ("c:/a", "c", "/a"),
            ("c:a:b", "c", "a:b"),
            ("/a:b", "", "/a:b"),
            ("./a:b", "", "./a:b"),
            ("a", "", "a"),
            ("-", "", "-"),
            (":x", "", "x"),
        ] {
            assert_eq!(split(argument), (container, path), "{argument}");
        }
    }

    #[test]
    fn ends_of_paths_must_keep_their_meaning() {
        for (path, dir, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("a", ".", "a"),
            (".", ".", "."),
            ("/", "/", "/"),
            ("/a/../b", "/", "b"),
            ("../a", "..", "a"),
        ] {
            assert_eq!(entry(path), (dir.to_owned(), name.to_owned()), "{path}");
        }
        assert_eq!(absolute("/a/b/.").unwrap(), "/a/b/.");
        assert_eq!(absolute("/a//b/").unwrap(), "/a/b/");
        assert_eq!(followed("/l/", "/x/t"), ("/x/t/".into(), "l".into()));
        assert_eq!(beside("/a/l", "../t"), "/t");
    }

    #[test]
    fn what_is_there_must_decide_the_place() {
        let end =
            |path: &str, exists, is_dir| End { path: path.into(), exists, is_dir, rebase: String::new() };
        let file = end("/f", true, false);
        let dir = end("/d", true, true);
        let at = |dir: &str, name: &str| Placed { dir: dir.into(), rename: Some(name.into()) };
        assert_eq!(place(&file, &end("/x/y", false, false)).unwrap(), at("/x", "y"));
        assert_eq!(place(&dir, &end("/x/y/", false, false)).unwrap(), at("/x", "y"));
        assert_eq!(place(&file, &end("/x", true, true)).unwrap(), Placed { dir: "/x".into(), rename: None });
        assert_eq!(place(&file, &end("/x/y", true, false)).unwrap(), at("/x", "y"));
        assert!(place(&dir, &end("/x/y", true, false)).is_err());
        assert!(place(&file, &end("/x/y/", false, false)).is_err());
    }
}
