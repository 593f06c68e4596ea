//! User namespaces of containers: `userns-remap` of the daemon, `--userns host` and `--userns auto`.
//!
//! Files are kept as the container has them, whoever runs it: layers and volumes are mounted so that their ids are the
//! host's that the container's are mapped to (ADR 0012). So one image serves every mapping, and nothing that reads the
//! layers themselves (commit, diff, the user tables) needs to know of any.

mod pool;
mod subids;

pub(crate) use pool::{Pool, Taken};
pub use subids::remap;

use crate::record::{ContainerRecord, UserNamespace};
use crate::spec::{HostSpec, other_container};
use crate::{Engine, Error};
use proa_oci::runtime::IdMapping;
use proa_types::{ContainerId, IdMap};
use std::path::PathBuf;

/// Ids of a container that asks for no number.
const SIZE: u32 = 65536;
/// Fewest of a container: the groups that its own filesystems name are among them.
const LEAST: u32 = 1024;

/// What `--userns` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What the daemon is configured to.
    Default,
    /// The host's.
    Host,
    /// Ids that no other container has.
    Auto(u32),
}

impl Mode {
    pub(crate) fn of(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Err(Error::Invalid(format!("invalid USER mode: {text}{why}")));
        let options = match text {
            "" | "private" => return Ok(Self::Default),
            "host" => return Ok(Self::Host),
            "auto" => return Ok(Self::Auto(SIZE)),
            other => other.strip_prefix("auto:"),
        };
        match options.and_then(|options| options.split_once('=')) {
            Some(("size", number)) => match number.parse() {
                Ok(size) if size >= LEAST => Ok(Self::Auto(size)),
                _ => bad(&format!(": size must be a number, {LEAST} at least")),
            },
            _ => bad(": write host, auto or auto:size=N"),
        }
    }
}

impl Engine {
    /// The ids of a container that is being made; those that are its alone are taken then.
    pub(crate) fn settle_ids(
        &self,
        id: &ContainerId,
        host: &HostSpec,
    ) -> Result<Option<UserNamespace>, Error> {
        let size = match Mode::of(&host.userns_mode)? {
            Mode::Host => return Ok(None),
            Mode::Default => match self.config().remap.clone() {
                None => return Ok(None),
                Some(map) => {
                    check(host)?;
                    return Ok(Some(UserNamespace { map, own: false }));
                }
            },
            Mode::Auto(size) => size,
        };
        check(host)?;
        if let Some(donor) = donors(host).next() {
            // Whoever shares a namespace shares the users it belongs to.
            let donor = self.find(donor)?;
            let map = donor.with(|record| record.userns.as_ref().map(|userns| userns.map.clone()));
            let map = map.ok_or_else(|| apart(&donor.id))?;
            return Ok(Some(UserNamespace { map, own: false }));
        }
        let pool = match self.config().userns_pool {
            Some(range) => Pool::new(&[range]),
            None => subids::pool()?,
        };
        let first = self.index().taken().take(&pool, size, id)?;
        let map = IdMap::of(&[(first, size)], &[(first, size)]);
        Ok(Some(UserNamespace { map, own: true }))
    }

    /// The user namespace that a container joins together with another of a container's.
    pub(crate) fn joined_users(&self, record: &ContainerRecord) -> Result<Option<PathBuf>, Error> {
        let (Some(own), Some(donor)) = (&record.userns, donors(&record.spec.host).next()) else {
            return Ok(None);
        };
        for donor in donors(&record.spec.host) {
            let donor = self.find(donor)?;
            let same = donor.with(|other| other.userns.as_ref().is_some_and(|users| users.map == own.map));
            if !same {
                return Err(apart(&donor.id));
            }
        }
        let run = self.find(donor)?.with(|record| record.state.run().cloned());
        Ok(run.map(|run| PathBuf::from(format!("/proc/{}/ns/user", run.pid))))
    }
}

/// Containers whose namespaces a container joins.
fn donors(host: &HostSpec) -> impl Iterator<Item = &str> {
    [&host.network_mode, &host.ipc_mode, &host.pid_mode].into_iter().filter_map(|mode| other_container(mode))
}

fn apart(donor: &ContainerId) -> Error {
    Error::Conflict(format!(
        "cannot join the namespaces of container {donor}: its users are others; run both with the same --userns"
    ))
}

/// Refuses what would reach around the mapping, in docker's words.
fn check(host: &HostSpec) -> Result<(), Error> {
    let refused = |text: &str| Err(Error::Invalid(text.into()));
    if host.privileged {
        return refused(
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
        );
    }
    if host.network_mode == "host" {
        return refused("cannot share the host's network namespace when user namespaces are enabled");
    }
    if host.pid_mode == "host" {
        return refused("cannot share the host PID namespace when user namespaces are enabled");
    }
    if !matches!(host.runtime.as_str(), "" | "proa" | "runc" | "io.containerd.runc.v2") {
        return Err(Error::Unsupported(format!(
            "user namespaces are made by Proa's own runtime: leave out --runtime {}, or run it with --userns host",
            host.runtime
        )));
    }
    Ok(())
}

/// Mappings as an OCI document has them: users, then groups.
pub(crate) fn mappings(map: &IdMap) -> (Vec<IdMapping>, Vec<IdMapping>) {
    let list = |ranges: &[proa_types::IdRange]| {
        let mapping = |range: &proa_types::IdRange| IdMapping {
            container_id: range.inside,
            host_id: range.outside,
            size: range.size,
        };
        ranges.iter().map(mapping).collect()
    };
    (list(&map.uids), list(&map.gids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        assert_eq!(Mode::of("").unwrap(), Mode::Default);
        assert_eq!(Mode::of("host").unwrap(), Mode::Host);
        assert_eq!(Mode::of("auto").unwrap(), Mode::Auto(65536));
        assert_eq!(Mode::of("auto:size=2000").unwrap(), Mode::Auto(2000));
        for bad in ["keep-id", "auto:", "auto:size=", "auto:size=10", "auto:uidmapping=0:1:2", "container:x"]
        {
            assert!(Mode::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_reaches_around_a_mapping_is_refused() {
        let refused = |host: HostSpec| check(&host).unwrap_err().to_string();
        let privileged = HostSpec { privileged: true, ..HostSpec::default() };
        assert!(refused(privileged).starts_with("privileged mode is incompatible with user namespaces."));
        let network = HostSpec { network_mode: "host".into(), ..HostSpec::default() };
        assert!(refused(network).contains("host's network namespace"));
        let pids = HostSpec { pid_mode: "host".into(), ..HostSpec::default() };
        assert!(refused(pids).contains("host PID namespace"));
        let other = HostSpec { runtime: "crun".into(), ..HostSpec::default() };
        assert!(refused(other).contains("--runtime crun"));
    }
}
