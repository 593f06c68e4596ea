//! The parser of flags, as pflag reads them: clusters, `=`, `--`, interspersed or not.

use crate::table::Flag;

/// What was given.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    values: Vec<(&'static str, String)>,
    /// What is no flag.
    pub(crate) args: Vec<String>,
    /// Whether help was asked for.
    pub(crate) help: bool,
    /// Where `--` stood among the arguments.
    pub(crate) dash: Option<usize>,
}

impl Parsed {
    /// The last value of a flag.
    pub(crate) fn text(&self, long: &str) -> Option<&str> {
        self.values.iter().rev().find(|(name, _)| *name == long).map(|(_, value)| value.as_str())
    }
    /// The last value, empty where not given.
    pub(crate) fn text_or(&self, long: &str) -> String {
        self.text(long).unwrap_or_default().to_owned()
    }
    /// A switch.
    pub(crate) fn on(&self, long: &str) -> bool {
        self.text(long).is_some_and(truth_or_false)
    }
    /// Every value of a flag.
    pub(crate) fn list(&self, long: &str) -> Vec<String> {
        self.values.iter().filter(|(name, _)| *name == long).map(|(_, value)| value.clone()).collect()
    }
    /// Every value, none where there are none.
    pub(crate) fn some_list(&self, long: &str) -> Option<Vec<String>> {
        Some(self.list(long)).filter(|list| !list.is_empty())
    }
    /// The names of the flags given.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(name, _)| *name)
    }
    /// Whether the flag was given.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.text(long).is_some()
    }
    /// An integer.
    pub(crate) fn int(&self, long: &str) -> Option<i64> {
        self.text(long).and_then(|text| text.parse().ok())
    }
}

/// A truth as Go reads one.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn truth_or_false(text: &str) -> bool {
    truth(text).unwrap_or(false)
}

fn check(flag: &Flag, named: &str, value: &str) -> Result<(), String> {
    let bad = |cause: String| Err(format!("invalid argument {value:?} for {named:?} flag: {cause}"));
    match flag.kind {
        "" if truth(value).is_none() => bad(format!("strconv.ParseBool: parsing {value:?}: invalid syntax")),
        "int" if value.parse::<i64>().is_err() => {
            bad(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
        }
        "uint" | "uint16" if value.parse::<u64>().is_err() => {
            bad(format!("strconv.ParseUint: parsing {value:?}: invalid syntax"))
        }
        "bytes" if value != "-1" && proa_types::units::parse_ram(value).is_err() => {
            let unit = value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            match unit.len() < value.len() && !unit.is_empty() {
                true => bad(format!("invalid suffix: '{unit}'")),
                false => bad(format!("invalid size: '{value}'")),
            }
        }
        "stringToString" => match value.split(',').find(|pair| !pair.contains('=')) {
            Some(pair) => bad(format!("{pair} must be formatted as key=value")),
            None => Ok(()),
        },
        "filter" if !value.contains('=') => bad("bad format of filter (expected name=value)".to_owned()),
        _ => Ok(()),
    }
}

fn named(flag: &Flag) -> String {
    if flag.short == ' ' { format!("--{}", flag.long) } else { format!("-{}, --{}", flag.short, flag.long) }
}

/// Whether a word begins with a dash of typography.
fn typographic(word: &str) -> bool {
    word.starts_with([
        '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}', '\u{FE58}',
        '\u{FE63}', '\u{FF0D}',
    ])
}

/// Reads `words` against `flags`.
///
/// # Errors
/// The text that pflag would print.
pub(crate) fn parse(words: &[String], flags: &'static [Flag], interspersed: bool) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            parsed.dash = Some(parsed.args.len());
            parsed.args.extend(rest.cloned());
            break;
        }
        if typographic(word) && parsed.args.is_empty() {
            let plain = word.trim_start_matches(|c: char| !c.is_ascii());
            let name = plain.trim_start_matches('-').split('=').next().unwrap_or_default();
            let plain = plain.trim_start_matches('-');
            let dashes = if flags.iter().any(|flag| flag.long == name) { "--" } else { "-" };
            return Err(format!(
                "{word:?} does not begin with a hyphen: did you paste a typographic dash? Write {dashes}{plain}"
            ));
        }
        if let Some(long) = word.strip_prefix("--") {
            parse_long(&mut parsed, long, flags, &mut rest)?;
        } else if word.len() > 1 && word.starts_with('-') {
            parse_cluster(&mut parsed, word, flags, &mut rest)?;
        } else {
            parsed.args.push(word.clone());
            if !interspersed {
                parsed.args.extend(rest.cloned());
                break;
            }
        }
        if parsed.help {
            break;
        }
    }
    Ok(parsed)
}

type Rest<'a> = std::slice::Iter<'a, String>;

fn parse_long(
    parsed: &mut Parsed,
    word: &str,
    flags: &'static [Flag],
    rest: &mut Rest<'_>,
) -> Result<(), String> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(format!("bad flag syntax: --{word}"));
    }
    // pflag's normalisation of docker: `--net` is `--network`
    let name = match name {
        "net" => "network",
        "net-alias" => "network-alias",
        "dns-opt" => "dns-option",
        other => other,
    };
    let Some(flag) = flags.iter().find(|flag| flag.long == name) else {
        if name == "help" {
            parsed.help = true;
            return Ok(());
        }
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match value {
        Some(value) => value,
        None if flag.kind.is_empty() => "true".to_owned(),
        None => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    check(flag, &named(flag), &value)?;
    parsed.values.push((flag.long, value));
    Ok(())
}

fn parse_cluster(
    parsed: &mut Parsed,
    word: &str,
    flags: &'static [Flag],
    rest: &mut Rest<'_>,
) -> Result<(), String> {
    let cluster = word.get(1..).unwrap_or_default();
    let mut left = cluster;
    while let Some(short) = left.chars().next() {
        let whole = left;
        left = left.get(short.len_utf8()..).unwrap_or_default();
        let Some(flag) = flags.iter().find(|flag| flag.short == short && short != ' ') else {
            if short == 'h' {
                parsed.help = true;
                return Ok(());
            }
            return Err(format!("unknown shorthand flag: '{short}' in -{whole}"));
        };
        let value = if let Some(value) = left.strip_prefix('=') {
            left = "";
            value.to_owned()
        } else if flag.kind.is_empty() {
            "true".to_owned()
        } else if left.is_empty() {
            rest.next().cloned().ok_or_else(|| format!("flag needs an argument: '{short}' in -{whole}"))?
        } else {
            std::mem::take(&mut left).to_owned()
        };
        check(flag, &named(flag), &value)?;
        parsed.values.push((flag.long, value));
    }
    Ok(())
}

/// The complaint about a wrong number of arguments.
pub(crate) fn arity(program: &str, min: usize, max: usize, given: usize) -> Option<String> {
    if given >= min && given <= max {
        return None;
    }
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    Some(match (min, max) {
        (0, 0) => format!("'{program}' accepts no arguments"),
        (min, max) if min == max => format!("'{program}' requires {min} {}", plural(min)),
        (min, usize::MAX) => format!("'{program}' requires at least {min} {}", plural(min)),
        (0, max) => format!("'{program}' requires at most {max} {}", plural(max)),
        (min, max) => format!("'{program}' requires at least {min} and at most {max} {}", plural(max)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::find;

    fn run(words: &[&str]) -> Result<Parsed, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        parse(&words, find("run").unwrap().flags, false)
    }

    #[test]
    fn clusters_values_and_the_end_of_flags_must_be_read() {
        let parsed =
            run(&["-itd", "-eA=1", "-e", "B=2", "--rm=false", "--name=x", "img", "-x", "--rm"]).unwrap();
        assert!(parsed.on("interactive") && parsed.on("tty") && parsed.on("detach") && !parsed.on("rm"));
        assert_eq!(parsed.list("env"), ["A=1", "B=2"]);
        assert_eq!(parsed.args, ["img", "-x", "--rm"]);
        assert_eq!(run(&["--", "-i"]).unwrap().args, ["-i"]);
        assert_eq!(run(&["--net", "host", "i"]).unwrap().text("network"), Some("host"));
    }

    #[test]
    fn bad_flags_must_be_told_in_pflags_words() {
        let told = |words: &[&str]| run(words).unwrap_err();
        assert_eq!(told(&["--foo"]), "unknown flag: --foo");
        assert_eq!(told(&["-iz"]), "unknown shorthand flag: 'z' in -z");
        assert_eq!(told(&["-p"]), "flag needs an argument: 'p' in -p");
        assert_eq!(told(&["--name"]), "flag needs an argument: --name");
        assert_eq!(
            told(&["-m", "3x"]),
            "invalid argument \"3x\" for \"-m, --memory\" flag: invalid suffix: 'x'"
        );
        assert!(told(&["–rm", "x"]).contains("dash"));
        assert!(told(&["—it", "x"]).ends_with("did you paste a typographic dash? Write -it"));
        assert!(told(&["–rm", "x"]).ends_with("Write --rm"));
    }

    #[test]
    fn arity_must_be_told_in_dockers_words() {
        assert_eq!(
            arity("docker run", 1, usize::MAX, 0).unwrap(),
            "'docker run' requires at least 1 argument"
        );
        assert_eq!(arity("docker ps", 0, 0, 1).unwrap(), "'docker ps' accepts no arguments");
    }
}
