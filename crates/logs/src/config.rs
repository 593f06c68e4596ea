//! Which driver keeps a container's log, where, and how much of it.

use crate::Error;
use proa_types::units::parse_ram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A log driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's form: one JSON object for each line.
    JsonFile,
    /// A compact framed form.
    Local,
    /// Nothing is kept.
    None,
}

impl LogDriver {
    /// The driver's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for LogDriver {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            other => Err(Error::UnknownDriver(other.into())),
        }
    }
}

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
}

impl LogConfig {
    /// A driver's configuration from its options, as `--log-opt` gives them. Without options a log is bounded by five
    /// files of 20 MB.
    ///
    /// # Errors
    /// [`Error::Option`] for an option that is unknown or has a bad value.
    pub fn new(driver: LogDriver, path: PathBuf, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut config = Self {
            driver,
            path,
            max_size: 20_000_000,
            max_file: 5,
            compress: driver == LogDriver::Local,
            attributes: BTreeMap::new(),
        };
        for (option, value) in options {
            config.set(option, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), Error> {
        let bad = |detail: &str| Error::Option {
            driver: self.driver.name(),
            option: option.into(),
            detail: format!(": {detail}"),
        };
        match option {
            _ if self.driver == LogDriver::None => {
                return Err(Error::Option { driver: "none", option: option.into(), detail: String::new() });
            }
            "max-size" => {
                let bytes = parse_ram(value).map_err(|e| bad(&e.to_string()))?;
                self.max_size = match bytes {
                    -1 | 0 => u64::MAX,
                    bytes => u64::try_from(bytes).map_err(|_| bad("must be positive"))?,
                };
            }
            "max-file" => {
                let count = value.parse().ok().filter(|count: &u32| (1..=1000).contains(count));
                self.max_file = count.ok_or_else(|| bad("write a number from 1 to 1000"))?;
            }
            "compress" => self.compress = value.parse().map_err(|_| bad("write true or false"))?,
            // They choose what the caller puts into `attributes`; `mode` says how patiently to write, and a file is
            // always written at once.
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "mode" | "max-buffer-size" => {}
            _ => {
                return Err(Error::Option {
                    driver: self.driver.name(),
                    option: option.into(),
                    detail: String::new(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let make = |driver, option: &str, value: &str| {
            LogConfig::new(driver, "/x".into(), &BTreeMap::from([(option.to_owned(), value.to_owned())]))
        };
        assert_eq!(make(LogDriver::JsonFile, "max-size", "10k").unwrap().max_size, 10 << 10);
        assert_eq!(make(LogDriver::Local, "max-file", "3").unwrap().max_file, 3);
        for (option, value) in [("max-size", "x"), ("max-file", "0"), ("compress", "2"), ("nope", "1")] {
            assert!(make(LogDriver::JsonFile, option, value).is_err(), "{option}");
        }
        assert!(make(LogDriver::None, "max-size", "1k").is_err());
        assert!("syslog".parse::<LogDriver>().is_err());
    }
}
