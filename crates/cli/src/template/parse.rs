//! Reading a template into nodes.

use serde_json::Value;

use super::{Node, Operand, Pipe, funcs};

#[derive(Debug)]
enum Piece {
    Text(String),
    Action(String, usize),
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut trim = false;
    let offset = |rest: &str| text.len() - rest.len();
    loop {
        let Some(open) = rest.find("{{") else {
            out.push(Piece::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
            return Ok(out);
        };
        let (before, after) = rest.split_at(open);
        let after = after.get(2..).unwrap_or_default();
        let close = end_of(after).ok_or("unclosed action")?;
        let mut action = after.get(..close).unwrap_or_default();
        let mut before = if trim { before.trim_start() } else { before };
        if action.starts_with("- ") || action == "-" {
            before = before.trim_end();
            action = action.get(1..).unwrap_or_default();
        }
        trim = action.ends_with(" -");
        action = action.strip_suffix(" -").unwrap_or(action);
        let at = offset(after) + (action.len() - action.trim_start().len());
        out.push(Piece::Text(before.to_owned()));
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            out.push(Piece::Action(action.to_owned(), at));
        }
        rest = after.get(close + 2..).unwrap_or_default();
    }
}

/// Where `}}` stands outside of quotes.
fn end_of(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text.get(at..).is_some_and(|rest| rest.starts_with("}}")) => return Some(at),
            None => {}
        }
    }
    None
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        None => Ok(nodes),
        Some((word, _)) => Err(format!("unexpected {{{{{word}}}}}")),
    }
}

type Ending = Option<(String, usize)>;

/// Nodes until `end` or `else`.
fn block(pieces: &mut std::vec::IntoIter<Piece>, depth: usize) -> Result<(Vec<Node>, Ending), String> {
    if depth > 100 {
        return Err("nested too deeply".into());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let (action, at) = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action, at) => (action, at),
        };
        let word = action.split_whitespace().next().unwrap_or_default();
        match word {
            "end" | "else" => return Ok((nodes, Some((action, at)))),
            "break" => nodes.push(Node::Break),
            "continue" => nodes.push(Node::Continue),
            "if" | "with" | "range" => nodes.push(branch(&action, at, pieces, depth)?),
            _ => nodes.push(Node::Action(pipe(&action, at)?)),
        }
    }
    Ok((nodes, None))
}

fn branch(
    action: &str,
    at: usize,
    pieces: &mut std::vec::IntoIter<Piece>,
    depth: usize,
) -> Result<Node, String> {
    let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
    if rest.trim().is_empty() {
        return Err(format!("missing value for {word}"));
    }
    let head = pipe(rest, at)?;
    let (then, end) = block(pieces, depth + 1)?;
    let (ending, end_at) = end.ok_or("unexpected EOF")?;
    let otherwise = if let Some(more) = ending.strip_prefix("else") {
        let more = more.trim();
        if more.is_empty() {
            let (nodes, end) = block(pieces, depth + 1)?;
            if end.is_none_or(|(word, _)| word != "end") {
                return Err("unexpected EOF".into());
            }
            nodes
        } else {
            vec![branch(more, end_at, pieces, depth + 1)?]
        }
    } else {
        Vec::new()
    };
    Ok(match word {
        "if" => Node::If(head, then, otherwise),
        "with" => Node::With(head, then, otherwise),
        _ => Node::Range(head, then, otherwise),
    })
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Pipe,
    Open,
    /// A closing parenthesis and the fields behind it.
    Close(Vec<String>),
    Comma,
    Declare,
    Assign,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let mut out = Vec::new();
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            c if c.is_whitespace() => {}
            '|' => out.push(Token::Pipe),
            '(' => out.push(Token::Open),
            ',' => out.push(Token::Comma),
            ':' if chars.get(at) == Some(&'=') => {
                at += 1;
                out.push(Token::Declare);
            }
            '=' => out.push(Token::Assign),
            '"' | '`' => {
                let begin = at;
                while chars.get(at).ok_or("unterminated quoted string")? != &c {
                    at += if chars.get(at) == Some(&'\\') && c == '"' { 2 } else { 1 };
                }
                let inner: String = chars.get(begin..at).unwrap_or_default().iter().collect();
                at += 1;
                let text = if c == '`' {
                    inner
                } else {
                    serde_json::from_str(&format!("\"{inner}\"")).map_err(|_| "bad string")?
                };
                out.push(Token::Text(text));
            }
            ')' => {
                let word = take(&chars, &mut at);
                out.push(Token::Close(
                    word.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
                ));
            }
            c if c.is_ascii_digit() || (c == '-' && chars.get(at).is_some_and(char::is_ascii_digit)) => {
                out.push(Token::Number(format!("{c}{}", take(&chars, &mut at))));
            }
            c if c.is_alphanumeric() || "_.$".contains(c) => {
                out.push(Token::Word(format!("{c}{}", take(&chars, &mut at))))
            }
            other => return Err(format!("unexpected {other:?} in command")),
        }
    }
    Ok(out)
}

fn take(chars: &[char], at: &mut usize) -> String {
    let mut word = String::new();
    while let Some(&c) = chars.get(*at) {
        if !(c.is_alphanumeric() || c == '_' || c == '.') {
            break;
        }
        word.push(c);
        *at += 1;
    }
    word
}

fn pipe(text: &str, at: usize) -> Result<Pipe, String> {
    let tokens = tokens(text)?;
    let mut pipe = Pipe { at, ..Pipe::default() };
    let mut begin = 0;
    if let Some(sign) = tokens.iter().position(|token| matches!(token, Token::Declare | Token::Assign)) {
        pipe.assign = tokens.get(sign) == Some(&Token::Assign);
        for token in tokens.get(..sign).unwrap_or_default() {
            match token {
                Token::Word(name) if name.starts_with('$') => pipe.vars.push(name.clone()),
                Token::Comma => {}
                _ => return Err("unexpected := in command".into()),
            }
        }
        begin = sign + 1;
    }
    let mut rest = tokens.get(begin..).unwrap_or_default().iter();
    commands(&mut pipe, &mut rest, false, 0)?;
    Ok(pipe)
}

/// Reads commands up to the end or the closing parenthesis, whose fields it gives.
fn commands(
    pipe: &mut Pipe,
    rest: &mut std::slice::Iter<'_, Token>,
    nested: bool,
    depth: usize,
) -> Result<Vec<String>, String> {
    if depth > 100 {
        return Err("nested too deeply".into());
    }
    let mut current = Vec::new();
    let mut fields = None;
    while let Some(token) = rest.next() {
        match token {
            Token::Pipe if current.is_empty() => return Err("missing value for command".into()),
            Token::Pipe => pipe.commands.push(std::mem::take(&mut current)),
            Token::Open => {
                let mut inner = Pipe { at: pipe.at, ..Pipe::default() };
                let fields = commands(&mut inner, rest, true, depth + 1)?;
                current.push(Operand::Paren(inner, fields));
            }
            Token::Close(names) if nested => {
                fields = Some(names.clone());
                break;
            }
            Token::Text(text) => current.push(Operand::Literal(Value::from(text.clone()))),
            Token::Number(text) => current.push(Operand::Literal(number(text)?)),
            Token::Word(word) => current.push(operand(word)?),
            _ => return Err("unexpected token in command".into()),
        }
    }
    if current.is_empty() {
        return Err("missing value for command".into());
    }
    pipe.commands.push(current);
    match fields {
        Some(fields) => Ok(fields),
        None if nested => Err("unclosed left paren".into()),
        None => Ok(Vec::new()),
    }
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(whole.into());
    }
    text.parse::<f64>().map(Value::from).map_err(|_| format!("bad number syntax: {text:?}"))
}

fn operand(word: &str) -> Result<Operand, String> {
    let fields =
        |text: &str| text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    Ok(match word {
        "." => Operand::Dot,
        "true" => Operand::Literal(true.into()),
        "false" => Operand::Literal(false.into()),
        "nil" => Operand::Literal(Value::Null),
        _ if word.starts_with('.') => Operand::Field(fields(word)),
        _ if word.starts_with('$') => {
            let (name, rest) = word.split_once('.').unwrap_or((word, ""));
            Operand::Var(name.to_owned(), fields(rest))
        }
        _ if funcs::known(word) => Operand::Name(word.to_owned()),
        _ => return Err(format!("function {word:?} not defined")),
    })
}
