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
        parent: Option<String>, skip "Option::is_none";
        comment: String;
        created: String;
        container: Option<String>, skip "Option::is_none";
        container_config: Option<ContainerConfig>, skip "Option::is_none";
        docker_version: Option<String>, skip "Option::is_none";
        author: String;
        config: Value;
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
    /// What an image sets for its containers, since 1.50: before, a whole container's configuration was printed.
    ImageConfig {
        user: String, skip "String::is_empty";
        exposed_ports: BTreeMap<String, Value>, skip "BTreeMap::is_empty";
        env: Option<Vec<String>>;
        cmd: Option<Vec<String>>;
        healthcheck: Option<Value>, skip "Option::is_none";
        volumes: Option<BTreeMap<String, Value>>;
        working_dir: String;
        entrypoint: Option<Vec<String>>;
        on_build: Option<Vec<String>>;
        labels: BTreeMap<String, String>;
        stop_signal: String, skip "String::is_empty";
        shell: Option<Vec<String>>, skip "Option::is_none";
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
    /// Answer of `POST /images/prune`.
    ImagesPruned { images_deleted: Option<Vec<ImageDeleteItem>>; space_reclaimed: u64; }
    /// One row of `DELETE /images/{name}`.
    ImageDeleteItem {
        untagged: String, skip "String::is_empty";
        deleted: String, skip "String::is_empty";
    }
}
