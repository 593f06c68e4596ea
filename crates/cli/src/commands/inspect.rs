//! `inspect`, of one kind or of whatever answers.

use proa_client::{Verb, escape};

use crate::app::App;
use crate::error::{Failure, Result, fail};
use crate::output::{indent, put};
use crate::template::Template;

const KINDS: &[(&str, &str, &str)] = &[
    ("container", "/containers/", "/json"),
    ("image", "/images/", "/json"),
    ("network", "/networks/", ""),
    ("volume", "/volumes/", ""),
];

/// Kinds that only a swarm or plugins have.
const SWARM: &[&str] = &["config", "node", "plugin", "secret", "service", "task"];

async fn fetch(app: &App, kind: Option<&str>, name: &str) -> Result<Vec<u8>> {
    let size = if app.flags.on("size") { "?size=1" } else { "" };
    let mut last = None;
    for (known, head, tail) in KINDS {
        if kind.is_some_and(|kind| kind != *known) {
            continue;
        }
        let size = if *known == "container" { size } else { "" };
        match app.client.bytes(Verb::GET, &format!("{head}{}{tail}{size}", escape(name)), Vec::new()).await {
            Ok(bytes) => return Ok(bytes.to_vec()),
            Err(error) if error.is_not_found() => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match (kind, last) {
        (Some(_), Some(error)) => Err(Failure::new(error.to_string())),
        _ => fail!("Error: No such object: {name}"),
    }
}

/// `inspect`.
pub(crate) async fn inspect(app: &App, kind: Option<&str>) -> Result<()> {
    let kind = kind.map(str::to_owned).or_else(|| app.flags.text("type").map(str::to_owned));
    if let Some(kind) = kind.as_deref()
        && !KINDS.iter().any(|(known, _, _)| *known == kind)
    {
        if SWARM.contains(&kind) {
            fail!("inspect: --type {kind} is not supported by this version of Proa");
        }
        fail!(
            "unknown type: {kind:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
        );
    }
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &app.flags.args {
        match fetch(app, kind.as_deref(), name).await {
            Ok(raw) => found.push(raw),
            Err(failure) => errors.push(failure.message),
        }
    }
    show(app.flags.text("format"), &found, errors)
}

/// Shows documents as they came or as `format` asks, and tells what failed.
pub(crate) fn show(format: Option<&str>, found: &[Vec<u8>], mut errors: Vec<String>) -> Result<()> {
    let format = format.filter(|format| !format.is_empty());
    let text = |raw: &Vec<u8>| String::from_utf8_lossy(raw).trim().to_owned();
    match format {
        Some("json") => {
            let parts: Vec<String> = found.iter().map(text).collect();
            put(&format!("[{}]\n", parts.join(",")));
        }
        Some(format) => {
            let template = Template::parse(format)
                .map_err(|cause| Failure::new(format!("template parsing error: {cause}")).code(64))?;
            let mut out = String::new();
            for raw in found {
                match template.render_raw(raw) {
                    Ok(text) => out.push_str(&format!("{text}\n")),
                    Err(cause) => errors.push(format!("template parsing error: {cause}")),
                }
            }
            put(if out.is_empty() { "\n" } else { &out });
        }
        None if found.is_empty() => put("[]\n"),
        None => {
            let part = |raw| format!("    {}", indent(text(raw).as_bytes(), "    ", 1));
            let parts: Vec<String> = found.iter().map(part).collect();
            put(&format!("[\n{}\n]\n", parts.join(",\n")));
        }
    }
    if errors.is_empty() { Ok(()) } else { fail!("{}", errors.join("\n")) }
}
