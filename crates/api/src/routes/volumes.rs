//! Volumes.

use crate::body::{Answer, document, empty, json, ok};
use crate::error::Failure;
use crate::server::Call;
use hyper::StatusCode;
use proa_docker_api::{Volume, VolumeCreate, VolumeList, VolumeUsage};
use proa_engine::VolumeView;
use proa_volume::VolumeSpec;

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
