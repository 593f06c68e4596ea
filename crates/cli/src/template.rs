//! Go templates over the documents of the API and over rows of tables.

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template(proa_template::Template);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// The complaint behind `template parsing error: `.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        proa_template::Template::parse("", text).map(Self).map_err(|error| error.to_string())
    }

    /// Carries it out on a row or a document. With `strict`, a field that does not exist is an error.
    ///
    /// # Errors
    /// The complaint of Go's engine.
    pub(crate) fn render(&self, dot: &Value, strict: bool) -> Result<String, String> {
        let missing = if strict { proa_template::Missing::Error } else { proa_template::Missing::NoValue };
        self.0.execute(&converted(dot), missing).map_err(|error| error.to_string())
    }

    /// Carries it out on a document as it came, with the order of its fields.
    ///
    /// # Errors
    /// The complaint of Go's engine.
    pub(crate) fn render_raw(&self, document: &[u8]) -> Result<String, String> {
        let dot = proa_template::Value::from_json(document).map_err(|error| error.to_string())?;
        self.0.execute(&dot, proa_template::Missing::Error).map_err(|error| error.to_string())
    }
}

fn converted(value: &Value) -> proa_template::Value {
    use proa_template::Value as Out;
    match value {
        Value::Null => Out::Null,
        Value::Bool(truth) => Out::Bool(*truth),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Out::Float(number.as_f64().unwrap_or(0.0)), Out::Int)
        }
        Value::String(text) => Out::Text(text.clone()),
        Value::Array(items) => Out::List(items.iter().map(converted).collect()),
        Value::Object(members) => Out::Map(members.iter().map(|(key, value)| member(key, value)).collect()),
    }
}

/// The hidden labels of a row become the field `.Label "key"`.
fn member(key: &str, value: &Value) -> (String, proa_template::Value) {
    match value {
        Value::Object(labels) if key == crate::output::LABELS => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let labels = labels.iter().map(|(key, value)| (key.clone(), text(value))).collect();
            ("Label".to_owned(), proa_template::Value::Lookup(labels))
        }
        value => (key.to_owned(), converted(value)),
    }
}

/// A document as Go's encoder writes it, with `<`, `>` and `&` escaped.
pub(crate) fn json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}
