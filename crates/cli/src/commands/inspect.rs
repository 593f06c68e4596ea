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
        fail!("unknown type: {kind:?}: must be one of \"container\", \"image\", \"network\", \"volume\"");
    }
    let format = app.flags.text("format").filter(|format| !format.is_empty() && *format != "json");
    let template = match format {
        Some(text) => Some(
            Template::parse(text)
                .map_err(|cause| Failure::new(format!("template parsing error: {cause}")).code(64))?,
        ),
        None => None,
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &app.flags.args {
        match fetch(app, kind.as_deref(), name).await {
            Ok(raw) => found.push(raw),
            Err(failure) => errors.push(failure.message),
        }
    }
    if let Some(template) = template {
        for raw in &found {
            match template.render_raw(raw) {
                Ok(text) => put(&format!("{text}\n")),
                Err(cause) => {
                    put("\n");
                    errors.push(format!("template parsing error: {cause}"));
                }
            }
        }
    } else if app.flags.text("format") == Some("json") {
        let parts: Vec<String> =
            found.iter().map(|raw| String::from_utf8_lossy(raw).trim().to_owned()).collect();
        put(&format!("[{}]\n", parts.join(",")));
    } else if found.is_empty() {
        put("[]\n");
    } else {
        let parts: Vec<String> = found
            .iter()
            .map(|raw| format!("    {}", indent(String::from_utf8_lossy(raw).trim().as_bytes(), "    ", 1)))
            .collect();
        put(&format!("[\n{}\n]\n", parts.join(",\n")));
    }
    if errors.is_empty() { Ok(()) } else { fail!("{}", errors.join("\n")) }
}
