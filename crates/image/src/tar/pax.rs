//! PAX extended headers: records `LENGTH KEY=VALUE\n` (POSIX.1-2017 pax, "pax Extended Header").

/// What the records before an entry say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: bool,
}

/// Reads the records of one extended header; the error is what is wrong with them.
pub(crate) fn parse(mut records: &[u8]) -> Result<Pax, &'static str> {
    let mut pax = Pax::default();
    while !records.is_empty() {
        let (key, value, rest) = record(records).ok_or("an extended header is malformed")?;
        apply(&mut pax, key, value)?;
        records = rest;
    }
    Ok(pax)
}

/// Splits off the first record.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = decimal(records.get(..space)?)?.try_into().ok()?;
    let body = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let key = body.get(..equals).filter(|key| !key.is_empty() && !key.contains(&0))?;
    Some((key, body.get(equals + 1..)?, records.get(length..)?))
}

fn apply(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
    let number = "a number in an extended header is malformed";
    let id = |value: &[u8]| decimal(value).and_then(|n| u32::try_from(n).ok()).ok_or(number);
    // An empty value takes an earlier record back.
    let given = !value.is_empty();
    match key {
        b"path" | b"linkpath" if value.contains(&0) => return Err("a name contains a NUL byte"),
        b"path" => pax.path = given.then(|| value.to_vec()),
        b"linkpath" => pax.link = given.then(|| value.to_vec()),
        b"size" => pax.size = given.then(|| decimal(value).ok_or(number)).transpose()?,
        b"uid" => pax.uid = given.then(|| id(value)).transpose()?,
        b"gid" => pax.gid = given.then(|| id(value)).transpose()?,
        b"mtime" => pax.mtime = given.then(|| time(value).ok_or(number)).transpose()?,
        _ if key.starts_with(b"GNU.sparse.") => pax.sparse = true,
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                pax.xattrs.retain(|(have, _)| have != name);
                pax.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Seconds since 1970, perhaps negative, with any number of decimals.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        _ => Some((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_malformed_ones_refused() {
        let pax = parse(b"11 path=ab\n20 mtime=12.5000000\n30 SCHILY.xattr.user.a=b=c\n\0x\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"ab"[..]));
        assert_eq!(pax.mtime, Some((12, 500_000_000)));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"b=c\n\0x".to_vec())]);
        for bad in ["5 a=b\n", "0 a=b\n", "6a=bb\n", "99 a=b\n", "6 a=bc", "6 ab\n\n", "13 size=-100\n"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
    }
}
