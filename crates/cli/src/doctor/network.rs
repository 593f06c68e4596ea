//! The network: what bridges and published ports need, and who else filters packets here.

use super::{Area, Machine, State};

pub(super) fn look(machine: &Machine) -> Area {
    let mut area = Area::new("network");
    for (name, option, what) in [
        ("nf_tables", "CONFIG_NF_TABLES", "address translation and published ports"),
        ("veth", "CONFIG_VETH", "the default network"),
        ("bridge", "CONFIG_BRIDGE", "the default network"),
    ] {
        let advice = format!(
            "{what} need it: `modprobe {name}`; without it run containers with --network host or none"
        );
        area.need(name, machine.offers(name, option), State::Missing, &advice);
    }
    forwarding(machine, &mut area);
    firewalls(machine, &mut area);
    resolvers(machine, &mut area);
    area
}

fn forwarding(machine: &Machine, area: &mut Area) {
    match machine.number("/proc/sys/net/ipv4/ip_forward") {
        Some(1) => area.ok("IPv4 forwarding", "on"),
        _ => area.add("IPv4 forwarding", State::Note, "off", "the engine turns it on when it starts"),
    }
    let six = machine.exists("/proc/net/if_inet6");
    match six {
        true => area.ok("IPv6", "available"),
        false => area.add("IPv6", State::Note, "not available", "ports are published on IPv4 alone"),
    }
}

fn firewalls(machine: &Machine, area: &mut Area) {
    let mut found = Vec::new();
    if machine.exists("/run/firewalld") {
        found.push("firewalld: put the engine's bridges into a zone that accepts (`firewall-cmd --permanent --zone=trusted --add-interface=proa0`)");
    }
    let ufw = machine.text("/etc/ufw/ufw.conf").unwrap_or_default();
    if ufw.lines().any(|line| line.trim() == "ENABLED=yes") {
        found.push("ufw: packets to containers are dropped unless DEFAULT_FORWARD_POLICY=\"ACCEPT\" stands in /etc/default/ufw");
    }
    if machine.text("/proc/net/ip_tables_names").is_some_and(|names| names.contains("filter")) {
        found.push("iptables (legacy): if `iptables -S FORWARD` says DROP, packets to containers are dropped: accept those of the engine's bridges");
    }
    match found.is_empty() {
        true => area.ok("other firewalls", "none"),
        false => {
            for advice in found {
                let (name, advice) = advice.split_once(": ").unwrap_or((advice, ""));
                area.add("other firewalls", State::Note, name, advice);
            }
        }
    }
    if machine.exists("/var/run/docker.pid") {
        area.add(
            "another engine",
            State::Note,
            "dockerd runs here",
            "both can run; what is published by one is in use for the other",
        );
    }
}

fn resolvers(machine: &Machine, area: &mut Area) {
    let text = machine.text("/etc/resolv.conf").unwrap_or_default();
    let servers: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("nameserver")).map(str::trim).collect();
    let own = |server: &&&str| server.starts_with("127.") || **server == "::1";
    if !servers.is_empty() && servers.iter().filter(own).count() == servers.len() {
        area.add(
            "name servers",
            State::Note,
            servers.join(", "),
            "they are of this machine alone: containers on bridges need --dns or daemon.json's \"dns\", unless systemd-resolved tells others",
        );
    } else if servers.is_empty() {
        area.add(
            "name servers",
            State::Warning,
            "none in /etc/resolv.conf",
            "containers will not resolve names",
        );
    } else {
        area.ok("name servers", servers.join(", "));
    }
}
