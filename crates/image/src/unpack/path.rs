//! Names in archives, made safe to use.

/// Directories a name may lie in.
const MAX_DEPTH: usize = 256;

/// The name relative to the root of the layer, with `.`, `..` and doubled slashes resolved, as Go's
/// `path.Clean` does; the error is why it is refused. A leading slash means the root of the layer.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop().ok_or("points outside of the layer, and was not unpacked")?),
            _ if part.contains(&0) => return Err("has a NUL byte in its name"),
            _ => parts.push(part),
        }
    }
    if parts.len() > MAX_DEPTH {
        return Err("lies more than 256 directories deep");
    }
    Ok(parts.join(&b'/'))
}

/// Directory and last part of a clean name. The root has neither.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// Puts a directory and a last part together.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// Whether `path` is `dir` or lies below it.
pub(crate) fn within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_escapes_refused() {
        assert_eq!(clean(b"./a//b/./c/../d/").unwrap(), b"a/b/d");
        assert_eq!(clean(b"/etc/passwd").unwrap(), b"etc/passwd");
        assert_eq!(clean(b"./").unwrap(), b"");
        for bad in [&b".."[..], b"../x", b"a/../../x", b"/..", b"a/b/../../../c", b"a\0b"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert!(within(b"a/b", b"a") && within(b"a", b"a") && !within(b"ab", b"a"));
    }
}
