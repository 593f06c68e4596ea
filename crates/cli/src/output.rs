//! Rows, tables and `--format`.

use serde_json::{Map, Value};

use crate::error::{Result, fail};
use crate::template::Template;

/// The hidden key of a row that holds its labels for `.Label "key"`.
pub(crate) const LABELS: &str = "\u{0}labels";

/// A row by column name.
pub(crate) type Row = Map<String, Value>;

/// One column: field and heading.
pub(crate) type Column = (&'static str, &'static str);

/// Prints lines to standard output; a reader that went away ends quietly.
pub(crate) fn put(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints rows as a table of `columns`, or as `format` asks.
///
/// # Errors
/// The template is broken.
pub(crate) fn rows(rows: &[Row], format: &str, columns: &[Column], headings: &[Column]) -> Result<()> {
    put(&written(rows, format, columns, headings)?);
    Ok(())
}

/// Rows as a table of `columns`, or as `format` asks.
///
/// # Errors
/// The template is broken.
pub(crate) fn written(rows: &[Row], format: &str, columns: &[Column], headings: &[Column]) -> Result<String> {
    if format == "json" || format == "{{json .}}" {
        return Ok(rows.iter().map(|row| format!("{}\n", json_row(row))).collect());
    }
    let body = match format.strip_prefix("table") {
        None if format.is_empty() => "",
        Some("") => "",
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim(),
        _ => {
            let template = parse(&unescape(format))?;
            let line = |row| Ok(format!("{}\n", render(&template, row)?));
            return rows.iter().map(line).collect();
        }
    };
    if body.is_empty() {
        return Ok(plain(rows, columns));
    }
    let template = parse(&unescape(body))?;
    let mut heads = Row::new();
    for (field, heading) in headings.iter().chain(columns) {
        heads.insert((*field).to_owned(), (*heading).into());
    }
    heads.insert(LABELS.to_owned(), Value::Object(label_headings(body)));
    let mut lines = vec![render(&template, &heads)?];
    for row in rows {
        lines.push(render(&template, row)?);
    }
    Ok(align(&lines))
}

/// A table without a template: a long list is made of strings that are there.
fn plain(rows: &[Row], columns: &[Column]) -> String {
    let cell = |row: &Row, field: &str| match row.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "<no value>".to_owned(),
    };
    let heads = columns.iter().map(|(_, heading)| *heading).collect::<Vec<_>>().join("\t");
    let line = |row| columns.iter().map(|(field, _)| cell(row, field)).collect::<Vec<_>>().join("\t");
    let lines: Vec<String> = std::iter::once(heads).chain(rows.iter().map(line)).collect();
    align(&lines)
}

/// The headings of `.Label "KEY"`: the last part of each key.
fn label_headings(format: &str) -> Map<String, Value> {
    let keys = format.split(".Label \"").skip(1).filter_map(|rest| rest.split('"').next());
    let heading = |key: &str| key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ");
    keys.map(|key| (key.to_owned(), heading(key).into())).collect()
}

fn json_row(row: &Row) -> String {
    let shown = row.iter().filter(|(key, _)| key.as_str() != LABELS);
    crate::template::json(&Value::Object(shown.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

fn parse(text: &str) -> Result<Template> {
    Template::parse(text).or_else(|cause| fail!("failed to parse template: {cause}"))
}

fn render(template: &Template, row: &Row) -> Result<String> {
    template
        .render(&Value::Object(row.clone()), true)
        .or_else(|cause| fail!("failed to execute template: {cause}"))
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Aligns cells divided by tabs as docker's writer does: three blanks, at least 10 columns.
pub(crate) fn align(lines: &[String]) -> String {
    let cells: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let count = cells.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            let widest = cells
                .iter()
                .filter(|row| column + 1 < row.len())
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max();
            widest.map_or(0, |width| (width + 3).max(10))
        })
        .collect();
    let mut out = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let width = widths.get(column).copied().unwrap_or(0);
                out.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// Compares names as people do: `b2` stands before `b10`.
pub(crate) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    let number = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    while let (Some(x), Some(y)) = (left.first(), right.first()) {
        let (m, n) = (number(left), number(right));
        let (x, y, taken) = if m > 0 && n > 0 {
            let bare =
                |text: &[u8]| text.iter().skip_while(|byte| **byte == b'0').copied().collect::<Vec<_>>();
            let (x, y) = (bare(left.get(..m).unwrap_or_default()), bare(right.get(..n).unwrap_or_default()));
            ((x.len(), x), (y.len(), y), (m, n))
        } else {
            ((1, vec![*x]), (1, vec![*y]), (1, 1))
        };
        match x.cmp(&y) {
            std::cmp::Ordering::Equal => {}
            other => return other,
        }
        left = left.get(taken.0..).unwrap_or_default();
        right = right.get(taken.1..).unwrap_or_default();
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Reindents a document without changing the order of its keys.
pub(crate) fn indent(raw: &[u8], unit: &str, base: usize) -> String {
    let mut out = String::new();
    let mut depth = base;
    let mut text = false;
    let mut escaped = false;
    let raw = String::from_utf8_lossy(raw);
    let mut chars = raw.chars().filter(|c| *c != '\n' && *c != '\r').peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&unit.repeat(depth));
    };
    while let Some(c) = chars.next() {
        if text {
            out.push(c);
            (text, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => {
                text = true;
                out.push(c);
            }
            ' ' | '\t' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                let close = if c == '{' { '}' } else { ']' };
                if chars.next_if_eq(&close).is_some() {
                    out.push(close);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_must_stand_in_columns() {
        let lines = ["A\tB\tC".to_owned(), "long cell here\tx\ty".to_owned()];
        assert_eq!(align(&lines), "A                B         C\nlong cell here   x         y\n");
    }

    #[test]
    fn names_must_stand_in_the_order_of_their_numbers() {
        let mut names = ["b10", "a", "b2", "default", "b02", "b", "B"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["B", "a", "b", "b02", "b2", "b10", "default"]);
    }

    #[test]
    fn reindenting_must_keep_order_and_strings() {
        let text = indent(br#"{"b":{"x":[]},"a":["q{\"",1],"c":{}}"#, "  ", 0);
        assert_eq!(
            text,
            "{\n  \"b\": {\n    \"x\": []\n  },\n  \"a\": [\n    \"q{\\\"\",\n    1\n  ],\n  \"c\": {}\n}"
        );
    }
}
