//! Carrying out a template.

use serde_json::Value;

use super::{Node, Operand, Pipe, funcs, show};

enum Flow {
    Next,
    Break,
    Continue,
}

struct Scope<'a> {
    root: &'a Value,
    vars: Vec<(String, Value)>,
    strict: bool,
    out: String,
}

pub(super) fn render(nodes: &[Node], dot: &Value, strict: bool) -> Result<String, String> {
    let mut scope = Scope { root: dot, vars: Vec::new(), strict, out: String::new() };
    scope.nodes(nodes, dot)?;
    Ok(scope.out)
}

/// Whether Go takes a value as true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        let mark = self.vars.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if !matches!(flow, Flow::Next) {
                self.vars.truncate(mark);
                return Ok(flow);
            }
        }
        self.vars.truncate(mark);
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.vars.is_empty() {
                    self.out.push_str(&show(&value));
                } else {
                    self.declare(pipe, &[value]);
                }
            }
            Node::If(pipe, then, otherwise) | Node::With(pipe, then, otherwise) => {
                let mark = self.vars.len();
                let value = self.pipe(pipe, dot)?;
                if !pipe.vars.is_empty() {
                    self.declare(pipe, std::slice::from_ref(&value));
                }
                let dot = if matches!(node, Node::With(..)) && truth(&value) { &value } else { dot };
                let flow = self.nodes(if truth(&value) { then } else { otherwise }, dot)?;
                self.vars.truncate(mark);
                return Ok(flow);
            }
            Node::Range(pipe, body, otherwise) => return self.range(pipe, body, otherwise, dot),
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let items: Vec<(Value, Value)> = match self.pipe(pipe, dot)? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(map) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
            Value::Number(n) => {
                (0..n.as_u64().unwrap_or(0).min(1 << 20)).map(|at| (at.into(), at.into())).collect()
            }
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", show(&other))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let mark = self.vars.len();
            match pipe.vars.as_slice() {
                [] => {}
                [_] => self.declare(pipe, std::slice::from_ref(&item)),
                _ => self.declare(pipe, &[key, item.clone()]),
            }
            let flow = self.nodes(body, &item)?;
            self.vars.truncate(mark);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn declare(&mut self, pipe: &Pipe, values: &[Value]) {
        for (name, value) in pipe.vars.iter().zip(values) {
            let old = self.vars.iter_mut().rev().find(|(known, _)| known == name);
            match old {
                Some((_, slot)) if pipe.assign => slot.clone_from(value),
                _ => self.vars.push((name.clone(), value.clone())),
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last, pipe.at)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(
        &mut self,
        words: &[Operand],
        dot: &Value,
        piped: Option<Value>,
        at: usize,
    ) -> Result<Value, String> {
        let Some((head, rest)) = words.split_first() else {
            return Err("missing value for command".into());
        };
        let mut args = Vec::new();
        for word in rest {
            args.push(self.operand(word, dot, at)?);
        }
        args.extend(piped);
        match head {
            Operand::Name(name) => funcs::call(name, &args).map_err(|cause| {
                format!("template: :1:{at}: executing \"\" at <{name}>: error calling {name}: {cause}")
            }),
            Operand::Field(fields) if !args.is_empty() => match fields.as_slice() {
                [name] if name == "Label" => Ok(label(dot, &args)),
                _ => Err(format!(
                    "template: :1:{at}: executing \"\" at <.{}>: {} has arguments but cannot be invoked as function",
                    fields.join("."),
                    fields.join(".")
                )),
            },
            _ if !args.is_empty() => Err("can't give argument to non-function".into()),
            _ => self.operand(head, dot, at),
        }
    }

    fn operand(&mut self, word: &Operand, dot: &Value, at: usize) -> Result<Value, String> {
        match word {
            Operand::Dot => Ok(dot.clone()),
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(fields) => self.walk(dot, fields, at),
            Operand::Var(name, fields) => {
                if name == "$" {
                    return self.walk(self.root, fields, at);
                }
                let found =
                    self.vars.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
                let value = found.ok_or_else(|| format!("undefined variable {name:?}"))?;
                self.walk(&value, fields, at)
            }
            Operand::Paren(pipe, fields) => {
                let value = self.pipe(pipe, dot)?;
                self.walk(&value, fields, at)
            }
            Operand::Name(name) => funcs::call(name, &[]),
        }
    }

    fn walk(&self, from: &Value, fields: &[String], at: usize) -> Result<Value, String> {
        let mut value = from;
        for (depth, name) in fields.iter().enumerate() {
            let path = || fields.get(..=depth).unwrap_or_default().join(".");
            let head = || format!("template: :1:{at}: executing \"\" at <.{}>: ", path());
            value = match value {
                Value::Object(map) => match map.get(name) {
                    Some(found) => found,
                    None if self.strict => {
                        return Err(format!("{}map has no entry for key {name:?}", head()));
                    }
                    None => &Value::Null,
                },
                Value::Null if !self.strict => &Value::Null,
                Value::Null => return Err(format!("{}nil pointer evaluating interface {{}}.{name}", head())),
                _ => return Err(format!("{}can't evaluate field {name} in type interface {{}}", head())),
            };
        }
        Ok(value.clone())
    }
}

/// `.Label "key"` of a row.
fn label(dot: &Value, args: &[Value]) -> Value {
    let key = args.first().and_then(Value::as_str).unwrap_or_default();
    dot.get(crate::output::LABELS).and_then(|labels| labels.get(key)).cloned().unwrap_or_else(|| "".into())
}
