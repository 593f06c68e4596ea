//! Looking at containers.

use crate::container::Container;
use crate::record::ContainerRecord;
use crate::state::State;
use crate::{Engine, Error};
use proa_image::{DriverData, Image};
use proa_types::{ExecId, Filters};
use std::path::PathBuf;
use std::sync::Arc;

/// A container as inspect and list show it.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// Its record.
    pub record: Arc<ContainerRecord>,
    /// Its image, if that is still there.
    pub image: Option<Arc<Image>>,
    /// The current file of its log.
    pub log_path: PathBuf,
    /// Directory of its files.
    pub dir: PathBuf,
    /// Processes beside its first; as inspect shows them.
    pub execs: Vec<ExecId>,
    /// What the storage driver says; as inspect shows it.
    pub driver: DriverData,
    /// Bytes of its own layer, where asked for.
    pub size: Option<u64>,
    /// Name of the network it is on.
    pub network: String,
}

/// Which containers are listed.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// The newest so many, running or not; 0 is no bound.
    pub limit: usize,
    /// With sizes.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

const FILTERS: [&str; 17] = [
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "is-task",
    "created",
    "annotation",
];

impl Engine {
    /// A container.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn inspect(&self, container: &str, size: bool) -> Result<ContainerView, Error> {
        let container = self.find(container)?;
        let view = self.glance(&container, size);
        let layers = view.image.as_ref().map(|image| image.layers.as_slice()).unwrap_or_default();
        Ok(ContainerView {
            execs: self.execs.of(&container.id),
            driver: self.images.driver_data(Some(container.id.as_str()), layers),
            ..view
        })
    }

    /// What a list shows of a container.
    pub(crate) fn glance(&self, container: &Container, size: bool) -> ContainerView {
        let record = container.record();
        let image = self.images.resolve(record.image.as_str()).ok();
        ContainerView {
            log_path: self.log_path(container),
            dir: self.container_dir(container),
            execs: Vec::new(),
            driver: DriverData::default(),
            size: size.then(|| self.images.snapshot_usage(record.id.as_str()).unwrap_or(0)),
            network: record.spec.host.network_mode.clone(),
            image,
            record,
        }
    }

    /// Containers, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown filter, [`Error::NoSuchContainer`] for `before` and `since`.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<ContainerView>, Error> {
        let filters = &options.filters;
        if let Some(key) = filters.unknown_key(&FILTERS) {
            return Err(Error::Invalid(format!("invalid filter '{key}'")));
        }
        for status in filters.values("status") {
            let known = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
            if !known.contains(&status) {
                return Err(Error::Invalid(format!("invalid filter 'status={status}'")));
            }
        }
        let bound = |key: &str| -> Result<Option<i64>, Error> {
            let name = filters.values(key).next().map(str::to_owned);
            name.map(|name| Ok(self.find(&name)?.with(|record| record.created.0))).transpose()
        };
        for health in filters.values("health") {
            if !["none", "starting", "healthy", "unhealthy"].contains(&health) {
                return Err(Error::Invalid(format!("Unrecognised filter value for health: {health}")));
            }
        }
        let (before, since) = (bound("before")?, bound("since")?);
        let mut all = self.all();
        all.retain(|container| {
            container.with(|record| {
                let shown = options.all
                    || options.limit > 0
                    || filters.has("status")
                    || filters.has("exited")
                    || record.state.run().is_some()
                    || record.state.is_restarting();
                shown
                    && before.is_none_or(|at| record.created.0 < at)
                    && since.is_none_or(|at| record.created.0 > at)
                    && self.matches(record, filters)
            })
        });
        all.sort_by_key(|container| std::cmp::Reverse(container.with(|record| record.created)));
        if options.limit > 0 {
            all.truncate(options.limit);
        }
        Ok(all.iter().map(|container| self.glance(container, options.size)).collect())
    }

    fn matches(&self, record: &ContainerRecord, filters: &Filters) -> bool {
        let name = format!("/{}", record.name);
        let exited =
            |text: &str| matches!(&record.state, State::Exited(exit) if exit.code.to_string() == text);
        let port = |text: &str| -> Vec<proa_types::PortSpec> { text.parse().into_iter().collect() };
        filters.labels_match(&record.spec.labels)
            && filters.any("id", |text| record.id.as_str().starts_with(text))
            && filters.any("name", |text| name_matches(&name, text))
            && filters.any("status", |text| record.state.status() == text)
            && filters.any("exited", exited)
            && filters.any("network", |text| record.spec.host.network_mode == text)
            && filters.any("expose", |text| port(text).iter().any(|p| record.spec.exposed_ports.contains(p)))
            && filters.any("publish", |text| {
                port(text).iter().any(|p| record.published.iter().any(|q| q.container == *p))
            })
            && filters.any("volume", |text| {
                record
                    .mounts
                    .iter()
                    .any(|mount| mount.name == text || mount.destination == std::path::Path::new(text))
            })
            && filters.any("ancestor", |text| self.descends(record, text))
            && filters.any("health", |text| text == health_word(record))
    }

    /// Whether a container's image is, or is built on, another.
    fn descends(&self, record: &ContainerRecord, text: &str) -> bool {
        let Ok(ancestor) = self.images.resolve(text) else { return false };
        if ancestor.id == record.image {
            return true;
        }
        let own =
            self.images.resolve(record.image.as_str()).map(|image| image.layers.clone()).unwrap_or_default();
        !ancestor.layers.is_empty() && own.starts_with(&ancestor.layers)
    }
}

fn health_word(record: &ContainerRecord) -> &'static str {
    record.health.as_ref().map_or("none", |health| health.status.as_str())
}

/// Docker's name filter is a regular expression; the parts of it that are used are `^`, `$` and plain text.
pub(crate) fn name_matches(name: &str, pattern: &str) -> bool {
    let (bare, from_start) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
    let (bare, to_end) = bare.strip_suffix('$').map_or((bare, false), |rest| (rest, true));
    let plain = name.trim_start_matches('/');
    let wanted = bare.trim_start_matches('/');
    match (from_start, to_end) {
        (true, true) => plain == wanted,
        (true, false) => plain.starts_with(wanted),
        (false, true) => plain.ends_with(wanted),
        (false, false) => name.contains(bare) || plain.contains(wanted),
    }
}
