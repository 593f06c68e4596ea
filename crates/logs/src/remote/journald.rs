//! The driver `journald`: the native protocol of systemd's journal (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use super::{About, Message, Packets};
use crate::Stream;
use crate::source::short;

/// A field's name as the journal takes it: capitals, digits and underscores, not beginning with an underscore.
pub(super) fn field(name: &str) -> String {
    let capital = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.trim_start_matches('_').chars().map(capital).collect()
}

pub(super) fn encode(about: &About, message: Message<'_>, packets: &mut Packets) {
    let out = &mut packets.bytes;
    let mut pair = |name: &str, value: &[u8]| append(out, name, value);
    pair("MESSAGE", message.text);
    pair("PRIORITY", if message.stream == Stream::Stderr { b"3" } else { b"6" });
    pair("CONTAINER_ID", short(&about.id).as_bytes());
    pair("CONTAINER_ID_FULL", about.id.as_bytes());
    pair("CONTAINER_NAME", about.name.as_bytes());
    pair("CONTAINER_TAG", about.tag.as_bytes());
    pair("IMAGE_NAME", about.image.as_bytes());
    pair("SYSLOG_IDENTIFIER", about.tag.as_bytes());
    pair("SYSLOG_TIMESTAMP", message.time.to_string().as_bytes());
    for (name, value) in &about.attributes {
        pair(name, value.as_bytes());
    }
    if let Some(part) = message.part {
        pair("CONTAINER_PARTIAL_ID", format!("{:016x}", part.line).as_bytes());
        pair("CONTAINER_PARTIAL_ORDINAL", part.ordinal.to_string().as_bytes());
        pair("CONTAINER_PARTIAL_LAST", part.last.to_string().as_bytes());
        if !part.last {
            pair("CONTAINER_PARTIAL_MESSAGE", b"true");
        }
    }
    packets.close();
}

/// Appends a field. A value with newlines, or that is not text, is told with its length before it.
fn append(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if name.is_empty() {
        return;
    }
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_as_the_journal_takes_them() {
        assert_eq!(field("_app.role-x"), "APP_ROLE_X");
        let mut out = Vec::new();
        append(&mut out, "A", b"plain");
        append(&mut out, "B", b"two\nlines");
        assert_eq!(out, b"A=plain\nB\n\x09\0\0\0\0\0\0\0two\nlines\n");
    }
}
