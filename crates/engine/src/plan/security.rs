//! Capabilities, masks, and options of security.

use crate::Error;
use crate::record::ContainerRecord;
use proa_oci::runtime::Capabilities;
use proa_types::capability;

/// Docker's fourteen capabilities.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Paths hidden by default.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths read-only by default.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which system-call filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The default one.
    Default,
    /// None.
    Unconfined,
    /// A profile as JSON.
    Custom(String),
}

/// What was settled about a container's security.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    names: Vec<String>,
    pub(crate) no_new_privileges: bool,
    pub(crate) apparmor: String,
    pub(crate) filter: Filter,
    pub(crate) masked: Vec<std::path::PathBuf>,
    pub(crate) readonly: Vec<std::path::PathBuf>,
}

impl Security {
    /// The sets of a process. One that is not root has them in its bounding set only.
    pub(crate) fn capabilities(&self, root: bool) -> Capabilities {
        let held = if root { self.names.clone() } else { Vec::new() };
        Capabilities {
            bounding: self.names.clone(),
            effective: held.clone(),
            permitted: held,
            inheritable: Vec::new(),
            ambient: Vec::new(),
        }
    }

    /// The capabilities, as `CAP_CHOWN`.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

/// Settles the security of a container. `bounding` is what the engine itself may hand on.
pub(crate) fn security(record: &ContainerRecord, bounding: u64) -> Result<Security, Error> {
    let host = &record.spec.host;
    let mask = capabilities(&host.cap_add, &host.cap_drop, host.privileged, bounding)?;
    let all = capability::NAMES.iter().enumerate();
    let names = all.filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| format!("CAP_{name}")).collect();
    let filter = if host.privileged { Filter::Unconfined } else { Filter::Default };
    let mut security = Security {
        names,
        no_new_privileges: false,
        apparmor: unconfined(),
        filter,
        masked: masked_paths(host),
        readonly: readonly_paths(host),
    };
    for option in &host.security_opt {
        apply(&mut security, option)?;
    }
    Ok(security)
}

/// What a container runs under if it names no profile: there is no default one. Said by name where AppArmor is active,
/// so that a container does not inherit the profile of a confined engine.
fn unconfined() -> String {
    let name = if proa_runtime::has_apparmor() { "unconfined" } else { "" };
    name.to_owned()
}

/// What a container cannot read: what was asked for, or the default.
#[must_use]
pub fn masked_paths(host: &crate::spec::HostSpec) -> Vec<std::path::PathBuf> {
    paths(host.masked_paths.as_deref(), &masked(), host.privileged)
}

/// What a container cannot write: what was asked for, or the default.
#[must_use]
pub fn readonly_paths(host: &crate::spec::HostSpec) -> Vec<std::path::PathBuf> {
    paths(host.readonly_paths.as_deref(), &READONLY.map(Into::into), host.privileged)
}

fn paths(asked: Option<&[String]>, default: &[String], privileged: bool) -> Vec<std::path::PathBuf> {
    match asked {
        Some(list) => list.iter().map(Into::into).collect(),
        None if privileged => Vec::new(),
        None => default.iter().map(Into::into).collect(),
    }
}

/// The fixed list, and each processor's thermal counters (GHSA-6fw5-f8r9-fgfm).
fn masked() -> Vec<String> {
    let thermal =
        (0..crate::system::processors()).map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle"));
    MASKED.iter().map(|&path| path.to_owned()).chain(thermal).collect()
}

fn apply(security: &mut Security, option: &str) -> Result<(), Error> {
    let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
        ("no-new-privileges", "false") => security.no_new_privileges = false,
        ("seccomp", "unconfined") => security.filter = Filter::Unconfined,
        ("seccomp", "builtin" | "") => security.filter = Filter::Default,
        ("seccomp", profile) => security.filter = Filter::Custom(profile.to_owned()),
        ("apparmor", "unconfined") => security.apparmor = unconfined(),
        ("apparmor", profile) => security.apparmor = profile.to_owned(),
        // Labels have a meaning only where SELinux is on, which the caller has checked and warned about.
        ("label" | "writable-cgroups", _) => {}
        ("systempaths", "unconfined") => (security.masked, security.readonly) = (Vec::new(), Vec::new()),
        _ => return Err(Error::Invalid(format!("invalid --security-opt 2: {option:?}"))),
    }
    Ok(())
}

/// The mask of capabilities after additions and removals.
fn capabilities(add: &[String], drop: &[String], privileged: bool, bounding: u64) -> Result<u64, Error> {
    if privileged {
        return Ok(bounding);
    }
    let bit = |name: &str| {
        let number = capability::number(name);
        number.map(|n| 1u64 << n).ok_or_else(|| Error::Invalid(format!("unknown capability: {name:?}")))
    };
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let bits = |names: &[String]| -> Result<u64, Error> {
        let named = names.iter().filter(|name| !name.eq_ignore_ascii_case("all"));
        named.map(|name| bit(name)).try_fold(0, |mask, bit| bit.map(|bit| mask | bit))
    };
    let (added, dropped) = (bits(add)?, bits(drop)?);
    let base = match (all(add), all(drop)) {
        (true, _) => bounding & !dropped,
        (false, true) => 0,
        (false, false) => {
            DEFAULT.iter().filter_map(|name| bit(name).ok()).fold(0, |mask, bit| mask | bit) & !dropped
        }
    };
    Ok(base | added)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(add: &[&str], drop: &[&str]) -> Result<u64, Error> {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        capabilities(&list(add), &list(drop), false, (1 << 41) - 1)
    }

    #[test]
    fn capabilities_are_dockers() {
        assert_eq!(mask(&[], &[]).unwrap(), 0xa804_25fb);
        assert_eq!(mask(&["NET_BIND_SERVICE"], &["ALL"]).unwrap(), 1 << 10);
        assert_eq!(mask(&["CAP_SYS_TIME"], &[]).unwrap(), 0xaa04_25fb);
        assert_eq!(mask(&[], &["chown"]).unwrap(), 0xa804_25fa);
        assert_eq!(mask(&["ALL"], &["SYS_ADMIN"]).unwrap(), ((1 << 41) - 1) & !(1 << 21));
        assert!(mask(&["NOPE"], &[]).is_err());
    }
}
