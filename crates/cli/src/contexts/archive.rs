//! A context in an archive: `meta.json` and `tls/<endpoint>/<file>`, as a tar archive, or read from a zip
//! file too. What is read is a stranger's: it is small, every name is checked, nothing is written before
//! all of it was understood.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use proa_image::tar::{Entry, Kind, Limits, Reader, Writer};

use super::{Material, Meta, zip};
use crate::error::{Failure, Result, fail};

/// Bytes of an archive, and of what is in it.
const MAX_BYTES: u64 = 10 << 20;
const MAX_ENTRIES: u64 = 1000;

/// Writes a context as a tar archive.
///
/// # Errors
/// The stream fails.
pub(crate) fn write(meta: &Meta, material: &Material, out: impl Write) -> Result<()> {
    let mut tar = Writer::new(out);
    let mut file = |name: &str, mode: u32, bytes: &[u8]| {
        tar.entry(&Entry::file(name, mode, bytes.len() as u64), &mut &*bytes)
    };
    file("meta.json", 0o644, &serde_json::to_vec(meta)?)?;
    let directory = |name: String| Entry { mode: 0o700, ..Entry::directory(&name) };
    tar.entry(&directory("tls".into()), &mut std::io::empty())?;
    for (endpoint, files) in material {
        tar.entry(&directory(format!("tls/{endpoint}")), &mut std::io::empty())?;
        for (name, bytes) in files {
            let entry = Entry::file(&format!("tls/{endpoint}/{name}"), 0o600, bytes.len() as u64);
            tar.entry(&entry, &mut &**bytes)?;
        }
    }
    tar.finish()?;
    Ok(())
}

/// Reads a context.
///
/// # Errors
/// It is no context, or larger than one may be.
pub(crate) fn read(from: impl Read) -> Result<(Meta, Material)> {
    let mut raw = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut raw)?;
    if raw.len() as u64 > MAX_BYTES {
        fail!("read exceeds the defined limit");
    }
    parse(&raw)
}

/// Reads a context from an archive's bytes.
pub(super) fn parse(raw: &[u8]) -> Result<(Meta, Material)> {
    let files = if zip::is_zip(raw) {
        zip::files(raw, MAX_ENTRIES, MAX_BYTES).map_err(Failure::new)?
    } else {
        tar_files(raw)?
    };
    let (mut meta, mut material) = (None, Material::new());
    for (name, bytes) in files {
        match place(&name)? {
            None => meta = Some(serde_json::from_slice(&bytes)?),
            Some((endpoint, file)) => {
                material.entry(endpoint.to_owned()).or_default().insert(file.to_owned(), bytes);
            }
        }
    }
    match meta {
        Some(meta) => Ok((meta, material)),
        None => fail!("invalid context: no metadata found"),
    }
}

fn tar_files(raw: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let limits = Limits { entries: MAX_ENTRIES, bytes: MAX_BYTES * 2, ..Limits::default() };
    let mut reader = Reader::new(raw, (), limits);
    let mut all = BTreeMap::new();
    let broken = |cause: proa_image::tar::Error| Failure::new(cause.to_string());
    while let Some(entry) = reader.next_entry().map_err(broken)? {
        match entry.kind {
            Kind::Directory => continue,
            Kind::File => {}
            _ => fail!("{}: unexpected context file", entry.name()),
        }
        let Ok(name) = String::from_utf8(entry.path.clone()) else {
            fail!("{}: unexpected path format", entry.name());
        };
        let mut bytes = Vec::new();
        let keep = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        reader.payload(keep).map_err(broken)?;
        all.insert(name, bytes);
    }
    Ok(all)
}

/// Where a file of an archive belongs: none for the document, else endpoint and file.
fn place(name: &str) -> Result<Option<(&str, &str)>> {
    if name == "meta.json" {
        return Ok(None);
    }
    let Some(rest) = name.strip_prefix("tls/") else { fail!("{name}: unexpected context file") };
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\\']);
    if !rest.split('/').all(plain) {
        fail!("{name}: unexpected path format");
    }
    match rest.split_once('/') {
        Some((endpoint, file)) if !file.contains('/') => Ok(Some((endpoint, file))),
        Some(_) => fail!("{name}: unexpected path format"),
        None => fail!("archive format is invalid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = Writer::new(Vec::new());
        for (name, bytes) in files {
            tar.entry(&Entry::file(name, 0o644, bytes.len() as u64), &mut &**bytes).unwrap();
        }
        tar.finish().unwrap()
    }

    #[test]
    fn what_was_written_must_be_read() {
        let mut material = Material::new();
        material.entry("docker".into()).or_default().insert("ca.pem".into(), b"x".to_vec());
        let mut meta = Meta::new("a", "tcp://h:1", true);
        meta.describe("d");
        let mut out = Vec::new();
        write(&meta, &material, &mut out).unwrap();
        let (again, kept) = read(&*out).unwrap();
        assert_eq!((again.host(), again.unverified(), again.description()), ("tcp://h:1", true, "d"));
        assert_eq!(kept, material);
    }

    #[test]
    fn what_is_no_context_must_be_refused() {
        let meta = br#"{"Name":"q"}"#;
        for (files, wanted) in [
            (&[("other", &b"x"[..])][..], "unexpected context file"),
            (&[("meta.json", meta), ("tls/../x", b"x")], "unexpected path format"),
            (&[("meta.json", meta), ("tls/docker/../../y", b"x")], "unexpected path format"),
            (&[("meta.json", meta), ("tls/a/b/c", b"x")], "unexpected path format"),
            (&[("../meta.json", meta)], "unexpected context file"),
            (&[("meta.json", meta), ("tls/lone", b"x")], "archive format is invalid"),
            (&[("tls/docker/a", b"x")], "no metadata"),
            (&[("meta.json", b"{")], "EOF"),
        ] {
            let told = parse(&tar(files)).unwrap_err().message;
            assert!(told.contains(wanted), "{told}");
        }
        assert_eq!(read(std::io::repeat(0)).unwrap_err().message, "read exceeds the defined limit");
        assert!(parse(b"hello").is_err());
    }

    #[test]
    fn fuzz_context() {
        let zip = include_bytes!("context.zip");
        let seeds: [&[u8]; 2] = [zip, &tar(&[("meta.json", br#"{"Name":"q"}"#), ("tls/docker/a", b"x")])];
        proa_fuzz::run("context", &seeds, |bytes| {
            if let Ok((_, material)) = parse(bytes) {
                let names = material.iter().flat_map(|(endpoint, files)| files.keys().chain([endpoint]));
                assert!(
                    names.into_iter().all(|name| !name.contains('/') && name != ".." && !name.is_empty())
                );
            }
        });
        assert_eq!(parse(zip).unwrap().1.get("docker").unwrap().get("ca.pem").unwrap(), b"the authority\n");
    }
}
