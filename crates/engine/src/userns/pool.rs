//! Ids of the host that containers have for themselves.

use crate::Error;
use proa_types::ContainerId;
use std::collections::{BTreeMap, HashMap};

/// Ids that may be given to containers: ranges that are both users' and groups'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool(Vec<(u32, u32)>);

impl Pool {
    /// Ranges, each a first id and a number of ids.
    pub(crate) fn new(ranges: &[(u32, u32)]) -> Self {
        // Root of the host is nobody's, whatever a table says.
        let useful = |&(first, size): &(u32, u32)| {
            let end = first.saturating_add(size);
            (first.max(1), end.saturating_sub(first.max(1)))
        };
        Self(ranges.iter().map(useful).filter(|(_, size)| *size > 0).collect())
    }

    /// What two lists of ranges have in common.
    pub(crate) fn common(uids: &[(u32, u32)], gids: &[(u32, u32)]) -> Self {
        let mut both = Vec::new();
        for &(uid, users) in uids {
            for &(gid, groups) in gids {
                let (first, end) = (uid.max(gid), uid.saturating_add(users).min(gid.saturating_add(groups)));
                both.extend((first < end).then(|| (first, end - first)));
            }
        }
        Self::new(&both)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which ids are whose. No two containers have one in common.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// First ids, and what comes after the last.
    ranges: BTreeMap<u32, u32>,
    holders: HashMap<ContainerId, u32>,
}

impl Taken {
    /// Takes `size` ids of the pool for a container: the lowest that are free.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there are not as many side by side.
    pub(crate) fn take(&mut self, pool: &Pool, size: u32, id: &ContainerId) -> Result<u32, Error> {
        let first = pool.0.iter().find_map(|&(first, of)| self.gap(first, first.saturating_add(of), size));
        let first = first.ok_or_else(|| {
            Error::Conflict(format!(
                "no {size} user ids side by side are left for --userns auto: {} containers have ids of their own; remove some, ask for fewer (auto:size=N), or give more in /etc/subuid and /etc/subgid",
                self.holders.len()
            ))
        })?;
        self.hold(first, size, id);
        Ok(first)
    }

    /// The first of `size` free ids from `first` on and before `end`.
    fn gap(&self, first: u32, end: u32, size: u32) -> Option<u32> {
        let mut candidate = first;
        // A range that begins before may reach into this one.
        if let Some((_, before)) = self.ranges.range(..first).next_back() {
            candidate = candidate.max(*before);
        }
        for (taken, behind) in self.ranges.range(first..end) {
            if taken.checked_sub(candidate).is_some_and(|free| free >= size) {
                break;
            }
            candidate = candidate.max(*behind);
        }
        candidate.checked_add(size).filter(|last| *last <= end).map(|_| candidate)
    }

    /// Notes ids that a container has already.
    pub(crate) fn hold(&mut self, first: u32, size: u32, id: &ContainerId) {
        self.free(id);
        self.ranges.insert(first, first.saturating_add(size));
        self.holders.insert(id.clone(), first);
    }

    /// Gives those of a container back, if it has any.
    pub(crate) fn free(&mut self, id: &ContainerId) {
        if let Some(first) = self.holders.remove(id) {
            self.ranges.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_shares_and_gaps_are_filled() {
        let (pool, mut taken) = (Pool::new(&[(1000, 300), (5000, 100)]), Taken::default());
        let ids: Vec<ContainerId> = (0..6).map(|_| ContainerId::random()).collect();
        let take = |taken: &mut Taken, n: usize, size| taken.take(&pool, size, &ids[n]).ok();
        assert_eq!(take(&mut taken, 0, 100), Some(1000));
        assert_eq!(take(&mut taken, 1, 100), Some(1100));
        assert_eq!(take(&mut taken, 2, 100), Some(1200));
        assert_eq!(take(&mut taken, 3, 101), None);
        assert_eq!(take(&mut taken, 3, 100), Some(5000));
        taken.free(&ids[1]);
        assert_eq!(take(&mut taken, 4, 60), Some(1100));
        assert_eq!(take(&mut taken, 5, 60), None);
        assert_eq!(take(&mut taken, 5, 40), Some(1160));
        taken.free(&ids[0]);
        taken.free(&ids[0]);
        assert_eq!(take(&mut taken, 1, 100), Some(1000));
    }

    #[test]
    fn a_pool_is_what_users_and_groups_have_in_common() {
        assert_eq!(Pool::common(&[(100, 50), (500, 10)], &[(120, 100)]), Pool(vec![(120, 30)]));
        assert!(Pool::common(&[(0, 10)], &[(10, 10)]).is_empty());
        assert_eq!(Pool::new(&[(0, 10), (0, 1)]), Pool(vec![(1, 9)]));
        assert_eq!(Pool::new(&[(u32::MAX, u32::MAX)]), Pool(vec![]));
    }
}
