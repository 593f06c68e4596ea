//! Manifests, indexes, configurations, references and digests from anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proa_oci::image::{ImageConfig, Index, Manifest, chain_ids};
use proa_oci::{Digest, Platform, Reference};

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<Manifest>(bytes);
    let _ = serde_json::from_slice::<Index>(bytes);
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), config.rootfs.diff_ids.len());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<Digest>();
    let _ = text.parse::<Platform>();
    if let Ok(reference) = text.parse::<Reference>() {
        // The short form may mean another host (docker.io/a.b/c is shown as a.b/c), the long one may not.
        let whole = format!("{}/{}", reference.domain, reference.path);
        assert_eq!(whole.parse::<Reference>().map(|r| r.repository()), Ok(reference.repository()), "{text:?}");
    }
});
