//! The part of JSON schema that the definition uses: `type`, `properties`, `required`, `items`, `allOf`, `$ref`,
//! `enum`, `additionalProperties`, `x-nullable`, `format`, and limits of numbers and lists.
//!
//! Stricter than the schema is in one place: a property that the definition does not name is a violation, because it
//! is a name misspelt until someone says otherwise (`known.rs`).

use serde_json::{Map, Value};

/// Something that the definition does not allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Where, as a path of names; `*` stands for any element of a list or key of a map.
    pub(crate) at: String,
    /// What is wrong.
    pub(crate) why: String,
}

/// Holds `value` against `schema`; references are looked up in `definitions`.
pub(crate) fn check(definitions: &Value, schema: &Value, value: &Value) -> Vec<Violation> {
    let mut walk = Walk { definitions, found: Vec::new(), at: Vec::new() };
    walk.value(schema, value);
    walk.found
}

struct Walk<'a> {
    definitions: &'a Value,
    found: Vec<Violation>,
    at: Vec<String>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value) {
        let nullable = schema["x-nullable"] == true;
        let schema = self.resolve(schema);
        if value.is_null() {
            if !nullable && schema["x-nullable"] != true && !schema["type"].is_null() {
                self.fault(format!("null, where {} is wanted", schema["type"]));
            }
            return;
        }
        self.kind(schema, value);
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            self.fault(format!("{value} is none of {}", schema["enum"]));
        }
        match value {
            Value::Object(members) => self.object(schema, members),
            Value::Array(items) => self.list(schema, items),
            _ => {}
        }
    }

    /// Follows references.
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        while let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/definitions/");
            schema = &self.definitions[name];
        }
        schema
    }

    fn kind(&mut self, schema: &Value, value: &Value) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let fits = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => true,
        };
        if !fits {
            return self.fault(format!("{value}, where {wanted} is wanted"));
        }
        if let Some(why) = misformed(schema, value) {
            self.fault(why);
        }
    }

    fn object(&mut self, schema: &'a Value, members: &Map<String, Value>) {
        let mut properties = Vec::new();
        let mut required = Vec::new();
        let mut others = None;
        self.gather(schema, &mut properties, &mut required, &mut others);
        for name in required.into_iter().filter(|&name| !members.contains_key(name)) {
            self.inside(name, |walk| walk.fault("is required and missing".into()));
        }
        for (name, value) in members {
            let property = properties.iter().find(|(known, _)| *known == name).map(|(_, schema)| *schema);
            match (property, others) {
                (Some(schema), _) => self.inside(name, |walk| walk.value(schema, value)),
                (None, Some(schema)) => self.inside("*", |walk| walk.value(schema, value)),
                (None, None) if properties.is_empty() => {}
                (None, None) => self.inside(name, |walk| walk.fault("is not in the definition".into())),
            }
        }
    }

    /// Everything a schema and what it is made of say about members.
    fn gather(
        &self,
        schema: &'a Value,
        properties: &mut Vec<(&'a String, &'a Value)>,
        required: &mut Vec<&'a str>,
        others: &mut Option<&'a Value>,
    ) {
        let schema = self.resolve(schema);
        properties.extend(schema["properties"].as_object().into_iter().flatten());
        required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        if schema["additionalProperties"].is_object() || schema["additionalProperties"] == true {
            *others = Some(&schema["additionalProperties"]);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, properties, required, others);
        }
    }

    fn list(&mut self, schema: &'a Value, items: &[Value]) {
        let count = items.len() as u64;
        let (least, most) = (schema["minItems"].as_u64(), schema["maxItems"].as_u64());
        if least.is_some_and(|least| count < least) || most.is_some_and(|most| count > most) {
            self.fault(format!("{count} items"));
        }
        for item in items {
            self.inside("*", |walk| walk.value(&schema["items"], item));
        }
    }

    fn inside(&mut self, name: &str, act: impl FnOnce(&mut Self)) {
        self.at.push(name.to_owned());
        act(self);
        self.at.pop();
    }

    fn fault(&mut self, why: String) {
        let violation = Violation { at: self.at.join("."), why };
        if !self.found.contains(&violation) {
            self.found.push(violation);
        }
    }
}

/// Why a value of the right type is still not what the schema wants.
fn misformed(schema: &Value, value: &Value) -> Option<String> {
    let format = schema["format"].as_str().unwrap_or_default();
    if let Some(text) = value.as_str() {
        // An empty text is Go's zero value, which the engine prints for what has not happened.
        let dated = !matches!(format, "date-time" | "dateTime") || text.is_empty() || is_date(text);
        return (!dated).then(|| format!("{text:?} is not a date as RFC 3339 writes it"));
    }
    let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from))?;
    let (low, high) = match format {
        "uint8" => (0, i128::from(u8::MAX)),
        "uint16" => (0, i128::from(u16::MAX)),
        "uint32" => (0, i128::from(u32::MAX)),
        "uint64" => (0, i128::from(u64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    let low = schema["minimum"].as_i64().map_or(low, i128::from);
    let high = schema["maximum"].as_i64().map_or(high, i128::from);
    (number < low || number > high).then(|| format!("{number} is outside of {low} to {high}"))
}

/// `2024-01-31T12:00:00[.fraction](Z|±hh:mm)`, by its shape.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let head = bytes.len() > shape.len()
        && shape.iter().zip(bytes).all(|(s, b)| if *s == b'0' { b.is_ascii_digit() } else { s == b });
    let Some(rest) = text.get(shape.len()..).filter(|_| head) else { return false };
    let zone =
        rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    zone == "Z" || (zone.len() == 6 && zone.starts_with(['+', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(schema: Value, value: Value) -> Vec<String> {
        let definitions = json!({ "Word": { "type": "string", "enum": ["a", "b"] } });
        check(&definitions, &schema, &value).into_iter().map(|v| format!("{}: {}", v.at, v.why)).collect()
    }

    #[test]
    fn what_fits_must_pass() {
        let schema = json!({ "type": "object", "required": ["A"], "properties": {
            "A": { "$ref": "#/definitions/Word" },
            "B": { "type": "array", "items": { "type": "integer", "format": "uint16" } },
            "C": { "type": "string", "x-nullable": true },
            "D": { "type": "object", "additionalProperties": { "type": "boolean" } },
            "E": { "type": "string", "format": "dateTime" } } });
        let value = json!({ "A": "a", "B": [1, 65_535], "C": null, "D": { "x": true }, "E": "2024-01-02T03:04:05.6Z" });
        assert_eq!(faults(schema, value), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_fit_must_be_named() {
        let schema = json!({ "type": "object", "required": ["A", "Z"], "properties": {
            "A": { "$ref": "#/definitions/Word" },
            "B": { "type": "array", "items": { "type": "integer", "format": "uint16" } },
            "C": { "type": "string" },
            "D": { "type": "string", "format": "dateTime" } } });
        let value = json!({ "A": "c", "B": [1, 65_536, "x"], "C": null, "D": "yesterday", "Other": 1 });
        let found = faults(schema, value).join("\n");
        for part in [
            "Z: is required",
            "A: \"c\" is none of",
            "B.*: 65536",
            "B.*: \"x\"",
            "C: null",
            "D:",
            "Other: is not",
        ] {
            assert!(found.contains(part), "{part} is not in\n{found}");
        }
    }

    #[test]
    fn all_parts_must_be_known() {
        let schema = json!({ "allOf": [{ "type": "object", "properties": { "A": { "type": "string" } } },
            { "type": "object", "required": ["B"], "properties": { "B": { "type": "string" } } }] });
        assert_eq!(faults(schema.clone(), json!({ "A": "x", "B": "y" })), Vec::<String>::new());
        assert_eq!(faults(schema, json!({ "A": 1 })).len(), 2);
    }
}
