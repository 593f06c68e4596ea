//! `context show`, `context ls`, `context inspect`: the contexts that docker's configuration stores.

use serde_json::{Value, json};

use crate::app::App;
use crate::config::Config;
use crate::error::{Failure, Result, fail};
use crate::output::{self, Column, Row, put};
use crate::template::Template;

/// The name of the context that commands without `--context` use.
fn current(app: &App) -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if variable("DOCKER_HOST").is_some() {
        return "default".to_owned();
    }
    let configured = || Config::read(&app.config).map(|config| config.text("currentContext").to_owned());
    let name = variable("DOCKER_CONTEXT").or_else(|| configured().ok()).unwrap_or_default();
    if name.is_empty() { "default".to_owned() } else { name }
}

/// The stored contexts by name, `default` among them.
fn stored(app: &App) -> Vec<Value> {
    let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    let host = host.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
    let mut all = vec![json!({
        "Name": "default", "Metadata": { "Description": "Current DOCKER_HOST based configuration" },
        "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": false } },
    })];
    let entries = std::fs::read_dir(app.config.join("contexts/meta")).into_iter().flatten().flatten();
    for entry in entries {
        let document = std::fs::read(entry.path().join("meta.json")).ok();
        all.extend(document.and_then(|raw| serde_json::from_slice(&raw).ok()));
    }
    all.sort_by_key(|context: &Value| name(context).to_owned());
    all
}

fn name(context: &Value) -> &str {
    context.get("Name").and_then(Value::as_str).unwrap_or_default()
}

/// `context show`.
pub(crate) fn show(app: &App) -> Result<()> {
    put(&format!("{}\n", current(app)));
    Ok(())
}

/// `context ls`.
pub(crate) fn list(app: &App) -> Result<()> {
    const COLUMNS: &[Column] = &[
        ("Marked", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ];
    let current = current(app);
    let contexts = stored(app);
    if app.flags.on("quiet") {
        contexts.iter().for_each(|context| put(&format!("{}\n", name(context))));
        return Ok(());
    }
    let text = |context: &Value, pointer: &str| {
        context.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let make = |context: &Value| {
        let mut row = Row::new();
        let is_current = name(context) == current;
        row.insert("Name".into(), name(context).into());
        row.insert(
            "Marked".into(),
            format!("{}{}", name(context), if is_current { " *" } else { "" }).into(),
        );
        row.insert("Current".into(), is_current.into());
        row.insert("Description".into(), text(context, "/Metadata/Description").into());
        row.insert("DockerEndpoint".into(), text(context, "/Endpoints/docker/Host").into());
        row.insert("Error".into(), "".into());
        row
    };
    let rows: Vec<Row> = contexts.iter().map(make).collect();
    output::rows(&rows, &app.flags.text_or("format"), COLUMNS, &[("Name", "NAME")])?;
    if std::env::var("DOCKER_HOST").is_ok_and(|host| !host.is_empty()) && app.flags.text("format").is_none() {
        eprintln!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable."
        );
    }
    Ok(())
}

/// `context inspect`.
pub(crate) fn inspect(app: &App) -> Result<()> {
    let contexts = stored(app);
    let wanted = if app.flags.args.is_empty() { vec![current(app)] } else { app.flags.args.clone() };
    let mut found = Vec::new();
    for wanted in &wanted {
        match contexts.iter().find(|context| name(context) == wanted) {
            Some(context) => found.push(context),
            None => fail!("context {wanted:?} does not exist"),
        }
    }
    let Some(format) = app.flags.text("format").filter(|format| !format.is_empty()) else {
        let document = serde_json::to_vec(&found)?;
        put(&format!("{}\n", output::indent(&document, "    ", 0)));
        return Ok(());
    };
    let template =
        Template::parse(format).map_err(|cause| Failure::new(format!("template parsing error: {cause}")))?;
    for context in found {
        put(&format!("{}\n", template.render(context, true).map_err(Failure::new)?));
    }
    Ok(())
}
