//! A container made by another runtime through the OCI command line (runc(8), crun(1)).
//!
//! The runtime's commands are short-lived; the monitor is a subreaper, so that the processes they leave become its
//! children and their exit codes come to it. The network namespace is the monitor's, which hands it on as a path. All
//! that the runtime writes goes into the monitor's private directory.

mod bundle;
mod command;
mod console;

use super::control::Failure;
use super::runner::{Begun, Process as Started, Runner};
use crate::protocol::StartRequest;
use bundle::{Bundle, failed, write_json};
use command::Program;
use console::Console;
use proa_oci::runtime::{Process, Resources};
use proa_runtime::cgroup::{Cgroup, CgroupPath};
use proa_runtime::{Sandbox, Stdio};
use proa_types::{ErrorKind, Timestamp};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A container of a foreign runtime. What was made for it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Foreign {
    program: Program,
    id: String,
    cgroup: CgroupPath,
    bundle: Bundle,
    pid: i32,
    execs: u64,
    /// Held, because the runtime is given it by this process's descriptor.
    _network: OwnedFd,
}

impl Foreign {
    /// Lets the runtime make the container and start its program. Of the sandbox only the network namespace is kept:
    /// the runtime makes the rest itself.
    pub(super) fn begin(
        (path, args): (PathBuf, Vec<String>),
        dir: &Path,
        sandbox: Sandbox,
        cgroup: &str,
        (request, stdio, mounted): (&StartRequest, Stdio, Option<OwnedFd>),
    ) -> Result<Begun, Failure> {
        if request.init {
            let message = "--init is done by Proa's own runtime: leave it out, or leave out --runtime";
            return Err(Failure::new(ErrorKind::NotImplemented, message));
        }
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let cgroup = CgroupPath::new(cgroup).map_err(proa_runtime::Error::from)?;
        let network = sandbox.netns()?;
        drop(sandbox);
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        let bundle = Bundle::mount(dir, &request.rootfs, mounted)?;
        let mut spec = request.spec.clone();
        spec.linux.cgroups_path = cgroup.as_str().into();
        for namespace in spec.linux.namespaces.iter_mut().filter(|namespace| namespace.kind == "network") {
            let path = || format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd()).into();
            namespace.path.get_or_insert_with(path);
        }
        bundle.write(spec)?;
        let mut foreign = Self {
            program: Program::new(path, args, dir),
            id: request.container.as_str().into(),
            cgroup,
            bundle,
            pid: 0,
            execs: 0,
            _network: network,
        };
        let process = foreign.create(stdio).map_err(|failure| match &request.spec.process {
            Some(program) => command::naming(failure, program),
            None => failure,
        })?;
        // Before the program can run: it may run out of memory, or be gone, a moment after.
        let oom = Cgroup::open(&foreign.cgroup).and_then(|cgroup| cgroup.oom_watch()).ok();
        let start_time = proa_runtime::start_time(process.pid)?;
        foreign.command("start", &[])?;
        Ok(Begun {
            start_time,
            process,
            at: Timestamp::now(),
            oom,
            warnings: Vec::new(),
            runner: Runner::Foreign(Box::new(foreign)),
        })
    }

    fn create(&mut self, stdio: Stdio) -> Result<Started, Failure> {
        let bundle = self.bundle.dir().to_owned();
        let words = [OsStr::new("create"), OsStr::new("--bundle"), bundle.as_os_str()];
        let id = self.id.clone();
        let started = self.launch(&words, stdio, &[OsStr::new(&id)])?;
        self.pid = started.pid;
        Ok(started)
    }

    /// Runs a command that leaves a process behind, which becomes a child of this one.
    fn launch(&mut self, words: &[&OsStr], stdio: Stdio, rest: &[&OsStr]) -> Result<Started, Failure> {
        let pid_file = self.bundle.dir().join("pid");
        let _ = std::fs::remove_file(&pid_file);
        let mut all = words.to_vec();
        all.extend([OsStr::new("--pid-file"), pid_file.as_os_str()]);
        let (streams, console) = match stdio {
            Stdio::Fds { stdin, stdout, stderr } => (command::Streams { stdin, stdout, stderr }, None),
            Stdio::Terminal { .. } | Stdio::Inherit => {
                (nowhere()?, Some(Console::listen(self.bundle.dir())?))
            }
        };
        let socket = console.as_ref().map(Console::path).unwrap_or_default();
        if console.is_some() {
            all.extend([OsStr::new("--console-socket"), OsStr::new(&socket)]);
        }
        all.extend(rest);
        self.program.run_with(&all, streams)?;
        let text = std::fs::read_to_string(&pid_file).map_err(failed(&pid_file))?;
        let unreadable = || Failure::new(ErrorKind::Internal, format!("the runtime wrote the pid {text:?}"));
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).ok_or_else(unreadable)?;
        // Nobody else waits for it, so the number is its own for as long as we want.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let terminal = console.map(Console::receive).transpose()?;
        Ok(Started { pid: pid.as_raw_pid(), pidfd, terminal })
    }

    fn command(&self, verb: &str, options: &[&OsStr]) -> Result<String, Failure> {
        let verb = [OsStr::new(verb)];
        let id = [OsStr::new(&self.id)];
        self.program.run(&[&verb, options, &id].concat())
    }

    /// Runs a process beside the first.
    pub(super) fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Started, Failure> {
        self.execs += 1;
        let file = self.bundle.dir().join(format!("process-{}.json", self.execs));
        let value = serde_json::to_value(process);
        let value = value.map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        write_json(&file, &bundle::whole_process(value))?;
        let words = ["exec", "--detach", "--process"].map(OsStr::new);
        let words = [&words[..], &[file.as_os_str()]].concat();
        let id = self.id.clone();
        let started = self.launch(&words, stdio, &[OsStr::new(&id)]);
        let _ = std::fs::remove_file(&file);
        started.map_err(|failure| command::naming(failure, process))
    }

    /// Kills the first process by the runtime.
    fn kill(&self) -> Result<(), Failure> {
        let words = [OsStr::new("kill"), OsStr::new(&self.id), OsStr::new("KILL")];
        self.program.run(&words).map(drop)
    }

    /// Kills every process.
    pub(super) fn kill_all(&self) -> Result<(), Failure> {
        let asked = self.kill();
        match Cgroup::open(&self.cgroup) {
            Ok(cgroup) => Ok(cgroup.kill().map_err(proa_runtime::Error::from)?),
            Err(_) => asked,
        }
    }

    pub(super) fn pause(&self) -> Result<(), Failure> {
        self.command("pause", &[]).map(drop)
    }

    pub(super) fn resume(&self) -> Result<(), Failure> {
        self.command("resume", &[]).map(drop)
    }

    /// Changes limits.
    pub(super) fn update(&self, resources: &Resources) -> Result<Vec<String>, Failure> {
        let file = self.bundle.dir().join("resources.json");
        let value = serde_json::to_value(resources);
        let value = value.map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        write_json(&file, &value)?;
        let done = self.command("update", &[OsStr::new("--resources"), file.as_os_str()]);
        let _ = std::fs::remove_file(&file);
        done.map(|_| Vec::new())
    }

    /// The container's processes, on the host.
    pub(super) fn pids(&self) -> Result<Vec<i32>, Failure> {
        let listed = self.command("ps", &["--format", "json"].map(OsStr::new))?;
        let unreadable =
            |e: serde_json::Error| Failure::new(ErrorKind::Internal, format!("the runtime's list: {e}"));
        serde_json::from_str::<Option<Vec<i32>>>(&listed).map(Option::unwrap_or_default).map_err(unreadable)
    }
}

impl Drop for Foreign {
    /// Removes everything: processes, the runtime's state, the cgroup; then the mount.
    fn drop(&mut self) {
        let deleted = self.command("delete", &[OsStr::new("--force")]);
        if let Ok(cgroup) = Cgroup::open(&self.cgroup) {
            if deleted.is_err() || cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
                let _ = cgroup.kill();
            }
            let _ = cgroup.remove();
        }
    }
}

/// Waits for children that nobody else waits for: what the container's processes and the runtime left behind. Those
/// whose end is to be told are `awaited`.
pub(super) fn reap_strays(awaited: impl Fn(i32) -> bool) {
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    for pid in children.split(' ').filter_map(|text| text.parse().ok()) {
        if !awaited(pid) {
            let _ = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        }
    }
}

/// The streams of a command whose process gets a terminal.
fn nowhere() -> Result<command::Streams, Failure> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = || rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty());
    Ok(command::Streams { stdin: null()?, stdout: null()?, stderr: null()? })
}
