//! Wire <-> domain.

pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod image;

use std::collections::BTreeMap;

/// A list that may be absent on the wire.
pub(crate) fn list<T>(list: Option<Vec<T>>) -> Vec<T> {
    list.unwrap_or_default()
}

/// A list that dockerd prints as `null` when it is empty.
pub(crate) fn nullable<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// A set of names as Go's `map[string]struct{}`.
pub(crate) fn unit<K: ToString>(names: impl IntoIterator<Item = K>) -> BTreeMap<String, serde_json::Value> {
    names.into_iter().map(|name| (name.to_string(), serde_json::json!({}))).collect()
}
