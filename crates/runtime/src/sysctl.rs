//! Kernel parameters of a container's own namespaces. Others belong to the host and are refused.

use crate::Error;
use proa_oci::runtime::Linux;
use rustix::fs::{Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::BorrowedFd;

/// Those of the IPC namespace (ipc_namespaces(7)), besides `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks that each belongs to a namespace the container does not share with the host.
pub(crate) fn check(linux: &Linux) -> Result<(), Error> {
    let has = |kind: &str| linux.namespaces.iter().any(|n| n.kind == kind);
    for name in linux.sysctl.keys() {
        let dotted = dotted(name);
        let (needed, kind) = match dotted.as_str() {
            name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => (has("ipc"), "ipc"),
            name if name.starts_with("net.") => (has("network"), "network"),
            "kernel.domainname" => (has("uts"), "uts"),
            "kernel.hostname" => {
                return Err(Error::spec(
                    format!("sysctl {name:?}"),
                    "use the host name of the container instead",
                ));
            }
            name if name.starts_with("user.") => (has("user"), "user"),
            _ => {
                let reason = "it is not kept for each container, so it would change the host";
                return Err(Error::spec(format!("sysctl {name:?}"), reason));
            }
        };
        if file(name).split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(Error::spec(format!("sysctl {name:?}"), "it is no name of a parameter"));
        }
        if !needed {
            let reason =
                format!("it is not in a separate kernel namespace: the container shares the host's {kind}");
            return Err(Error::spec(format!("sysctl {name:?}"), reason));
        }
    }
    Ok(())
}

/// The name with dots between its parts; `net/ipv4/conf/eth0.1/forwarding` keeps the dot of the interface as a slash.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes().get(first) == Some(&b'/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// The file below `/proc/sys`.
fn file(name: &str) -> String {
    dotted(name)
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

/// Writes them, below a procfs nothing is mounted over.
pub(crate) fn apply(proc: BorrowedFd<'_>, sysctl: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in sysctl {
        let failed = |error: std::io::Error| Error::step(format!("set sysctl {name} to {value:?}"), error);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = openat(proc, format!("sys/{}", file(name)), flags, Mode::empty())
            .map_err(|e| failed(e.into()))?;
        std::fs::File::from(fd).write_all(value.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proa_oci::runtime::Namespace;

    fn linux(namespaces: &[&str], name: &str) -> Linux {
        let namespaces =
            namespaces.iter().map(|kind| Namespace { kind: (*kind).into(), path: None }).collect();
        let mut linux = Linux { namespaces, ..Linux::default() };
        linux.sysctl.insert(name.into(), "1".into());
        linux
    }

    #[test]
    fn only_what_a_namespace_keeps_apart_is_allowed() {
        for (namespace, name) in [
            ("network", "net.ipv4.ip_forward"),
            ("network", "net/ipv4/conf/eth0.1/forwarding"),
            ("ipc", "kernel.shmmax"),
            ("ipc", "fs.mqueue.msg_max"),
        ] {
            check(&linux(&[namespace], name)).unwrap();
            assert!(check(&linux(&[], name)).is_err(), "{name}");
        }
        for name in
            ["kernel.pid_max", "vm.swappiness", "net/../kernel/pid_max", "net..x", "", "kernel.hostname"]
        {
            assert!(check(&linux(&["network", "ipc", "uts"], name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn both_spellings_mean_the_same() {
        assert_eq!(dotted("net/ipv4/conf/eth0.1/forwarding"), "net.ipv4.conf.eth0/1.forwarding");
        assert_eq!(dotted("net.ipv4.conf.eth0/1.forwarding"), "net.ipv4.conf.eth0/1.forwarding");
    }
}
