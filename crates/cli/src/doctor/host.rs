//! The host: rights, limits, programs that some features ask for, and whether an engine answers.

use rustix::process::{Resource, getrlimit};

use super::{Area, Machine, State};

/// Programs that are used where they are, each with what asks for it.
const PROGRAMS: [(&str, &str); 4] = [
    ("ssh", "hosts that begin with ssh://"),
    ("ps", "`top`"),
    ("modprobe", "loading what the kernel has as modules"),
    ("mount.nfs", "volumes of type nfs"),
];

pub(super) fn look(machine: &Machine) -> Area {
    let mut area = Area::new("host");
    match rustix::process::geteuid().is_root() {
        true => area.ok("rights", "root"),
        false => area.add(
            "rights",
            State::Note,
            "not root",
            "starting an engine needs root; using one needs its group",
        ),
    }
    limits(machine, &mut area);
    for (name, what) in PROGRAMS {
        match machine.program(name) {
            Some(path) => area.ok(name, path.display().to_string()),
            None => area.add(name, State::Note, "not installed", format!("only needed for {what}")),
        }
    }
    let socket = ["/run/proa/proa.sock", "/var/run/docker.sock"]
        .into_iter()
        .find(|path| std::os::unix::net::UnixStream::connect(machine.path(path)).is_ok());
    match socket {
        Some(path) => area.ok("engine", format!("answers on {path}")),
        None => area.add(
            "engine",
            State::Note,
            "does not run",
            "the next command starts one, or `proa daemon` does",
        ),
    }
    area
}

fn limits(machine: &Machine, area: &mut Area) {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let shown = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    match files >= 65_536 {
        true => area.ok("open files", shown(files)),
        false => area.add(
            "open files",
            State::Warning,
            shown(files),
            "each container needs a few: raise the hard limit (LimitNOFILE=1048576 in the engine's unit)",
        ),
    }
    let processes = getrlimit(Resource::Nproc).maximum.unwrap_or(u64::MAX);
    match processes >= 4096 {
        true => area.ok("processes", shown(processes)),
        false => area.add(
            "processes",
            State::Warning,
            shown(processes),
            "raise the hard limit (LimitNPROC=infinity)",
        ),
    }
    if let Some(most) = machine.number("/proc/sys/fs/inotify/max_user_instances") {
        match most >= 128 {
            true => area.ok("inotify instances", most.to_string()),
            false => area.add(
                "inotify instances",
                State::Warning,
                most.to_string(),
                "programs in containers share them: `sysctl -w fs.inotify.max_user_instances=512`",
            ),
        }
    }
}
