//! What keeps an engine tidy: prunes, and changes of containers that exist.

use super::images::item;
use crate::body::{Answer, document, drain, ok};
use crate::convert::{create, nullable};
use crate::error::Failure;
use crate::server::Call;
use proa_docker_api::{
    BuildPruned, ContainersPruned, HostConfig, ImagesPruned, NetworksPruned, UpdateResponse, VolumesPruned,
};
use proa_engine::Update;

type Handled = Result<Answer, Failure>;

pub(crate) async fn containers_prune(call: Call) -> Handled {
    let pruned = call.engine().containers_prune(&call.query.filters()?).await?;
    ok(&ContainersPruned { containers_deleted: nullable(pruned.removed), space_reclaimed: pruned.freed })
}

pub(crate) async fn images_prune(call: Call) -> Handled {
    let pruned = call.engine().images_prune(&call.query.filters()?).await?;
    let items = pruned.removed.into_iter().map(item).collect();
    ok(&ImagesPruned { images_deleted: nullable(items), space_reclaimed: pruned.freed })
}

/// Until 1.42 volumes with a name went too.
pub(crate) async fn volumes_prune(call: Call) -> Handled {
    let mut filters = call.query.filters()?;
    let named = !call.since(1, 42);
    if named {
        filters.0.remove("all");
    }
    let pruned = call.engine().volumes_prune(&filters, named).await?;
    ok(&VolumesPruned { volumes_deleted: Some(pruned.removed), space_reclaimed: pruned.freed })
}

pub(crate) async fn networks_prune(call: Call) -> Handled {
    let pruned = call.engine().networks_prune(&call.query.filters()?)?;
    ok(&NetworksPruned { networks_deleted: nullable(pruned.removed) })
}

/// This engine builds nothing, so there is never a cache: `docker system prune` asks all the same.
pub(crate) async fn build_prune(call: Call) -> Handled {
    drain(call.request.into_body()).await;
    ok(&BuildPruned { caches_deleted: Some(Vec::new()), space_reclaimed: 0 })
}

pub(crate) async fn update(call: Call) -> Handled {
    let (container, limits_pids) = (call.name().to_owned(), call.since(1, 40));
    let Call { api, request, .. } = call;
    let mut asked: HostConfig = document(request.into_body()).await?;
    if !limits_pids {
        asked.pids_limit = None;
    }
    refuse(&asked)?;
    let restart = create::restart(&asked)?;
    let update = Update {
        resources: create::resources(&asked),
        restart: (!restart.name.is_empty()).then_some(restart),
    };
    let warnings = api.engine.update(&container, update).await?;
    ok(&UpdateResponse { warnings: Some(warnings) })
}

/// Resources that stay as they were made.
fn refuse(asked: &HostConfig) -> Result<(), Failure> {
    fn some<T>(list: &Option<Vec<T>>) -> bool {
        list.as_ref().is_some_and(|list| !list.is_empty())
    }
    let fixed = [
        ("Devices", some(&asked.devices)),
        ("DeviceCgroupRules", some(&asked.device_cgroup_rules)),
        ("DeviceRequests", some(&asked.device_requests)),
        ("Ulimits", some(&asked.ulimits)),
        ("CgroupParent", !asked.cgroup_parent.is_empty()),
        ("MemorySwappiness", asked.memory_swappiness.is_some_and(|value| value >= 0)),
        ("OomKillDisable", asked.oom_kill_disable == Some(true)),
    ];
    match fixed.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Failure::bad(format!("{name} cannot be updated: create the container anew"))),
        None => Ok(()),
    }
}
