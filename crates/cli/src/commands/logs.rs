//! `logs`.

use proa_client::{Verb, escape, full};
use proa_docker_api::ContainerInspect;

use super::pump::{Splitter, emit};
use crate::app::App;
use crate::error::{Failure, Result, fail};

/// A point in time as the API takes it: a Go duration is counted back from now.
///
/// # Errors
/// docker's words, where the text is neither a time nor a duration.
pub(crate) fn moment(text: &str) -> std::result::Result<String, String> {
    let shown =
        |nanos: i64| format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    if text == "0" || (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.')) {
        return Ok(text.to_owned());
    }
    if let Ok(nanos) = crate::spec::duration(text) {
        return Ok(shown(proa_types::Timestamp::now().0 - nanos));
    }
    let zoned = match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let local = || {
        let time: jiff::civil::DateTime = zoned.parse().ok()?;
        let nanos = time.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp().as_nanosecond();
        i64::try_from(nanos).ok()
    };
    let absolute = proa_types::Timestamp::parse(text).map(|at| at.0).ok().or_else(local);
    absolute.map(shown).ok_or_else(|| format!("failed to parse value as time or duration: {text:?}"))
}

/// `logs`.
pub(crate) async fn logs(app: &App) -> Result<()> {
    let Some(name) = app.flags.args.first() else { fail!("no container given") };
    let container: ContainerInspect = app.client.fetch(&format!("/containers/{}/json", escape(name))).await?;
    let mut path = format!(
        "/containers/{}/logs?stdout=1&stderr=1&tail={}",
        container.id,
        escape(app.flags.text("tail").unwrap_or("all"))
    );
    for (flag, key) in [("follow", "follow"), ("timestamps", "timestamps"), ("details", "details")] {
        if app.flags.on(flag) {
            path.push_str(&format!("&{key}=1"));
        }
    }
    for flag in ["since", "until"] {
        if let Some(text) = app.flags.text(flag) {
            let at =
                moment(text).map_err(|cause| Failure::new(format!("invalid value for {flag:?}: {cause}")))?;
            path.push_str(&format!("&{flag}={}", escape(&at)));
        }
    }
    let mut stream = app.client.stream(Verb::GET, &path, &[], full("")).await?;
    let mut splitter = Splitter::default();
    while let Some(bytes) = stream.chunk().await? {
        if container.config.tty { emit(&bytes)? } else { splitter.write(&bytes)? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_must_be_read_as_docker_reads_them() {
        assert_eq!(moment("12.5").unwrap(), "12.5");
        assert_eq!(moment("2023-11-14T22:13:20Z").unwrap(), "1700000000.000000000");
        assert_eq!(moment("2023-11-14T23:13:20.5+01:00").unwrap(), "1700000000.500000000");
        for text in ["10m", "1h30m", "2013-01-02", "2013-01-02T13:23", "2013-01-02T13:23:37"] {
            assert!(moment(text).is_ok(), "{text}");
        }
        for text in ["x", "", "10 minutes", "2013-13-01"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
