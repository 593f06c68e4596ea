//! Networks and endpoints.

use std::collections::BTreeMap;

crate::wire::wire! {
    /// Answer of `POST /networks/prune`.
    NetworksPruned { networks_deleted: Option<Vec<String>>; }
    /// A network, as listed and inspected.
    Network {
        name: String;
        id: String;
        created: String;
        scope: String;
        driver: String;
        enable_ipv4: bool = "EnableIPv4";
        enable_ipv6: bool = "EnableIPv6";
        ipam: Ipam = "IPAM";
        internal: bool;
        attachable: bool;
        ingress: bool;
        config_from: BTreeMap<String, String>;
        config_only: bool;
        containers: BTreeMap<String, NetworkContainer>;
        options: BTreeMap<String, String>;
        labels: BTreeMap<String, String>;
    }
    /// Address management of a network.
    Ipam {
        driver: String;
        options: Option<BTreeMap<String, String>>;
        config: Option<Vec<IpamConfig>>;
    }
    /// One pool.
    IpamConfig {
        subnet: String, skip "String::is_empty";
        ip_range: String = "IPRange", skip "String::is_empty";
        gateway: String, skip "String::is_empty";
        auxiliary_addresses: BTreeMap<String, String> = "AuxiliaryAddresses", skip "BTreeMap::is_empty";
    }
    /// A container on an inspected network.
    NetworkContainer {
        name: String;
        endpoint_id: String = "EndpointID";
        mac_address: String;
        ipv4_address: String = "IPv4Address";
        ipv6_address: String = "IPv6Address";
    }
    /// Answer of `POST /networks/create`.
    NetworkCreateResponse { id: String; warning: String; }
    /// The endpoints asked for at creation.
    NetworkingConfig { endpoints_config: BTreeMap<String, Option<EndpointSettings>>; }
    /// A container's place on one network.
    EndpointSettings {
        ipam_config: Option<EndpointIpamConfig> = "IPAMConfig";
        links: Option<Vec<String>>;
        aliases: Option<Vec<String>>;
        mac_address: String;
        driver_opts: Option<BTreeMap<String, String>>;
        gw_priority: i64;
        network_id: String = "NetworkID";
        endpoint_id: String = "EndpointID";
        gateway: String;
        ip_address: String = "IPAddress";
        ip_prefix_len: i64 = "IPPrefixLen";
        ipv6_gateway: String = "IPv6Gateway";
        global_ipv6_address: String = "GlobalIPv6Address";
        global_ipv6_prefix_len: i64 = "GlobalIPv6PrefixLen";
        dns_names: Option<Vec<String>> = "DNSNames";
    }
    /// Addresses asked for.
    EndpointIpamConfig {
        ipv4_address: String = "IPv4Address", skip "String::is_empty";
        ipv6_address: String = "IPv6Address", skip "String::is_empty";
        link_local_ips: Vec<String> = "LinkLocalIPs", skip "Vec::is_empty";
    }
}
