//! Points in time as the Engine API writes them: RFC 3339 with up to nine decimals, trailing zeros cut,
//! as Go's `RFC3339Nano` does.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Nanoseconds since the Unix epoch, UTC. Zero stands for "never" and is written as Go's zero time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// How Go writes the zero time.
pub const GO_ZERO: &str = "0001-01-01T00:00:00Z";

/// Text that is not a time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid time {0:?}: write RFC 3339 (2026-01-31T10:00:00Z) or seconds since 1970")]
pub struct InvalidTime(pub String);

impl Timestamp {
    /// Now, by the wall clock.
    pub fn now() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Nanoseconds within the second.
    pub fn nanos(self) -> i64 {
        self.0.rem_euclid(1_000_000_000)
    }

    /// Whether this is the zero time, "never".
    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    /// Parses RFC 3339, or `SECONDS[.NANOS]` as the API's `since` and `until` parameters allow.
    ///
    /// # Errors
    /// [`InvalidTime`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        if text == GO_ZERO {
            return Ok(Self(0));
        }
        let bad = || InvalidTime(text.to_owned());
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return i64::try_from(time.as_nanosecond()).map(Self).map_err(|_| bad());
        }
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if fraction.len() > 9 || !digits(fraction) {
            return Err(bad());
        }
        let seconds: i64 = seconds.parse().map_err(|_| bad())?;
        let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
        seconds.checked_mul(1_000_000_000).and_then(|n| n.checked_add(nanos)).map(Self).ok_or_else(bad)
    }

    /// As [`Self::parse`], and as filters take a time: a duration before `now` in Go's words (`1h30m`), or a date with
    /// or without a time of day in the zone of this machine.
    ///
    /// # Errors
    /// [`InvalidTime`] for any other text.
    pub fn parse_moment(text: &str, now: Self) -> Result<Self, InvalidTime> {
        if let Some(before) = go_duration(text) {
            return Ok(Self(now.0.saturating_sub(before)));
        }
        if let Ok(time) = Self::parse(text) {
            return Ok(time);
        }
        let bad = || InvalidTime(text.to_owned());
        // An hour alone is none of jiff's forms.
        let hour = text.split_once('T').filter(|(_, time)| time.len() == 2).map(|_| format!("{text}:00"));
        let civil: jiff::civil::DateTime = hour.as_deref().unwrap_or(text).parse().map_err(|_| bad())?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::system()).map_err(|_| bad())?;
        i64::try_from(zoned.timestamp().as_nanosecond()).map(Self).map_err(|_| bad())
    }

    /// RFC 3339 with exactly nine decimals, as `docker logs --timestamps` prints.
    pub fn fixed_nanos(self) -> String {
        let (date, nanos) = (self.date(), self.nanos());
        format!("{date}.{nanos:09}Z")
    }

    fn date(self) -> String {
        let (days, second) = (self.seconds().div_euclid(86_400), self.seconds().rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")
    }
}

/// A duration as Go writes it, `1m30s` or `500ms`; none if it is not one, or negative.
pub fn parse_go_duration(text: &str) -> Option<std::time::Duration> {
    if text == "0" {
        return Some(std::time::Duration::ZERO);
    }
    go_duration(text).and_then(|nanos| u64::try_from(nanos).ok()).map(std::time::Duration::from_nanos)
}

/// A duration as Go writes it, in nanoseconds: `1h30m`, `1.5s`, `-10m`.
fn go_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 6] =
        [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        total += number.parse::<f64>().ok()? * scale;
        rest = tail.strip_prefix(unit)?;
    }
    (!text.is_empty() && text != "-" && total < 9e18).then_some((sign * total) as i64)
}

/// Year, month and day of a day number since 1970-01-01 in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return f.write_str(GO_ZERO);
        }
        f.write_str(&self.date())?;
        match self.nanos() {
            0 => f.write_str("Z"),
            nanos => write!(f, ".{}Z", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_durations_times_and_dates() {
        let now = Timestamp(10_000_000_000_000);
        let at = |text: &str| Timestamp::parse_moment(text, now);
        assert_eq!(at("1h30m").unwrap(), Timestamp(now.0 - 5_400_000_000_000));
        assert_eq!(at("1.5s").unwrap(), Timestamp(now.0 - 1_500_000_000));
        assert_eq!(at("-1m").unwrap(), Timestamp(now.0 + 60_000_000_000));
        assert_eq!(at("12.5").unwrap(), Timestamp(12_500_000_000));
        for text in ["2013-01-02", "2013-01-02T13", "2013-01-02T13:23", "2013-01-02T13:23:37"] {
            assert!(at(text).is_ok(), "{text}");
        }
        for text in ["", "-", "x", "10 m", "1y", "h", "2013-13-01"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_as_go_does() {
        assert_eq!(Timestamp(0).to_string(), GO_ZERO);
        assert_eq!(Timestamp(1_700_000_000_120_000_000).to_string(), "2023-11-14T22:13:20.12Z");
        assert_eq!(Timestamp(1_700_000_000_000_000_000).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Timestamp(951_782_400_000_000_001).fixed_nanos(), "2000-02-29T00:00:00.000000001Z");
    }

    #[test]
    fn parses_what_it_writes_and_unix_seconds() {
        for n in [1, 1_700_000_000_123_456_789, 951_782_400_000_000_000] {
            assert_eq!(Timestamp::parse(&Timestamp(n).to_string()).unwrap(), Timestamp(n));
        }
        assert_eq!(Timestamp::parse("12.5").unwrap(), Timestamp(12_500_000_000));
        for bad in ["", "yesterday", "1.2.3", "99999999999999999999", "1.-5"] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }
}
