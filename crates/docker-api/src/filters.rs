//! The `filters` query parameter: `{"name":["a"]}` and the older `{"name":{"a":true}}`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Filters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Why a `filters` parameter could not be read.
#[derive(Debug)]
pub struct FilterError(serde_json::Error);

impl std::fmt::Display for FilterError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "invalid filter: {}", self.0)
    }
}

impl std::error::Error for FilterError {}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the parameter; an empty text is no filter.
    ///
    /// # Errors
    /// The text is neither of the two forms.
    pub fn decode(text: &str) -> Result<Self, FilterError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read: Option<BTreeMap<String, Values>> = serde_json::from_str(text).map_err(FilterError)?;
        let mut filters = Self::default();
        for (name, values) in read.unwrap_or_default() {
            let set = filters.0.entry(name).or_default();
            match values {
                Values::List(list) => set.extend(list),
                Values::Set(map) => set.extend(map.into_iter().filter(|(_, on)| *on).map(|(value, _)| value)),
            }
        }
        Ok(filters)
    }

    /// Writes the older form, which every daemon reads.
    #[must_use]
    pub fn encode(&self) -> String {
        let map: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(|v| (v.as_str(), true)).collect()))
            .collect();
        serde_json::to_string(&map).unwrap_or_default()
    }

    /// Adds a value to a name.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.entry(name.into()).or_default().insert(value.into());
    }

    /// The values of a name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Whether a name has a value at all.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The names used.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `labels` satisfy all `label` filters (`key` or `key=value`).
    #[must_use]
    pub fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_must_be_read() {
        let new = Filters::decode(r#"{"label":["a=b","c"],"status":["running"]}"#).unwrap();
        let old = Filters::decode(r#"{"label":{"a=b":true,"c":true,"d":false},"status":{"running":true}}"#)
            .unwrap();
        assert_eq!(new, old);
        assert_eq!(Filters::decode(&new.encode()).unwrap(), new);
        assert!(Filters::decode("{").is_err());
        assert!(Filters::decode("").unwrap().is_empty());
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]);
        assert!(new.match_labels(&labels));
        assert!(!new.match_labels(&BTreeMap::new()));
    }
}
