//! Signals by name and number, as `docker kill -s` and `STOPSIGNAL` write them (signal(7)).

use std::fmt;

/// A signal number of Linux (x86 and arm numbering), 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// Text that is not a signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid signal: {0}")]
pub struct InvalidSignal(pub String);

const NAMES: [(&str, i32); 37] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

impl Signal {
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGHUP.
    pub const HUP: Self = Self(1);

    /// The signal with this number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl std::str::FromStr for Signal {
    type Err = InvalidSignal;
    fn from_str(text: &str) -> Result<Self, InvalidSignal> {
        let bad = || InvalidSignal(text.to_owned());
        if let Ok(number) = text.parse() {
            return Self::from_number(number).ok_or_else(bad);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let offset = |rest: &str| rest.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
        let number = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(rest), _) => offset(rest).map(|n| 34 + n),
            (_, Some(rest)) => offset(rest).map(|n| 64 - n),
            _ => None,
        };
        number.and_then(Self::from_number).ok_or_else(bad)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 > 34 && self.0 < 50 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "SIGRTMAX-{}", 64 - self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for text in ["KILL", "SIGKILL", "9", "sigkill"] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal::KILL);
        }
        assert_eq!("RTMIN+3".parse::<Signal>().unwrap().number(), 37);
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        for bad in ["0", "65", "SIGNOPE", "", "RTMIN+99"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
