//! Reading options from flags and from the file into one table of values.

use crate::error::Error;
use crate::option::{Kind, Opt, by_flag, by_key, by_letter};
use std::collections::BTreeMap;
use std::path::Path;

/// What was given for an option.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Number(i64),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
    Json(serde_json::Value),
}

/// Options by long flag.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values(BTreeMap<&'static str, Value>);

impl Values {
    /// Reads flags as pflag does: `--flag=value`, `--flag value`, `-l value`, `-lvalue`, `--bool`, `--bool=false`.
    pub(crate) fn from_flags(args: &[String]) -> Result<Self, Error> {
        let mut values = Self::default();
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let (option, name, inline) = parse_word(word)?;
            let text = match (inline, option.kind) {
                (Some(text), _) => text,
                (None, Kind::Bool) => "true".into(),
                (None, _) => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| Error::Flag(format!("flag needs an argument: {name}")))?,
            };
            values.add(option, &name, &text)?;
        }
        Ok(values)
    }

    /// Reads a configuration file in Docker's form.
    pub(crate) fn from_file(path: &Path, text: &str) -> Result<Self, Error> {
        let bad = |detail: String| Error::File { path: path.into(), detail };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|e| bad(format!("not a JSON object: {e}")))?;
        let unknown: Vec<&str> =
            json.keys().map(String::as_str).filter(|key| by_key(key).is_none()).collect();
        if !unknown.is_empty() {
            let list = unknown.join(", ");
            return Err(bad(format!(
                "the following directives don't match any configuration option: {list}"
            )));
        }
        let mut values = Self::default();
        for (key, value) in json {
            let Some(option) = by_key(&key) else { continue };
            let value = from_json(option, value)
                .ok_or_else(|| bad(format!("{key}: expected {}", expected(option.kind))))?;
            values.0.insert(option.flag, value);
        }
        Ok(values)
    }

    /// Flags over file. An option given in both is an error, as it is for dockerd.
    pub(crate) fn merge(file: Self, flags: Self, path: &Path) -> Result<Self, Error> {
        let both: Vec<String> = flags
            .0
            .iter()
            .filter_map(|(flag, from_flag)| file.0.get(flag).map(|from_file| (flag, from_flag, from_file)))
            .map(|(flag, a, b)| {
                let name = by_flag(flag).map_or(*flag, Opt::name);
                format!("{name}: (from flag: {}, from file: {})", a.show(), b.show())
            })
            .collect();
        if !both.is_empty() {
            let list = both.join(", ");
            let detail = format!(
                "the following directives are specified both as a flag and in the configuration file: {list}"
            );
            return Err(Error::File { path: path.into(), detail });
        }
        let mut all = file;
        all.0.extend(flags.0);
        Ok(all)
    }

    /// Sets a value where none was given.
    pub(crate) fn or(&mut self, flag: &'static str, value: Value) {
        self.0.entry(flag).or_insert(value);
    }

    /// Takes from `newer` what may change while the daemon runs; the options that differ and may not, by name.
    pub(crate) fn reload(&mut self, newer: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        for option in crate::option::OPTIONS {
            if self.0.get(option.flag) == newer.0.get(option.flag) {
                continue;
            }
            if !crate::option::RELOADABLE.contains(&option.flag) {
                kept.push(option.name());
                continue;
            }
            match newer.0.get(option.flag) {
                Some(value) => self.0.insert(option.flag, value.clone()),
                None => self.0.remove(option.flag),
            };
        }
        kept
    }

    /// The options given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static Opt> {
        self.0.keys().filter_map(|flag| by_flag(flag))
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    pub(crate) fn text(&self, flag: &str) -> Option<String> {
        match self.0.get(flag)? {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn bool(&self, flag: &str, default: bool) -> bool {
        match self.0.get(flag) {
            Some(Value::Bool(value)) => *value,
            _ => default,
        }
    }

    pub(crate) fn number(&self, flag: &str) -> Option<i64> {
        match self.0.get(flag)? {
            Value::Number(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn list(&self, flag: &str) -> Vec<String> {
        match self.0.get(flag) {
            Some(Value::List(list)) => list.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn map(&self, flag: &str) -> BTreeMap<String, String> {
        match self.0.get(flag) {
            Some(Value::Map(map)) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub(crate) fn json(&self, flag: &str) -> Option<&serde_json::Value> {
        match self.0.get(flag)? {
            Value::Json(json) => Some(json),
            _ => None,
        }
    }

    fn add(&mut self, option: &'static Opt, name: &str, text: &str) -> Result<(), Error> {
        let bad = |why: &str| Error::Flag(format!("invalid argument {text:?} for {name:?} flag: {why}"));
        let pair = || {
            text.split_once('=')
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .ok_or_else(|| bad("write NAME=VALUE"))
        };
        let value = match option.kind {
            Kind::Text => Value::Text(text.into()),
            Kind::Bool => Value::Bool(boolean(text).ok_or_else(|| bad("write true or false"))?),
            Kind::Number => Value::Number(text.parse().map_err(|_| bad("write a number"))?),
            Kind::List => {
                let mut list = self.list(option.flag);
                list.push(text.into());
                Value::List(list)
            }
            Kind::Map | Kind::Runtimes => {
                let mut map = self.map(option.flag);
                let (key, value) = pair()?;
                map.insert(key, value);
                Value::Map(map)
            }
        };
        self.0.insert(option.flag, value);
        Ok(())
    }
}

impl Value {
    fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::List(list) => format!("[{}]", list.join(" ")),
            Self::Map(map) => format!("{map:?}"),
            Self::Json(json) => json.to_string(),
        }
    }
}

/// The option of one word, how it was written, and a value that stood in the same word.
fn parse_word(word: &str) -> Result<(&'static Opt, String, Option<String>), Error> {
    if let Some(long) = word.strip_prefix("--") {
        let (flag, value) = long.split_once('=').map_or((long, None), |(f, v)| (f, Some(v.to_owned())));
        let option = by_flag(flag).ok_or_else(|| Error::Flag(format!("unknown flag: --{flag}")))?;
        return Ok((option, format!("--{flag}"), value));
    }
    if word.starts_with(['\u{2013}', '\u{2014}', '\u{2212}']) {
        return Err(Error::Flag(format!(
            "{word}: this is a typographic dash, as slides and word processors make it: type -- instead"
        )));
    }
    let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
        return Err(Error::Flag(format!("proa daemon accepts no arguments: {word:?}")));
    };
    let mut chars = letters.chars();
    let letter = chars.next().unwrap_or_default();
    let unknown = || Error::Flag(format!("unknown shorthand flag: {letter:?} in {word}"));
    let option = by_letter(letter).ok_or_else(unknown)?;
    let rest = chars.as_str();
    let value = (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned());
    Ok((option, format!("-{letter}"), value))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

fn from_json(option: &Opt, value: serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    let word = |item: Json| match item {
        Json::String(text) => Some(text),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    };
    match (option.kind, value) {
        (Kind::Text, Json::String(text)) => Some(Value::Text(text)),
        (Kind::Bool, Json::Bool(value)) => Some(Value::Bool(value)),
        (Kind::Number, Json::Number(number)) => number.as_i64().map(Value::Number),
        (Kind::List, Json::Array(items)) => {
            items.into_iter().map(word).collect::<Option<_>>().map(Value::List)
        }
        (Kind::Runtimes, json @ Json::Object(_)) => Some(Value::Json(json)),
        (Kind::Map, Json::Object(pairs)) => {
            let pairs =
                pairs.into_iter().map(|(key, value)| Some((key, ulimit(&value).or_else(|| word(value))?)));
            pairs.collect::<Option<_>>().map(Value::Map)
        }
        _ => None,
    }
}

/// `{"Name": "nofile", "Soft": 1, "Hard": 2}` as `1:2`.
fn ulimit(value: &serde_json::Value) -> Option<String> {
    let (soft, hard) = (value.get("Soft")?.as_i64()?, value.get("Hard")?.as_i64()?);
    Some(format!("{soft}:{hard}"))
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Bool => "true or false",
        Kind::Number => "a number",
        Kind::List => "a list of texts",
        Kind::Map => "an object of texts",
        Kind::Runtimes => "an object of runtimes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Values, Error> {
        Values::from_flags(&line.split_whitespace().map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        let values =
            flags("-H unix:///a --host=tcp://b -D --icc=false --mtu 1400 -lwarn --log-opt a=b").unwrap();
        assert_eq!(values.list("host"), ["unix:///a", "tcp://b"]);
        assert_eq!((values.bool("debug", false), values.bool("icc", true)), (true, false));
        assert_eq!((values.number("mtu"), values.text("log-level")), (Some(1400), Some("warn".into())));
        assert_eq!(values.map("log-opt").get("a").map(String::as_str), Some("b"));
        for (line, said) in [
            ("--nope", "unknown flag: --nope"),
            ("-Z", "unknown shorthand flag: 'Z' in -Z"),
            ("--mtu", "flag needs an argument: --mtu"),
            ("--mtu=x", "write a number"),
            ("word", "accepts no arguments"),
            ("\u{2013}debug", "typographic dash"),
        ] {
            let error = flags(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn the_file_takes_dockers_keys_and_refuses_others() {
        let path = Path::new("daemon.json");
        let text = r#"{"hosts":["fd://"],"debug":true,"mtu":1400,"runtimes":{"x":{"path":"/x"}},"log-opts":{"max-size":"1m"},
            "default-ulimits":{"nofile":{"Name":"nofile","Hard":2,"Soft":1}}}"#;
        let values = Values::from_file(path, text).unwrap();
        assert_eq!(values.list("host"), ["fd://"]);
        assert_eq!(values.map("default-ulimit").get("nofile").map(String::as_str), Some("1:2"));
        assert!(values.json("add-runtime").is_some());
        for (text, said) in [
            (r#"{"nope":1}"#, "don't match any configuration option: nope"),
            (r#"{"debug":"yes"}"#, "debug: expected true or false"),
            ("[]", "not a JSON object"),
            ("{", "not a JSON object"),
        ] {
            let error = Values::from_file(path, text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Values::from_file(path, "  ").is_ok());
    }

    #[test]
    fn a_reload_takes_what_may_change_and_names_the_rest() {
        let mut running = flags("--label a=1 --debug --data-root /a --mtu 1400").unwrap();
        let kept = running.reload(&flags("--label a=2 --data-root /b --mtu 1400 --live-restore").unwrap());
        assert_eq!(kept, ["data-root"]);
        assert_eq!(running, flags("--label a=2 --data-root /a --mtu 1400 --live-restore").unwrap());
        for flag in crate::option::RELOADABLE {
            assert!(by_flag(flag).is_some(), "{flag}");
        }
    }

    #[test]
    fn an_option_in_both_places_is_refused() {
        let path = Path::new("daemon.json");
        let file = || Values::from_file(path, r#"{"debug":true}"#).unwrap();
        let error = Values::merge(file(), flags("--debug").unwrap(), path).unwrap_err().to_string();
        assert!(error.contains("debug: (from flag: true, from file: true)"), "{error}");
        assert!(Values::merge(file(), flags("--icc").unwrap(), path).unwrap().bool("debug", false));
    }
}
