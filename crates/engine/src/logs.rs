//! Logs of containers, read while they are written.

use crate::container::Container;
use crate::engine::blocking;
use crate::{Engine, Error};
use proa_logs::{LogConfig, LogDriver, ReadOptions, Reader, Record};
use proa_types::Timestamp;
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

impl Engine {
    /// A container's log configuration.
    pub(crate) fn log_config(&self, container: &Container) -> Result<LogConfig, Error> {
        let config = self.config();
        let path = self.container_dir(container).join(format!("{}-json.log", container.id));
        let (driver, options) = container.with(|record| {
            let host = &record.spec.host;
            (host.log_driver.clone(), host.log_options.clone())
        });
        if driver.is_empty() {
            let mut all = config.log_options.clone();
            all.extend(options);
            return Ok(LogConfig::new(config.log_driver, local_path(config.log_driver, path), &all)?);
        }
        let driver: LogDriver = driver.parse()?;
        Ok(LogConfig::new(driver, local_path(driver, path), &options)?)
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
        if !config.path.exists() && config.driver != LogDriver::None && !options.follow {
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

/// The `local` driver has a directory of its own, as docker's has.
fn local_path(driver: LogDriver, path: std::path::PathBuf) -> std::path::PathBuf {
    match driver {
        LogDriver::Local => path.with_file_name("local.log"),
        LogDriver::JsonFile | LogDriver::None => path,
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
