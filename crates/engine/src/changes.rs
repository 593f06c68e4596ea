//! What a container has changed: told (`diff`), and made an image of (`commit`).

use crate::container::Container;
use crate::engine::{blocking, passage};
use crate::health::HealthCheck;
use crate::record::ContainerRecord;
use crate::spec::ContainerSpec;
use crate::state::State;
use crate::{Engine, Error};
use proa_image::difference::{self, Change, Own};
use proa_image::{DeriveOptions, Image, ImageStore, Snapshot, changes};
use proa_oci::image::ExecConfig;
use proa_oci::{Digest, Reference};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// How an image is made of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Its name.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
    /// Instructions that change the configuration.
    pub changes: Vec<String>,
    /// A configuration; what it leaves out is the container's.
    pub config: Option<ExecConfig>,
}

/// A container's own files and its image's, opened.
struct Files {
    own: OwnedFd,
    upper: bool,
    image: OwnedFd,
}

impl Files {
    fn open(images: &ImageStore, record: &ContainerRecord) -> Result<Self, Error> {
        let key = record.id.as_str();
        let (path, upper) = match images.snapshot(key)? {
            Snapshot::Overlay { upper, .. } => (upper, true),
            Snapshot::Directory(path) => (path, false),
        };
        let layers = images.snapshot_layers(key)?;
        let image = match layers.as_slice() {
            [one] => directory(one)?,
            layers => {
                proa_runtime::mount_layers(layers).map_err(|error| Error::Internal(error.to_string()))?
            }
        };
        Ok(Self { own: directory(&path)?, upper, image })
    }

    fn own(&self) -> Own<'_> {
        if self.upper { Own::Upper(self.own.as_fd()) } else { Own::Whole(self.own.as_fd()) }
    }
}

fn directory(path: &Path) -> Result<OwnedFd, Error> {
    let opened = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|errno| Error::io(path.display().to_string())(errno.into()))
}

impl Engine {
    /// What a container has changed of its image's files.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Io`].
    pub async fn changes(self: &Arc<Self>, container: &str) -> Result<Vec<Change>, Error> {
        let container = self.find(container)?;
        let engine = Arc::clone(self);
        blocking(move || {
            let files = Files::open(&engine.images, &container.record())?;
            let changed = difference::changes(&files.own(), files.image.as_fd());
            changed.map_err(Error::io("cannot look at the container's files"))
        })
        .await
    }

    /// Makes an image of a container.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is being removed; [`Error::Image`].
    pub async fn commit(
        self: &Arc<Self>,
        container: &str,
        options: CommitOptions,
    ) -> Result<Arc<Image>, Error> {
        let container = self.find(container)?;
        let state = container.state();
        if matches!(state, State::Removing) {
            return Err(Error::Conflict(format!(
                "You cannot commit container {} which is being removed",
                container.id
            )));
        }
        let record = container.record();
        let parent = self.images.resolve(record.image.as_str())?;
        let config = configuration(&record.spec, &parent.config.config, &options)?;
        let pauses = options.pause && matches!(state, State::Running(_));
        if pauses {
            self.stand_still(&container).await?;
        }
        passage("commit.begin");
        let made = self.derive(&container, parent, config, &options).await;
        passage("commit.derived");
        if pauses {
            // It may have ended, or somebody was faster.
            let _ = self.unpause(container.id.as_str()).await;
            container.change(|record| record.stands_still = false);
        }
        let image = made?;
        self.tell_commit(&container, &image.id, &options);
        Ok(image)
    }

    /// Pauses a container for a step. A state like any other: who looks sees it, and after a crash it is undone.
    async fn stand_still(&self, container: &Arc<Container>) -> Result<(), Error> {
        container.change(|record| record.stands_still = true);
        self.note(&container.record())?;
        let paused = self.pause(container.id.as_str()).await;
        if paused.is_err() {
            container.change(|record| record.stands_still = false);
        }
        paused
    }

    async fn derive(
        self: &Arc<Self>,
        container: &Arc<Container>,
        parent: Arc<Image>,
        config: ExecConfig,
        options: &CommitOptions,
    ) -> Result<Arc<Image>, Error> {
        let record = container.record();
        let derived = DeriveOptions {
            config,
            author: options.author.clone(),
            comment: options.comment.clone(),
            created_by: record.spec.cmd.clone().unwrap_or_default().join(" "),
            reference: options.reference.clone(),
        };
        let engine = Arc::clone(self);
        blocking(move || {
            let files = Files::open(&engine.images, &record)?;
            let write =
                |to: &mut dyn std::io::Write| difference::layer(&files.own(), files.image.as_fd(), to);
            Ok(engine.images.derive(&parent, &derived, write)?)
        })
        .await
    }

    fn tell_commit(&self, container: &Container, image: &Digest, options: &CommitOptions) {
        let name = options.reference.as_ref().map(Reference::familiar).unwrap_or_default();
        if !name.is_empty() {
            self.tell_image("tag", image.as_str(), &name);
        }
        let more = [("comment", options.comment.clone()), ("imageID", image.to_string()), ("imageRef", name)];
        self.tell(container, "commit", &more);
    }
}

/// The configuration of a committed image: what the request says, then its instructions, then the container's.
fn configuration(
    spec: &ContainerSpec,
    image: &ExecConfig,
    options: &CommitOptions,
) -> Result<ExecConfig, Error> {
    let own = of_container(spec, image);
    let mut config = options.config.clone().unwrap_or_else(|| own.clone());
    let mut commanded = false;
    for instruction in &options.changes {
        let word = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        changes::apply(&mut config, instruction)?;
        commanded |= word == "CMD";
        // Another program does not take the arguments of the one before.
        if word == "ENTRYPOINT" && !commanded {
            config.cmd = None;
        }
    }
    merge(&mut config, own);
    Ok(config)
}

/// A container's configuration as an image has it.
fn of_container(spec: &ContainerSpec, image: &ExecConfig) -> ExecConfig {
    let empty = || serde_json::Value::Object(serde_json::Map::new());
    let mut volumes = image.volumes.clone();
    volumes.extend(spec.volumes.iter().map(|path| (path.clone(), empty())));
    ExecConfig {
        user: spec.user.clone(),
        exposed_ports: spec.exposed_ports.iter().map(|port| (port.to_string(), empty())).collect(),
        env: spec.env.clone(),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.cmd.clone(),
        volumes,
        working_dir: spec.working_dir.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone(),
        healthcheck: spec.healthcheck.as_ref().and_then(|check| serde_json::to_value(check).ok()),
        shell: spec.shell.clone().or_else(|| image.shell.clone()),
        on_build: None,
        args_escaped: false,
    }
}

/// Fills in from `own` what `config` leaves out, by docker's rules.
fn merge(config: &mut ExecConfig, own: ExecConfig) {
    let text = |field: &mut String, value: String| {
        if field.is_empty() {
            *field = value;
        }
    };
    text(&mut config.user, own.user);
    text(&mut config.working_dir, own.working_dir);
    text(&mut config.stop_signal, own.stop_signal);
    for (port, value) in own.exposed_ports {
        config.exposed_ports.entry(port).or_insert(value);
    }
    for (path, value) in own.volumes {
        config.volumes.entry(path).or_insert(value);
    }
    for (name, value) in own.labels {
        config.labels.entry(name).or_insert(value);
    }
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in own.env {
        if config.env.iter().all(|known| key(known) != key(&entry)) {
            config.env.push(entry);
        }
    }
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = own.cmd;
        }
        if config.entrypoint.is_none() {
            config.entrypoint = own.entrypoint;
        }
    }
    let asked = config.healthcheck.as_ref().and_then(HealthCheck::of_image);
    config.healthcheck = match (asked, own.healthcheck.as_ref().and_then(HealthCheck::of_image)) {
        (Some(mut check), Some(own)) => {
            check.inherit(&own);
            serde_json::to_value(check).ok()
        }
        (None, _) => own.healthcheck,
        (Some(_), None) => config.healthcheck.take(),
    };
    config.shell = config.shell.take().or(own.shell);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn what_is_left_out_is_the_containers() {
        let spec = ContainerSpec {
            user: "me".into(),
            env: vec!["A=1".into(), "B=2".into()],
            cmd: words(&["sh"]),
            ..ContainerSpec::default()
        };
        let changes = vec!["ENV B=3".into(), "LABEL x=y".into(), "ENTRYPOINT [\"run\"]".into()];
        let options = CommitOptions { changes, ..CommitOptions::default() };
        let config = configuration(&spec, &ExecConfig::default(), &options).unwrap();
        assert_eq!(config.env, ["A=1", "B=3"]);
        assert_eq!((config.user.as_str(), config.cmd, config.entrypoint), ("me", None, words(&["run"])));
        let asked = ExecConfig { env: vec!["C=4".into()], user: "you".into(), ..ExecConfig::default() };
        let options = CommitOptions { config: Some(asked), ..CommitOptions::default() };
        let config = configuration(&spec, &ExecConfig::default(), &options).unwrap();
        assert_eq!(config.env, ["C=4", "A=1", "B=2"]);
        assert_eq!((config.user.as_str(), config.cmd), ("you", words(&["sh"])));
    }
}
