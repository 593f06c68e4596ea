//! Reading documents as Go's decoder does: a key stands for the field that it equals, and else for the one that it
//! equals in another case.
//!
//! A deserializer between the JSON reader and the documents, the only place that knows of it. A struct says the names
//! of its fields; a key that is none of them is compared once more without case. Nothing is copied or read twice.

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads a document of JSON.
///
/// # Errors
/// What is not the document, and where.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = T::deserialize(Fold(&mut reader))?;
    reader.end()?;
    Ok(read)
}

/// A deserializer, visitor, seed or access that hands on what it is given, and folds the keys of structs.
struct Fold<T>(T);

macro_rules! forward {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Folding { visitor, fields: &[] })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Fold<D> {
    type Error = D::Error;

    forward! {
        deserialize_any(); deserialize_bool(); deserialize_i8(); deserialize_i16(); deserialize_i32();
        deserialize_i64(); deserialize_i128(); deserialize_u8(); deserialize_u16(); deserialize_u32();
        deserialize_u64(); deserialize_u128(); deserialize_f32(); deserialize_f64(); deserialize_char();
        deserialize_str(); deserialize_string(); deserialize_bytes(); deserialize_byte_buf(); deserialize_option();
        deserialize_unit(); deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str); deserialize_seq(); deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize); deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier(); deserialize_ignored_any();
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Folding { visitor, fields })
    }
}

/// A visitor, and the fields of what it makes, if that is a struct.
struct Folding<V> {
    visitor: V,
    fields: &'static [&'static str],
}

macro_rules! hand_on {
    ($($method:ident: $kind:ty;)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $kind) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Folding<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    hand_on! {
        visit_bool: bool; visit_i64: i64; visit_i128: i128; visit_u64: u64; visit_u128: u128; visit_f64: f64;
        visit_str: &str; visit_borrowed_str: &'de str; visit_string: String; visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8]; visit_byte_buf: Vec<u8>;
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Fold(inner))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Fold(inner))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Fold(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Entries { entries, fields: self.fields })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(variant)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Fold<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Fold(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Fold<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Fold(inner))
    }
}

/// The entries of a map, or of a struct with these fields.
struct Entries<A> {
    entries: A,
    fields: &'static [&'static str],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.entries.next_key_seed(Key { inner: seed, fields: self.fields })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.entries.next_value_seed(Fold(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.entries.size_hint()
    }
}

/// The seed, the deserializer and the visitor of a key.
struct Key<T> {
    inner: T,
    fields: &'static [&'static str],
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        if self.fields.is_empty() {
            return self.inner.deserialize(inner);
        }
        self.inner.deserialize(Key { inner, fields: self.fields })
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Key<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_str(Key { inner: visitor, fields: self.fields })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Key<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<V::Value, E> {
        if self.fields.contains(&key) {
            return self.inner.visit_str(key);
        }
        let folded = self.fields.iter().find(|field| field.eq_ignore_ascii_case(key));
        self.inner.visit_str(folded.copied().unwrap_or(key))
    }
}

#[cfg(test)]
mod tests {
    use crate::{ContainerConfig, ExecCreate, HostConfig};

    #[test]
    fn keys_of_structs_are_read_in_any_case() {
        let read: ExecCreate = super::from_slice(
            br#"{"detachKeys":"ctrl-a","CMD":["x"],"attachstdin":true,"unknown":{"a":[1]}}"#,
        )
        .unwrap();
        assert_eq!(
            (&*read.detach_keys, read.cmd, read.attach_stdin),
            ("ctrl-a", Some(vec!["x".into()]), true)
        );
        let text = br#"{"mounts":[{"TYPE":"bind","source":"/a","bindoptions":{"propagation":"shared"}}],
            "restartpolicy":{"name":"always"},"portbindings":{"80/tcp":[{"hostport":"1"}]},"sysctls":{"A.b":"c","a.B":"d"}}"#;
        let read: HostConfig = super::from_slice(text).unwrap();
        let mount = &read.mounts[0];
        assert_eq!((&*mount.kind, &*mount.source), ("bind", "/a"));
        assert_eq!(mount.bind_options.as_ref().unwrap().propagation, "shared");
        assert_eq!(read.restart_policy.name, "always");
        assert_eq!(read.port_bindings["80/tcp"].as_ref().unwrap()[0].host_port, "1");
        // Keys of maps are values.
        assert_eq!((&*read.sysctls["A.b"], &*read.sysctls["a.B"]), ("c", "d"));
    }

    #[test]
    fn an_exact_key_is_its_own_field() {
        let read: ContainerConfig =
            super::from_slice(br#"{"Labels":{"X":"1","x":"2"},"Volumes":null}"#).unwrap();
        assert_eq!((read.labels.len(), read.volumes), (2, None));
    }

    #[test]
    fn what_is_not_the_document_is_refused() {
        for text in [&b"{\"Tty\":1}"[..], b"{} x", b"[", b"{\"Cmd\":{}}"] {
            assert!(super::from_slice::<ExecCreate>(text).is_err(), "{text:?}");
        }
    }
}
