//! Files of a container's network: `hosts`, `hostname`, `resolv.conf`.

use crate::record::ContainerRecord;
use crate::spec::other_container;
use crate::{Engine, Error, plan};
use proa_network::{DnsOptions, Endpoint, ExtraHost, HostsFile};
use std::net::IpAddr;
use std::path::Path;

impl Engine {
    /// Writes them before a start. A container that joins another's network has copies of the other's.
    pub(crate) fn write_files(
        &self,
        record: &ContainerRecord,
        endpoint: Option<&Endpoint>,
        dir: &Path,
    ) -> Result<(), Error> {
        let host = &record.spec.host;
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(Error::io(path.display().to_string()))
        };
        if let Some(other) = other_container(&host.network_mode) {
            let from = self.container_dir(&*self.find(other)?);
            for name in crate::trees::FILES {
                let _ = std::fs::copy(from.join(name), dir.join(name));
            }
            return Ok(());
        }
        let hostname = plan::hostname(record);
        write("hostname", proa_network::hostname_file(&hostname))?;
        if host.network_mode == "host"
            && host.dns.is_empty()
            && host.dns_search.is_empty()
            && host.dns_options.is_empty()
        {
            write("resolv.conf", std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())?;
        } else {
            write("resolv.conf", self.resolv_conf(record)?)?;
        }
        let gateway = endpoint.map(|endpoint| IpAddr::V4(endpoint.gateway));
        let extra = host.extra_hosts.iter().map(|text| ExtraHost::parse(text, gateway));
        let mut extra: Vec<_> = extra.collect::<Result<_, _>>().map_err(|e| Error::Invalid(e.to_string()))?;
        extra.extend(self.link_hosts(record));
        let domainname = Some(record.spec.domainname.clone()).filter(|name| !name.is_empty());
        let addresses = endpoint.map(|endpoint| IpAddr::V4(endpoint.address)).into_iter().collect();
        write("hosts", proa_network::hosts_file(&HostsFile { hostname, domainname, addresses, extra }))
    }

    fn resolv_conf(&self, record: &ContainerRecord) -> Result<String, Error> {
        let (host, config) = (&record.spec.host, self.config());
        let or = |own: &Vec<String>, default: &Vec<String>| {
            if own.is_empty() { default.clone() } else { own.clone() }
        };
        let server =
            |text: String| text.parse().map_err(|_| Error::Invalid(format!("invalid DNS server: {text}")));
        let options = DnsOptions {
            servers: or(&host.dns, &config.dns).into_iter().map(server).collect::<Result<_, _>>()?,
            search: or(&host.dns_search, &config.dns_search),
            options: or(&host.dns_options, &config.dns_options),
            ipv6: host.network_mode == "host",
        };
        Ok(proa_network::resolv_conf(&proa_network::host_resolv_conf(), &options))
    }
}
