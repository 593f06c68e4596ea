//! Commands on volumes.

use proa_client::escape;
use proa_docker_api::{Volume, VolumeCreate};

use super::each;
use crate::app::App;
use crate::error::{Result, fail};
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
