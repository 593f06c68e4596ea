//! Running a template.

use super::parse::{Call, Node, Operand, Pipe, Tree, What};
use super::value::Value;
use super::{Missing, TemplateError, functions, printf};

/// Templates that call themselves deeper than this are stopped.
const DEPTH: usize = 100;

/// What one run carries along.
pub(crate) struct Run<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    pub(crate) tree: &'a Tree,
    pub(crate) missing: Missing,
    pub(crate) out: String,
    variables: Vec<(String, Value)>,
    template: String,
    depth: usize,
}

/// How a list of nodes ended.
enum Flow {
    Next,
    Break,
    Continue,
}

type Step = Result<Flow, TemplateError>;

impl<'a> Run<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str, tree: &'a Tree, missing: Missing, data: &Value) -> Self {
        let variables = vec![("$".to_owned(), data.clone())];
        Self { name, text, tree, missing, out: String::new(), variables, template: name.to_owned(), depth: 0 }
    }

    pub(crate) fn run(mut self, data: &Value) -> Result<String, TemplateError> {
        self.nodes(&self.tree.main, data)?;
        Ok(self.out)
    }

    fn fail<T>(&self, at: usize, source: &str, why: impl std::fmt::Display) -> Result<T, TemplateError> {
        let mut context: String = source.chars().take(20).collect();
        if context.len() < source.len() {
            context.push_str("...");
        }
        let place = TemplateError::place(self.text, at);
        let (name, template) = (self.name, &self.template);
        Err(TemplateError(format!("template: {name}:{place}: executing {template:?} at <{context}>: {why}")))
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Step {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn scope(&mut self, nodes: &[Node], dot: &Value) -> Step {
        let mark = self.variables.len();
        let flow = self.nodes(nodes, dot);
        self.variables.truncate(mark);
        flow
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Step {
        match node {
            Node::Literal(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.out.push_str(&match value {
                        Value::Null => "<no value>".to_owned(),
                        value => printf::plain(&value),
                    });
                }
            }
            Node::If { pipe, then, otherwise } => {
                let mark = self.variables.len();
                let truth = self.pipe(pipe, dot)?.is_true();
                let flow = self.scope(if truth { then } else { otherwise }, dot);
                self.variables.truncate(mark);
                return flow;
            }
            Node::With { pipe, then, otherwise } => {
                let mark = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let flow =
                    if value.is_true() { self.scope(then, &value) } else { self.scope(otherwise, dot) };
                self.variables.truncate(mark);
                return flow;
            }
            Node::Range { pipe, body, otherwise } => {
                let mark = self.variables.len();
                let flow = self.range(pipe, body, otherwise, dot);
                self.variables.truncate(mark);
                return flow;
            }
            Node::Template { name, pipe, at } => self.template(name, pipe.as_ref(), *at, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Step {
        let plain = Pipe { variables: Vec::new(), assigns: false, commands: pipe.commands.clone() };
        let value = self.pipe(&plain, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::List(items) => (0..).map(Value::Int).zip(items).collect(),
            Value::Map(mut members) => {
                members.sort_by(|a, b| a.0.cmp(&b.0));
                members.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Lookup(mut members) => {
                members.sort();
                members.into_iter().map(|(key, value)| (Value::Text(key), Value::Text(value))).collect()
            }
            Value::Int(n) => (0..n).map(|n| (Value::Int(n), Value::Int(n))).collect(),
            Value::Null => Vec::new(),
            other => {
                let call = pipe.commands.first();
                let (at, source) = call.map_or((0, ""), |call| (call.at, call.source.as_str()));
                return self.fail(at, source, format!("range can't iterate over {}", printf::plain(&other)));
            }
        };
        if items.is_empty() {
            return self.scope(otherwise, dot);
        }
        for (key, item) in items {
            let mark = self.variables.len();
            match (pipe.variables.first(), pipe.variables.get(1)) {
                (Some(index), Some(value)) => {
                    self.declare(pipe.assigns, index, key);
                    self.declare(pipe.assigns, value, item.clone());
                }
                (Some(value), None) => self.declare(pipe.assigns, value, item.clone()),
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(mark);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn template(
        &mut self,
        name: &str,
        pipe: Option<&Pipe>,
        at: usize,
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Null,
        };
        let tree = self.tree;
        let Some(body) = tree.defined.get(name) else {
            return self.fail(
                at,
                &format!("{{{{template {name:?}}}}}"),
                format!("template {name:?} not defined"),
            );
        };
        if self.depth >= DEPTH {
            return self.fail(at, name, "exceeded maximum template depth (100)");
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
        let before = std::mem::replace(&mut self.template, name.to_owned());
        self.nodes(body, &value)?;
        self.variables = outer;
        self.template = before;
        self.depth -= 1;
        Ok(())
    }

    fn declare(&mut self, assigns: bool, name: &str, value: Value) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, slot)) if assigns => *slot = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for call in &pipe.commands {
            value = Some(self.call(call, dot, value)?);
        }
        let value = value.unwrap_or_default();
        for name in &pipe.variables {
            if pipe.assigns && !self.variables.iter().any(|(known, _)| known == name) {
                return self.fail(0, name, format!("undefined variable: {name}"));
            }
            self.declare(pipe.assigns, name, value.clone());
        }
        Ok(value)
    }

    fn call(&mut self, call: &Call, dot: &Value, last: Option<Value>) -> Result<Value, TemplateError> {
        let Some((first, rest)) = call.operands.split_first() else { return Ok(Value::Null) };
        let What::Function(name) = &first.what else { return self.value_call(call, first, rest, dot, last) };
        if matches!(name.as_str(), "and" | "or") {
            return self.short_circuit(call, name, rest, dot, last);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot, &[])?);
        }
        arguments.extend(last);
        let answer =
            functions::call(name, &arguments).or_else(|why| self.fail(call.at, &call.source, why))?;
        self.fields(answer, &first.fields, first, &[], false)
    }

    fn value_call(
        &mut self,
        call: &Call,
        first: &Operand,
        rest: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot, &[])?);
        }
        arguments.extend(last);
        if first.fields.is_empty() && !arguments.is_empty() {
            let why = format!("can't give argument to non-function {}", first.source);
            return self.fail(call.at, &first.source, why);
        }
        self.operand(first, dot, &arguments)
    }

    fn short_circuit(
        &mut self,
        call: &Call,
        name: &str,
        rest: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut value = None;
        for operand in rest {
            let next = self.operand(operand, dot, &[])?;
            if next.is_true() == (name == "or") {
                return Ok(next);
            }
            value = Some(next);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => {
                let why = format!("wrong number of args for {name}: want at least 1 got 0");
                self.fail(call.at, &call.source, why)
            }
        }
    }

    fn operand(
        &mut self,
        operand: &Operand,
        dot: &Value,
        arguments: &[Value],
    ) -> Result<Value, TemplateError> {
        let top =
            matches!(operand.what, What::Dot) || matches!(&operand.what, What::Variable(name) if name == "$");
        let value = match &operand.what {
            What::Dot => dot.clone(),
            What::Nil => Value::Null,
            What::Bool(truth) => Value::Bool(*truth),
            What::Int(number) => Value::Int(*number),
            What::Float(number) => Value::Float(*number),
            What::Text(text) => Value::Text(text.clone()),
            What::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return self.fail(operand.at, &operand.source, format!("undefined variable: {name}")),
            },
            What::Function(name) => {
                functions::call(name, &[]).or_else(|why| self.fail(operand.at, &operand.source, why))?
            }
            What::Pipe(pipe) => self.pipe(pipe, dot)?,
        };
        self.fields(value, &operand.fields, operand, arguments, top)
    }

    fn fields(
        &self,
        mut value: Value,
        names: &[String],
        operand: &Operand,
        arguments: &[Value],
        top: bool,
    ) -> Result<Value, TemplateError> {
        for (i, name) in names.iter().enumerate() {
            let arguments = if i + 1 == names.len() { arguments } else { &[] };
            value = self.field(&value, name, operand, arguments, top && i == 0)?;
        }
        Ok(value)
    }

    fn field(
        &self,
        value: &Value,
        name: &str,
        operand: &Operand,
        arguments: &[Value],
        top: bool,
    ) -> Result<Value, TemplateError> {
        let fail = |why: String| self.fail(operand.at, &operand.source, why);
        let found = match value {
            Value::Map(_) => value.member(name).cloned(),
            Value::Lookup(members) => {
                members.iter().find(|(k, _)| k == name).map(|(_, v)| Value::text(v.as_str()))
            }
            Value::Null if self.missing == Missing::NoValue => return Ok(Value::Null),
            Value::Null => return fail(format!("nil pointer evaluating interface {{}}.{name}")),
            _ => return fail(format!("can't evaluate field {name} in type interface {{}}")),
        };
        match (found, arguments) {
            (Some(Value::Lookup(members)), [Value::Text(key)]) => {
                let value = members.into_iter().find(|(k, _)| k == key).map(|(_, v)| v);
                Ok(Value::Text(value.unwrap_or_default()))
            }
            (Some(Value::Lookup(_)), []) if matches!(self.missing, Missing::Type(_)) => {
                fail(format!("wrong number of args for {name}: want 1 got 0"))
            }
            (Some(found), []) => Ok(found),
            (Some(_), _) => fail(format!("{name} is not a method but has arguments")),
            (None, _) => match self.missing {
                Missing::NoValue => Ok(Value::Null),
                Missing::Error => fail(format!("map has no entry for key {name:?}")),
                Missing::Type(kind) if top => fail(format!("can't evaluate field {name} in type {kind}")),
                Missing::Type(_) => Ok(Value::Null),
            },
        }
    }
}
