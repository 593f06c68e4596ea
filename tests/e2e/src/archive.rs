//! Tar archives written by hand, so that they can be as wrong as a test wants.

use proa_oci::Digest;

/// One member: an old-style header and the bytes.
pub fn member(name: &str, kind: u8, link: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| {
        if let Some(field) = header.get_mut(at..at + text.len()) {
            field.copy_from_slice(text.as_bytes());
        }
    };
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(157, link);
    put(257, "ustar\u{0}00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    let text = format!("{sum:06o}\0 ");
    header[148..156].copy_from_slice(text.as_bytes());
    let mut out = header.to_vec();
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// A regular file.
pub fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    member(name, b'0', "", bytes)
}

/// An archive of these members.
pub fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut out = members.concat();
    out.resize(out.len() + 1024, 0);
    out
}

/// Bytes that do not compress, always the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// A docker archive of an image with these layers (members of any form), its configuration naming `diffs`.
pub fn image(tag: &str, layers: &[Vec<u8>], diffs: &[Digest]) -> Vec<u8> {
    let diffs: Vec<String> = diffs.iter().map(ToString::to_string).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let names: Vec<String> = (0..layers.len()).map(|n| format!("layer{n}.tar")).collect();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]);
    let mut members: Vec<Vec<u8>> =
        layers.iter().zip(&names).map(|(layer, name)| file(name, layer)).collect();
    members.push(file("config.json", config.to_string().as_bytes()));
    members.push(file("manifest.json", manifest.to_string().as_bytes()));
    tar(&members)
}
