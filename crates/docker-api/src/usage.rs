//! Disk usage: the answer of `GET /system/df`, as it was until 1.51 and as it has been since.

use serde_json::Value;

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::Volume;

crate::wire::wire! {
    /// Answer of `GET /system/df`. What was not asked for is left out.
    DiskUsage {
        layers_size: Option<i64>, skip "Option::is_none";
        images: Option<Vec<ImageSummary>>, skip "Option::is_none";
        containers: Option<Vec<ContainerSummary>>, skip "Option::is_none";
        volumes: Option<Vec<Volume>>, skip "Option::is_none";
        build_cache: Option<Vec<Value>>, skip "Option::is_none";
        builder_size: Option<i64>, skip "Option::is_none";
        image_usage: Option<ImagesUsage>, skip "Option::is_none";
        container_usage: Option<ContainersUsage>, skip "Option::is_none";
        volume_usage: Option<VolumesUsage>, skip "Option::is_none";
        build_cache_usage: Option<BuildCacheUsage>, skip "Option::is_none";
    }
    /// What images take.
    ImagesUsage {
        active_count: i64;
        total_count: i64;
        reclaimable: i64;
        total_size: i64;
        items: Option<Vec<ImageSummary>>, skip "Option::is_none";
    }
    /// What the layers of containers take.
    ContainersUsage {
        active_count: i64;
        total_count: i64;
        reclaimable: i64;
        total_size: i64;
        items: Option<Vec<ContainerSummary>>, skip "Option::is_none";
    }
    /// What volumes take.
    VolumesUsage {
        active_count: i64;
        total_count: i64;
        reclaimable: i64;
        total_size: i64;
        items: Option<Vec<Volume>>, skip "Option::is_none";
    }
    /// What the builder keeps.
    BuildCacheUsage {
        active_count: i64;
        total_count: i64;
        reclaimable: i64;
        total_size: i64;
        items: Option<Vec<Value>>, skip "Option::is_none";
    }
}
