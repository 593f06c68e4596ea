//! Fuzz tests of log files, which a crash may have cut anywhere.

use crate::split::Splitter;
use crate::{LogConfig, LogDriver, ReadOptions, Reader, Source, Stream, json, local};
use proa_fuzz::run;
use proa_types::Timestamp;
use std::collections::BTreeMap;

fn seeds() -> Vec<Vec<u8>> {
    let (mut json, mut local) = (Vec::new(), Vec::new());
    for line in [&b"hello\n"[..], b"a\"b\\\xff\x01 no end"] {
        let end = json::end(Stream::Stderr, Timestamp(1_700_000_000_000_000_000), &BTreeMap::new());
        json::encode(&mut json, line, &end);
        local::encode(&mut local, Stream::Stdout, Timestamp(1_700_000_000_000_000_000), line);
    }
    vec![json, local]
}

#[test]
fn fuzz_log_records() {
    let seeds = seeds();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    run("log_records", &seeds, |bytes| {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let _ = json::decode(line);
        }
        let mut rest = bytes;
        while let Some((_, used)) = local::decode(rest) {
            assert!(used > 0 && used <= rest.len());
            rest = rest.get(used..).unwrap_or_default();
        }
        // What goes in comes out, whatever the bytes.
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(7) {
            splitter.feed(Stream::Stdout, piece, |line| out.extend_from_slice(line));
        }
        out.extend(splitter.take(Stream::Stdout));
        assert_eq!(out, bytes);
    });
}

#[test]
fn fuzz_log_reader() {
    let path = proa_fuzz::scratch("log");
    let seeds = seeds();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    run("log_reader", &seeds, |bytes| {
        std::fs::write(&path, bytes).expect("the file");
        for driver in [LogDriver::JsonFile, LogDriver::Local] {
            let config =
                LogConfig::new(driver, path.clone(), &BTreeMap::new(), &Source::default()).expect("defaults");
            let options = ReadOptions { tail: Some(3), ..ReadOptions::default() };
            if let Ok(mut reader) = Reader::open(&config, options) {
                for _ in 0..10_000 {
                    if reader.next_batch().map_or(true, |batch| batch.is_empty()) {
                        break;
                    }
                }
            }
        }
    });
    let _ = std::fs::remove_file(&path);
}
