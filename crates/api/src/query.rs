//! Query parameters, as Go's clients write them.

use crate::error::Failure;
use proa_types::Filters;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// Go's reading of a flag: everything but nothing, `0`, `no`, `false`, `none` is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.text(name).map(str::to_ascii_lowercase);
        !matches!(value.as_deref(), None | Some("0" | "no" | "false" | "none"))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|_| Failure::bad(format!("invalid value {text:?} for {name}: write a number")))
    }

    pub(crate) fn filters(&self) -> Result<Filters, Failure> {
        let read = proa_docker_api::Filters::decode(self.text("filters").unwrap_or_default());
        let read = read.map_err(|e| Failure::bad(e.to_string()))?;
        let names: Vec<String> = read.names().map(Into::into).collect();
        Ok(Filters(
            names
                .into_iter()
                .map(|name| (name.clone(), read.values(&name).map(Into::into).collect()))
                .collect(),
        ))
    }
}

/// Percent-decoding; `+` is a blank.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_go_reads_them() {
        let query =
            Query::parse("a=1&b=&c=x%2Fy+z&d=false&e&filters=%7B%22label%22%3A%5B%22k%22%5D%7D&n=%zz%");
        assert!(query.flag("a") && !query.flag("b") && !query.flag("d") && !query.flag("e"));
        assert_eq!(query.text("c"), Some("x/y z"));
        assert!(query.filters().unwrap().has("label"));
        assert_eq!(query.text("n"), Some("%zz%"));
        assert!(query.number::<i64>("c").is_err());
    }
}
