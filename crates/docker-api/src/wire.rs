//! The macro that declares a document with Go's rules, and the readers behind it.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the zero value, as Go's decoder does.
pub(crate) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Reads a list of words given as a list or as one string (`Cmd`, `Entrypoint`, `Shell`).
pub(crate) fn words<'de, D>(from: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<OneOrMany>::deserialize(from)?.map(|read| match read {
        OneOrMany::One(word) => vec![word],
        OneOrMany::Many(words) => words,
    }))
}

/// Declares documents: PascalCase names, absent and `null` fields are zero values.
/// `name: Type = "WireName"` overrides a name; `name: Type, skip EMPTY` omits a field for which
/// the path `EMPTY` answers true (Go's `omitempty`).
macro_rules! wire {
    ($($(#[$meta:meta])* $name:ident { $($(#[$attr:meta])* $field:ident : $kind:ty $(= $wire:literal)? $(, skip $skip:literal)? ;)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        #[allow(missing_docs, reason = "the fields are the Engine API's own")]
        pub struct $name {
            $(
                $(#[$attr])*
                #[serde(deserialize_with = "crate::wire::nullable")]
                $(#[serde(rename = $wire)])?
                $(#[serde(skip_serializing_if = $skip)])?
                pub $field: $kind,
            )*
        }
    )*};
}
pub(crate) use wire;
