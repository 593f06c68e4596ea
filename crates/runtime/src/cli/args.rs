//! Arguments as Go's `flag` reads them: `-name`, `--name`, `--name=value`; flags end at the first other word or `--`.

use super::CliError;
use std::collections::VecDeque;
use std::ffi::OsString;

/// A flag: its names, and whether it takes a value.
pub(super) type Flag = (&'static [&'static str], bool);

/// Flags that were given, and the words after them.
#[derive(Debug, Default)]
pub(super) struct Args {
    given: Vec<(&'static str, String)>,
    pub(super) rest: VecDeque<String>,
}

impl Args {
    /// Reads flags, as far as they go.
    pub(super) fn parse(words: VecDeque<String>, flags: &[Flag]) -> Result<Self, CliError> {
        let mut args = Self { given: Vec::new(), rest: words };
        while let Some(word) = args.rest.front() {
            let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { break };
            let (name, mut value) = match name.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (name.to_owned(), None),
            };
            if word == "-" {
                break;
            }
            args.rest.pop_front();
            if name.is_empty() {
                break;
            }
            let Some((names, takes_value)) = flags.iter().find(|(names, _)| names.contains(&name.as_str()))
            else {
                return Err(CliError::usage(format!("flag provided but not defined: -{name}")));
            };
            if *takes_value && value.is_none() {
                value = args.rest.pop_front();
                if value.is_none() {
                    return Err(CliError::usage(format!("flag needs an argument: -{name}")));
                }
            }
            let first = names.first().copied().unwrap_or_default();
            args.given.push((first, value.unwrap_or_else(|| "true".to_owned())));
        }
        Ok(args)
    }

    /// The last value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag, in order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.given.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| !matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False"))
    }

    /// A flag's value as a number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, CliError> {
        self.value(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    CliError::usage(format!("invalid value {text:?} for flag -{name}: a number is needed"))
                })
            })
            .transpose()
    }

    /// The next word, which must be there.
    pub(super) fn word(&mut self, what: &str) -> Result<String, CliError> {
        self.rest.pop_front().ok_or_else(|| CliError::usage(format!("{what} is missing")))
    }
}

/// Words as text; the specification and its file are UTF-8, too.
pub(super) fn words(args: Vec<OsString>) -> Result<VecDeque<String>, CliError> {
    args.into_iter()
        .map(|arg| arg.into_string().map_err(|arg| CliError::usage(format!("argument {arg:?} is not UTF-8"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[(&["bundle", "b"], true), (&["force", "f"], false), (&["env", "e"], true)];

    fn parse(line: &str) -> Result<Args, CliError> {
        Args::parse(line.split_whitespace().map(str::to_owned).collect(), FLAGS)
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let args = parse("-b /x --force --env A=1 -e=B=2 id -f").unwrap();
        assert_eq!(args.value("bundle"), Some("/x"));
        assert!(args.has("force"));
        assert_eq!(args.all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(args.rest, ["id", "-f"]);
        assert_eq!(parse("--force=false -- -b").unwrap().rest, ["-b"]);
    }

    #[test]
    fn unknown_flags_and_missing_values_are_named() {
        assert!(parse("--nope").unwrap_err().to_string().contains("nope"));
        assert!(parse("-b").unwrap_err().to_string().contains("argument"));
    }
}
