//! Images.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::container::{ContainerConfig, GraphDriver};

crate::wire::wire! {
    /// One row of `GET /images/json`; created in seconds of the epoch, -1 where not counted.
    ImageSummary {
        id: String;
        parent_id: String;
        repo_tags: Option<Vec<String>>;
        repo_digests: Option<Vec<String>>;
        created: i64;
        size: i64;
        shared_size: i64;
        virtual_size: Option<i64>, skip "Option::is_none";
        labels: Option<BTreeMap<String, String>>;
        containers: i64;
    }
    /// Answer of `GET /images/{name}/json`.
    ImageInspect {
        id: String;
        repo_tags: Vec<String>;
        repo_digests: Vec<String>;
        parent: String;
        comment: String;
        created: String;
        container: Option<String>, skip "Option::is_none";
        container_config: Option<ContainerConfig>, skip "Option::is_none";
        docker_version: String;
        author: String;
        config: ContainerConfig;
        architecture: String;
        variant: String, skip "String::is_empty";
        os: String;
        os_version: String, skip "String::is_empty";
        size: i64;
        virtual_size: Option<i64>, skip "Option::is_none";
        graph_driver: GraphDriver;
        root_fs: RootFs = "RootFS";
        metadata: ImageMetadata;
        descriptor: Option<Value>, skip "Option::is_none";
    }
    /// An image's layers by diff id.
    RootFs {
        kind: String = "Type";
        layers: Vec<String>, skip "Vec::is_empty";
    }
    /// What this engine knows of an image.
    ImageMetadata { last_tag_time: String; }
    /// One row of `GET /images/{name}/history`.
    HistoryItem {
        id: String;
        created: i64;
        created_by: String;
        tags: Option<Vec<String>>;
        size: i64;
        comment: String;
    }
    /// One row of `DELETE /images/{name}`.
    ImageDeleteItem {
        untagged: String, skip "String::is_empty";
        deleted: String, skip "String::is_empty";
    }
}
