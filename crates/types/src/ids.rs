//! Which users and groups of the host those of a user namespace are
//! ([user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html)).

use serde::{Deserialize, Serialize};

/// What the kernel shows where there is no mapping.
pub const OVERFLOW: u32 = 65534;

/// Ids of the namespace that follow each other, and those of the host they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first in the namespace.
    pub inside: u32,
    /// The first on the host.
    pub outside: u32,
    /// How many.
    pub size: u32,
}

/// The users and groups of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// Lays ranges of the host, each a first id and a number of ids, one behind the other, from 0 on.
    pub fn of(uids: &[(u32, u32)], gids: &[(u32, u32)]) -> Self {
        let lay = |ranges: &[(u32, u32)]| {
            let mut inside = 0u32;
            let mut laid = Vec::new();
            for &(outside, size) in ranges {
                let size = size.min(u32::MAX - inside).min(u32::MAX - outside);
                laid.push(IdRange { inside, outside, size });
                inside += size;
            }
            laid
        };
        Self { uids: lay(uids), gids: lay(gids) }
    }

    /// A user and a group of the namespace, as the host has them; none where they are not mapped.
    pub fn outside(&self, (uid, gid): (u32, u32)) -> Option<(u32, u32)> {
        let find = |ranges: &[IdRange], id: u32| {
            let offset = |range: &IdRange| id.checked_sub(range.inside).filter(|at| *at < range.size);
            ranges.iter().find_map(|range| Some(range.outside + offset(range)?))
        };
        Some((find(&self.uids, uid)?, find(&self.gids, gid)?))
    }

    /// A user and a group of the host, as the namespace has them; [`OVERFLOW`] where they are not mapped.
    pub fn inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        let find = |ranges: &[IdRange], id: u32| {
            let offset = |range: &IdRange| id.checked_sub(range.outside).filter(|at| *at < range.size);
            ranges.iter().find_map(|range| Some(range.inside + offset(range)?)).unwrap_or(OVERFLOW)
        };
        (find(&self.uids, uid), find(&self.gids, gid))
    }

    /// The host's user and group that are root's of the namespace.
    pub fn root(&self) -> Option<(u32, u32)> {
        self.outside((0, 0))
    }

    /// How many groups follow each other from 0 on.
    pub fn groups(&self) -> u32 {
        self.gids.iter().fold(0, |end, range| if range.inside == end { end + range.size } else { end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_both_ways() {
        let map = IdMap::of(&[(100_000, 1000), (500_000, 10)], &[(200_000, 65536)]);
        assert_eq!(map.root(), Some((100_000, 200_000)));
        assert_eq!(map.outside((1001, 5)), Some((500_001, 200_005)));
        assert_eq!(map.outside((1010, 5)), None);
        assert_eq!(map.inside((500_001, 200_005)), (1001, 5));
        assert_eq!(map.inside((0, 265_536)), (OVERFLOW, OVERFLOW));
        assert_eq!(map.groups(), 65536);
        assert_eq!(IdMap::of(&[(u32::MAX - 1, 10)], &[]).uids[0].size, 1);
    }
}
