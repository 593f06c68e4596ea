//! `logs`.

use proa_client::{Verb, escape, full};
use proa_docker_api::ContainerInspect;

use super::pump::{Splitter, emit};
use crate::app::App;
use crate::error::{Result, fail};

/// A point in time as the API takes it: a Go duration is counted back from now.
pub(crate) fn moment(text: &str) -> String {
    if let Ok(nanos) = crate::spec::duration(text) {
        let at = proa_types::Timestamp::now().0 - nanos;
        return format!("{}.{:09}", at.div_euclid(1_000_000_000), at.rem_euclid(1_000_000_000));
    }
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return text.to_owned();
    }
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    proa_types::Timestamp::parse(&full).map_or_else(
        |_| text.to_owned(),
        |at| format!("{}.{:09}", at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000)),
    )
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
            path.push_str(&format!("&{flag}={}", escape(&moment(text))));
        }
    }
    let mut stream = app.client.stream(Verb::GET, &path, &[], full("")).await?;
    let mut splitter = Splitter::default();
    while let Some(bytes) = stream.chunk().await? {
        if container.config.tty { emit(&bytes)? } else { splitter.write(&bytes)? }
    }
    Ok(())
}
