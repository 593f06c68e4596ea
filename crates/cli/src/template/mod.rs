//! Go templates over JSON values, as far as `--format` uses them.

mod eval;
mod funcs;

mod parse;

use serde_json::Value;

pub(crate) use funcs::json;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Action(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

#[derive(Debug, Clone, Default)]
struct Pipe {
    vars: Vec<String>,
    assign: bool,
    commands: Vec<Vec<Operand>>,
    at: usize,
}

#[derive(Debug, Clone)]
enum Operand {
    Dot,
    Field(Vec<String>),
    Var(String, Vec<String>),
    Literal(Value),
    Paren(Pipe, Vec<String>),
    Name(String),
}

impl Template {
    /// Reads a template; `\n` and `\t` written out are taken as docker takes them.
    ///
    /// # Errors
    /// The complaint behind `template parsing error: `.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse::parse(text).map(|nodes| Self { nodes }).map_err(|cause| format!("template: :1: {cause}"))
    }

    /// Carries it out. With `strict`, a field that does not exist is an error.
    ///
    /// # Errors
    /// The complaint of Go's engine.
    pub(crate) fn render(&self, dot: &Value, strict: bool) -> Result<String, String> {
        eval::render(&self.nodes, dot, strict)
    }
}

/// A value as Go prints it.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(show_inner).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let parts: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", show_inner(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}

fn show_inner(value: &Value) -> String {
    if value.is_null() { "<nil>".into() } else { show(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(text: &str) -> String {
        let value = json!({"Name":"/x","N":3,"On":true,"L":["a","b"],"M":{"k":"v","z":null},"E":[],"S":{"T":{"U":"deep"}}});
        match Template::parse(text).and_then(|t| t.render(&value, true)) {
            Ok(text) => text,
            Err(text) => format!("ERR {text}"),
        }
    }

    #[test]
    fn templates_must_give_what_go_gives() {
        for (text, wanted) in [
            ("{{.Name}} {{ .N }}", "/x 3"),
            ("{{json .L}} {{.L}} {{.M}}", "[\"a\",\"b\"] [a b] map[k:v z:<nil>]"),
            ("{{if .On}}y{{else}}n{{end}}{{if .E}}y{{else if eq .N 3}}three{{end}}", "ythree"),
            ("{{range $i, $e := .L}}{{$i}}={{$e}};{{end}}", "0=a;1=b;"),
            ("{{range $k, $v := .M}}{{$k}}{{end}}{{range .E}}x{{else}}none{{end}}", "kznone"),
            ("{{with .S.T}}{{.U}}{{$.N}}{{end}}", "deep3"),
            ("{{index .L 1}}{{index .M \"k\"}}{{len .L}}{{(index .L 0)}}", "bv2a"),
            ("{{upper \"a\" | printf \"%s-%05d-%q\" }}", "ERR"),
            (
                "{{printf \"%s %d %q %v %5s|%-4s|\" .Name .N .Name .On \"a\" \"b\"}}",
                "/x 3 \"/x\" true     a|b   |",
            ),
            (
                "{{join .L \",\"}} {{split \"a b\" \" \"}} {{title \"ab cd\"}} {{upper \"x\"}} {{truncate .Name 1}} {{pad \"a\" 1 2}}.",
                "a,b [a b] Ab Cd X /  a  .",
            ),
            ("{{- .N -}}  x {{/* no */}}", "3x "),
            (
                "{{and .On .E}}{{or .E .N}}{{not .On}} {{eq .N 1 2 3}} {{lt 1 2}} {{gt 1 2}} {{ne 1 2}}",
                "[]3false true true false true",
            ),
            ("{{$x := 1}}{{if .On}}{{$x = 2}}{{end}}{{$x}}", "2"),
            ("{{println .N}}{{print 1 2 \"a\"}}", "3\n1 2a"),
            ("{{slice .Name 1}}", "x"),
            ("{{.M.z}}", "<no value>"),
            ("{{.Nope}}", "ERR template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ] {
            let got = run(text);
            if wanted == "ERR" {
                assert!(!got.is_empty());
            } else {
                assert_eq!(got, wanted, "{text}");
            }
        }
    }

    #[test]
    fn broken_templates_must_be_refused_and_never_panic() {
        for text in [
            "{{",
            "{{.",
            "{{if}}",
            "{{if .N}}",
            "{{end}}",
            "{{\"a}}",
            "{{range}}{{end}}",
            "{{nofunc .N}}",
            "{{index .L 9}}",
            "{{(.N}}",
            "{{.N | }}",
        ] {
            assert!(run(text).starts_with("ERR"), "{text}: {}", run(text));
        }
    }
}
