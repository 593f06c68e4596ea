//! Logs of containers, read while they are written.

use crate::config::EngineConfig;
use crate::container::Container;
use crate::engine::blocking;
use crate::record::ContainerRecord;
use crate::spec::HostSpec;
use crate::{Engine, Error};
use proa_logs::{Cursor, LogConfig, LogDriver, ReadOptions, Reader, Record, Source};
use proa_types::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::unix::pipe::Receiver;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Whether to wait for more while the container runs.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// The last so many lines.
    pub tail: Option<u64>,
}

/// Records as they come.
pub struct LogStream {
    reader: Option<Reader>,
    /// An inotify descriptor; only its readiness is used.
    watch: Option<Receiver>,
    container: Arc<Container>,
    follow: bool,
    /// Whether the container came from a terminal, whose records are sent raw.
    pub tty: bool,
}

/// The driver and its options, settled when a container is made: those of the engine hold for containers that name
/// none, and of its options those that the request leaves open.
pub(crate) fn complete(host: &mut HostSpec, config: &EngineConfig) {
    if host.log_driver.is_empty() {
        host.log_driver = config.log_driver.name().into();
    }
    let same = host.log_driver == config.log_driver.name();
    let common = LogConfig::common(&config.log_options);
    let defaults = config.log_options.iter().filter(|_| same).chain(common.filter(|_| !same));
    // Of a log that is not kept nothing can be set.
    for (name, value) in defaults.filter(|_| host.log_driver != "none") {
        host.log_options.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

impl Engine {
    /// A container's log configuration.
    pub(crate) fn log_config(&self, container: &Container) -> Result<LogConfig, Error> {
        let path = self.log_path(container);
        container.with(|record| {
            let (host, driver) = (&record.spec.host, self.log_driver(record)?);
            let source = Source {
                id: record.id.to_string(),
                name: record.name.to_string(),
                image_id: record.image.to_string(),
                image: record.spec.image.clone(),
                command: record.command.clone(),
                created: record.created,
                labels: record.spec.labels.clone(),
                env: record.spec.env.clone(),
            };
            Ok(LogConfig::new(driver, path, &host.log_options, &source)?)
        })
    }

    fn log_driver(&self, record: &ContainerRecord) -> Result<LogDriver, Error> {
        match record.spec.host.log_driver.as_str() {
            "" => Ok(self.config().log_driver),
            name => Ok(name.parse()?),
        }
    }

    /// The current file of a container's log. Each form has a name of its own, those that docker has.
    pub(crate) fn log_path(&self, container: &Container) -> PathBuf {
        let dir = self.container_dir(container);
        match container.with(|record| self.log_driver(record)) {
            Ok(LogDriver::Local) => dir.join("local.log"),
            Ok(driver) if driver.is_remote() => dir.join("container-cached.log"),
            _ => dir.join(format!("{}-json.log", container.id)),
        }
    }

    /// What has been sent of a container's log; none if it is not sent anywhere.
    pub(crate) fn sent(&self, container: &Container) -> Option<Cursor> {
        let driver = container.with(|record| self.log_driver(record)).ok()?;
        driver.is_remote().then(|| Cursor::read(&self.log_path(container)))?
    }

    /// As [`Self::log_config`], for a start in a sandbox with this directory.
    pub(crate) fn log_of_run(&self, container: &Container, sandbox: &Path) -> Result<LogConfig, Error> {
        let config = self.log_config(container)?;
        let unread = config.remote.is_some() && !config.readable;
        Ok(if unread { config.kept_briefly(sandbox.join("unsent.log")) } else { config })
    }

    /// Opens a container's log.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; [`Error::Log`] when nothing is kept.
    pub async fn logs(&self, container: &str, options: LogOptions) -> Result<LogStream, Error> {
        let container = self.find(container)?;
        let config = self.log_config(&container)?;
        let tty = container.with(|record| record.spec.tty);
        let read = ReadOptions {
            since: options.since,
            until: options.until,
            tail: options.tail,
            follow: options.follow,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        if !config.path.exists() && config.readable && !options.follow {
            // Never started: there is no log, and no error either.
            return Ok(LogStream { reader: None, watch: None, container, follow: false, tty });
        }
        let reader = blocking(move || Ok(Reader::open(&config, read)?)).await?;
        let watch = match reader.fd().map(|fd| fd.try_clone_to_owned()) {
            Some(fd) => Some(fd.and_then(Receiver::from_owned_fd_unchecked).map_err(Error::io("log"))?),
            None => None,
        };
        Ok(LogStream { reader: Some(reader), watch, container, follow: options.follow, tty })
    }
}

impl LogStream {
    /// The next records; none at the end.
    ///
    /// # Errors
    /// [`Error::Log`].
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        loop {
            let mut progress = self.container.progress.subscribe();
            // Asked before reading: what is written before the end is read after it is seen.
            let running = {
                let progress = progress.borrow_and_update();
                progress.running && !progress.removed
            };
            let Some(reader) = self.reader.as_mut() else { return Ok(None) };
            let batch = reader.next_batch()?;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            if !self.follow || !running || reader.is_past_end() {
                return Ok(None);
            }
            match &self.watch {
                Some(watch) => tokio::select! {
                    _ = watch.readable() => {
                        // Read here to clear tokio's readiness; the reader looks at the files themselves.
                        let _ = watch.try_read(&mut [0; 4096]);
                    }
                    _ = progress.changed() => {}
                },
                None => return Ok(None),
            }
        }
    }
}
