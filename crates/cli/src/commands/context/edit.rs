//! `context create`, `update`, `export`, `import`: what makes or changes a stored context.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use proa_client::Host;

use super::{material, read, store};
use crate::app::{App, reason};
use crate::contexts::{self, ENDPOINT, Material, Meta, Store, archive};
use crate::error::{Failure, Result, fail};
use crate::output::put;

/// `context create`.
pub(super) fn create(app: &App) -> Result<()> {
    let flags = &app.flags;
    let name = flags.args.first().map(String::as_str).unwrap_or_default();
    let store = store(app);
    contexts::check_new(&store, name)?;
    let (mut meta, files) = match (flags.text("from"), flags.has("docker")) {
        (Some(_), true) => fail!("cannot use --docker flag when --from is set"),
        (None, true) => {
            let (endpoint, files) = endpoint(app)?;
            let mut material = Material::new();
            material.insert(ENDPOINT.into(), files);
            (endpoint, material)
        }
        (from, false) => {
            let from = from.filter(|from| !from.is_empty()).unwrap_or(&app.context);
            (read(app, from)?, material(app, from)?)
        }
    };
    meta.describe(&flags.text_or("description"));
    keep(&store, name, meta, &files)?;
    put(&format!("{name}\n"));
    eprintln!("Successfully created context {name:?}");
    Ok(())
}

/// Stores a new context: it appears when its certificates are there.
fn keep(store: &Store, name: &str, meta: Meta, material: &Material) -> Result<()> {
    for (endpoint, files) in material {
        store.set_tls(name, endpoint, files)?;
    }
    store.save(&Meta { name: name.to_owned(), ..meta })
}

/// `context update`.
pub(super) fn update(app: &App) -> Result<()> {
    let name = app.flags.args.first().map(String::as_str).unwrap_or_default();
    contexts::check_name(name)?;
    let store = store(app);
    let mut meta = store.read(name)?;
    meta.describe(&app.flags.text_or("description"));
    let changed = if app.flags.has("docker") { Some(endpoint(app)?) } else { None };
    if let Some((endpoint, files)) = &changed {
        meta.endpoints.extend(endpoint.endpoints.clone());
        store.set_tls(name, ENDPOINT, files)?;
    }
    store.save(&meta)?;
    put(&format!("{name}\n"));
    eprintln!("Successfully updated context {name:?}");
    Ok(())
}

/// The endpoint that `--docker` describes, and its certificates.
fn endpoint(app: &App) -> Result<(Meta, BTreeMap<String, Vec<u8>>)> {
    let failed = |failure: Failure| {
        Failure::new(format!("unable to create docker endpoint config: {}", failure.message))
    };
    described(app).map_err(failed)
}

fn described(app: &App) -> Result<(Meta, BTreeMap<String, Vec<u8>>)> {
    const KEYS: [&str; 6] = ["ca", "cert", "from", "host", "key", "skip-tls-verify"];
    let values: BTreeMap<String, String> = app
        .flags
        .list("docker")
        .iter()
        .flat_map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    let unknown = values.keys().filter(|key| !KEYS.contains(&key.as_str()));
    let unknown: Vec<String> = unknown.map(|key| format!("unrecognized config key: {key}")).collect();
    if !unknown.is_empty() {
        fail!("{}", unknown.join("\n"));
    }
    let value = |key: &str| values.get(key).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(from) = value("from") {
        let meta = read(app, from)?;
        return Ok((Meta::new("", meta.host(), meta.unverified()), BTreeMap::new()));
    }
    let mut files = BTreeMap::new();
    for key in ["ca", "cert", "key"] {
        if let Some(path) = value(key) {
            let bytes = std::fs::read(path)
                .map_err(|cause| Failure::new(format!("open {path}: {}", reason(&cause))))?;
            files.insert(format!("{key}.pem"), bytes);
        }
    }
    let unverified = match value("skip-tls-verify") {
        None => false,
        Some(text) => match crate::parse::truth(text) {
            Some(truth) => truth,
            None => fail!("skip-tls-verify: parsing {text:?}: invalid syntax"),
        },
    };
    let host = value("host").unwrap_or_default();
    if !host.is_empty()
        && let Err(cause) = Host::parse(host)
    {
        fail!("unable to apply docker endpoint options: {cause}");
    }
    Ok((Meta::new("", host, unverified), files))
}

/// `context export`.
pub(super) fn export(app: &App) -> Result<()> {
    let args = &app.flags.args;
    let name = args.first().map(String::as_str).unwrap_or_default();
    let (meta, material) = (read(app, name)?, material(app, name)?);
    let mut packed = Vec::new();
    archive::write(&meta, &material, &mut packed)?;
    let own = format!("{name}.dockercontext");
    let path = args.get(1).map_or(own.as_str(), String::as_str);
    if path == "-" {
        if rustix::termios::isatty(rustix::stdio::stdout()) {
            fail!("cowardly refusing to export to a terminal, specify a file path");
        }
        return Ok(crate::commands::pump::emit(&packed)?);
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| Failure::new(format!("open {path}: {}", reason(&cause))))?;
    file.write_all(&packed)?;
    eprintln!("Written file {path:?}");
    Ok(())
}

/// `context import`.
pub(super) fn import(app: &App) -> Result<()> {
    let [name, path] = app.flags.args.as_slice() else { fail!("a name and a file are needed") };
    let store = store(app);
    contexts::check_new(&store, name)?;
    let (meta, material) = if path == "-" {
        archive::read(std::io::stdin().lock())?
    } else {
        let file = std::fs::File::open(path)
            .map_err(|cause| Failure::new(format!("open {path}: {}", reason(&cause))))?;
        archive::read(file)?
    };
    keep(&store, name, meta, &material)?;
    put(&format!("{name}\n"));
    eprintln!("Successfully imported context {name:?}");
    Ok(())
}
