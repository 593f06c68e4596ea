//! The table as `nft` reads it from the kernel.

use super::*;
use proa_types::PortSpec;
use rustix::fd::AsFd;

/// What `nft list table` prints, without white space at the edges of lines.
fn listing(table: &str) -> Option<Vec<String>> {
    let output =
        std::process::Command::new("nft").args(["-n", "list", "table", "inet", table]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

fn published(host_ip: &str, host_port: u16, port: u16, protocol: PortProtocol) -> PublishedPort {
    PublishedPort { host_ip: host_ip.parse().unwrap(), host_port, container: PortSpec { port, protocol } }
}

const FORWARD: [&str; 5] = [
    "oifname != \"proat9\" accept",
    "ct state 0x2,0x4 accept",
    "ct status 0x20 accept",
    "iifname \"proat9\" accept",
    "drop",
];

fn chain<'a>(listing: &'a [String], name: &str) -> Vec<&'a str> {
    let start = format!("chain {name} {{");
    let inside = listing.iter().map(String::as_str).skip_while(|line| *line != start).skip(2);
    inside.take_while(|line| *line != "}").collect()
}

#[test]
fn the_table_is_what_its_description_says() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root for a network namespace");
    }
    let netns = proa_sys::netlink::new_namespace().unwrap();
    proa_sys::netlink::in_namespace(netns.as_fd(), check).unwrap();
}

fn check() {
    let subnet = "172.17.0.0/16".parse().unwrap();
    let ruleset = |inter_container| Ruleset {
        table: "proat9",
        bridge: "proat9",
        subnet,
        masquerade: true,
        inter_container,
    };
    let ports = [
        published("0.0.0.0", 8080, 80, PortProtocol::Tcp),
        published("::", 8080, 80, PortProtocol::Tcp),
        published("10.0.0.1", 5353, 53, PortProtocol::Udp),
        published("127.0.0.1", 9090, 90, PortProtocol::Sctp),
    ];
    let elements = Elements::of("172.17.0.2".parse().unwrap(), &ports);
    let mut socket = proa_sys::nfnetlink::open().unwrap();
    for _ in 0..2 {
        ruleset(true).install(&mut socket, &elements).unwrap();
    }
    let Some(lines) = listing("proat9") else { return println!("skipped: nft is not installed") };
    for element in [
        "elements = { 6 . 8080 : 172.17.0.2 . 80 }",
        "elements = { 10.0.0.1 . 17 . 5353 : 172.17.0.2 . 53 }",
        "elements = { 127.0.0.1 . 132 . 9090 }",
    ] {
        assert!(lines.iter().any(|line| line == element), "no `{element}` in {lines:#?}");
    }
    assert_eq!(chain(&lines, "raw"), ["iifname != \"lo\" ip daddr . meta l4proto . th dport @loopback drop"]);
    assert_eq!(chain(&lines, "forward"), FORWARD);
    let postrouting = [
        "ip saddr 172.17.0.0/16 oifname != \"proat9\" masquerade",
        "ip saddr 172.17.0.0/16 oifname \"proat9\" ct status 0x20 masquerade",
    ];
    assert_eq!(chain(&lines, "postrouting"), postrouting);
    assert_eq!(chain(&lines, "prerouting").len(), 2);
    ruleset(false).install(&mut socket, &elements).unwrap();
    let lines = listing("proat9").unwrap_or_default();
    assert_eq!(chain(&lines, "prerouting").first(), Some(&"iifname \"proat9\" return"));
    assert!(!chain(&lines, "forward").contains(&"iifname \"proat9\" accept"));
    stale_elements_give_way(&mut socket);
}

/// Of a daemon that crashed between taking its socket back and removing its element.
fn stale_elements_give_way(socket: &mut Socket) {
    let port = [published("0.0.0.0", 8080, 80, PortProtocol::Tcp)];
    let new = Elements::of("172.17.0.9".parse().unwrap(), &port);
    add(socket, "proat9", &new).unwrap();
    assert_eq!(proa_sys::nfnetlink::elements(socket, "proat9", WILDCARD).unwrap(), new.wildcard);
    for _ in 0..2 {
        remove(socket, "proat9", &new).unwrap();
    }
    assert!(delete(socket, "proat9").unwrap() && !delete(socket, "proat9").unwrap());
    remove(socket, "proat9", &new).unwrap();
}
