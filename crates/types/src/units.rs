//! Sizes and ages as docker prints and reads them: `1.5kB` (decimal), `64m` (binary), `3 weeks ago`.

/// Text that is not a size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid size: '{0}'")]
pub struct InvalidSize(pub String);

/// Parses `64m`, `1.5g`, `512`, `10kb`, `1KiB`: binary units, as docker's `RAMInBytes`.
///
/// # Errors
/// [`InvalidSize`] for other text or a size over 2^63-1 bytes.
pub fn parse_ram(text: &str) -> Result<i64, InvalidSize> {
    let bad = || InvalidSize(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at_checked(split).ok_or_else(bad)?;
    let number: f64 = number.parse().map_err(|_| bad())?;
    let shift = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    let bytes = number * f64::from(shift).exp2();
    if bytes.is_finite() && bytes < 9.2e18 { Ok(bytes as i64) } else { Err(bad()) }
}

/// A decimal size with up to four significant digits, as `docker images` prints: `188.3MB`, `910B`.
pub fn human_size(bytes: u64, digits: usize) -> String {
    human(bytes as f64, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], digits)
}

/// A binary size, as `docker stats` prints: `1.945GiB`.
pub fn human_binary(bytes: u64, digits: usize) -> String {
    human(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], digits)
}

fn human(mut value: f64, base: f64, units: &[&str], digits: usize) -> String {
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units.get(unit).unwrap_or(&""))
}

/// Go's `%.Ng`: N significant digits, trailing zeros cut.
fn significant(value: f64, digits: usize) -> String {
    let whole = format!("{}", value.trunc()).len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A rough age, as `docker ps` prints: `About a minute`, `3 weeks`. docker's `HumanDuration`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0).round() as i64);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `500ms`.
pub fn go_duration(duration: std::time::Duration) -> String {
    let nanos = duration.as_nanos();
    // A fraction without the zeros at its end.
    let decimal = |value: u128, unit: u128| {
        let width = unit.ilog10() as usize;
        let (whole, part) = (value / unit, value % unit);
        let text = if width == 0 { whole.to_string() } else { format!("{whole}.{part:0width$}") };
        if width == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        assert_eq!(human_size(910, 4), "910B");
        assert_eq!(human_size(188_300_000, 4), "188.3MB");
        assert_eq!(human_size(4_800_000, 4), "4.8MB");
        assert_eq!(human_binary(2_088_763_392, 4), "1.945GiB");
        assert_eq!(parse_ram("64m").unwrap(), 64 << 20);
        assert_eq!(parse_ram("1.5g").unwrap(), 3 << 29);
        for bad in ["", "m", "-1", "1x", "9e99", "1 2"] {
            assert!(parse_ram(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_dockers() {
        assert_eq!(human_duration(90), "About a minute");
        assert_eq!(human_duration(3600), "About an hour");
        assert_eq!(human_duration(86_400 * 22), "3 weeks");
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let of = |nanos| go_duration(std::time::Duration::from_nanos(nanos));
        assert_eq!([of(0), of(7), of(1_500)], ["0s", "7ns", "1.5µs"]);
        assert_eq!([of(1_000_000), of(500_250_000), of(1_000_000_000)], ["1ms", "500.25ms", "1s"]);
        assert_eq!([of(10_500_000_000), of(90_000_000_000)], ["10.5s", "1m30s"]);
        assert_eq!(of(3_600_000_000_000), "1h0m0s");
    }
}
