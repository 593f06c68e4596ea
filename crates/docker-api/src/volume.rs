//! Volumes.

use std::collections::BTreeMap;

use serde_json::Value;

crate::wire::wire! {
    /// A volume.
    Volume {
        created_at: String, skip "String::is_empty";
        driver: String;
        labels: Option<BTreeMap<String, String>>;
        mountpoint: String;
        name: String;
        options: Option<BTreeMap<String, String>>;
        scope: String;
        status: Option<BTreeMap<String, Value>>, skip "Option::is_none";
        usage_data: Option<VolumeUsage>, skip "Option::is_none";
    }
    /// A volume's use, -1 where not known.
    VolumeUsage { ref_count: i64; size: i64; }
    /// Answer of `GET /volumes`.
    VolumeList { volumes: Vec<Volume>; warnings: Option<Vec<String>>; }
    /// Answer of `POST /volumes/prune`.
    VolumesPruned { volumes_deleted: Option<Vec<String>>; space_reclaimed: u64; }
    /// Body of `POST /volumes/create`.
    VolumeCreate {
        name: String, skip "String::is_empty";
        driver: String, skip "String::is_empty";
        driver_opts: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        labels: BTreeMap<String, String>, skip "BTreeMap::is_empty";
        cluster_volume_spec: Option<Value>, skip "Option::is_none";
    }
}
