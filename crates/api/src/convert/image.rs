//! Images as inspect and list show them.

use super::unit;
use crate::server::Version;
use proa_docker_api::{self as wire, ContainerConfig, ImageConfig, ImageInspect, ImageSummary};
use proa_engine::{Engine, ImageView};
use proa_types::Timestamp;

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Names for list: an image without any is `<none>:<none>` up to API 1.42. Its containers are counted since 1.51.
pub(crate) fn summary(image: &ImageView, engine: &Engine, version: Version) -> ImageSummary {
    let old = version < Version(1, 43);
    let nameless = image.repo_tags.is_empty() && image.repo_digests.is_empty();
    let none = |list: &Vec<String>, text: &str| {
        if nameless && old { vec![text.to_owned()] } else { list.clone() }
    };
    let containers = (version >= Version(1, 51)).then(|| i64::try_from(engine.image_users(&image.id)));
    ImageSummary {
        id: image.id.to_string(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_tags: Some(none(&image.repo_tags, "<none>:<none>")),
        repo_digests: Some(none(&image.repo_digests, "<none>@<none>")),
        created: image.created.seconds(),
        size: signed(image.size),
        shared_size: -1,
        virtual_size: old.then(|| signed(image.size)),
        labels: Some(image.config.config.labels.clone()),
        containers: containers.and_then(Result::ok).unwrap_or(-1),
    }
}

/// An image for inspect.
pub(crate) fn inspect(image: &ImageView, engine: &Engine, version: Version) -> ImageInspect {
    let own = &image.config;
    let (old, before) = (version < Version(1, 44), version < Version(1, 50));
    let driver = engine.images().driver_data(None, &image.layers);
    let last_history = own.history.last().map(|step| step.comment.clone());
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        parent: before.then(|| image.parent.as_ref().map(ToString::to_string).unwrap_or_default()),
        docker_version: before.then(String::new),
        comment: last_history.unwrap_or_default(),
        created: own.created.clone().unwrap_or_else(|| Timestamp(0).to_string()),
        author: own.author.clone(),
        config: if before { document(&whole_config(image)) } else { document(&config(image)) },
        architecture: own.architecture.clone(),
        variant: own.variant.clone(),
        os: own.os.clone(),
        size: signed(image.size),
        virtual_size: old.then(|| signed(image.size)),
        graph_driver: wire::GraphDriver { data: Some(driver.data), name: driver.name },
        root_fs: wire::RootFs {
            kind: "layers".into(),
            layers: image.layers.iter().map(ToString::to_string).collect(),
        },
        metadata: wire::ImageMetadata { last_tag_time: image.last_tagged.to_string() },
        ..ImageInspect::default()
    }
}

fn document<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn config(image: &ImageView) -> ImageConfig {
    let own = &image.config.config;
    ImageConfig {
        user: own.user.clone(),
        exposed_ports: unit(own.exposed_ports.keys()),
        env: Some(own.env.clone()),
        cmd: own.cmd.clone(),
        healthcheck: own.healthcheck.clone(),
        volumes: if own.volumes.is_empty() { None } else { Some(unit(own.volumes.keys())) },
        working_dir: own.working_dir.clone(),
        entrypoint: own.entrypoint.clone(),
        on_build: own.on_build.clone(),
        labels: own.labels.clone(),
        stop_signal: own.stop_signal.clone(),
        shell: own.shell.clone(),
    }
}

/// The configuration as it was printed before 1.50.
fn whole_config(image: &ImageView) -> ContainerConfig {
    let own = &image.config.config;
    ContainerConfig {
        user: own.user.clone(),
        exposed_ports: unit(own.exposed_ports.keys()),
        env: Some(own.env.clone()),
        cmd: own.cmd.clone(),
        entrypoint: own.entrypoint.clone(),
        volumes: if own.volumes.is_empty() { None } else { Some(unit(own.volumes.keys())) },
        working_dir: own.working_dir.clone(),
        labels: own.labels.clone(),
        stop_signal: own.stop_signal.clone(),
        healthcheck: own.healthcheck.clone().and_then(|check| serde_json::from_value(check).ok()),
        shell: own.shell.clone(),
        on_build: own.on_build.clone(),
        ..ContainerConfig::default()
    }
}
