//! From words to a tree.

use super::lex::{Lexeme, Token, lex};
use super::{TemplateError, functions};
use std::collections::BTreeMap;

/// A part of a template.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Literal(String),
    Action(Pipe),
    If { pipe: Pipe, then: Vec<Self>, otherwise: Vec<Self> },
    With { pipe: Pipe, then: Vec<Self>, otherwise: Vec<Self> },
    Range { pipe: Pipe, body: Vec<Self>, otherwise: Vec<Self> },
    Template { name: String, pipe: Option<Pipe>, at: usize },
    Break,
    Continue,
}

/// `$a, $b := command | command`
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipe {
    pub(crate) variables: Vec<String>,
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Call>,
}

/// A function with its arguments, or one value.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) operands: Vec<Operand>,
    pub(crate) at: usize,
    pub(crate) source: String,
}

/// One value, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) what: What,
    pub(crate) fields: Vec<String>,
    pub(crate) at: usize,
    pub(crate) source: String,
}

/// What a value is made of.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}

/// All templates of a text: the main one under the empty name's place, and the defined ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) main: Vec<Node>,
    pub(crate) defined: BTreeMap<String, Vec<Node>>,
}

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    words: Vec<Lexeme>,
    next: usize,
    defined: BTreeMap<String, Vec<Node>>,
    depth: usize,
}

/// How a block ended.
enum End {
    Text,
    Closed,
    Else,
    ElseIf,
    ElseWith,
}

/// Deeper nesting is refused, so that no text can exhaust the stack.
const DEPTH: usize = 100;

/// Parses a template called `name` in messages.
pub(crate) fn parse(name: &str, text: &str) -> Result<Tree, TemplateError> {
    let words = lex(name, text)?;
    let mut parser = Parser { name, text, words, next: 0, defined: BTreeMap::new(), depth: 0 };
    let (main, end) = parser.block()?;
    match end {
        End::Text => Ok(Tree { main, defined: parser.defined }),
        End::Closed => parser.fail("unexpected {{end}}"),
        _ => parser.fail("unexpected {{else}}"),
    }
}

impl Parser<'_> {
    fn at(&self) -> usize {
        self.words.get(self.next).map_or(self.text.len(), |word| word.at)
    }

    fn fail<T>(&self, why: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::parse(self.name, self.text, self.at(), why))
    }

    fn peek(&self) -> Option<&Token> {
        self.words.get(self.next).map(|word| &word.token)
    }

    fn take(&mut self) -> Option<Lexeme> {
        self.next += 1;
        self.words.get(self.next - 1).cloned()
    }

    fn take_if(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.next += usize::from(found);
        found
    }

    fn close(&mut self, context: &str) -> Result<(), TemplateError> {
        if self.take_if(&Token::Close) {
            return Ok(());
        }
        let found = self.words.get(self.next).map_or_else(|| "EOF".to_owned(), |w| self.shown(w));
        self.fail(format!("unexpected {found} in {context}"))
    }

    fn shown(&self, word: &Lexeme) -> String {
        match &word.token {
            Token::Field(name) => format!("<.{name}>"),
            Token::Variable(name) => format!("{name:?}"),
            Token::Word(name) => format!("<{name}>"),
            Token::Mark(mark) => format!("{mark:?}"),
            Token::Text(text) => format!("{text:?}"),
            Token::Dot => "<.>".to_owned(),
            Token::Close => "\"}}\"".to_owned(),
            _ => "token".to_owned(),
        }
    }

    fn block(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.fail("too many nested blocks");
        }
        let mut nodes = Vec::new();
        let end = loop {
            match self.take() {
                None => break End::Text,
                Some(Lexeme { token: Token::Literal(text), .. }) => nodes.push(Node::Literal(text)),
                Some(_) => {
                    if let Some(end) = self.action(&mut nodes)? {
                        break end;
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<End>, TemplateError> {
        let word = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let start = self.at();
        match word.as_str() {
            "end" => {
                self.next += 1;
                self.close("end")?;
                return Ok(Some(End::Closed));
            }
            "else" => return self.else_end().map(Some),
            "if" | "with" | "range" => {
                self.next += 1;
                nodes.push(self.control(&word)?);
            }
            "break" | "continue" => {
                self.next += 1;
                self.close(&word)?;
                nodes.push(if word == "break" { Node::Break } else { Node::Continue });
            }
            "define" | "block" => {
                self.next += 1;
                nodes.extend(self.define(word == "block", start)?);
            }
            "template" => {
                self.next += 1;
                let name = self.quoted_name("template clause")?;
                let pipe = if self.peek() == Some(&Token::Close) {
                    None
                } else {
                    Some(self.pipe("template clause")?)
                };
                self.close("template clause")?;
                nodes.push(Node::Template { name, pipe, at: start });
            }
            _ => {
                let pipe = self.pipe("command")?;
                self.close("command")?;
                nodes.push(Node::Action(pipe));
            }
        }
        Ok(None)
    }

    fn else_end(&mut self) -> Result<End, TemplateError> {
        self.next += 1;
        if self.take_word("if") {
            return Ok(End::ElseIf);
        }
        if self.take_word("with") {
            return Ok(End::ElseWith);
        }
        self.close("else")?;
        Ok(End::Else)
    }

    fn quoted_name(&mut self, context: &str) -> Result<String, TemplateError> {
        match self.take() {
            Some(Lexeme { token: Token::Text(name), .. }) => Ok(name),
            _ => self.fail(format!("unexpected token in {context}")),
        }
    }

    fn define(&mut self, call: bool, at: usize) -> Result<Option<Node>, TemplateError> {
        let context = if call { "block clause" } else { "define clause" };
        let name = self.quoted_name(context)?;
        let pipe = if call { Some(self.pipe(context)?) } else { None };
        self.close(context)?;
        let (body, end) = self.block()?;
        if !matches!(end, End::Closed) {
            return self.fail(format!("unexpected EOF in {context}"));
        }
        self.defined.insert(name.clone(), body);
        Ok(call.then_some(Node::Template { name, pipe, at }))
    }

    fn control(&mut self, word: &str) -> Result<Node, TemplateError> {
        let pipe = self.pipe(word)?;
        self.close(word)?;
        let (then, end) = self.block()?;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Else => {
                let (otherwise, end) = self.block()?;
                if !matches!(end, End::Closed) {
                    return self.fail("expected end; found {{else}}");
                }
                otherwise
            }
            End::ElseIf if word != "range" => vec![self.control("if")?],
            End::ElseWith if word == "with" => vec![self.control("with")?],
            End::Text => return self.fail("unexpected EOF"),
            _ => return self.fail("unexpected else"),
        };
        Ok(match word {
            "if" => Node::If { pipe, then, otherwise },
            "with" => Node::With { pipe, then, otherwise },
            _ => Node::Range { pipe, body: then, otherwise },
        })
    }

    fn pipe(&mut self, context: &str) -> Result<Pipe, TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.fail("too many nested parentheses");
        }
        let mut pipe = Pipe::default();
        self.declaration(&mut pipe, context)?;
        loop {
            let call = self.call(context)?;
            pipe.commands.push(call);
            if !self.take_if(&Token::Mark("|")) {
                break;
            }
        }
        self.depth -= 1;
        Ok(pipe)
    }

    fn declaration(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), TemplateError> {
        let start = self.next;
        let mut names = Vec::new();
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.next += 1;
            names.push(name);
            if self.take_if(&Token::Mark(":=")) || self.take_if(&Token::Mark("=")) {
                let mark = self.words.get(self.next - 1).map(|w| w.token.clone());
                pipe.assigns = mark == Some(Token::Mark("="));
                if names.len() > if context == "range" { 2 } else { 1 } {
                    return self.fail(format!("too many declarations in {context}"));
                }
                pipe.variables = names;
                return Ok(());
            }
            if context != "range" || !self.take_if(&Token::Mark(",")) {
                break;
            }
        }
        self.next = start;
        Ok(())
    }

    fn call(&mut self, context: &str) -> Result<Call, TemplateError> {
        let (at, start) = (self.at(), self.at());
        let mut operands = Vec::new();
        while !matches!(self.peek(), None | Some(Token::Close | Token::Mark("|" | ")"))) {
            if self.peek() == Some(&Token::Mark("=")) || self.peek() == Some(&Token::Mark(":=")) {
                return self.close(context).and_then(|()| self.fail("unexpected assignment"));
            }
            operands.push(self.operand(context)?);
        }
        if operands.is_empty() {
            return match self.peek() {
                None => self.fail("unclosed action"),
                _ => self.fail(format!("missing value for {context}")),
            };
        }
        if let Some(first) = operands.first() {
            let literal = matches!(
                first.what,
                What::Bool(_) | What::Int(_) | What::Float(_) | What::Text(_) | What::Nil
            );
            if literal && operands.len() > 1 {
                return self.fail(format!("can't give argument to non-function {}", first.source));
            }
        }
        let source = self.text.get(start..self.at()).unwrap_or_default().trim().to_owned();
        Ok(Call { operands, at, source })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, TemplateError> {
        let start = self.at();
        let mut fields = Vec::new();
        let Some(word) = self.take() else { return self.fail("unclosed action") };
        let what = match word.token.clone() {
            Token::Dot => What::Dot,
            Token::Field(name) => {
                fields.push(name);
                What::Dot
            }
            Token::Variable(name) => What::Variable(name),
            Token::Text(text) => What::Text(text),
            Token::Int(number) => What::Int(number),
            Token::Float(number) => What::Float(number),
            Token::Word(name) => match name.as_str() {
                "true" | "false" => What::Bool(name == "true"),
                "nil" => What::Nil,
                _ if functions::known(&name) => What::Function(name),
                _ => {
                    self.next -= 1;
                    return self.fail(format!("function {name:?} not defined"));
                }
            },
            Token::Mark("(") => {
                let inner = self.pipe("parenthesized pipeline")?;
                if !self.take_if(&Token::Mark(")")) {
                    return self.fail("unclosed left paren");
                }
                What::Pipe(Box::new(inner))
            }
            _ => {
                self.next -= 1;
                return self.fail(format!("unexpected {} in {context}", self.shown(&word)));
            }
        };
        let mut at = start;
        while let Some(Lexeme { token: Token::Field(name), at: place, spaced: false }) =
            self.words.get(self.next)
        {
            at = if at == start { *place } else { at };
            fields.push(name.clone());
            self.next += 1;
        }
        let source = self.text.get(start..self.at()).unwrap_or_default().trim_end();
        let source = source.trim_end_matches("-}}").trim_end_matches(['|', ')', ',']).trim_end().to_owned();
        Ok(Operand { what, fields, at, source })
    }
}
