//! Any bytes are read as an archive without panic and without end-less work; what is read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proa_image::tar::{Limits, Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { entries: 10_000, bytes: 1 << 24, ..Limits::default() };
    let mut reader = Reader::new(bytes, (), limits);
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut payload = Vec::new();
        let read = reader.payload(|piece| {
            payload.extend_from_slice(piece);
            Ok(())
        });
        if read.is_err() {
            return;
        }
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry, &mut payload.as_slice()).expect("memory does not fail");
        let written = writer.finish().expect("memory does not fail");
        assert_eq!(written.len() % 512, 0);
    }
});
