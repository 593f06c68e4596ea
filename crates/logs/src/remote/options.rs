//! Values of options, read as Go reads them.

use crate::Error;
use std::collections::BTreeMap;
use std::time::Duration;

type Options = BTreeMap<String, String>;

/// A truth value, `default` without one (Go's `strconv.ParseBool`).
pub(crate) fn truth(options: &Options, name: &str, default: bool) -> Result<bool, Error> {
    match options.get(name).map(String::as_str) {
        None | Some("") => Ok(default),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Error::value(format!(
            "invalid value for option {name}: strconv.ParseBool: parsing {other:?}: invalid syntax"
        ))),
    }
}

/// A duration in Go's words (`500ms`, `1m30s`), `default` without one.
pub(crate) fn duration(options: &Options, name: &str, default: Duration) -> Result<Duration, Error> {
    let Some(text) = options.get(name).filter(|text| !text.is_empty()) else { return Ok(default) };
    let bad = || Error::value(format!("invalid value for option {name}: time: invalid duration {text:?}"));
    proa_types::time::parse_go_duration(text).ok_or_else(bad)
}
