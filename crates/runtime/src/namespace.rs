//! Namespaces: which are made, which are joined, and the process born in them (namespaces(7)).

use crate::Error;
use proa_oci::runtime::{IdMapping, Linux, TimeOffset};
use proa_sys::process::{Clone3, Cloned, clone3, exit, namespace as kinds, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions};
use rustix::thread::move_into_link_name_space;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The `CLONE_NEW…` bit of a kind, as the specification names it.
fn bit(kind: &str) -> Option<u64> {
    Some(match kind {
        "pid" => kinds::PID,
        "network" => kinds::NETWORK,
        "mount" => kinds::MOUNT,
        "ipc" => kinds::IPC,
        "uts" => kinds::UTS,
        "user" => kinds::USER,
        "cgroup" => kinds::CGROUP,
        "time" => kinds::TIME,
        _ => return None,
    })
}

/// Checks that namespaces and what depends on them fit together.
pub(crate) fn check(linux: &Linux) -> Result<(), Error> {
    let mut seen = 0;
    for namespace in &linux.namespaces {
        let kind = &namespace.kind;
        let bit = bit(kind).ok_or_else(|| {
            Error::spec("linux.namespaces", format!("there is no namespace of type {kind:?}"))
        })?;
        if seen & bit != 0 {
            return Err(Error::spec("linux.namespaces", format!("{kind} is there twice")));
        }
        seen |= bit;
        if bit == kinds::MOUNT && namespace.path.is_some() {
            return Err(Error::spec(
                "linux.namespaces",
                "a container cannot be made in another's mount namespace",
            ));
        }
    }
    if seen & kinds::MOUNT == 0 {
        return Err(Error::spec(
            "linux.namespaces",
            "a container needs a mount namespace of its own; add \"mount\"",
        ));
    }
    let new_user = linux.namespaces.iter().any(|n| n.kind == "user" && n.path.is_none());
    let mapped = !linux.uid_mappings.is_empty() && !linux.gid_mappings.is_empty();
    if new_user && !mapped {
        return Err(Error::spec(
            "linux.uidMappings",
            "a new user namespace needs mappings of users and groups",
        ));
    }
    if seen & kinds::TIME == 0 && !linux.time_offsets.is_empty() {
        return Err(Error::spec(
            "linux.timeOffsets",
            "clocks can be moved in a time namespace only; add \"time\"",
        ));
    }
    Ok(())
}

/// Namespaces ready to be made and joined.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Bits of those made.
    new: u64,
    /// Those joined.
    joined: Vec<(u64, OwnedFd)>,
    /// Content of `timens_offsets`.
    time_offsets: String,
}

impl Namespaces {
    /// Opens those that are joined.
    pub(crate) fn open(
        namespaces: &[proa_oci::runtime::Namespace],
        time_offsets: &BTreeMap<String, TimeOffset>,
    ) -> Result<Self, Error> {
        let mut opened = Self { new: 0, joined: Vec::new(), time_offsets: String::new() };
        for namespace in namespaces {
            let bit = bit(&namespace.kind).unwrap_or(0);
            let Some(path) = namespace.path.as_ref().filter(|p| !p.as_os_str().is_empty()) else {
                opened.new |= bit;
                continue;
            };
            let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(
                |error| Error::step(format!("open {} namespace {}", namespace.kind, path.display()), error),
            )?;
            opened.joined.push((bit, fd));
        }
        for (clock, offset) in time_offsets {
            let _ = writeln!(opened.time_offsets, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        Ok(opened)
    }

    /// Whether a namespace of this bit is made.
    pub(crate) fn makes(&self, bit: u64) -> bool {
        self.new & bit != 0
    }

    /// Whether a process between is needed: a user or pid namespace can only be joined before the clone, and one that
    /// loses or moves what the caller needs must not be joined by the caller; clocks are set before the first process.
    fn needs_intermediate(&self) -> bool {
        let joins = |bit| self.joined.iter().any(|(joined, _)| *joined == bit);
        joins(kinds::USER)
            || joins(kinds::PID)
            || (self.makes(kinds::USER) && !self.joined.is_empty())
            || !self.time_offsets.is_empty()
    }

    /// Makes a process in the namespaces, a child of the caller. The cgroup namespace is left to that process, since it
    /// begins at the cgroup it is in then. `child` is run in the new process, after [`Self::enter`] where needed.
    pub(crate) fn spawn(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        child: impl FnOnce() -> Result<std::convert::Infallible, Error>,
    ) -> Result<(i32, OwnedFd), Error> {
        if self.needs_intermediate() {
            return self.spawn_by_intermediate(cgroup, child);
        }
        let how = Clone3 { namespaces: self.new & !kinds::CGROUP, sibling: false, cgroup };
        match clone3(&how).map_err(|error| Error::step("make the namespaces", error))? {
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
            Cloned::Child => {
                exit(self.enter_joined().and_then(|()| child()).map_or(1, |never| match never {}))
            }
        }
    }

    fn enter_joined(&self) -> Result<(), Error> {
        for (_, fd) in &self.joined {
            join(fd.as_fd())?;
        }
        Ok(())
    }

    fn spawn_by_intermediate(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        child: impl FnOnce() -> Result<std::convert::Infallible, Error>,
    ) -> Result<(i32, OwnedFd), Error> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (reader, writer) = pipe().map_err(|error| Error::step("make a pipe", error))?;
        match clone3(&Clone3::default()).map_err(|error| Error::step("make a process", error))? {
            Cloned::Child => {
                let result = self.become_intermediate().and_then(|new| {
                    let how = Clone3 { namespaces: new, sibling: true, cgroup };
                    clone3(&how).map_err(|error| Error::step("make the namespaces", error))
                });
                match result {
                    Ok(Cloned::Child) => exit(child().map_or(1, |never| match never {})),
                    Ok(Cloned::Parent { pid, .. }) => {
                        let _ = rustix::io::write(&writer, &pid.to_ne_bytes());
                        exit(0)
                    }
                    Err(error) => {
                        let _ = rustix::io::write(&writer, format!("error {error}").as_bytes());
                        exit(1)
                    }
                }
            }
            Cloned::Parent { pidfd, .. } => {
                drop(writer);
                let mut answer = [0u8; 512];
                let n = rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut answer)).unwrap_or(0);
                let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                let answer = answer.get(..n).unwrap_or_default();
                let Ok(pid) = answer.try_into().map(i32::from_ne_bytes) else {
                    let text = String::from_utf8_lossy(answer);
                    let text =
                        text.strip_prefix("error cannot ").unwrap_or("enter the namespaces").to_owned();
                    return Err(Error::step(text, std::io::Error::other("see above")));
                };
                let pidfd = Pid::from_raw(pid)
                    .ok_or(rustix::io::Errno::SRCH)
                    .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
                    .map_err(|error| Error::step("open the init process", error))?;
                Ok((pid, pidfd))
            }
        }
    }

    /// Joins what is joined and sets the clocks; returns the bits still to be made.
    fn become_intermediate(&self) -> Result<u64, Error> {
        let mut new = self.new & !kinds::CGROUP;
        if !self.time_offsets.is_empty() {
            unshare(kinds::TIME).map_err(|error| Error::step("make the time namespace", error))?;
            std::fs::write("/proc/self/timens_offsets", &self.time_offsets)
                .map_err(|error| Error::step("set the clocks of the time namespace", error))?;
            new &= !kinds::TIME;
        }
        // What belongs to the host can be joined before the user namespace only, what belongs to it only after.
        let mut later = Vec::new();
        for (bit, fd) in self.joined.iter().filter(|(bit, _)| *bit != kinds::USER) {
            if move_into_link_name_space(fd.as_fd(), None).is_err() {
                later.push((*bit, fd));
            }
        }
        if let Some((_, user)) = self.joined.iter().find(|(bit, _)| *bit == kinds::USER) {
            join(user.as_fd())?;
        }
        for (_, fd) in later {
            join(fd.as_fd())?;
        }
        Ok(new)
    }
}

fn join(fd: BorrowedFd<'_>) -> Result<(), Error> {
    move_into_link_name_space(fd, None).map_err(|error| Error::step("join a namespace", error))
}

/// Writes the mappings of a process' new user namespace (user_namespaces(7)).
pub(crate) fn map_ids(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<(), Error> {
    let write = |file: &str, mappings: &[IdMapping]| {
        std::fs::write(format!("/proc/{pid}/{file}"), lines(mappings))
            .map_err(|error| Error::step(format!("write {file} of the user namespace"), error))
    };
    write("gid_map", gids)?;
    write("uid_map", uids)
}

fn lines(mappings: &[IdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, mapping| {
        let _ = writeln!(text, "{} {} {}", mapping.container_id, mapping.host_id, mapping.size);
        text
    })
}

/// A user namespace with these mappings and no process in it, for idmapped mounts.
pub(crate) fn id_map(uids: &[IdMapping], gids: &[IdMapping]) -> Result<OwnedFd, Error> {
    let failed = |error: std::io::Error| Error::step("make the id mapping of a mount", error);
    match clone3(&Clone3 { namespaces: kinds::USER, ..Clone3::default() }).map_err(failed)? {
        Cloned::Child => loop {
            rustix::event::pause();
        },
        Cloned::Parent { pid, pidfd } => {
            let opened = map_ids(pid, uids, gids).and_then(|()| of(pid, "user"));
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            opened
        }
    }
}

/// A namespace of a process, by its file in `/proc/PID/ns`.
pub(crate) fn of(pid: i32, file: &str) -> Result<OwnedFd, Error> {
    rustix::fs::openat(CWD, format!("/proc/{pid}/ns/{file}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| Error::step(format!("open the {file} namespace of process {pid}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proa_oci::runtime::Namespace;

    fn linux(kinds: &[(&str, Option<&str>)]) -> Linux {
        let namespaces = kinds
            .iter()
            .map(|(kind, path)| Namespace { kind: (*kind).into(), path: path.map(Into::into) })
            .collect();
        Linux { namespaces, ..Linux::default() }
    }

    #[test]
    fn contradictions_are_named() {
        let message = |linux: &Linux| check(linux).unwrap_err().to_string();
        assert!(message(&linux(&[("mount", None), ("mount", None)])).contains("twice"));
        assert!(message(&linux(&[("moon", None)])).contains("moon"));
        assert!(message(&linux(&[("pid", None)])).contains("mount"));
        assert!(message(&linux(&[("mount", None), ("user", None)])).contains("mappings"));
        let mut offsets = linux(&[("mount", None)]);
        offsets.time_offsets.insert("monotonic".into(), TimeOffset::default());
        assert!(message(&offsets).contains("time"));
        check(&linux(&[("mount", None), ("user", Some("/proc/1/ns/user"))])).unwrap();
    }
}
