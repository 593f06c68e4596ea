//! `context …`: the contexts that docker's configuration stores.

mod edit;

use serde::Serialize;
use std::collections::BTreeMap;

use crate::app::App;
use crate::config::Config;
use crate::contexts::{DEFAULT, ENDPOINT, Material, Meta, Store};
use crate::error::Result;
use crate::output::{self, Column, Row, put};

/// Carries out a command on contexts.
pub(crate) fn dispatch(app: &App, path: &str) -> Result<()> {
    match path {
        "context create" => edit::create(app),
        "context update" => edit::update(app),
        "context export" => edit::export(app),
        "context import" => edit::import(app),
        "context use" => select(app),
        "context rm" => remove(app),
        "context inspect" => inspect(app),
        "context ls" => list(app),
        _ => {
            put(&format!("{}\n", app.context));
            Ok(())
        }
    }
}

fn store(app: &App) -> Store {
    Store::new(&app.config)
}

/// The host that the environment names.
pub(crate) fn environment_host() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    variable("PROA_HOST").or_else(|| variable("DOCKER_HOST"))
}

/// The context that stands for flags and environment.
fn default_context(app: &App) -> Meta {
    Meta::new(DEFAULT, &app.default_host(), false)
}

/// A context, the default one among them.
fn read(app: &App, name: &str) -> Result<Meta> {
    if name == DEFAULT { Ok(default_context(app)) } else { store(app).read(name) }
}

/// A context's certificates; those of the default one are the environment's.
fn material(app: &App, name: &str) -> Result<Material> {
    if name != DEFAULT {
        return store(app).tls(name);
    }
    let mut all = Material::new();
    if let Some(options) = &app.tls {
        for (name, path) in [("ca.pem", &options.ca), ("cert.pem", &options.cert), ("key.pem", &options.key)]
        {
            if let Some(path) = path {
                all.entry(ENDPOINT.into()).or_default().insert(name.into(), std::fs::read(path)?);
            }
        }
    }
    Ok(all)
}

/// `context use`.
fn select(app: &App) -> Result<()> {
    let name = app.flags.args.first().map(String::as_str).unwrap_or_default();
    let chosen = if name == DEFAULT { "" } else { name };
    if !chosen.is_empty() {
        store(app).read(chosen)?;
    }
    let mut config = Config::read(&app.config)?;
    if config.text("currentContext") != chosen {
        config.set_text("currentContext", chosen);
        config.write()?;
    }
    put(&format!("{name}\n"));
    eprintln!("Current context is now {name:?}");
    if name != DEFAULT && environment_host().is_some() {
        eprintln!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {name:?}, either set the global --context flag, or unset DOCKER_HOST environment variable."
        );
    }
    Ok(())
}

/// `context rm`.
fn remove(app: &App) -> Result<()> {
    let (force, store) = (app.flags.on("force"), store(app));
    let remove = |name: &str| -> Result<()> {
        use crate::error::fail;
        if name == DEFAULT {
            fail!("context \"default\" cannot be removed");
        }
        if name == app.context {
            if !force {
                fail!("context {name:?} is in use, set -f flag to force remove");
            }
            let mut config = Config::read(&app.config)?;
            config.set_text("currentContext", "");
            config.write()?;
        }
        if !force && !store.exists(name) {
            fail!("context {name:?} does not exist");
        }
        store.remove(name)
    };
    super::each_now(&app.flags.args, |name| remove(name).map(|()| format!("{name}\n")))
}

/// `context ls`.
fn list(app: &App) -> Result<()> {
    // the fields of a row, the marked name first
    const TABLE: &str =
        "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
    const HEADINGS: &[Column] = &[
        ("Name", "NAME"),
        ("Current", ""),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ];
    let mut all = store(app).list();
    all.push(default_context(app));
    all.sort_by(|a, b| output::natural(&a.name, &b.name));
    let mut rows: Vec<Row> = all.iter().map(|meta| row(meta, &app.context, "")).collect();
    if !all.iter().any(|meta| meta.name == app.context) {
        let missing = Meta { name: app.context.clone(), ..Meta::default() };
        let cause = store(app).read(&app.context).err().map(|failure| failure.message).unwrap_or_default();
        let cut: String = cause.chars().take(44).collect();
        let cause = if cut == cause { cause } else { format!("{cut}…") };
        rows.push(row(&missing, &app.context, &cause));
        all.push(missing);
    }
    let format = match app.flags.text("format") {
        _ if app.flags.on("quiet") => "{{.Name}}",
        None | Some("" | "table") => TABLE,
        Some(format) => format,
    };
    output::rows(&rows, format, &[], HEADINGS)?;
    if environment_host().is_some() && !app.flags.has("format") {
        eprintln!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable."
        );
    }
    Ok(())
}

fn row(meta: &Meta, current: &str, error: &str) -> Row {
    let description =
        if meta.name == DEFAULT { "Current DOCKER_HOST based configuration" } else { meta.description() };
    let mut row = Row::new();
    row.insert("Name".into(), meta.name.as_str().into());
    row.insert("Current".into(), (meta.name == current).into());
    row.insert("Description".into(), description.into());
    row.insert("DockerEndpoint".into(), meta.host().into());
    row.insert("Error".into(), error.into());
    row
}

/// A context with where it lies.
#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    meta: Meta,
    #[serde(rename = "TLSMaterial")]
    material: BTreeMap<String, Vec<String>>,
    #[serde(rename = "Storage")]
    storage: Storage,
}

#[derive(Serialize)]
struct Storage {
    #[serde(rename = "MetadataPath")]
    metadata: String,
    #[serde(rename = "TLSPath")]
    tls: String,
}

impl Inspected {
    fn of(app: &App, name: &str) -> Result<Self> {
        let meta = read(app, name)?;
        if name == DEFAULT {
            let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect();
            let files = material(app, name)?;
            let material = files.iter().map(|(endpoint, files)| (endpoint.clone(), names(files))).collect();
            let nowhere = || "<IN MEMORY>".to_owned();
            let storage = Storage { metadata: nowhere(), tls: nowhere() };
            return Ok(Self { meta, material, storage });
        }
        let store = store(app);
        let text = |path: std::path::PathBuf| path.display().to_string();
        let storage = Storage { metadata: text(store.meta_dir(name)), tls: text(store.tls_dir(name)) };
        Ok(Self { meta, material: store.tls_names(name), storage })
    }
}

/// `context inspect`.
fn inspect(app: &App) -> Result<()> {
    let wanted = if app.flags.args.is_empty() { vec![app.context.clone()] } else { app.flags.args.clone() };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in &wanted {
        match Inspected::of(app, name) {
            Ok(context) => {
                let text = serde_json::to_string(&context)?;
                found.push(text.replace('<', "\\u003c").replace('>', "\\u003e").into_bytes());
            }
            Err(failure) => errors.push(failure.message),
        }
    }
    super::inspect::show(app.flags.text("format"), &found, errors)
}
