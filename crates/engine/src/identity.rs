//! Who a program runs as: `-u` and `--group-add` against the tables of the image.
//!
//! The tables are written by strangers: they are opened inside the root only, must be regular files, and are read up
//! to a bound (CVE-2024-9676, CVE-2026-47262). A number is always a number, also where the table has a user of that
//! name (CVE-2026-46680).

use crate::Error;
use crate::plan::Identity;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Most bytes of a table that are read.
const TABLE: u64 = 4 << 20;
/// Longest line.
const LINE: usize = 64 << 10;
/// Largest number of a user or group.
const LARGEST: u32 = i32::MAX as u32;

/// Where tables are looked for: the layers of an image, topmost first, or one root.
pub(crate) struct Tables {
    roots: Vec<PathBuf>,
}

impl Tables {
    pub(crate) fn new(roots: Vec<PathBuf>) -> Self {
        Self { roots }
    }

    /// The lines of a table; none if there is no such file, or it is no regular file.
    fn lines(&self, name: &str) -> Vec<Vec<String>> {
        let Some(file) = self.roots.iter().find_map(|root| open(root, name)).flatten() else {
            return Vec::new();
        };
        let mut reader = BufReader::new(std::fs::File::from(file).take(TABLE));
        let mut rows = Vec::new();
        let mut line = Vec::new();
        while reader.by_ref().take(LINE as u64).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !text.is_empty() && !text.starts_with('#') {
                rows.push(text.split(':').map(Into::into).collect());
            }
            line.clear();
        }
        rows
    }
}

/// A table in one layer: `None` looks further down, `Some(None)` ends the search (it is removed, or no file).
fn open(root: &Path, name: &str) -> Option<Option<OwnedFd>> {
    let dir =
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = loop {
        // The kernel answers EAGAIN when something was renamed meanwhile.
        match rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            other => break other,
        }
    };
    match opened {
        Ok(file) => {
            let kind = rustix::fs::fstat(&file).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
            Some(kind.is_ok_and(|kind| kind.is_file()).then_some(file))
        }
        // A whiteout is a device that cannot be opened.
        Err(rustix::io::Errno::NXIO | rustix::io::Errno::NODEV) => Some(None),
        Err(_) => None,
    }
}

fn number(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return Ok(None);
    }
    let bad = || Error::Invalid(format!("uids and gids must be in range 0-{LARGEST}: {text}"));
    text.parse::<u32>().ok().filter(|number| *number <= LARGEST).map(Some).ok_or_else(bad)
}

/// A number in a table. The kernel would take larger ones, and some of them for "no change" (setresuid(2)).
fn entry(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number <= LARGEST)
}

/// The identity that `user` (`NAME|UID[:NAME|GID]`) and the added groups mean.
pub(crate) fn identity(tables: &Tables, user: &str, added: &[String]) -> Result<Identity, Error> {
    let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let passwd = tables.lines("etc/passwd");
    let uid_of = |row: &Vec<String>| row.get(2).and_then(|text| entry(text));
    let wanted = if name.is_empty() { Some(0) } else { number(name)? };
    let row = match wanted {
        Some(uid) => passwd.iter().find(|row| uid_of(row) == Some(uid)),
        None => passwd.iter().find(|row| row.first().is_some_and(|n| n == name)),
    };
    let uid = wanted.or_else(|| row.and_then(uid_of));
    let uid = uid.ok_or_else(|| {
        Error::Invalid(format!("unable to find user {name}: no matching entries in passwd file"))
    })?;
    let own_gid = match row.and_then(|row| row.get(3)) {
        // Whatever is no number must not become group 0 by it.
        Some(text) => entry(text).ok_or_else(|| {
            Error::Invalid(format!(
                "the group {text:?} of user {name} in the image's passwd file is no number of 0-{LARGEST}"
            ))
        })?,
        None => 0,
    };
    let home = row.and_then(|row| row.get(5)).filter(|home| !home.is_empty()).cloned();
    let needs_groups = group.is_some() || !added.is_empty() || row.is_some();
    let table = if needs_groups { tables.lines("etc/group") } else { Vec::new() };
    let gid = match group {
        Some(group) if !group.is_empty() => gid_of(&table, group)?,
        _ => own_gid,
    };
    let mut groups = match (group, row.and_then(|row| row.first())) {
        (None, Some(login)) => memberships(&table, login),
        _ => Vec::new(),
    };
    for group in added {
        groups.push(gid_of(&table, group)?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity { uid, gid, groups, home: home.unwrap_or_else(|| "/".into()) })
}

fn gid_of(table: &[Vec<String>], group: &str) -> Result<u32, Error> {
    if let Some(gid) = number(group)? {
        return Ok(gid);
    }
    let row = table.iter().find(|row| row.first().is_some_and(|name| name == group));
    let gid = row.and_then(|row| row.get(2)).and_then(|text| entry(text));
    gid.ok_or_else(|| {
        Error::Invalid(format!("Unable to find group {group}: no matching entries in group file"))
    })
}

fn memberships(table: &[Vec<String>], login: &str) -> Vec<u32> {
    let member =
        |row: &&Vec<String>| row.get(3).is_some_and(|list| list.split(',').any(|name| name == login));
    table.iter().filter(member).filter_map(|row| entry(row.get(2)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("proa-engine-identity-{}-{name}", std::process::id()));
            std::fs::create_dir_all(dir.join("etc")).unwrap();
            std::fs::write(
                dir.join("etc/passwd"),
                "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001:u:/home/u:\n2000:x:5:5::/five:\n",
            )
            .unwrap();
            std::fs::write(dir.join("etc/group"), "root:x:0:\nstaff:x:50:user,other\n").unwrap();
            Self(dir)
        }

        fn identity(&self, user: &str, added: &[&str]) -> Result<Identity, Error> {
            let added: Vec<String> = added.iter().map(|&group| group.to_owned()).collect();
            identity(&Tables::new(vec![self.0.clone()]), user, &added)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_and_numbers_are_found() {
        let root = Root::new("names");
        let of = |user| root.identity(user, &[]).unwrap();
        assert_eq!(of(""), Identity { uid: 0, gid: 0, groups: vec![], home: "/root".into() });
        assert_eq!(of("user"), Identity { uid: 1000, gid: 1001, groups: vec![50], home: "/home/u".into() });
        assert_eq!(of("1000").home, "/home/u");
        assert_eq!(of("user:staff"), Identity { uid: 1000, gid: 50, groups: vec![], home: "/home/u".into() });
        assert_eq!(of("7:8"), Identity { uid: 7, gid: 8, groups: vec![], home: "/".into() });
        assert_eq!(root.identity("7", &["staff", "9"]).unwrap().groups, [9, 50]);
    }

    #[test]
    fn tricks_do_not_work() {
        let root = Root::new("tricks");
        // A user named by a number is not that number.
        assert_eq!(root.identity("2000", &[]).unwrap().uid, 2000);
        for bad in
            ["4294967295", "2147483648", "-1", "1000000000000", "nobody", "user:nogroup", "0:99999999999"]
        {
            assert!(root.identity(bad, &[]).is_err(), "{bad}");
        }
        // Numbers of the tables are bounded too.
        std::fs::write(
            root.0.join("etc/passwd"),
            "high:x:2147483648:5:::\nnone:x:7:4294967295:::\nwords:x:8:wheel:::\nlast:x:2147483647:2147483647:::\n",
        )
        .unwrap();
        std::fs::write(root.0.join("etc/group"), "big:x:4294967295:last\nends:x:2147483647:last\n").unwrap();
        for bad in ["high", "none", "words", "7", "last:big"] {
            assert!(root.identity(bad, &[]).is_err(), "{bad}");
        }
        assert!(root.identity("last", &["big"]).is_err());
        let last = root.identity("last", &[]).unwrap();
        assert_eq!((last.uid, last.gid, last.groups), (LARGEST, LARGEST, vec![LARGEST]));
        std::fs::remove_file(root.0.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.0.join("etc/passwd")).unwrap();
        assert!(root.identity("user", &[]).is_err());
    }
}
