//! `system df`.

use proa_docker_api::{ContainerSummary, DiskUsage, ImageSummary, Volume};
use proa_types::units::human_size;
use serde_json::json;

use super::list;
use crate::app::App;
use crate::error::{Result, fail};
use crate::output::{self, Column, Row, put};

/// One kind of object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    total: i64,
    active: i64,
    size: i64,
    reclaimable: i64,
}

/// `system df`.
pub(crate) async fn df(app: &App) -> Result<()> {
    let verbose = app.flags.on("verbose");
    if verbose && app.flags.has("format") {
        fail!("the verbose and the format options conflict");
    }
    let usage: DiskUsage = app.client.fetch(&format!("/system/df?verbose={}", u8::from(verbose))).await?;
    if verbose { details(app, &usage) } else { summary(app, &usage) }
}

/// The sums of each kind: as told, or made of the lists of an engine before 1.52.
fn sums(usage: &DiskUsage) -> [(&'static str, Sum); 4] {
    macro_rules! told {
        ($kind:expr) => {
            $kind.as_ref().map(|kind| Sum {
                total: kind.total_count,
                active: kind.active_count,
                size: kind.total_size,
                reclaimable: kind.reclaimable,
            })
        };
    }
    [
        ("Images", told!(usage.image_usage).unwrap_or_else(|| images(usage))),
        ("Containers", told!(usage.container_usage).unwrap_or_else(|| containers(usage))),
        ("Local Volumes", told!(usage.volume_usage).unwrap_or_else(|| volumes(usage))),
        ("Build Cache", told!(usage.build_cache_usage).unwrap_or_else(|| cache(usage))),
    ]
}

fn count(items: impl Iterator) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

fn images(usage: &DiskUsage) -> Sum {
    let all = usage.images.as_deref().unwrap_or_default();
    let active = || all.iter().filter(|image| image.containers > 0);
    let own = |image: &ImageSummary| image.size - image.shared_size.max(0);
    let size = usage.layers_size.unwrap_or(0);
    let used: i64 = active().map(own).sum();
    Sum { total: count(all.iter()), active: count(active()), size, reclaimable: size - used }
}

fn is_active(container: &ContainerSummary) -> bool {
    matches!(container.state.as_str(), "running" | "paused" | "restarting")
}

fn containers(usage: &DiskUsage) -> Sum {
    let all = usage.containers.as_deref().unwrap_or_default();
    let size = |one: &ContainerSummary| one.size_rw.unwrap_or(0);
    let idle = all.iter().filter(|one| !is_active(one)).map(size).sum();
    Sum {
        total: count(all.iter()),
        active: count(all.iter().filter(|one| is_active(one))),
        size: all.iter().map(size).sum(),
        reclaimable: idle,
    }
}

/// Containers that use a volume, and its bytes; -1 where that is not known.
fn used(volume: &Volume) -> (i64, i64) {
    volume.usage_data.as_ref().map_or((0, -1), |usage| (usage.ref_count, usage.size))
}

fn volumes(usage: &DiskUsage) -> Sum {
    let all: Vec<(i64, i64)> = usage.volumes.iter().flatten().map(used).collect();
    Sum {
        total: count(all.iter()),
        active: count(all.iter().filter(|(links, _)| *links > 0)),
        size: all.iter().map(|(_, size)| size.max(&0)).sum(),
        reclaimable: all.iter().filter(|(links, _)| *links == 0).map(|(_, size)| size.max(&0)).sum(),
    }
}

fn cache(usage: &DiskUsage) -> Sum {
    let all = usage.build_cache.as_deref().unwrap_or_default();
    let flag = |item: &serde_json::Value, key: &str| item.get(key).is_some_and(|value| *value == json!(true));
    let bytes = |item: &serde_json::Value| item.get("Size").and_then(serde_json::Value::as_i64).unwrap_or(0);
    let own = |item: &&serde_json::Value| !flag(item, "Shared");
    Sum {
        total: count(all.iter()),
        active: count(all.iter().filter(|item| flag(item, "InUse"))),
        size: all.iter().filter(own).map(bytes).sum(),
        reclaimable: all.iter().filter(own).filter(|item| !flag(item, "InUse")).map(bytes).sum(),
    }
}

fn bytes(bytes: i64) -> String {
    human_size(bytes.max(0).unsigned_abs(), 4)
}

fn summary(app: &App, usage: &DiskUsage) -> Result<()> {
    const COLUMNS: &[Column] = &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ];
    let make = |(name, sum): &(&str, Sum)| {
        let share = sum.reclaimable * 100 / sum.size.max(1);
        let share =
            if sum.size > 0 && *name != "Build Cache" { format!(" ({share}%)") } else { String::new() };
        list::row(json!({
            "Type": name, "TotalCount": sum.total.to_string(), "Active": sum.active.to_string(),
            "Size": bytes(sum.size), "Reclaimable": format!("{}{share}", bytes(sum.reclaimable)),
        }))
    };
    let rows: Vec<Row> = sums(usage).iter().map(make).collect();
    output::rows(&rows, &app.flags.text_or("format"), COLUMNS, &[])
}

/// The items of a kind, from where the engine's version has them.
fn items<T: Clone>(new: Option<&Option<Vec<T>>>, old: &Option<Vec<T>>) -> Vec<T> {
    new.cloned().flatten().or_else(|| old.clone()).unwrap_or_default()
}

fn details(app: &App, usage: &DiskUsage) -> Result<()> {
    let images = items(usage.image_usage.as_ref().map(|kind| &kind.items), &usage.images);
    let containers = items(usage.container_usage.as_ref().map(|kind| &kind.items), &usage.containers);
    let volumes = items(usage.volume_usage.as_ref().map(|kind| &kind.items), &usage.volumes);
    put("Images space usage:\n\n");
    image_table(app, &images)?;
    put("\nContainers space usage:\n\n");
    container_table(app, &containers)?;
    put("\nLocal Volumes space usage:\n\n");
    volume_table(&volumes)?;
    let [.., (_, cache)] = sums(usage);
    put(&format!("\nBuild cache usage: {}\n\n", bytes(cache.size)));
    const CACHE: &[Column] = &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ];
    output::rows(&[], "", CACHE, &[])
}

fn image_table(app: &App, images: &[ImageSummary]) -> Result<()> {
    const COLUMNS: &[Column] = &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ];
    let mut rows = Vec::new();
    for image in images {
        let first = rows.len();
        list::image_rows(app, image, false, &mut rows);
        for row in rows.iter_mut().skip(first) {
            row.insert("SharedSize".into(), bytes(image.shared_size).into());
            row.insert("UniqueSize".into(), bytes(image.size - image.shared_size.max(0)).into());
            row.insert("Containers".into(), image.containers.to_string().into());
        }
    }
    output::rows(&rows, "", COLUMNS, &[])
}

fn container_table(app: &App, containers: &[ContainerSummary]) -> Result<()> {
    const COLUMNS: &[Column] = &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ];
    let own = |item: &ContainerSummary| ContainerSummary { size_root_fs: None, ..item.clone() };
    let rows: Vec<Row> = containers.iter().map(|item| list::container_row(app, &own(item))).collect();
    output::rows(&rows, "", COLUMNS, &[])
}

fn volume_table(volumes: &[Volume]) -> Result<()> {
    const COLUMNS: &[Column] = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
    let make = |volume: &Volume| {
        let (links, size) = used(volume);
        let size = if size < 0 { "N/A".into() } else { bytes(size) };
        list::row(json!({ "Name": volume.name, "Links": links.to_string(), "Size": size }))
    };
    let rows: Vec<Row> = volumes.iter().map(make).collect();
    output::rows(&rows, "", COLUMNS, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_older_engines_must_be_summed() {
        let usage: DiskUsage = serde_json::from_value(json!({
            "LayersSize": 100,
            "Images": [{ "Size": 60, "SharedSize": 10, "Containers": 1 }, { "Size": 50, "SharedSize": 10 }],
            "Containers": [{ "State": "running", "SizeRw": 5 }, { "State": "exited", "SizeRw": 7 }],
            "Volumes": [{ "UsageData": { "RefCount": 1, "Size": 3 } }, { "UsageData": { "RefCount": 0, "Size": 4 } },
                { "UsageData": { "RefCount": 0, "Size": -1 } }],
            "BuildCache": [{ "Size": 2, "InUse": true }, { "Size": 8 }],
        }))
        .unwrap();
        let sum = |total, active, size, reclaimable| Sum { total, active, size, reclaimable };
        let wanted = [sum(2, 1, 100, 50), sum(2, 1, 12, 7), sum(3, 1, 7, 4), sum(2, 1, 10, 8)];
        assert_eq!(sums(&usage).map(|(_, sum)| sum), wanted);
    }
}
