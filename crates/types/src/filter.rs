//! Filters of list requests: keys with sets of values, `{"label":["a=b"]}`.

use std::collections::{BTreeMap, BTreeSet};

/// The filters of one request. An absent key lets everything pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// The values given for `key`; none when it is absent.
    pub fn values<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether `key` was given.
    pub fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|values| !values.is_empty())
    }

    /// Whether `key` is absent, or one of its values satisfies `test`.
    pub fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(test)
    }

    /// Whether `labels` carries every `label` filter (`key` or `key=value`).
    pub fn labels_match(&self, labels: &crate::Labels) -> bool {
        self.values("label").all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|v| v == value),
            None => labels.contains_key(wanted),
        })
    }

    /// As [`Self::labels_match`], and not every `label!` filter: what a prune takes.
    pub fn labels_pass(&self, labels: &crate::Labels) -> bool {
        let without = self.0.get("label!").cloned().unwrap_or_default();
        let not = Self(BTreeMap::from([("label".to_owned(), without)]));
        self.labels_match(labels) && !(not.has("label") && not.labels_match(labels))
    }

    /// The first key that is not among `known`.
    pub fn unknown_key<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        self.0.keys().map(String::as_str).find(|key| !known.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_wanted_or_unwanted() {
        let filters = |key: &str, values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            Filters(BTreeMap::from([(key.to_owned(), values)]))
        };
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(Filters::default().labels_pass(&labels));
        assert!(filters("label", &["a"]).labels_pass(&labels));
        assert!(!filters("label", &["a=2"]).labels_pass(&labels));
        assert!(!filters("label!", &["a=1"]).labels_pass(&labels));
        assert!(filters("label!", &["a", "b"]).labels_pass(&labels));
    }
}
