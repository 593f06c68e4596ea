//! The functions: Go's own and docker's.

use std::cmp::Ordering;

use serde_json::Value;

use super::{eval::truth, show};

const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "println",
    "printf", "json", "join", "split", "title", "lower", "upper", "pad", "truncate", "html", "js",
    "urlquery", "call",
];

pub(super) fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

fn text(args: &[Value], at: usize) -> Result<&str, String> {
    args.get(at).and_then(Value::as_str).ok_or_else(|| "wrong type for value; expected string".to_owned())
}

fn count(args: &[Value], at: usize) -> Result<usize, String> {
    let number = args.get(at).and_then(Value::as_u64).ok_or("wrong type for value; expected int")?;
    usize::try_from(number).map_err(|cause| cause.to_string())
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

fn compare(args: &[Value], fits: fn(Ordering) -> bool) -> Result<Value, String> {
    let [a, b] = args else {
        return Err(format!("wrong number of args: want 2 got {}", args.len()));
    };
    Ok(fits(order(a, b).ok_or("incompatible types for comparison")?).into())
}

pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let first =
        || args.first().ok_or_else(|| format!("wrong number of args for {name}: want at least 1 got 0"));
    Ok(match name {
        "and" => {
            args.iter().find(|value| !truth(value)).or(args.last()).cloned().ok_or("missing arguments")?
        }
        "or" => args.iter().find(|value| truth(value)).or(args.last()).cloned().ok_or("missing arguments")?,
        "not" => (!truth(first()?)).into(),
        "eq" => {
            let head = first()?;
            let rest = args.get(1..).unwrap_or_default();
            if rest.is_empty() {
                return Err("missing argument for comparison".into());
            }
            rest.iter().any(|value| order(head, value) == Some(Ordering::Equal)).into()
        }
        "ne" => compare(args, Ordering::is_ne).unwrap_or_else(|_| true.into()),
        "lt" => compare(args, Ordering::is_lt)?,
        "le" => compare(args, Ordering::is_le)?,
        "gt" => compare(args, Ordering::is_gt)?,
        "ge" => compare(args, Ordering::is_ge)?,
        "len" => match first()? {
            Value::String(text) => text.len().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(map) => map.len().into(),
            other => return Err(format!("len of type {}", show(other))),
        },
        "index" => index(args)?,
        "slice" => slice(args)?,
        "print" => print(args).into(),
        "println" => format!("{}\n", args.iter().map(show).collect::<Vec<_>>().join(" ")).into(),
        "printf" => printf(text(args, 0)?, args.get(1..).unwrap_or_default()).into(),
        "json" => json(first()?).into(),
        "join" => match first()? {
            Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(text(args, 1)?).into(),
            _ => return Err("wrong type for value; expected []string".into()),
        },
        "split" => text(args, 0)?.split(text(args, 1)?).map(str::to_owned).collect::<Vec<_>>().into(),
        "title" => title(text(args, 0)?).into(),
        "lower" => text(args, 0)?.to_lowercase().into(),
        "upper" => text(args, 0)?.to_uppercase().into(),
        "pad" => {
            let text = text(args, 0)?;
            if text.is_empty() {
                "".into()
            } else {
                format!(
                    "{}{text}{}",
                    " ".repeat(count(args, 1)?.min(4096)),
                    " ".repeat(count(args, 2)?.min(4096))
                )
                .into()
            }
        }
        "truncate" => text(args, 0)?.chars().take(count(args, 1)?).collect::<String>().into(),
        "html" | "js" | "urlquery" | "call" => return Err(format!("function {name:?} is not supported")),
        other => return Err(format!("function {other:?} not defined")),
    })
}

/// A document as docker's `json` gives it; hidden keys of rows are left out.
pub(crate) fn json(value: &Value) -> String {
    match value {
        Value::Object(map) if map.contains_key(crate::output::LABELS) => {
            let mut map = map.clone();
            map.remove(crate::output::LABELS);
            Value::Object(map).to_string()
        }
        other => other.to_string(),
    }
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (head, keys) = args.split_first().ok_or("missing arguments")?;
    let mut value = head;
    for key in keys {
        value = match (value, key) {
            (Value::Array(items), Value::Number(number)) => {
                let at = number.as_i64().unwrap_or(-1);
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items.get(at))
                    .ok_or_else(|| format!("reflect: slice index out of range: {at}"))?
            }
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Null, _) => return Err("index of untyped nil".into()),
            (other, _) => return Err(format!("can't index item of {}", show(other))),
        };
    }
    Ok(value.clone())
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let low = if args.len() > 1 { count(args, 1)? } else { 0 };
    let high = if args.len() > 2 { Some(count(args, 2)?) } else { None };
    match args.first() {
        Some(Value::String(text)) => text
            .get(low..high.unwrap_or(text.len()))
            .map(Value::from)
            .ok_or_else(|| "index out of range".into()),
        Some(Value::Array(items)) => items
            .get(low..high.unwrap_or(items.len()))
            .map(|items| items.to_vec().into())
            .ok_or_else(|| "index out of range".into()),
        _ => Err("can't slice item".into()),
    }
}

/// Go's `Sprint`: blanks only between operands neither of which is text.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in args.iter().enumerate() {
        if at > 0 && !value.is_string() && !args.get(at - 1).is_some_and(Value::is_string) {
            out.push(' ');
        }
        out.push_str(&show(value));
    }
    out
}

fn title(text: &str) -> String {
    let mut begin = true;
    text.chars()
        .map(|c| {
            let c = if begin { c.to_ascii_uppercase() } else { c };
            begin = c.is_whitespace();
            c
        })
        .collect()
}

fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut rest = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = String::new();
        while let Some(flag) = chars.next_if(|c| c.is_ascii_digit() || "-+# .".contains(*c)) {
            spec.push(flag);
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = rest.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        out.push_str(&padded(&spec, &verbose(verb, &spec, value)));
    }
    out
}

fn verbose(verb: char, spec: &str, value: &Value) -> String {
    match verb {
        'q' => format!("{:?}", show(value)),
        'x' => value
            .as_i64()
            .map_or_else(|| show(value).bytes().map(|b| format!("{b:02x}")).collect(), |n| format!("{n:x}")),
        'f' => {
            let digits =
                spec.split_once('.').and_then(|(_, digits)| digits.parse().ok()).unwrap_or(6_usize).min(100);
            format!("{:.digits$}", value.as_f64().unwrap_or(0.0))
        }
        's' if value.is_number() => format!("%!s(int={})", show(value)),
        'd' if !value.is_number() => format!("%!d(string={})", show(value)),
        's' | 'd' | 'v' | 't' | 'g' => show(value),
        other => format!("%!{other}({})", show(value)),
    }
}

fn padded(spec: &str, text: &str) -> String {
    let left = spec.contains('-');
    let digits = spec.trim_start_matches(['-', '+', '#', ' ']);
    let zero = digits.starts_with('0') && !left;
    let width = digits.split('.').next().and_then(|width| width.parse::<usize>().ok()).unwrap_or(0).min(4096);
    match (left, zero) {
        (true, _) => format!("{text:<width$}"),
        (_, true) => format!("{text:0>width$}"),
        _ => format!("{text:>width$}"),
    }
}
