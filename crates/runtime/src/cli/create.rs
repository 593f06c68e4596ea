//! `create`, `start`, `run`.

use super::args::{Args, Flag};
use super::foreground::{self, Foreground};
use super::state::{Home, Saved};
use super::{CliError, Context};
use crate::cgroup::CgroupPath;
use crate::container::{Container, start_time};
use crate::{Rootfs, Sandbox, SandboxSpec, StartContainer, Stdio, TerminalSize, hook};
use proa_oci::runtime::{Process, Spec};
use proa_types::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const FLAGS: &[Flag] = &[
    (&["bundle", "b"], true),
    (&["console-socket"], true),
    (&["pidfd-socket"], true),
    (&["pid-file"], true),
    (&["preserve-fds"], true),
    (&["detach", "d"], false),
    (&["keep"], false),
    (&["no-subreaper"], false),
    (&["no-pivot"], false),
    (&["no-new-keyring"], false),
    (&["no-mount-fallback"], false),
];

/// `create`: the container waits at its fifo.
pub(super) fn create(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let request = Request::read(context, words)?;
    if request.terminal() && request.console_socket.is_none() {
        return Err(CliError::failed(
            "cannot allocate tty if runtime will detach without setting console socket",
        ));
    }
    let fifo = |home: &Home| home.make_fifo().map(Some);
    let (_, mut container) = request.begin(context, fifo)?;
    request.hand_over_terminal(&mut container)?;
    Ok(0)
}

/// `run`: the container runs; unless detached, waits for its end and removes it.
pub(super) fn run(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let request = Request::read(context, words)?;
    if !request.detach {
        proa_sys::process::block_signals();
    }
    if request.terminal() && request.detach && request.console_socket.is_none() {
        return Err(CliError::failed(
            "cannot allocate tty if runtime will detach without setting console socket",
        ));
    }
    let (saved, mut container) = request.begin(context, |_| Ok(None))?;
    for error in hook::run_all("poststart", &request.spec.hooks.poststart, &saved.state("running")) {
        context.log.warning(&error.to_string());
    }
    if request.detach {
        request.hand_over_terminal(&mut container)?;
        return Ok(0);
    }
    let code = match request.console_socket {
        Some(_) => {
            request.hand_over_terminal(&mut container)?;
            foreground::wait(container.pid(), container.pidfd(), None)?
        }
        None => {
            let terminal = container.take_terminal().map(Foreground::attach);
            foreground::wait(container.pid(), container.pidfd(), terminal)?
        }
    };
    let home = context.root.home(&saved.id)?;
    if !request.keep {
        let _ = container.release();
        home.remove();
        for error in hook::run_all("poststop", &request.spec.hooks.poststop, &saved.state("stopped")) {
            context.log.warning(&error.to_string());
        }
    }
    Ok(code)
}

/// `start`: opens the fifo at which the container waits.
pub(super) fn start(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[])?;
    let home = context.root.home(&args.word("container id")?)?;
    let saved = home.load()?;
    let Some(pidfd) = saved.pidfd() else {
        return Err(CliError::failed("cannot start a container that has stopped"));
    };
    let fifo = home.fifo();
    let opened = open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map_err(|_| CliError::failed("cannot start an already running container"))?;
    let mut ends = [PollFd::new(&opened, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
    let _ = rustix::io::retry_on_intr(|| poll(&mut ends, None));
    let read = rustix::io::read(&opened, &mut [0u8; 1]).unwrap_or(0);
    if read == 0 {
        return Err(CliError::failed("cannot start a container that has stopped"));
    }
    let _ = std::fs::remove_file(&fifo);
    for error in hook::run_all("poststart", &saved.spec.hooks.poststart, &saved.state("running")) {
        context.log.warning(&error.to_string());
    }
    Ok(0)
}

/// What `create` and `run` were asked for.
#[derive(Debug)]
struct Request {
    id: String,
    bundle: PathBuf,
    spec: Spec,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve: i32,
    detach: bool,
    keep: bool,
    pivot: bool,
    keyring: bool,
}

impl Request {
    fn read(context: &Context, words: VecDeque<String>) -> Result<Self, CliError> {
        let mut args = Args::parse(words, FLAGS)?;
        let id = args.word("container id")?;
        if !args.rest.is_empty() {
            return Err(CliError::usage("one container id is enough"));
        }
        let bundle = Path::new(args.value("bundle").unwrap_or("."));
        let bundle = std::fs::canonicalize(bundle)
            .map_err(|error| CliError::failed(format!("bundle {}: {error}", bundle.display())))?;
        let spec = read_spec(&bundle)?;
        if context.systemd_cgroup {
            context.log.warning("--systemd-cgroup: cgroups are made directly, not by systemd");
        }
        Ok(Self {
            id,
            spec,
            bundle,
            console_socket: args.value("console-socket").filter(|path| !path.is_empty()).map(PathBuf::from),
            pid_file: args.value("pid-file").filter(|path| !path.is_empty()).map(PathBuf::from),
            preserve: args.number("preserve-fds")?.unwrap_or(0),
            detach: args.has("detach"),
            keep: args.has("keep"),
            pivot: !args.has("no-pivot"),
            keyring: !args.has("no-new-keyring"),
        })
    }

    fn terminal(&self) -> bool {
        self.spec.process.as_ref().is_some_and(|process| process.terminal)
    }

    /// Makes the container, up to its program or to its fifo.
    fn begin(
        &self,
        context: &Context,
        fifo: impl FnOnce(&Home) -> Result<Option<OwnedFd>, CliError>,
    ) -> Result<(Saved, Container), CliError> {
        let home = context.root.home(&self.id)?;
        home.create()?;
        let begun = fifo(&home).and_then(|fifo| self.start(fifo)).and_then(|(cgroup, container)| {
            for warning in container.warnings() {
                context.log.warning(warning);
            }
            let saved = self.saved(&container, cgroup)?;
            home.save(&saved)?;
            if let Some(path) = &self.pid_file {
                write_pid(path, container.pid())?;
            }
            Ok((saved, container))
        });
        begun.inspect_err(|_| home.remove())
    }

    fn start(&self, exec_fifo: Option<OwnedFd>) -> Result<(CgroupPath, Container), CliError> {
        let root = self.spec.root.as_ref().ok_or_else(|| CliError::failed("config.json has no root"))?;
        let cgroup = cgroup_path(&self.spec.linux.cgroups_path, &self.id)?;
        let sandbox = Sandbox::prepare_alone(&SandboxSpec::of(&self.spec)?, &cgroup)?;
        let preserved = (3..3 + self.preserve).filter_map(proa_sys::inherited::descriptor).collect();
        let rootfs = Rootfs::Directory(root.path.clone());
        let stdio = match self.terminal() {
            true => Stdio::Terminal { size: self.spec.process.as_ref().and_then(size) },
            false => Stdio::Inherit,
        };
        let request = StartContainer {
            exec_fifo,
            preserved,
            keyring: self.keyring,
            pivot: self.pivot,
            ..StartContainer::new(&self.id, &self.bundle, &self.spec, rootfs, stdio)
        };
        Ok((cgroup, sandbox.start(request)?))
    }

    fn saved(&self, container: &Container, cgroup: CgroupPath) -> Result<Saved, CliError> {
        Ok(Saved {
            id: self.id.clone(),
            pid: container.pid(),
            start_time: start_time(container.pid())?,
            bundle: self.bundle.clone(),
            rootfs: self.bundle.join(self.spec.root.as_ref().map_or(Path::new(""), |root| &root.path)),
            created: Timestamp::now().to_string(),
            cgroup,
            user_namespace: container.user_namespace,
            keyring: self.keyring,
            spec: self.spec.clone(),
        })
    }

    fn hand_over_terminal(&self, container: &mut Container) -> Result<(), CliError> {
        match (&self.console_socket, container.take_terminal()) {
            (Some(socket), Some(master)) => foreground::send_terminal(socket, &master),
            _ => Ok(()),
        }
    }
}

/// The terminal size of a process, where it has one.
pub(super) fn size(process: &Process) -> Option<TerminalSize> {
    let size = process.console_size.as_ref()?;
    Some(TerminalSize { rows: size.height, columns: size.width })
}

fn read_spec(bundle: &Path) -> Result<Spec, CliError> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path)
        .map_err(|error| CliError::failed(format!("JSON specification file {}: {error}", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}

/// The cgroup a specification names: a path, or systemd's `slice:prefix:name`.
fn cgroup_path(text: &str, id: &str) -> Result<CgroupPath, CliError> {
    let path = match text.split(':').collect::<Vec<_>>().as_slice() {
        [""] => format!("/proa-runtime/{id}"),
        ["", prefix, name] => format!("/system.slice/{prefix}-{name}.scope"),
        [slice, prefix, name] => format!("{}/{prefix}-{name}.scope", expand_slice(slice)),
        _ => text.to_owned(),
    };
    Ok(CgroupPath::new(&path)?)
}

/// `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn expand_slice(slice: &str) -> String {
    let stem = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut path = String::new();
    for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        path.push('/');
        path.push_str(stem.get(..end).unwrap_or_default());
        path.push_str(".slice");
    }
    path
}

/// Writes the pid by rename: who waits for the file reads all of it.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), CliError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    std::fs::write(&new, pid.to_string())
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_paths_of_both_kinds() {
        let path = |text| cgroup_path(text, "x").unwrap().as_str().to_owned();
        assert_eq!(path(""), "/proa-runtime/x");
        assert_eq!(path("/docker/abc"), "/docker/abc");
        assert_eq!(path("machine.slice:libpod:abc"), "/machine.slice/libpod-abc.scope");
        assert_eq!(path("user-1000.slice:p:n"), "/user.slice/user-1000.slice/p-n.scope");
    }
}
