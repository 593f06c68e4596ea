//! Which driver keeps a container's log, where, how much of it, and who else gets it.

use crate::driver::CACHE;
use crate::remote::Remote;
use crate::source::Source;
use crate::{Error, LogDriver};
use proa_types::units::parse_ram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A container's log: driver, place and bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Who keeps it.
    pub driver: LogDriver,
    /// The current file; rotated ones have `.1`, `.2` and so on behind.
    pub path: PathBuf,
    /// Bytes after which the file is rotated.
    pub max_size: u64,
    /// Files kept, the current one included.
    pub max_file: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// Labels and variables kept with each line (`json-file`).
    pub attributes: BTreeMap<String, String>,
    /// Where it is sent besides.
    #[serde(default)]
    pub remote: Option<Box<Remote>>,
    /// Whether it can be read here: not with `cache-disabled`.
    #[serde(default = "yes")]
    pub readable: bool,
}

fn yes() -> bool {
    true
}

/// The form of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Framed,
    Nothing,
}

impl LogConfig {
    /// A driver's configuration from its options, as `--log-opt` gives them. Without options a log is bounded by five
    /// files of 20 MB.
    ///
    /// # Errors
    /// An option is unknown or has a bad value.
    pub fn new(
        driver: LogDriver,
        path: PathBuf,
        options: &BTreeMap<String, String>,
        source: &Source,
    ) -> Result<Self, Error> {
        check_mode(options)?;
        options.keys().try_for_each(|option| driver.check(option))?;
        let mut config = Self {
            driver,
            path,
            max_size: 20_000_000,
            max_file: 5,
            compress: driver != LogDriver::JsonFile,
            attributes: BTreeMap::new(),
            remote: None,
            readable: driver != LogDriver::None,
        };
        if driver.is_remote() {
            for (option, value) in options {
                match option.strip_prefix("cache-") {
                    Some("disabled") => config.readable = !truth(option, value)?,
                    Some(rest) => config.bound(rest, option, value)?,
                    None => {}
                }
            }
            // The file that is being sent and the one that is being written.
            config.max_file = config.max_file.max(2);
            config.remote = Some(Box::new(Remote::new(driver, options, source)?));
            return Ok(config);
        }
        for (option, value) in options {
            config.bound(option, option, value)?;
        }
        if driver == LogDriver::JsonFile {
            config.attributes = source.attributes(options, str::to_owned)?;
            let tag = source.tag(options, "")?;
            if !tag.is_empty() {
                config.attributes.insert("tag".into(), tag);
            }
        }
        Ok(config)
    }

    fn bound(&mut self, name: &str, option: &str, value: &str) -> Result<(), Error> {
        let bad =
            |why: String| Error::value(format!("invalid value {value:?} for log opt '{option}': {why}"));
        match name {
            "max-size" => {
                let bytes = parse_ram(value).map_err(|e| bad(e.to_string()))?;
                self.max_size = match bytes {
                    -1 | 0 => u64::MAX,
                    bytes => u64::try_from(bytes).map_err(|_| bad("must be positive".into()))?,
                };
            }
            "max-file" => {
                let count = value.parse().ok().filter(|count: &u32| (1..=1000).contains(count));
                self.max_file = count.ok_or_else(|| bad("write a number from 1 to 1000".into()))?;
            }
            "compress" => self.compress = truth(option, value)?,
            _ => {}
        }
        Ok(())
    }

    /// A log that cannot be read here, and is kept only until it is sent: in `path`, in little space.
    #[must_use]
    pub fn kept_briefly(mut self, path: PathBuf) -> Self {
        (self.path, self.max_file, self.compress) = (path, 2, false);
        self.max_size = self.max_size.min(4 << 20);
        self
    }

    pub(crate) fn form(&self) -> Form {
        match self.driver {
            LogDriver::JsonFile => Form::Json,
            LogDriver::None => Form::Nothing,
            _ => Form::Framed,
        }
    }

    /// Options of a daemon's that hold for a container with another driver: those of the cache.
    pub fn common(options: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
        options.iter().filter(|(name, _)| CACHE.contains(&name.as_str()))
    }
}

fn truth(option: &str, value: &str) -> Result<bool, Error> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::value(format!("invalid value for option {option}: {value}"))),
    }
}

/// What holds for every driver. Where a log is written to a file first, the container never waits for a receiver: the
/// mode says how much may wait to be sent.
fn check_mode(options: &BTreeMap<String, String>) -> Result<(), Error> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !["", "blocking", "non-blocking"].contains(&mode) {
        return Err(Error::value(format!("logger: logging mode not supported: {mode}")));
    }
    let Some(size) = options.get("max-buffer-size") else { return Ok(()) };
    if mode != "non-blocking" {
        let text = "logger: max-buffer-size option is only supported with 'mode=non-blocking'";
        return Err(Error::value(text));
    }
    let parsed =
        parse_ram(size).map_err(|e| Error::value(format!("error parsing option max-buffer-size: {e}")));
    parsed.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(driver: &str, pairs: &[(&str, &str)]) -> Result<LogConfig, Error> {
        let options = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogConfig::new(driver.parse()?, "/x".into(), &options, &Source::default())
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(make("json-file", &[("max-size", "10k")]).unwrap().max_size, 10 << 10);
        assert_eq!(make("local", &[("max-file", "3")]).unwrap().max_file, 3);
        for (option, value) in [("max-size", "x"), ("max-file", "0"), ("compress", "2"), ("nope", "1")] {
            assert!(make("json-file", &[(option, value)]).is_err(), "{option}");
        }
        assert!(make("none", &[("max-size", "1k")]).is_err());
        let cached = make("journald", &[("cache-max-size", "1k"), ("cache-disabled", "true")]).unwrap();
        assert_eq!((cached.max_size, cached.readable), (1 << 10, false));
    }

    #[test]
    fn refusals_are_dockers() {
        let text = |driver, pairs: &[(&str, &str)]| make(driver, pairs).unwrap_err().to_string();
        assert_eq!(text("nope", &[]), "logger: no log driver named 'nope' is registered");
        assert!(text("awslogs", &[]).contains("not supported; use json-file"));
        assert_eq!(text("json-file", &[("x", "")]), "unknown log opt 'x' for json-file log driver");
        assert_eq!(text("local", &[("tag", "")]), "unknown log opt 'tag' for log driver local");
        assert_eq!(text("gelf", &[("x", "")]), "unknown log opt \"x\" for gelf log driver");
        assert_eq!(text("local", &[("mode", "x")]), "logger: logging mode not supported: x");
        assert_eq!(
            text("json-file", &[("max-buffer-size", "1m")]),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        );
        assert_eq!(text("syslog", &[("cache-disabled", "x")]), "invalid value for option cache-disabled: x");
    }
}
