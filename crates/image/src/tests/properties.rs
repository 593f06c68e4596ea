//! Properties of the tar reader and the unpacker that hold for any input.

use super::*;
use crate::recipe::Recorder;
use crate::tar::{Limits, Reader};
use crate::unpack::unpack;
use proptest::prelude::*;

/// Reads an archive to its end or its first error; must not panic and must end.
fn read_all(bytes: &[u8]) -> Vec<Entry> {
    let mut reader = Reader::new(bytes, (), Limits::default());
    let mut entries = Vec::new();
    while let Ok(Some(entry)) = reader.next_entry() {
        entries.push(entry);
    }
    entries
}

fn entry() -> impl Strategy<Value = Entry> {
    let part = prop_oneof!["[a-c]", Just("..".to_owned()), Just(".".to_owned()), Just(".wh.a".to_owned())];
    let path = prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"));
    let target =
        prop_oneof![path.clone(), Just("/".to_owned()), Just("../..".to_owned()), Just("/a".to_owned())];
    (path, target, 0..6u8, 0..0o7777u32).prop_map(|(path, target, kind, mode)| match kind {
        0 | 1 => Entry { mode, ..file(&path, &target) },
        2 => link(Kind::Symlink, &path, &target),
        3 => link(Kind::HardLink, &path, &target),
        4 => Entry { kind: Kind::Fifo, mode, ..Entry::file(&path, 0, 0) },
        _ => Entry { mode, ..Entry::directory(&path) },
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        read_all(&bytes);
    }

    #[test]
    fn whole_names_mean_what_they_say(text in "[a-z0-9./:@_-]{0,30}", long in "[a-z]{0,300}") {
        for text in [text.clone(), format!("{text}/{long}"), format!("localhost:5000/{text}")] {
            if let Ok(reference) = text.parse::<proa_oci::Reference>() {
                let whole = reference.repository().parse::<proa_oci::Reference>();
                prop_assert_eq!(whole.map(|r| r.repository()), Ok(reference.repository()));
                let _ = reference.familiar().parse::<proa_oci::Reference>();
            }
        }
    }

    #[test]
    fn a_damaged_archive_is_read_without_panic(at in 0..20_000usize, byte in any::<u8>(), sum in any::<bool>()) {
        let mut bytes = rich_layer();
        let at = at % bytes.len();
        bytes[at] = byte;
        if sum {
            // Damage that the checksum does not show.
            let start = at / 512 * 512;
            let block = &mut bytes[start..start + 512];
            block[148..156].copy_from_slice(b"        ");
            let total: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{total:06o}\0 ").as_bytes());
        }
        read_all(&bytes);
    }

    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(entry(), 0..10), long in "[a-z/]{0,400}") {
        let mut entries = entries;
        entries.push(Entry { mtime: (-3, 7), uid: 3_000_000, ..file(&format!("x{long}"), "") });
        let read = read_all(&tar(&entries));
        for entry in &mut entries {
            if entry.kind == Kind::File {
                entry.link.clear();
            }
        }
        prop_assert_eq!(read, entries);
    }

    #[test]
    fn unpacking_never_leaves_the_layer_and_recipes_are_exact(entries in prop::collection::vec(entry(), 1..14)) {
        if rustix::process::geteuid().is_root() {
            let dir = TempDir::new("property");
            let home = dir.path().join("layer");
            std::fs::create_dir_all(home.join("fs")).unwrap();
            let bytes = tar(&entries);
            let recorder = Recorder::create(&home.join("recipe")).unwrap();
            let outcome = unpack(bytes.as_slice(), &home, recorder, Limits::default());
            prop_assert_eq!(crate::content::names(dir.path()), ["layer"]);
            let known = ["fs", "recipe", "shadow"];
            prop_assert!(crate::content::names(&home).iter().all(|name| known.contains(&name.as_str())));
            if let Ok(outcome) = outcome {
                let mut rebuilt = Vec::new();
                let mut tar = crate::recipe::Rebuilt::open(&home, outcome.moves).unwrap();
                std::io::Read::read_to_end(&mut tar, &mut rebuilt).unwrap();
                prop_assert!(rebuilt == bytes, "the rebuilt tar differs");
            }
        }
    }
}
