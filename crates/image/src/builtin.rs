//! The image carried in the binary, for hosts that reach no registry.

use crate::tar::{Entry, Writer};
use proa_oci::{Digest, Platform};
use serde_json::json;
use std::io::Result;
use std::sync::OnceLock;

/// The name of the built-in image.
pub const HELLO_WORLD: &str = "hello-world:latest";

/// The greeting program, compiled from `hello/hello.rs`; empty where it cannot be.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// When the image says it was made: fixed, so that the same program gives the same image.
const CREATED: &str = "2026-11-01T00:00:00Z";

/// `hello-world:latest` as a docker archive, for [`crate::ImageStore::load`]. It is the same for every
/// build by the same compiler. Empty on architectures that the greeting was not written for.
pub fn hello_world() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| if PROGRAM.is_empty() { Vec::new() } else { archive().unwrap_or_default() })
}

fn archive() -> Result<Vec<u8>> {
    let mut layer = Writer::new(Vec::new());
    layer.entry(&Entry::file("hello", 0o755, PROGRAM.len() as u64), &mut &*PROGRAM)?;
    let layer = layer.finish()?;
    let diff_id = Digest::of(&layer);
    let platform = Platform::host();
    let config = serde_json::to_vec(&json!({
        "architecture": platform.architecture,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/hello"],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": "hello-world"},
        },
        "created": CREATED,
        "history": [
            {"created": CREATED, "created_by": "COPY hello /"},
            {"created": CREATED, "created_by": "CMD [\"/hello\"]", "empty_layer": true},
        ],
        "os": platform.os,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }))?;
    let config_name = format!("blobs/sha256/{}", Digest::of(&config).hex());
    let layer_name = format!("blobs/sha256/{}", diff_id.hex());
    let manifest = serde_json::to_vec(&json!([
        {"Config": config_name, "RepoTags": [HELLO_WORLD], "Layers": [layer_name]}
    ]))?;
    let mut archive = Writer::new(Vec::new());
    for (name, bytes) in [(config_name, config), (layer_name, layer), ("manifest.json".into(), manifest)] {
        archive.entry(&Entry::file(&name, 0o644, bytes.len() as u64), &mut bytes.as_slice())?;
    }
    archive.finish()
}
