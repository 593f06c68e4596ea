//! Go's template language, as far as docker's `--format` and the tags of logs need it.
//!
//! Text with actions in `{{ }}`: fields, variables, pipelines, `if`, `with`, `range`, `define`, `template`,
//! `block`, `break`, `continue`, comments and trim markers; the functions of Go's text/template and docker's
//! own (`json`, `split`, `join`, `title`, `lower`, `upper`, `pad`, `truncate`). Values are JSON. Messages are
//! Go's, because scripts match on them. No input makes this panic or recurse without bound.

mod exec;
mod functions;
mod lex;
mod parse;
mod printf;
#[cfg(test)]
mod tests;
mod value;

pub use value::Value;

/// What a field that does not exist does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It reads as `<no value>`.
    NoValue,
    /// It is an error, as for `docker inspect`.
    Error,
    /// On the topmost value it is an error that names this Go type; in maps it reads as `<no value>`.
    Type(&'static str),
}

/// A template that cannot be parsed or run. The text is Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub(crate) String);

impl TemplateError {
    fn parse(name: &str, text: &str, at: usize, why: impl Into<String>) -> Self {
        let line = text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        Self(format!("template: {name}:{line}: {}", why.into()))
    }

    /// Line and column of a byte, both as Go counts them.
    fn place(text: &str, at: usize) -> String {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        format!("{line}:{column}")
    }
}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    text: String,
    tree: parse::Tree,
}

impl Template {
    /// Parses `text`; messages call the template `name` (docker leaves it empty).
    ///
    /// # Errors
    /// The text is not a template.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let tree = parse::parse(name, text)?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), tree })
    }

    /// Fills the template with `data`.
    ///
    /// # Errors
    /// A field or a function failed; nothing of the output is kept then.
    pub fn execute(&self, data: &Value, missing: Missing) -> Result<String, TemplateError> {
        exec::Run::new(&self.name, &self.text, &self.tree, missing, data).run(data)
    }
}
