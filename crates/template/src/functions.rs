//! The functions of templates: Go's own, and docker's.

use super::printf::{plain, printf};
use super::value::Value;
use std::cmp::Ordering;

/// What a function answers; the text of a failure is Go's.
pub(crate) type Answer = Result<Value, String>;

const NAMES: [&str; 28] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js", "urlquery",
    "call", "eq", "ne", "lt", "le", "gt", "ge", "json", "split", "join", "title", "lower", "upper", "pad",
    "truncate", "table",
];

/// Whether there is a function of this name.
pub(crate) fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function. `and` and `or` are the caller's, because they do not evaluate all arguments.
pub(crate) fn call(name: &str, arguments: &[Value]) -> Answer {
    match name {
        "print" => Ok(Value::Text(print(arguments))),
        "println" => {
            let words: Vec<String> = arguments.iter().map(plain).collect();
            Ok(Value::Text(words.join(" ") + "\n"))
        }
        "printf" => match arguments.split_first() {
            Some((Value::Text(format), rest)) => Ok(Value::Text(printf(format, rest))),
            Some((other, _)) => Err(wrong_type(name, other, "string")),
            None => Err(count(name, "at least 1", 0)),
        },
        "html" => Ok(Value::Text(escape_html(&print(arguments)))),
        "js" => Ok(Value::Text(escape_js(&print(arguments)))),
        "urlquery" => Ok(Value::Text(escape_query(&print(arguments)))),
        "index" => index(arguments),
        "slice" => slice(arguments),
        "eq" => equal_any(arguments),
        "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments),
        "call" => Err("error calling call: non-function of type string".to_owned()),
        _ => fixed(name, arguments),
    }
}

fn fixed(name: &str, arguments: &[Value]) -> Answer {
    let wanted = match name {
        "split" | "join" | "truncate" => 2,
        "pad" => 3,
        _ => 1,
    };
    if arguments.len() != wanted {
        return Err(count(name, &wanted.to_string(), arguments.len()));
    }
    let at = |n: usize| arguments.get(n).unwrap_or(&Value::Null);
    let text = |n: usize| match at(n) {
        Value::Text(text) => Ok(text.as_str()),
        other => Err(wrong_type(name, other, "string")),
    };
    let number = |n: usize| match at(n) {
        Value::Int(number) => usize::try_from((*number).clamp(0, 1_000_000)).map_err(|e| e.to_string()),
        other => Err(wrong_type(name, other, "int")),
    };
    match name {
        "not" => Ok(Value::Bool(!at(0).is_true())),
        "len" => length(at(0)),
        "json" => Ok(Value::Text(at(0).to_json())),
        "lower" => Ok(Value::Text(text(0)?.to_lowercase())),
        "upper" => Ok(Value::Text(text(0)?.to_uppercase())),
        "title" => Ok(Value::Text(title(text(0)?))),
        "table" => Ok(at(0).clone()),
        "split" => Ok(split(text(0)?, text(1)?)),
        "join" => join(at(0), text(1)?),
        "truncate" => Ok(Value::Text(text(0)?.chars().take(number(1)?).collect())),
        "pad" => {
            let body = text(0)?;
            let body = if body.is_empty() {
                String::new()
            } else {
                format!("{}{body}{}", spaces(number(1)?), spaces(number(2)?))
            };
            Ok(Value::Text(body))
        }
        _ => Err(format!("function {name:?} not defined")),
    }
}

fn spaces(count: usize) -> String {
    " ".repeat(count)
}

fn count(name: &str, wanted: &str, got: usize) -> String {
    format!("wrong number of args for {name}: want {wanted} got {got}")
}

fn wrong_type(name: &str, value: &Value, wanted: &str) -> String {
    let _ = name;
    match value {
        Value::Null => format!("invalid value; expected {wanted}"),
        other => format!("wrong type for value; expected {wanted}; got {}", other.type_name()),
    }
}

/// Go's Sprint: a space between operands when neither is text.
fn print(arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut text_before = true;
    for (i, value) in arguments.iter().enumerate() {
        let text = matches!(value, Value::Text(_));
        if i > 0 && !text && !text_before {
            out.push(' ');
        }
        out.push_str(&plain(value));
        text_before = text;
    }
    out
}

fn length(value: &Value) -> Answer {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(members) => members.len(),
        Value::Lookup(members) => members.len(),
        Value::Null => return Err("error calling len: len of nil pointer".to_owned()),
        other => return Err(format!("error calling len: len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(arguments: &[Value]) -> Answer {
    let Some((first, keys)) = arguments.split_first() else { return Err(count("index", "at least 1", 0)) };
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::List(items), Value::Int(n)) => {
                match usize::try_from(*n).ok().and_then(|n| items.get(n)) {
                    Some(item) => item.clone(),
                    None => return Err(format!("error calling index: index out of range: {n}")),
                }
            }
            (Value::Text(text), Value::Int(n)) => {
                match usize::try_from(*n).ok().and_then(|n| text.as_bytes().get(n)) {
                    Some(byte) => Value::Int(i64::from(*byte)),
                    None => return Err(format!("error calling index: index out of range: {n}")),
                }
            }
            (Value::Map(_), Value::Text(key)) => value.member(key).cloned().unwrap_or_default(),
            (Value::Lookup(members), Value::Text(key)) => Value::Text(
                members.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default(),
            ),
            (Value::Null, _) => return Err("error calling index: index of untyped nil".to_owned()),
            (Value::List(_), other) => {
                return Err(format!(
                    "error calling index: cannot index slice/array with type {}",
                    other.type_name()
                ));
            }
            (Value::Map(_) | Value::Lookup(_), other) => {
                return Err(format!(
                    "error calling index: value has type {}; should be string",
                    other.type_name()
                ));
            }
            (other, _) => {
                return Err(format!("error calling index: can't index item of type {}", other.type_name()));
            }
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Answer {
    let Some((value, bounds)) = arguments.split_first() else { return Err(count("slice", "at least 1", 0)) };
    let size = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Null => return Err("error calling slice: slice of untyped nil".to_owned()),
        other => return Err(format!("error calling slice: can't slice item of type {}", other.type_name())),
    };
    let bound = |n: usize, default: usize| match bounds.get(n) {
        None => Ok(default),
        Some(Value::Int(at)) => match usize::try_from(*at).ok().filter(|at| *at <= size) {
            Some(at) => Ok(at),
            None => Err(format!("error calling slice: index out of range: {at}")),
        },
        Some(other) => {
            Err(format!("error calling slice: cannot index slice/array with type {}", other.type_name()))
        }
    };
    let (from, to) = (bound(0, 0)?, bound(1, size)?);
    if from > to {
        return Err(format!("error calling slice: invalid slice index: {from} > {to}"));
    }
    match value {
        Value::Text(text) => {
            let bytes = text.as_bytes().get(from..to).unwrap_or_default();
            Ok(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
        }
        Value::List(items) => Ok(Value::List(items.get(from..to).unwrap_or_default().to_vec())),
        _ => Ok(Value::Null),
    }
}

fn equal_any(arguments: &[Value]) -> Answer {
    let Some((first, rest)) = arguments.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Err("error calling eq: missing argument for comparison".to_owned());
    };
    for other in rest {
        if equal(first, other).map_err(|why| format!("error calling eq: {why}"))? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(a: &Value, b: &Value) -> Result<bool, &'static str> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        (Value::List(_) | Value::Map(_) | Value::Lookup(_), _) => Err("non-comparable type"),
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err("incompatible types for comparison"),
    }
}

fn compare(name: &str, arguments: &[Value]) -> Answer {
    let [a, b] = arguments else { return Err(count(name, "2", arguments.len())) };
    let fail = |why: &str| format!("error calling {name}: {why}");
    if name == "ne" {
        return equal(a, b).map(|same| Value::Bool(!same)).map_err(fail);
    }
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Greater),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (
            Value::Int(_) | Value::Float(_) | Value::Text(_),
            Value::Int(_) | Value::Float(_) | Value::Text(_),
        ) => {
            return Err(fail("incompatible types for comparison"));
        }
        _ => return Err(fail("invalid type for comparison")),
    };
    Ok(Value::Bool(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn split(text: &str, separator: &str) -> Value {
    if separator.is_empty() {
        return Value::List(text.chars().map(|c| Value::Text(c.to_string())).collect());
    }
    Value::List(text.split(separator).map(Value::from).collect())
}

fn join(value: &Value, separator: &str) -> Answer {
    match value {
        Value::List(items) => Ok(Value::Text(items.iter().map(plain).collect::<Vec<_>>().join(separator))),
        Value::Null => Ok(Value::Text(String::new())),
        other => Err(wrong_type("join", other, "[]string")),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    let upper = |c: char, start: bool| if start { c.to_uppercase().next().unwrap_or(c) } else { c };
    text.chars()
        .map(|c| {
            let shown = upper(c, start);
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            shown
        })
        .collect()
}

fn escape_html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
