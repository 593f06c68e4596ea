//! Names of volumes: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as docker accepts them.

use crate::Error;

/// Checks a name somebody gave.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    if name.chars().count() == 1 {
        return Err(Error::ShortName(name.to_owned()));
    }
    if name.len() > 255 {
        return Err(Error::LongName(name.chars().take(255).collect()));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    Err(Error::InvalidName(name.to_owned()))
}

/// Whether a name looks as those given to anonymous volumes.
pub(crate) fn is_anonymous(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_get_dockers_words() {
        for good in ["data", "a1", "x_y.z-1", &"a".repeat(255)] {
            assert!(check(good).is_ok(), "{good}");
        }
        let text = check("a/b").unwrap_err().to_string();
        assert_eq!(
            text,
            "create a/b: \"a/b\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
        for bad in ["", ".x", "-x", "../x", "a b", "a\0b", "é1", "\u{2013}x"] {
            assert!(matches!(check(bad), Err(Error::InvalidName(_))), "{bad:?}");
        }
        assert!(matches!(check("a"), Err(Error::ShortName(_))));
        assert!(matches!(check(&"a".repeat(256)), Err(Error::LongName(_))));
    }
}
