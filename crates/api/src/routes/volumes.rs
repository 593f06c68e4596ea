//! Volumes.

use crate::body::{Answer, Archive, breakable, document, empty, json, ok, reader, typed, with};
use crate::error::Failure;
use crate::server::Call;
use hyper::StatusCode;
use proa_docker_api::{Volume, VolumeCreate, VolumeList, VolumeUsage};
use proa_engine::VolumeView;
use proa_types::Labels;
use proa_volume::VolumeSpec;
use std::sync::Arc;
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

fn wire(volume: &VolumeView) -> Volume {
    let options = if volume.options.is_empty() { None } else { Some(volume.options.clone()) };
    let labels = if volume.labels.is_empty() { None } else { Some(volume.labels.clone()) };
    Volume {
        created_at: volume.created.to_string(),
        driver: volume.driver.clone(),
        labels,
        mountpoint: volume.mountpoint.display().to_string(),
        name: volume.name.clone(),
        options,
        scope: "local".into(),
        ..Volume::default()
    }
}

/// A volume with what it takes and how many use it.
pub(crate) fn measured(usage: &proa_engine::VolumeUsage) -> Volume {
    let size = usage.size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    let ref_count = i64::try_from(usage.users).unwrap_or(i64::MAX);
    Volume { usage_data: Some(VolumeUsage { ref_count, size }), ..wire(&usage.volume) }
}

pub(crate) async fn list(call: Call) -> Handled {
    let volumes = call.engine().volumes(&call.query.filters()?)?;
    ok(&VolumeList { volumes: volumes.iter().map(wire).collect(), warnings: None })
}

pub(crate) async fn create(call: Call) -> Handled {
    let Call { api, request, .. } = call;
    let asked: VolumeCreate = document(request.into_body()).await?;
    if asked.cluster_volume_spec.is_some() {
        return Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "a cluster volume needs a swarm, and this node is not part of one",
        ));
    }
    let spec = VolumeSpec {
        name: Some(asked.name).filter(|name| !name.is_empty()),
        anonymous: false,
        driver: if asked.driver.is_empty() { "local".into() } else { asked.driver },
        options: asked.driver_opts,
        labels: asked.labels,
    };
    let volume = api.engine.volume_create(spec).await?;
    Ok(json(StatusCode::CREATED, &wire(&volume)))
}

/// Only cluster volumes can be changed, and they need a swarm.
pub(crate) async fn update(call: Call) -> Handled {
    let _: serde_json::Value = document(call.request.into_body()).await?;
    Err(Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    ))
}

pub(crate) async fn inspect(call: Call) -> Handled {
    ok(&wire(&call.engine().volume(call.name())?))
}

pub(crate) async fn remove(call: Call) -> Handled {
    call.engine().volume_remove(call.name(), call.query.flag("force")).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Labels of a query: `label=KEY=VALUE`, as often as wanted.
fn labels(call: &Call) -> Labels {
    let pair = |text: String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text, String::new()),
    };
    call.query.all("label").into_iter().map(pair).collect()
}

/// The name of the volume that is to be.
fn new_name(call: &Call) -> Result<&str, Failure> {
    let name = call.query.text("name").filter(|name| !name.is_empty());
    name.ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, "the name of the new volume is missing"))
}

/// Beyond docker: a volume with the data of another one.
pub(crate) async fn clone(call: Call) -> Handled {
    let volume = call.engine().volume_clone(call.name(), new_name(&call)?, labels(&call)).await?;
    Ok(json(StatusCode::CREATED, &wire(&volume)))
}

/// Beyond docker: another name for a volume.
pub(crate) async fn rename(call: Call) -> Handled {
    ok(&wire(&call.engine().volume_rename(call.name(), new_name(&call)?).await?))
}

/// Beyond docker: a volume's data as an archive.
pub(crate) async fn export(call: Call) -> Handled {
    let (sender, receiver) = mpsc::channel(16);
    call.engine().volume_export(call.name(), Archive(sender)).await?;
    Ok(typed(with(StatusCode::OK, breakable(receiver)), "application/x-tar"))
}

/// Beyond docker: a new volume of an archive.
pub(crate) async fn import(call: Call) -> Handled {
    let labels = labels(&call);
    let (engine, name) = (Arc::clone(call.engine()), call.name().to_owned());
    let volume = engine.volume_import(&name, labels, reader(call.request.into_body())).await?;
    Ok(json(StatusCode::CREATED, &wire(&volume)))
}
