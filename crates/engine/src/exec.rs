//! Processes beside a container's first.

use crate::attach::{AttachOptions, AttachStream, pair};
use crate::container::Container;
use crate::engine::{blocking, passage};
use crate::identity::{Tables, identity};
use crate::plan::{self, Facts, device_facts, security};
use crate::record::ContainerRecord;
use crate::state::State;
use crate::wait::{Wait, WaitCondition};
use crate::{Engine, Error};
use proa_shim::ExecRequest;
use proa_types::{ContainerId, ErrorKind, ExecId, Kinded};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long an exec that failed looks whether its container is ending.
const ENDING: Duration = Duration::from_secs(1);

/// What is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// Additional environment.
    pub env: Vec<String>,
    /// Working directory; the container's if empty.
    pub working_dir: String,
    /// User; the container's if empty.
    pub user: String,
    /// Whether there is a terminal.
    pub tty: bool,
    /// Streams wished for.
    pub attach: AttachOptions,
    /// Whether it may do what the engine may.
    pub privileged: bool,
    /// Keys that detach, for inspect.
    pub detach_keys: String,
    /// Rows and columns of the terminal at the start.
    pub console_size: (u16, u16),
    /// How long it may run before it is killed, for a probe of health.
    pub limit: Option<Duration>,
}

/// An exec as inspect shows it.
#[derive(Debug, Clone)]
pub struct ExecView {
    /// Its id.
    pub id: ExecId,
    /// Its container.
    pub container: ContainerId,
    /// What it is.
    pub spec: ExecSpec,
    /// Whether it runs.
    pub running: bool,
    /// Its process, on the host; 0 before and after.
    pub pid: i32,
    /// How it ended.
    pub exit_code: Option<i32>,
}

impl Engine {
    /// Says what is to run in a container.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run.
    pub fn exec_create(&self, container: &str, spec: ExecSpec) -> Result<ExecId, Error> {
        let container = self.find(container)?;
        runs(&container)?;
        if spec.cmd.is_empty() {
            return Err(Error::Invalid("No exec command specified".into()));
        }
        let command = spec.cmd.join(" ");
        let id = self.execs.insert(container.id.clone(), spec);
        self.tell(&container, &format!("exec_create: {command}"), &[("execID", id.to_string())]);
        Ok(id)
    }

    /// An exec.
    ///
    /// # Errors
    /// [`Error::NoSuchExec`].
    pub fn exec_inspect(&self, id: &str) -> Result<ExecView, Error> {
        self.execs.find(id)
    }

    /// Runs an exec; its streams, unless it is detached.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has been run or the container does not run; [`Error::Start`] when the program cannot
    /// be executed.
    pub async fn exec_start(
        self: &Arc<Self>,
        id: &str,
        detach: bool,
        console_size: Option<(u16, u16)>,
    ) -> Result<Option<AttachStream>, Error> {
        let view = self.exec_inspect(id)?;
        let container = self.find(view.container.as_str())?;
        runs(&container)?;
        let mut spec = view.spec.clone();
        spec.console_size = console_size.unwrap_or(spec.console_size);
        let attach = if detach { AttachOptions::default() } else { spec.attach };
        let (stream, socket) = if detach { (None, None) } else { pair().map(|(a, b)| (Some(a), Some(b)))? };
        let ended = self.execs.begin(&view.id)?;
        passage("exec.begin");
        // Before it runs: its end must not be told first.
        let command = format!("exec_start: {}", view.spec.cmd.join(" "));
        self.tell(&container, &command, &[("execID", view.id.to_string())]);
        let (engine, held, exec_id) = (Arc::clone(self), Arc::clone(&container), view.id.clone());
        let tty = spec.tty;
        let started = blocking(move || {
            let request = engine.exec_request(&held, exec_id, &spec, attach, socket.is_some())?;
            let live = held.running()?;
            live.shim.exec(request, socket.as_ref().map(AsFd::as_fd)).map_err(|error| {
                let (exit_code, kind) = (error.exit_code(), error.kind());
                let kind = if exit_code.is_some() { ErrorKind::InvalidArgument } else { kind };
                let message = format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: {error}"
                );
                Error::Start { message, kind, exit_code }
            })
        });
        match started.await {
            Ok(pid) => {
                passage("exec.started");
                self.execs.started(&view.id, pid);
                Ok(stream.map(|stream| AttachStream { log: None, stream, tty, ended: Some(ended) }))
            }
            Err(error) => {
                let code = if let Error::Start { exit_code: Some(code), .. } = &error { *code } else { 126 };
                self.execs.finish(&view.id, code);
                self.execs.announce(&view.id);
                Err(blamed(&container, error).await)
            }
        }
    }

    fn exec_request(
        &self,
        container: &Container,
        id: ExecId,
        spec: &ExecSpec,
        attach: AttachOptions,
        attached: bool,
    ) -> Result<ExecRequest, Error> {
        let mut record = ContainerRecord::clone(&container.record());
        let pid = record.state.run().map_or(0, |run| run.pid);
        record.spec.host.privileged |= spec.privileged;
        let tables = Tables::new(vec![PathBuf::from(format!("/proc/{pid}/root"))]);
        let (user, groups) = if spec.user.is_empty() {
            (&record.spec.user, &record.spec.host.group_add)
        } else {
            (&spec.user, &Vec::new())
        };
        let who = identity(&tables, user, groups)?;
        let own = identity(&tables, &record.spec.user, &record.spec.host.group_add)?;
        let config = self.config();
        let devices = device_facts(&container.record()).unwrap_or_default();
        let facts = Facts {
            identity: own,
            devices: &devices,
            joined: Vec::new(),
            files: PathBuf::from("/"),
            cgroup_v1: self.cgroup_v1,
            host_queues: std::path::Path::new("/dev/mqueue").exists(),
            default_ulimits: &config.ulimits,
            // What does not run any more is not told of.
            links: self.link_environment(&record).unwrap_or_default(),
            bounding: self.bounding,
        };
        let base = plan::plan(&record, &facts)?.process.unwrap_or_default();
        let security = security(&record, self.bounding)?;
        Ok(ExecRequest {
            id,
            process: plan::exec(&base, &record.spec.env, spec, &who, &security),
            filter: self.filter(&security)?,
            open_stdin: attach.stdin,
            limit: spec.limit,
            attach: attached.then(|| attach.request(None)),
        })
    }

    /// Changes the size of an exec's terminal.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run.
    pub async fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<(), Error> {
        let view = self.exec_inspect(id)?;
        let live = self.find(view.container.as_str())?.running()?;
        let size = proa_shim::TerminalSize { rows, columns };
        blocking(move || Ok(live.shim.resize(Some(view.id), size)?)).await
    }

    pub(crate) fn exec_ended(&self, container: &Container, id: &ExecId, code: i32) {
        self.execs.finish(id, code);
        self.tell(container, "exec_die", &[("execID", id.to_string()), ("exitCode", code.to_string())]);
        // Their streams end now: what they ask next is answered from what was recorded.
        self.execs.announce(id);
    }
}

/// Why an exec failed: for no reason of its own where its container ends at this moment, of which it may be the first
/// to see something.
async fn blamed(container: &Arc<Container>, error: Error) -> Error {
    if error.kind() != ErrorKind::Internal {
        return error;
    }
    let ended = Wait::of(container, WaitCondition::NotRunning).done();
    match tokio::time::timeout(ENDING, ended).await {
        Ok(_) => runs(container).err().unwrap_or(error),
        // It runs on: a user or a directory was asked for that cannot be had.
        Err(_) => match error {
            Error::Start { message, exit_code, .. } => {
                Error::Start { message, kind: ErrorKind::InvalidArgument, exit_code }
            }
            error => error,
        },
    }
}

fn runs(container: &Container) -> Result<(), Error> {
    container.not_restarting()?;
    match container.state() {
        State::Running(_) => Ok(()),
        State::Paused(_) => Err(Error::Conflict(format!(
            "container {} is paused, unpause the container before exec",
            container.id
        ))),
        _ => Err(Error::Conflict(format!("container {} is not running", container.id))),
    }
}
