//! Links of containers on the default bridge (`--link NAME:ALIAS`): names in the hosts file, environment variables, and
//! the second name `/PARENT/ALIAS` of the container that is linked to.
//!
//! A link is part of the record of the container that has it, which docker calls the parent; it names the other by id,
//! so that it survives a rename. Who is linked to is derived in memory ([`Links`]). An address changes with every run:
//! when a container that is linked to starts, the hosts files of running parents are mended in their place.

use crate::container::Container;
use crate::record::ContainerRecord;
use crate::spec::{ContainerSpec, LinkSpec, other_container};
use crate::{Engine, Error, plan};
use proa_network::ExtraHost;
use proa_types::{ContainerId, ErrorKind};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Most bytes of a hosts file that are looked at: the container may have written into it.
const HOSTS: u64 = 1 << 20;

/// Parents by the container that they are linked to.
#[derive(Debug, Default)]
pub(crate) struct Links(HashMap<String, BTreeSet<ContainerId>>);

impl Links {
    pub(crate) fn insert(&mut self, record: &ContainerRecord) {
        for link in &record.spec.host.links {
            self.0.entry(link.container.clone()).or_default().insert(record.id.clone());
        }
    }

    pub(crate) fn remove(&mut self, record: &ContainerRecord) {
        for link in &record.spec.host.links {
            if let Some(parents) = self.0.get_mut(&link.container) {
                parents.remove(&record.id);
            }
        }
        self.0.retain(|_, parents| !parents.is_empty());
    }

    /// Who is linked to a container.
    pub(crate) fn parents(&self, id: &ContainerId) -> Vec<ContainerId> {
        self.0.get(id.as_str()).into_iter().flatten().cloned().collect()
    }
}

/// A link whose other end exists.
struct Linked {
    record: Arc<ContainerRecord>,
    alias: String,
}

impl Linked {
    fn address(&self) -> Option<IpAddr> {
        self.record.state.run()?;
        self.record.endpoint.as_ref().map(|endpoint| IpAddr::V4(endpoint.address))
    }

    /// The names by which the other is reached: alias, hostname, its own name.
    fn names(&self) -> String {
        let hostname = plan::hostname(&self.record);
        let own = self.record.name.as_str();
        if own == self.alias {
            format!("{own} {hostname}")
        } else {
            format!("{} {hostname} {own}", self.alias)
        }
    }

    fn host(&self) -> Option<ExtraHost> {
        Some(ExtraHost { name: self.names(), address: self.address()? })
    }
}

impl Engine {
    /// Settles the links of a container that is being made: whom they name.
    pub(crate) fn settle_links(
        &self,
        spec: &mut ContainerSpec,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        if spec.host.links.is_empty() {
            return Ok(());
        }
        let undefined = |what: &str| {
            Error::Invalid(format!(
                "conflicting options: {what} can't be used with links. This would result in undefined behavior"
            ))
        };
        if other_container(&spec.host.network_mode).is_some() {
            return Err(undefined("container type network"));
        }
        if spec.host.network_mode == "host" {
            return Err(undefined("host type networking"));
        }
        if self.bridge.as_ref().is_some_and(|bridge| !bridge.lets_containers_talk()) {
            return Err(Error::Unsupported("--link with --icc=false".into()));
        }
        let mut settled: Vec<LinkSpec> = Vec::new();
        for LinkSpec { container: name, alias } in std::mem::take(&mut spec.host.links) {
            let missing = |error| match error {
                Error::NoSuchContainer(_) => {
                    Error::Invalid(format!("could not get container for {name}: {error}"))
                }
                other => other,
            };
            let mut found = self.find(&name).map_err(missing)?;
            while let Some(other) =
                found.with(|record| other_container(&record.spec.host.network_mode).map(str::to_owned))
            {
                found = self.find(&other)?;
            }
            if found.with(|record| record.spec.host.network_mode == "host") {
                return Err(undefined("host type networking"));
            }
            if settled.iter().any(|link| link.alias == alias) {
                warnings
                    .push(format!("the alias {alias} is linked to already: the link to {name} is left out"));
                continue;
            }
            settled.push(LinkSpec { container: found.id.to_string(), alias });
        }
        spec.host.links = settled;
        Ok(())
    }

    /// The links of a container whose other ends exist.
    fn linked(&self, record: &ContainerRecord) -> Vec<Linked> {
        let links = record.spec.host.links.iter();
        let found = links.filter_map(|link| {
            let record = self.find(&link.container).ok()?.record();
            Some(Linked { record, alias: link.alias.clone() })
        });
        found.collect()
    }

    /// The links as inspect shows them: `/CHILD:/PARENT/ALIAS`.
    pub fn links(&self, record: &ContainerRecord) -> Vec<String> {
        let linked = self.linked(record).into_iter();
        linked.map(|link| format!("/{}:/{}/{}", link.record.name, record.name, link.alias)).collect()
    }

    /// The names that links give a container: `/PARENT/ALIAS`.
    pub fn link_names(&self, id: &ContainerId) -> Vec<String> {
        let mut names = Vec::new();
        for parent in self.parents(id) {
            parent.with(|record| {
                let links = record.spec.host.links.iter().filter(|link| link.container == id.as_str());
                names.extend(links.map(|link| format!("/{}/{}", record.name, link.alias)));
            });
        }
        names
    }

    fn parents(&self, id: &ContainerId) -> Vec<Arc<Container>> {
        let ids = self.linking(id);
        ids.iter().filter_map(|id| self.find(id.as_str()).ok()).collect()
    }

    /// The lines of links for a hosts file.
    pub(crate) fn link_hosts(&self, record: &ContainerRecord) -> Vec<ExtraHost> {
        self.linked(record).iter().filter_map(Linked::host).collect()
    }

    /// The variables of links, for a start.
    ///
    /// # Errors
    /// [`Error::Start`] when a container that is linked to does not run, or is not on the bridge.
    pub(crate) fn link_environment(&self, record: &ContainerRecord) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        for link in self.linked(record) {
            let name = &link.record.name;
            let refused =
                |message: String| Error::Start { message, kind: ErrorKind::Internal, exit_code: None };
            if link.record.spec.host.network_mode != "bridge" {
                return Err(refused(format!(
                    "Cannot link to /{name}, as it does not belong to the default network"
                )));
            }
            let Some(address) = link.address() else {
                let parent = &record.name;
                let message =
                    format!("Cannot link to a non running container: /{name} AS /{parent}/{}", link.alias);
                return Err(refused(message));
            };
            all.extend(variables(&link, &record.name.to_string(), address));
        }
        Ok(all)
    }

    /// The address of a container is a new one: those that are linked to it learn of it.
    pub(crate) fn tell_parents(&self, container: &Container) {
        for parent in self.parents(&container.id) {
            let record = parent.record();
            if record.state.run().is_none() {
                continue;
            }
            for link in self.linked(&record).iter().filter(|link| link.record.id == container.id) {
                self.mend_hosts(&parent, &link.names(), link.host());
            }
        }
    }

    /// Removes a link that is named `PARENT/ALIAS`.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], and [`Error::Conflict`] for the name of a container.
    pub async fn remove_link(&self, name: &str) -> Result<(), Error> {
        let child = self.find(name)?;
        let Some((parent, alias)) = name.trim_start_matches('/').split_once('/') else {
            let message = "Conflict, cannot remove the default link name of the container";
            return Err(Error::Conflict(message.into()));
        };
        let parent = self.find(parent)?;
        let _operation = parent.operation.lock().await;
        let before = parent.record();
        let mut after = ContainerRecord::clone(&before);
        after.spec.host.links.retain(|link| link.alias != alias);
        self.record_in_store(&after)?;
        let names = Linked { record: child.record(), alias: alias.to_owned() }.names();
        self.relink(&before, &after);
        parent.change(|record| record.spec.host.links.clone_from(&after.spec.host.links));
        self.note(&parent.record())?;
        if after.state.run().is_some() {
            self.mend_hosts(&parent, &names, None);
        }
        Ok(())
    }

    /// Puts another line in the place of that with these names; what the container itself wrote stays.
    fn mend_hosts(&self, container: &Container, names: &str, line: Option<ExtraHost>) {
        let path = self.container_dir(container).join("hosts");
        let mended = (|| {
            let file = std::fs::File::open(&path)?;
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, HOSTS), &mut text)?;
            let suffix = format!("\t{names}");
            let mut kept: String = text.lines().filter(|old| !old.ends_with(&suffix)).fold(
                String::with_capacity(text.len() + 64),
                |mut all, old| {
                    all.push_str(old);
                    all.push('\n');
                    all
                },
            );
            if let Some(ExtraHost { name, address }) = line {
                let _ = writeln!(kept, "{address}\t{name}");
            }
            // In its place: the file is mounted into the container.
            std::fs::write(&path, kept)
        })();
        if let Err(error) = mended {
            tracing::warn!(container = container.id.short(), %error, "the hosts file keeps the old address of a link");
        }
    }
}

/// What docker tells of the other end in variables: its ports, its name, and its own variables.
fn variables(link: &Linked, parent: &str, address: IpAddr) -> Vec<String> {
    let prefix = link.alias.to_uppercase().replace('-', "_");
    let spec = &link.record.spec;
    let mut all = Vec::new();
    let mut ports: Vec<_> = spec.exposed_ports.iter().collect();
    ports.sort_by_key(|port| (port.port, port.protocol.as_str()));
    if let Some(first) = ports.first() {
        all.push(format!("{prefix}_PORT={}://{address}:{}", first.protocol.as_str(), first.port));
    }
    for port in ports {
        let (number, kind) = (port.port, port.protocol.as_str());
        let name = format!("{prefix}_PORT_{number}_{}", kind.to_uppercase());
        all.push(format!("{name}={kind}://{address}:{number}"));
        all.push(format!("{name}_ADDR={address}"));
        all.push(format!("{name}_PORT={number}"));
        all.push(format!("{name}_PROTO={kind}"));
    }
    all.push(format!("{prefix}_NAME=/{parent}/{}", link.alias));
    let own = spec.env.iter().filter(|entry| entry.contains('='));
    let own = own.filter(|entry| !entry.starts_with("HOME=") && !entry.starts_with("PATH="));
    all.extend(own.map(|entry| format!("{prefix}_ENV_{entry}")));
    all
}
