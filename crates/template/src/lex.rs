//! Words of the template language.

use super::TemplateError;

/// What a word is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Text outside of actions.
    Literal(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.`
    Dot,
    /// `.Name`
    Field(String),
    /// `$`, `$name`
    Variable(String),
    /// A function's name or a keyword.
    Word(String),
    /// A quoted text.
    Text(String),
    /// A whole number or a character.
    Int(i64),
    /// Another number.
    Float(f64),
    /// `|`, `(`, `)`, `,`, `:=`, `=`
    Mark(&'static str),
}

/// A word, where it begins (byte offset), and whether a space is before it.
#[derive(Debug, Clone)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) at: usize,
    pub(crate) spaced: bool,
}

struct Lexer<'a> {
    name: &'a str,
    text: &'a str,
    at: usize,
    out: Vec<Lexeme>,
}

/// Splits a template.
pub(crate) fn lex(name: &str, text: &str) -> Result<Vec<Lexeme>, TemplateError> {
    let mut lexer = Lexer { name, text, at: 0, out: Vec::new() };
    let mut trim = false;
    loop {
        let rest = lexer.rest();
        let open = rest.find("{{");
        let literal = rest.get(..open.unwrap_or(rest.len())).unwrap_or_default();
        let after = open.and_then(|open| rest.get(open + 2..)).unwrap_or_default();
        let trims_left =
            after.starts_with('-') && after.get(1..).is_some_and(|r| r.starts_with(char::is_whitespace));
        let mut kept = if trim { literal.trim_start() } else { literal };
        if trims_left {
            kept = kept.trim_end();
        }
        if !kept.is_empty() {
            lexer.push(Token::Literal(kept.to_owned()), lexer.at, false);
        }
        let Some(open) = open else { return Ok(lexer.out) };
        lexer.at += open + 2 + if trims_left { 2 } else { 0 };
        trim = lexer.action()?;
    }
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, token: Token, at: usize, spaced: bool) {
        self.out.push(Lexeme { token, at, spaced });
    }

    fn fail<T>(&self, why: impl Into<String>) -> Result<T, TemplateError> {
        Err(TemplateError::parse(self.name, self.text, self.at, why))
    }

    /// Reads to the end of the action; answers whether the text behind is to be trimmed.
    fn action(&mut self) -> Result<bool, TemplateError> {
        if self.rest().trim_start().starts_with("/*") {
            return self.comment();
        }
        self.push(Token::Open, self.at, false);
        let mut spaced = false;
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            let space = rest.len() - trimmed.len();
            if space > 0 && trimmed.starts_with("-}}") {
                self.push(Token::Close, self.at, true);
                self.at += space + 3;
                return Ok(true);
            }
            self.at += space;
            spaced |= space > 0;
            if trimmed.starts_with("}}") {
                self.push(Token::Close, self.at, spaced);
                self.at += 2;
                return Ok(false);
            }
            let (token, length) = self.token(trimmed)?;
            self.push(token, self.at, spaced);
            self.at += length;
            spaced = false;
        }
    }

    fn comment(&mut self) -> Result<bool, TemplateError> {
        let rest = self.rest();
        let Some(end) = rest.find("*/") else { return self.fail("unclosed comment") };
        let after = rest.get(end + 2..).unwrap_or_default();
        let trimmed = after.trim_start();
        let (close, trims) = if trimmed.starts_with("-}}") { (3, true) } else { (2, false) };
        if !trims && !trimmed.starts_with("}}") {
            return self.fail("comment ends before closing delimiter");
        }
        self.at += end + 2 + (after.len() - trimmed.len()) + close;
        Ok(trims)
    }

    fn token(&self, rest: &str) -> Result<(Token, usize), TemplateError> {
        let name_length =
            |from: &str| from.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(from.len());
        for mark in ["|", "(", ")", ",", ":=", "="] {
            if rest.starts_with(mark) {
                return Ok((Token::Mark(mark), mark.len()));
            }
        }
        let Some(first) = rest.chars().next() else { return self.fail("unclosed action") };
        let tail = rest.get(first.len_utf8()..).unwrap_or_default();
        let name = tail.get(..name_length(tail)).unwrap_or_default();
        match first {
            '"' => self.quoted(rest),
            '`' => match tail.split_once('`') {
                Some((raw, _)) => Ok((Token::Text(raw.to_owned()), raw.len() + 2)),
                None => self.fail("unterminated raw quoted string"),
            },
            '\'' => self.character(rest),
            '$' => Ok((Token::Variable(format!("${name}")), 1 + name.len())),
            '.' if !tail.starts_with(|c: char| c.is_ascii_digit()) => match name {
                "" => Ok((Token::Dot, 1)),
                name => Ok((Token::Field(name.to_owned()), 1 + name.len())),
            },
            '0'..='9' | '+' | '-' | '.' => self.number(rest),
            c if c.is_alphabetic() || c == '_' => {
                let word = rest.get(..name_length(rest)).unwrap_or_default();
                Ok((Token::Word(word.to_owned()), word.len()))
            }
            c if rest == "}" || c == '\n' => self.fail("unclosed action"),
            c => self.fail(format!("unexpected {c:?} in command")),
        }
    }

    fn number(&self, rest: &str) -> Result<(Token, usize), TemplateError> {
        let exponent = |before: Option<char>| matches!(before, Some('e' | 'E'));
        let mut length = 0;
        let mut before = None;
        for c in rest.chars() {
            let sign = matches!(c, '+' | '-') && (length == 0 || exponent(before));
            if !(sign || c.is_ascii_alphanumeric() || c == '.' || c == '_') {
                break;
            }
            length += c.len_utf8();
            before = Some(c);
        }
        let text = rest.get(..length).unwrap_or_default();
        let plain = text.replace('_', "");
        if let Some(number) = super::printf::parse_int(&plain) {
            return Ok((Token::Int(number), length));
        }
        match plain.parse() {
            Ok(number) => Ok((Token::Float(number), length)),
            Err(_) => self.fail(format!("bad number syntax: {text:?}")),
        }
    }

    fn character(&self, rest: &str) -> Result<(Token, usize), TemplateError> {
        let mut chars = rest.char_indices().skip(1);
        let value = match chars.next() {
            Some((_, '\\')) => escape(&mut chars),
            Some((_, c)) if c != '\'' => Some(c),
            _ => None,
        };
        match (value, chars.next()) {
            (Some(value), Some((end, '\''))) => Ok((Token::Int(i64::from(u32::from(value))), end + 1)),
            _ => self.fail("unterminated character constant"),
        }
    }

    fn quoted(&self, rest: &str) -> Result<(Token, usize), TemplateError> {
        let mut out = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((Token::Text(out), at + 1)),
                '\n' => break,
                '\\' => match escape(&mut chars) {
                    Some(c) => out.push(c),
                    None => return self.fail("invalid syntax"),
                },
                c => out.push(c),
            }
        }
        self.fail("unterminated quoted string")
    }
}

/// What follows a backslash.
fn escape(chars: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let hex = |text: String| u32::from_str_radix(&text, 16).ok().and_then(char::from_u32);
    let (_, c) = chars.next()?;
    let mut code = |digits: usize, first: Option<char>| {
        let mut text = String::from_iter(first);
        text.extend(chars.by_ref().take(digits).map(|(_, c)| c));
        text
    };
    match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'v' => Some('\u{b}'),
        '\\' | '"' | '\'' => Some(c),
        'x' => hex(code(2, None)),
        'u' => hex(code(4, None)),
        'U' => hex(code(8, None)),
        '0'..='7' => u32::from_str_radix(&code(2, Some(c)), 8).ok().and_then(char::from_u32),
        _ => None,
    }
}
