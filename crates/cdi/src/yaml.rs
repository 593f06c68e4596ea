//! YAML as JSON values. Anchors and aliases are refused: nobody writes them into these files, and a few of them make a
//! small file a large one.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Deepest nesting.
const DEPTH: usize = 32;

/// What is being read: a list, or an object with the key whose value comes next.
enum Open {
    List(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

impl Open {
    fn take(&mut self, value: Value) -> Result<(), String> {
        match self {
            Self::List(list) => list.push(value),
            Self::Object(map, key) => match (key.take(), value) {
                (Some(key), value) => {
                    if map.contains_key(&key) {
                        return Err(format!("{key:?} is there twice"));
                    }
                    map.insert(key, value);
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, Value::Number(name)) => *key = Some(name.to_string()),
                (None, other) => return Err(format!("{other} cannot be a key")),
            },
        }
        Ok(())
    }

    fn close(self) -> Value {
        match self {
            Self::List(list) => Value::Array(list),
            Self::Object(map, _) => Value::Object(map),
        }
    }
}

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut whole = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let value = match event {
            Event::Alias(_) => return Err("aliases are not supported".into()),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return Err("anchors are not supported".into());
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= DEPTH => {
                return Err(format!("nested more than {DEPTH} deep"));
            }
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Object(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => closed.close(),
                None => continue,
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.take(value)?,
            None if whole.is_none() => whole = Some(value),
            None => return Err("more than one document".into()),
        }
    }
    whole.ok_or_else(|| "it is empty".into())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if !matches!(style, ScalarStyle::Plain) {
        return Value::String(text.to_owned());
    }
    let radix = |digits: &str, radix| {
        i64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))
    };
    let integer = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ if text.starts_with("0x") => radix(text.trim_start_matches("0x"), 16),
        _ if text.starts_with("0o") => radix(text.trim_start_matches("0o"), 8),
        // As YAML 1.1 has it, which file modes are written in.
        _ if text.len() > 1 && text.starts_with('0') => radix(text, 8),
        _ => text.parse().ok(),
    };
    integer.map_or_else(|| Value::String(text.to_owned()), |number: i64| Value::Number(number.into()))
}
