//! Go's formatting verbs over template values.

use super::value::Value;

/// Go's whole numbers with their base prefixes.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = match lower.get(..2) {
        Some("0x") => (lower.get(2..)?, 16),
        Some("0o") => (lower.get(2..)?, 8),
        Some("0b") => (lower.get(2..)?, 2),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i64::from_str_radix(digits, base).ok()?;
    Some(if negative { -number } else { number })
}

/// A number as `%v` prints it: the shortest digits, an exponent from 1e21 on and below 1e-4.
pub(crate) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let size = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{number}");
    }
    exponent(&format!("{number:e}"), 'e')
}

/// Go writes exponents with a sign and at least two digits.
fn exponent(text: &str, letter: char) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |rest| ('-', rest));
    format!("{digits}{letter}{sign}{power:0>2}")
}

/// A value as `%v` and actions print it, inside of other values.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(f) => float(*f),
        Value::Text(s) => s.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Map(members) => map(members.iter().map(|(k, v)| (k.as_str(), plain(v))).collect()),
        Value::Lookup(members) => map(members.iter().map(|(k, v)| (k.as_str(), v.clone())).collect()),
    }
}

fn map(mut members: Vec<(&str, String)>) -> String {
    members.sort();
    let members: Vec<String> = members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", members.join(" "))
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Directive {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widths beyond this are refused, as Go refuses them.
const WIDEST: usize = 1_000_000;

/// `printf`
pub(crate) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut next = 0;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = Directive::read(&mut chars, arguments, &mut next);
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match arguments.get(next) {
                None => {
                    out.push_str("%!");
                    out.push(verb);
                    out.push_str("(MISSING)");
                }
                Some(value) => {
                    next += 1;
                    out.push_str(&directive.apply(verb, value));
                }
            },
        }
    }
    if next < arguments.len() {
        let extra: Vec<String> = arguments.iter().skip(next).map(typed).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn typed(value: &Value) -> String {
    if *value == Value::Null { "<nil>".into() } else { format!("{}={}", value.type_name(), plain(value)) }
}

impl Directive {
    fn read(
        chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
        arguments: &[Value],
        next: &mut usize,
    ) -> Self {
        let mut directive = Self::default();
        while let Some(c) = chars.peek() {
            match c {
                '-' => directive.minus = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                ' ' => directive.space = true,
                '0' => directive.zero = true,
                _ => break,
            }
            chars.next();
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.next_if_eq(&'*').is_some() {
                *next += 1;
                return match arguments.get(*next - 1) {
                    Some(Value::Int(n)) => usize::try_from(*n).ok().filter(|n| *n <= WIDEST),
                    _ => None,
                };
            }
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse().ok().filter(|n| *n <= WIDEST)
        };
        directive.width = number(chars);
        if chars.next_if_eq(&'.').is_some() {
            directive.precision = Some(number(chars).unwrap_or(0));
        }
        directive
    }

    fn apply(&self, verb: char, value: &Value) -> String {
        let body = match (verb, value) {
            ('v', Value::Text(s)) if self.sharp => quote(s),
            ('v', Value::Float(f)) if self.precision.is_some() => self.float('g', *f),
            ('v', Value::Int(n)) => return self.number(n.to_string()),
            ('v', value) => plain(value),
            ('T', value) => value.type_name().to_owned(),
            ('t', Value::Bool(b)) => b.to_string(),
            ('s' | 'q' | 'x' | 'X', Value::List(items)) => {
                let items: Vec<String> = items.iter().map(|item| self.bare().apply(verb, item)).collect();
                format!("[{}]", items.join(" "))
            }
            ('s', Value::Text(s)) => self.cut(s),
            ('q', Value::Text(s)) => quote(&self.cut(s)),
            ('q', Value::Int(n)) => format!("{:?}", character(*n)),
            ('x', Value::Text(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
            ('X', Value::Text(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
            ('c', Value::Int(n)) => character(*n).to_string(),
            ('U', Value::Int(n)) => format!("U+{n:04X}"),
            ('d' | 'x' | 'X' | 'o' | 'O' | 'b', Value::Int(n)) => return self.number(self.radix(verb, *n)),
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(f)) => return self.number(self.float(verb, *f)),
            ('d', Value::List(items)) => {
                let items: Vec<String> = items.iter().map(|item| self.bare().apply(verb, item)).collect();
                format!("[{}]", items.join(" "))
            }
            (verb, Value::Null) => format!("%!{verb}(<nil>)"),
            (verb, value) => format!("%!{verb}({})", typed(value)),
        };
        self.pad(body, ' ')
    }

    /// The same without a width, for the members of a list.
    fn bare(&self) -> Self {
        Self { width: self.width, precision: self.precision, minus: self.minus, ..Self::default() }
    }

    fn cut(&self, text: &str) -> String {
        self.precision.map_or_else(|| text.to_owned(), |n| text.chars().take(n).collect())
    }

    fn radix(&self, verb: char, number: i64) -> String {
        let size = number.unsigned_abs();
        let (prefix, digits) = match verb {
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'o' => ("0", format!("{size:o}")),
            'O' => return format!("{}0o{size:o}", if number < 0 { "-" } else { "" }),
            'b' => ("0b", format!("{size:b}")),
            _ => ("", size.to_string()),
        };
        let digits = format!("{digits:0>width$}", width = self.precision.unwrap_or(0));
        format!("{}{}{digits}", if number < 0 { "-" } else { "" }, if self.sharp { prefix } else { "" })
    }

    fn float(&self, verb: char, number: f64) -> String {
        let precision = self.precision.unwrap_or(6).min(300);
        match verb {
            'f' | 'F' => format!("{number:.precision$}"),
            'e' | 'E' => exponent(&format!("{number:.precision$e}"), verb),
            _ => match self.precision {
                None => float(number),
                Some(digits) => significant(number, digits.max(1), if verb == 'G' { 'E' } else { 'e' }),
            },
        }
    }

    fn number(&self, digits: String) -> String {
        let negative = digits.starts_with('-');
        let digits = match () {
            () if self.plus && !negative => format!("+{digits}"),
            () if self.space && !negative => format!(" {digits}"),
            () => digits,
        };
        let width = self.width.unwrap_or(0);
        let zeros = width.saturating_sub(digits.len());
        if self.zero && !self.minus && self.precision.is_none_or(|_| digits.contains('.')) && zeros > 0 {
            let sign = usize::from(digits.starts_with(['-', '+', ' ']));
            let (sign, digits) = digits.split_at_checked(sign).unwrap_or(("", &digits));
            return format!("{sign}{}{digits}", "0".repeat(zeros));
        }
        self.pad(digits, ' ')
    }

    fn pad(&self, body: String, fill: char) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(body.chars().count());
        let padding = String::from(fill).repeat(missing);
        if self.minus { body + &padding } else { padding + &body }
    }
}

fn character(code: i64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// `%.Ng`
fn significant(number: f64, digits: usize, letter: char) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let power: i64 = scientific.split_once('e').and_then(|(_, p)| p.parse().ok()).unwrap_or(0);
    let limit = i64::try_from(digits).unwrap_or(i64::MAX);
    let trim = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    if power < -4 || power >= limit {
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{power}", trim(mantissa.to_owned())), letter);
    }
    trim(format!("{number:.*}", usize::try_from(limit - 1 - power).unwrap_or(0)))
}

/// Go's quoted text.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
