//! The host's tables of subordinate ids (subuid(5), subgid(5)), and whom they belong to.

use super::Pool;
use crate::Error;
use proa_types::IdMap;
use std::io::{Read, Write};
use std::path::Path;

/// Most bytes of a table that are read.
const TABLE: u64 = 4 << 20;
/// Whose ids docker takes for `userns-remap=default`.
const DEFAULT: &str = "dockremap";
/// Whose ids containers get one by one.
const POOLS: [&str; 2] = ["proa", "containers"];
/// Ids that `default` takes where none are set aside: their number, and where they may begin.
const NEW: u32 = 65536;
const NEW_FROM: u32 = 231_072;

/// The tables of one host.
struct Tables<'a> {
    etc: &'a Path,
}

/// The mapping that `userns-remap` means: `default`, `USER[:GROUP]` or `UID[:GID]`.
///
/// # Errors
/// [`Error::Invalid`] names who has no ids.
pub fn remap(text: &str) -> Result<IdMap, Error> {
    Tables { etc: Path::new("/etc") }.remap(text)
}

/// What is set aside for containers.
pub(super) fn pool() -> Result<Pool, Error> {
    let tables = Tables { etc: Path::new("/etc") };
    let found = POOLS.iter().map(|name| {
        let names = [(*name).to_owned()];
        Pool::common(&tables.ranges("subuid", &names), &tables.ranges("subgid", &names))
    });
    found.into_iter().find(|pool| !pool.is_empty()).ok_or_else(|| {
        Error::Invalid(
            "no ids are set aside for --userns auto: add the line \"containers:2147483647:2147483648\" to /etc/subuid and /etc/subgid, or start the daemon with --userns-auto-range FIRST:COUNT".into(),
        )
    })
}

impl Tables<'_> {
    fn remap(&self, text: &str) -> Result<IdMap, Error> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        if text == "default" && self.ranges("subuid", &[DEFAULT.into()]).is_empty() {
            self.set_aside()?;
        }
        let user = if text == "default" { DEFAULT } else { user };
        let group = match group {
            "" => user,
            group => group,
        };
        let (users, groups) = (self.names("passwd", user, text)?, self.names("group", group, text)?);
        let find = |table: &str, names: &[String], of: &str| {
            let ranges = self.ranges(table, names);
            let none = || {
                Error::Invalid(format!("Can't create ID mappings: no {table} ranges found for user {of:?}"))
            };
            if ranges.is_empty() { Err(none()) } else { Ok(ranges) }
        };
        let map = IdMap::of(&find("subuid", &users, user)?, &find("subgid", &groups, group)?);
        match map.root() {
            // Root of a container must not be the host's.
            Some((0, _) | (_, 0)) | None => {
                Err(Error::Invalid(format!("Can't create ID mappings: {user:?} is given the host's root")))
            }
            Some(_) => Ok(map),
        }
    }

    /// The names by which a user or group may be in the tables: its name and its number.
    fn names(&self, table: &str, who: &str, text: &str) -> Result<Vec<String>, Error> {
        let rows = self.rows(table);
        let row = rows.iter().find(|row| row.first().is_some_and(|name| name == who));
        let row = row.or_else(|| rows.iter().find(|row| row.get(2).is_some_and(|id| id == who)));
        let mut names = vec![who.to_owned()];
        match row {
            Some(row) => names.extend(row.first().into_iter().chain(row.get(2)).cloned()),
            // The kernel needs no such user: ids are enough.
            None if table == "group" || who.parse::<u32>().is_ok() => {}
            None if !self.ranges("subuid", &names).is_empty() => {}
            None => {
                return Err(Error::Invalid(format!(
                    "invalid userns-remap {text:?}: there is no user {who:?}"
                )));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The ranges of these names: first ids and numbers of ids.
    fn ranges(&self, table: &str, names: &[String]) -> Vec<(u32, u32)> {
        let rows = self.rows(table).into_iter();
        let own = rows.filter(|row| row.first().is_some_and(|name| names.contains(name)));
        own.filter_map(|row| Some((row.get(1)?.parse().ok()?, row.get(2)?.parse().ok()?))).collect()
    }

    fn rows(&self, table: &str) -> Vec<Vec<String>> {
        let mut text = String::new();
        if let Ok(file) = std::fs::File::open(self.etc.join(table)) {
            let _ = file.take(TABLE).read_to_string(&mut text);
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split(':').map(str::to_owned).collect()).collect()
    }

    /// Sets ids aside for `default`, behind all others, as docker does.
    fn set_aside(&self) -> Result<(), Error> {
        let end = |table: &str| {
            let rows = self.rows(table).into_iter();
            let ends = rows.filter_map(|row| {
                let (first, size): (u32, u32) = (row.get(1)?.parse().ok()?, row.get(2)?.parse().ok()?);
                // What is set aside for containers one by one is above.
                (!POOLS.contains(&row.first()?.as_str())).then(|| first.saturating_add(size))
            });
            ends.max().unwrap_or(0)
        };
        let first = end("subuid").max(end("subgid")).max(NEW_FROM);
        for table in ["subuid", "subgid"] {
            let path = self.etc.join(table);
            let failed = || Error::io(path.display().to_string());
            let mut file = std::fs::File::options().create(true).append(true).open(&path).map_err(failed())?;
            file.write_all(format!("{DEFAULT}:{first}:{NEW}\n").as_bytes()).map_err(failed())?;
        }
        tracing::info!(
            "ids {first} and following are set aside for {DEFAULT} in /etc/subuid and /etc/subgid"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Etc(std::path::PathBuf);

    impl Etc {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("proa-engine-subids-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let files = [
                ("passwd", "root:x:0:0::/:\nann:x:1000:1000::/:\nbob:x:1001:100::/:\n"),
                ("group", "root:x:0:\nann:x:1000:\nstaff:x:50:\n"),
                ("subuid", "ann:100000:65536\n# none\n1001:300000:10\n1001:400000:5\nevil:0:10\n"),
                ("subgid", "ann:100000:65536\nstaff:200000:100\nbob:300000:20\nevil:0:10\n"),
            ];
            for (file, text) in files {
                std::fs::write(dir.join(file), text).unwrap();
            }
            Self(dir)
        }

        fn remap(&self, text: &str) -> Result<IdMap, Error> {
            Tables { etc: &self.0 }.remap(text)
        }
    }

    impl Drop for Etc {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let etc = Etc::new("found");
        assert_eq!(etc.remap("ann").unwrap(), IdMap::of(&[(100_000, 65536)], &[(100_000, 65536)]));
        assert_eq!(etc.remap("1000:50").unwrap(), etc.remap("ann:staff").unwrap());
        assert_eq!(etc.remap("bob").unwrap(), IdMap::of(&[(300_000, 10), (400_000, 5)], &[(300_000, 20)]));
    }

    #[test]
    fn who_has_no_ids_is_named() {
        let etc = Etc::new("none");
        let said = |text: &str| etc.remap(text).unwrap_err().to_string();
        assert!(said("root").contains("no subuid ranges found for user \"root\""));
        assert!(said("ann:root").contains("no subgid ranges found for user \"root\""));
        assert!(said("nobody-here").contains("there is no user \"nobody-here\""));
        std::fs::write(etc.0.join("passwd"), "evil:x:7:7::/:\n").unwrap();
        assert!(said("evil").contains("host's root"));
    }

    #[test]
    fn default_sets_ids_aside_once() {
        let etc = Etc::new("default");
        let first = etc.remap("default").unwrap();
        assert_eq!(first.root(), Some((400_005, 400_005)));
        assert_eq!(etc.remap("default").unwrap(), first);
        let text = std::fs::read_to_string(etc.0.join("subuid")).unwrap();
        assert_eq!(text.matches(DEFAULT).count(), 1);
    }
}
