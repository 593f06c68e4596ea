//! Disk usage: lists of everything until 1.51, sums of each kind since.

use super::volumes;
use crate::body::{Answer, ok};
use crate::convert::{container, image};
use crate::error::Failure;
use crate::server::Call;
use proa_docker_api::{
    BuildCacheUsage, ContainerSummary, ContainersUsage, DiskUsage, ImageSummary, ImagesUsage, Volume,
    VolumesUsage,
};
use proa_engine::UsageOf;

type Handled = Result<Answer, Failure>;

/// Lists of what was asked for, newest first, and bytes of layers: all of them, and those in use.
struct Measured {
    images: Option<(Vec<ImageSummary>, [i64; 2])>,
    containers: Option<Vec<ContainerSummary>>,
    volumes: Option<Vec<Volume>>,
    cache: bool,
}

pub(crate) async fn disk_usage(call: Call) -> Handled {
    let kinds = if call.since(1, 42) { call.query.all("type") } else { Vec::new() };
    for kind in &kinds {
        if !matches!(kind.as_str(), "container" | "image" | "volume" | "build-cache") {
            return Err(Failure::bad(format!("unknown object type: {kind}")));
        }
    }
    let wants = |kind: &str| kinds.is_empty() || kinds.iter().any(|given| given == kind);
    let of = UsageOf { images: wants("image"), containers: wants("container"), volumes: wants("volume") };
    let measured = measured(&call, of, wants("build-cache")).await?;
    if call.since(1, 52) {
        let verbose = call.query.flag("verbose");
        return ok(&sums(measured, verbose));
    }
    let old = !call.since(1, 42);
    let (images, layers) = measured.images.map(|(images, [all, _])| (images, all)).unzip();
    ok(&DiskUsage {
        layers_size: layers,
        images,
        containers: measured.containers,
        volumes: measured.volumes,
        build_cache: measured.cache.then(Vec::new),
        builder_size: old.then_some(0),
        ..DiskUsage::default()
    })
}

async fn measured(call: &Call, of: UsageOf, cache: bool) -> Result<Measured, Failure> {
    let engine = call.engine();
    let usage = engine.disk_usage(of).await?;
    let images = usage.images.map(|(images, layers)| {
        let row = |one: &std::sync::Arc<proa_engine::ImageView>| ImageSummary {
            shared_size: signed(layers.shared.get(&one.id).copied().unwrap_or(0)),
            containers: i64::try_from(engine.image_users(&one.id)).unwrap_or(i64::MAX),
            ..image::summary(one, engine, call.version)
        };
        (images.iter().map(row).collect(), [signed(layers.total), signed(layers.used)])
    });
    let containers = usage.containers.map(|mut views| {
        views.sort_by_key(|view| std::cmp::Reverse(view.record.created));
        views.iter().map(|view| container::summary(view, engine, call.version)).collect()
    });
    let volumes = usage.volumes.map(|all| all.iter().map(volumes::measured).collect());
    Ok(Measured { images, containers, volumes, cache })
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn count(items: usize) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}

fn sums(measured: Measured, verbose: bool) -> DiskUsage {
    let image_usage = measured.images.map(|(images, [all, used])| ImagesUsage {
        active_count: count(images.iter().filter(|image| image.containers > 0).count()),
        total_count: count(images.len()),
        reclaimable: all - used,
        total_size: all,
        items: verbose.then_some(images),
    });
    let container_usage = measured.containers.map(|containers| {
        let active = |one: &&ContainerSummary| matches!(&*one.state, "running" | "paused" | "restarting");
        let size = |one: &ContainerSummary| one.size_rw.unwrap_or(0);
        let total: i64 = containers.iter().map(size).sum();
        ContainersUsage {
            active_count: count(containers.iter().filter(active).count()),
            total_count: count(containers.len()),
            reclaimable: total - containers.iter().filter(active).map(size).sum::<i64>(),
            total_size: total,
            items: verbose.then_some(containers),
        }
    });
    let volume_usage = measured.volumes.map(|volumes| {
        let links = |one: &Volume| one.usage_data.as_ref().map_or(0, |usage| usage.ref_count);
        let size = |one: &Volume| one.usage_data.as_ref().map_or(0, |usage| usage.size.max(0));
        VolumesUsage {
            active_count: count(volumes.iter().filter(|one| links(one) > 0).count()),
            total_count: count(volumes.len()),
            reclaimable: volumes.iter().filter(|one| links(one) == 0).map(size).sum(),
            total_size: volumes.iter().map(size).sum(),
            items: verbose.then_some(volumes),
        }
    });
    let empty = || BuildCacheUsage { items: verbose.then(Vec::new), ..BuildCacheUsage::default() };
    DiskUsage {
        image_usage,
        container_usage,
        volume_usage,
        build_cache_usage: measured.cache.then(empty),
        ..DiskUsage::default()
    }
}
