//! Published ports of a container: which are asked for, and who holds one that is taken.

use crate::pool::Ready;
use crate::record::ContainerRecord;
use crate::spec::HostPort;
use crate::{Engine, Error};
use proa_network::{PortBinding, PortRange, Published};
use proa_types::{Kinded, PortProtocol, PortSpec, SandboxId};

impl Engine {
    /// Publishes a container's ports.
    pub(crate) fn publish(&self, record: &ContainerRecord, ready: &Ready) -> Result<Vec<Published>, Error> {
        let (Some(bridge), Some(endpoint)) = (&self.bridge, &ready.endpoint) else { return Ok(Vec::new()) };
        let bindings = bindings(record)?;
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        self.leaving.wait(&bindings);
        let published = bridge.publish(&ready.id, endpoint.address, &bindings);
        published.map_err(|error| {
            let name = |sandbox: &SandboxId| {
                self.index()
                    .of_sandbox(sandbox)
                    .map(|container| container.with(|record| record.name.to_string()))
            };
            Error::Start {
                kind: error.kind(),
                message: format!(
                    "driver failed programming external connectivity on endpoint {}: {}",
                    record.name,
                    error.with_holder(name)
                ),
                exit_code: None,
            }
        })
    }
}

/// The ports to publish.
fn bindings(record: &ContainerRecord) -> Result<Vec<PortBinding>, Error> {
    let host = &record.spec.host;
    let mut all = Vec::new();
    for (container, ports) in &host.port_bindings {
        if container.protocol == PortProtocol::Sctp {
            return Err(Error::Unsupported("publishing SCTP ports".into()));
        }
        for port in ports {
            all.push(binding(*container, port)?);
        }
        if ports.is_empty() {
            all.push(PortBinding::to(*container, None));
        }
    }
    if host.publish_all {
        let others = record.spec.exposed_ports.iter().filter(|port| !host.port_bindings.contains_key(port));
        all.extend(others.map(|port| PortBinding::to(*port, None)));
    }
    Ok(all)
}

fn binding(container: PortSpec, port: &HostPort) -> Result<PortBinding, Error> {
    let bad = || Error::Invalid(format!("invalid port specification: {}:{}", port.ip, port.port));
    let host_ip = match port.ip.as_str() {
        "" => None,
        text => Some(text.trim_matches(['[', ']']).parse().map_err(|_| bad())?),
    };
    let host_port = match port.port.as_str() {
        "" | "0" => None,
        text => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = PortRange {
                first: first.parse().map_err(|_| bad())?,
                last: last.parse().map_err(|_| bad())?,
            };
            if range.first > range.last || range.first == 0 {
                return Err(bad());
            }
            Some(range)
        }
    };
    Ok(PortBinding { host_ip, host_port, container })
}
