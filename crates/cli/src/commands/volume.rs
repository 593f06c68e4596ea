//! Commands on volumes; clone, rename, export and import are beyond docker.

use proa_client::{Verb, escape, file_body, full};
use proa_docker_api::{Volume, VolumeCreate};

use super::each;
use crate::app::{App, reason};
use crate::error::{Failure, Result, fail};
use crate::output::put;
use crate::spec;

/// `volume create`.
pub(crate) async fn create(app: &App) -> Result<()> {
    let flags = &app.flags;
    let name = match (flags.args.first(), flags.text("name")) {
        (Some(_), Some(_)) => fail!(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        ),
        (Some(name), None) => name.clone(),
        (None, name) => name.unwrap_or_default().to_owned(),
    };
    let body = VolumeCreate {
        name,
        driver: flags.text("driver").unwrap_or("local").to_owned(),
        driver_opts: spec::map(&flags.list("opt")),
        labels: spec::map(&flags.list("label")),
        ..VolumeCreate::default()
    };
    let volume: Volume = app.client.post_json("/volumes/create", &body).await?;
    put(&format!("{}\n", volume.name));
    Ok(())
}

/// `volume rm`.
pub(crate) async fn remove(app: &App) -> Result<()> {
    let force = if app.flags.on("force") { "?force=1" } else { "" };
    each(&app.flags.args, |name| async move {
        app.client.delete(&format!("/volumes/{}{force}", escape(&name))).await?;
        Ok(format!("{name}\n"))
    })
    .await
}

fn label_query(app: &App) -> String {
    app.flags.list("label").iter().map(|label| format!("&label={}", escape(label))).collect()
}

/// `volume update`: the engine answers that it needs a swarm.
pub(crate) async fn update(app: &App) -> Result<()> {
    let name = app.flags.args.first().map(String::as_str).unwrap_or_default();
    app.client.bytes(Verb::PUT, &format!("/volumes/{}?version=0", escape(name)), b"{}".to_vec()).await?;
    put(&format!("{name}\n"));
    Ok(())
}

/// `volume clone`.
pub(crate) async fn clone(app: &App) -> Result<()> {
    let [from, to] = app.flags.args.as_slice() else { fail!("two names are needed") };
    let path = format!("/proa/volumes/{}/clone?name={}{}", escape(from), escape(to), label_query(app));
    app.client.post(&path).await?;
    put(&format!("{to}\n"));
    Ok(())
}

/// `volume rename`.
pub(crate) async fn rename(app: &App) -> Result<()> {
    let [from, to] = app.flags.args.as_slice() else { fail!("two names are needed") };
    app.client.post(&format!("/proa/volumes/{}/rename?name={}", escape(from), escape(to))).await?;
    Ok(())
}

/// `volume export`.
pub(crate) async fn export(app: &App) -> Result<()> {
    let name = app.flags.args.first().map(String::as_str).unwrap_or_default();
    let output = app.flags.text("output").filter(|path| !path.is_empty());
    if output.is_none() && crate::terminal::stdout_is() {
        fail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    if let Some(path) = output {
        super::copy::writable(path).map_err(|e| Failure::new(format!("failed to export volume: {e}")))?;
    }
    let path = format!("/proa/volumes/{}/export", escape(name));
    let stream = app.client.stream(Verb::GET, &path, &[], full("")).await?;
    super::image::save_stream(stream, output).await
}

/// `volume import`.
pub(crate) async fn import(app: &App) -> Result<()> {
    let name = app.flags.args.first().map(String::as_str).unwrap_or_default();
    let body = match app.flags.args.get(1).map(String::as_str) {
        None | Some("-") => file_body(tokio::io::stdin()),
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            file_body(file.map_err(|cause| Failure::new(format!("open {path}: {}", reason(&cause))))?)
        }
    };
    let query = label_query(app);
    let path = format!("/proa/volumes/{}/import?{}", escape(name), query.trim_start_matches('&'));
    let headers = [("Content-Type", "application/x-tar")];
    app.client.send(Verb::POST, &path, &headers, body).await?;
    put(&format!("{name}\n"));
    Ok(())
}
