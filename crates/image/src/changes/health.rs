//! `HEALTHCHECK [--interval=… --timeout=… --start-period=… --start-interval=… --retries=…] CMD …`, or `NONE`.

use serde_json::{Map, Value, json};

/// The health check as image configurations have it: durations in nanoseconds.
pub(crate) fn check(arguments: &str) -> Result<Value, String> {
    let mut fields = Map::new();
    let mut rest = arguments;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) = flag.split_once('=').ok_or_else(|| format!("--{flag} needs a value"))?;
        let (field, value) = option(name, value)?;
        fields.insert(field.into(), value);
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let test = match (kind.to_ascii_uppercase().as_str(), command.is_empty()) {
        ("NONE", true) => json!(["NONE"]),
        ("CMD", false) => match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) => Value::from_iter(std::iter::once("CMD".to_owned()).chain(words)),
            Err(_) => json!(["CMD-SHELL", command]),
        },
        _ => return Err("a health check is NONE, or CMD and a command".into()),
    };
    fields.insert("Test".into(), test);
    Ok(fields.into())
}

fn option(name: &str, value: &str) -> Result<(&'static str, Value), String> {
    let time = |field| match duration(value) {
        Some(nanos) => Ok((field, json!(nanos))),
        None => Err(format!("--{name}={value}: write a duration, as 30s or 1m30s")),
    };
    match name {
        "interval" => time("Interval"),
        "timeout" => time("Timeout"),
        "start-period" => time("StartPeriod"),
        "start-interval" => time("StartInterval"),
        "retries" => match value.parse::<u32>() {
            Ok(retries) => Ok(("Retries", json!(retries))),
            Err(_) => Err(format!("--retries={value}: write a number")),
        },
        _ => Err(format!("unknown option --{name}")),
    }
}

/// A duration as Go writes it, in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let nanos = match unit {
            "h" => 3.6e12,
            "m" => 6e10,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "\u{b5}s" => 1e3,
            "ns" => 1.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * nanos;
        rest = after;
    }
    // Small enough to be exact, and for Go's int64.
    (!text.is_empty() && total < 9e18).then_some(total as u64)
}
