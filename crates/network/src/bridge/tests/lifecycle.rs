//! Coming, going, crashing, and neighbours.

use super::lab::*;
use crate::{Bridge, BridgeConfig, EndpointRecord, EndpointRequest, Error, Published};
use proa_sys::netlink::{Batch, Protocol, Socket, new_namespace};
use proa_types::SandboxId;
use rustix::fd::AsFd;
use std::net::{IpAddr, Ipv4Addr};

fn delete_link(name: &str) {
    let mut batch = Batch::new();
    batch.delete_link(name);
    Socket::open(Protocol::Route).unwrap().exchange(batch).unwrap();
}

fn record(member: &Member, published: &[Published]) -> EndpointRecord {
    EndpointRecord {
        endpoint: member.endpoint.clone(),
        published: published.iter().map(Published::port).collect(),
    }
}

#[test]
fn nothing_is_there_before_the_first_endpoint_nor_after_the_last() {
    in_lab(|lab| {
        // A new namespace begins with what the host has; this one is to begin without.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let before = link_names();
        let bridge = bridge(|_| {});
        let addressing = bridge.addressing().unwrap();
        assert_eq!(addressing.subnet.to_string(), "172.17.0.0/16");
        assert_eq!(link_names(), before);
        assert!(!has_table(BRIDGE) && !bridge.shutdown_if_unused().unwrap());
        let (web, held) = lab.publisher(&bridge, &[on("", 8080, tcp(80))]);
        assert_eq!(web.endpoint.address, Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(web.endpoint.mac.to_string(), "02:42:ac:11:00:02");
        assert!(bridge.enabled_forwarding());
        assert!(has_table(BRIDGE) && link_names().contains(&BRIDGE.to_owned()));
        assert!(!bridge.shutdown_if_unused().unwrap(), "in use");
        bridge.disconnect(&web.sandbox).unwrap();
        drop((web, held));
        assert!(bridge.shutdown_if_unused().unwrap());
        assert!(!has_table(BRIDGE));
        for _ in 0..500 {
            if link_names() == before {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("left behind: {:?}", link_names());
    });
}

#[test]
fn a_failed_first_endpoint_leaves_nothing() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let before = link_names();
        let wish = EndpointRequest { address: Some(HOST), ..EndpointRequest::of(SandboxId::random()) };
        let error = bridge.connect(&wish, lab.outside.as_fd()).unwrap_err();
        assert!(matches!(error, Error::AddressOutside { .. }), "{error}");
        // The outside's namespace has an eth0 already.
        let error =
            bridge.connect(&EndpointRequest::of(SandboxId::random()), lab.outside.as_fd()).unwrap_err();
        assert!(error.to_string().starts_with("cannot create interface veth"), "{error}");
        let file = std::fs::File::open("/dev/null").unwrap();
        bridge.connect(&EndpointRequest::of(SandboxId::random()), file.as_fd()).unwrap_err();
        assert_eq!(link_names(), before);
        assert!(!has_table(BRIDGE));
    });
}

#[test]
fn a_daemon_that_comes_back_keeps_what_lives_and_removes_the_rest() {
    in_lab(|lab| {
        let first = bridge(|_| {});
        let (web, held) = lab.publisher(&first, &[on("", 8080, tcp(80))]);
        let (dead, gone) = lab.publisher(&first, &[on("", 9090, tcp(90))]);
        drop((first, gone));
        let server = web.listen(80);
        let _unreached = dead.listen(90);
        let live = [record(&web, &held)];
        let second = bridge(|_| {});
        for _ in 0..2 {
            second.reconcile(&live).unwrap();
            let links = link_names();
            assert!(links.contains(&web.endpoint.host_link) && !links.contains(&dead.endpoint.host_link));
            talk(&lab.outside, (HOST, 8080).into(), &server);
            assert!(is_unreachable(&lab.outside, (HOST, 9090).into()));
        }
        let wish = EndpointRequest {
            address: Some(web.endpoint.address),
            ..EndpointRequest::of(SandboxId::random())
        };
        let error = second.connect(&wish, dead.netns.as_fd()).unwrap_err();
        assert!(matches!(error, Error::AddressTaken { .. }), "{error}");
        assert_eq!(lab.member(&second).endpoint.address, Ipv4Addr::new(172, 17, 0, 3));
        second.reconcile(&[]).unwrap();
        assert!(second.shutdown_if_unused().unwrap());
        assert!(!has_table(BRIDGE) && !link_names().contains(&BRIDGE.to_owned()));
    });
}

#[test]
fn what_others_removed_is_made_again() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let (web, held) = lab.publisher(&bridge, &[on("", 8080, tcp(80))]);
        let server = web.listen(80);
        let flush = || {
            let mut end = proa_sys::nfnetlink::Transaction::on(BRIDGE);
            end.delete_table();
            end.commit(&mut proa_sys::nfnetlink::open().unwrap()).unwrap();
        };
        flush();
        let other = lab.member(&bridge);
        talk(&lab.outside, (HOST, 8080).into(), &server);
        flush();
        let more = bridge.publish(&other.sandbox, other.endpoint.address, &[on("", 9090, tcp(90))]).unwrap();
        talk(&lab.outside, (HOST, 9090).into(), &other.listen(90));
        flush();
        bridge.unpublish(&other.sandbox).unwrap();
        delete_link(BRIDGE);
        let third = lab.member(&bridge);
        talk(&third.netns, (OUTSIDE, 9000).into(), &listen(&lab.outside, (OUTSIDE, 9000).into()));
        bridge.reconcile(&[record(&web, &held), record(&third, &[])]).unwrap();
        talk(&lab.outside, (HOST, 8080).into(), &server);
        drop(more);
    });
}

#[test]
fn isolation_outlives_the_bridge() {
    in_lab(|lab| {
        let bridge = bridge(|config| config.inter_container = false);
        let (web, other) = (lab.member(&bridge), lab.member(&bridge));
        let server = web.listen(80);
        assert!(is_unreachable(&other.netns, web.at(80)));
        let live = [record(&web, &[]), record(&other, &[])];
        delete_link(BRIDGE);
        bridge.reconcile(&live).unwrap();
        talk(&lab.host, web.at(80), &server);
        assert!(is_unreachable(&other.netns, web.at(80)));
        let open = super::lab::bridge(|_| {});
        open.reconcile(&live).unwrap();
        talk(&other.netns, web.at(80), &server);
    });
}

#[test]
fn a_firewall_in_the_way_is_pointed_out_and_left_alone() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let member = lab.member(&bridge);
        assert_eq!(bridge.obstacles().unwrap(), [""; 0]);
        let foreign =
            "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }";
        let nft = std::process::Command::new("nft").arg(foreign).status();
        if !nft.is_ok_and(|status| status.success()) {
            return println!("skipped: nft is not installed");
        }
        let obstacles = bridge.obstacles().unwrap();
        assert!(
            obstacles.first().is_some_and(|text| text.contains("chain FORWARD of table ip filter")),
            "{obstacles:?}"
        );
        assert!(is_unreachable(&member.netns, (OUTSIDE, 9000).into()));
        bridge.disconnect(&member.sandbox).unwrap();
        assert!(bridge.shutdown_if_unused().unwrap());
        assert_eq!(bridge.obstacles().unwrap().len(), 1);
    });
}

#[test]
fn several_daemons_live_side_by_side() {
    in_lab(|lab| {
        let open = |name: &str| Bridge::open(BridgeConfig::named(name)).unwrap();
        let (a, b) = (open("proa-aaaaaa"), open("proa-bbbbbb"));
        assert_eq!(a.addressing().unwrap(), b.addressing().unwrap(), "neither is there yet");
        let (web, _one) = lab.publisher(&a, &[on("", 8080, tcp(80))]);
        let (app, _two) = lab.publisher(&b, &[on("", 9090, tcp(80))]);
        assert_eq!(app.endpoint.gateway, Ipv4Addr::new(172, 18, 0, 1), "chosen again");
        let (web_server, app_server) = (web.listen(80), app.listen(80));
        talk(&lab.outside, (HOST, 8080).into(), &web_server);
        talk(&lab.outside, (HOST, 9090).into(), &app_server);
        talk(&app.netns, (HOST, 8080).into(), &web_server);
        assert!(is_unreachable(&app.netns, web.at(80)), "networks are apart");
        let error = b.publish(&app.sandbox, app.endpoint.address, &[on("", 8080, tcp(80))]).unwrap_err();
        assert!(matches!(error, Error::PortTaken { .. }), "{error}");
        a.disconnect(&web.sandbox).unwrap();
        assert!(a.shutdown_if_unused().unwrap());
        talk(&lab.outside, (HOST, 9090).into(), &app_server);
        talk(&app.netns, (OUTSIDE, 9000).into(), &listen(&lab.outside, (OUTSIDE, 9000).into()));
    });
}

#[test]
fn an_address_is_reachable_at_once_after_its_hardware_address_changed() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let neighbour = lab.member(&bridge);
        let address = Ipv4Addr::new(172, 17, 9, 9);
        for mac in ["02:00:00:00:00:01", "02:00:00:00:00:02", ""] {
            let netns = new_namespace().unwrap();
            let sandbox = SandboxId::random();
            let wish =
                EndpointRequest { sandbox: sandbox.clone(), address: Some(address), mac: mac.parse().ok() };
            let endpoint = bridge.connect(&wish, netns.as_fd()).unwrap();
            assert!(mac.is_empty() || endpoint.mac.to_string() == mac);
            let server = listen(&netns, (address, 80).into());
            for from in [&lab.host, &neighbour.netns] {
                let start = std::time::Instant::now();
                talk(from, (address, 80).into(), &server);
                println!("reached {} after {:?}", endpoint.mac, start.elapsed());
            }
            bridge.disconnect(&sandbox).unwrap();
            delete_link(&endpoint.host_link);
        }
    });
}

#[test]
fn the_administrators_bridge_is_used_and_left_alone() {
    in_lab(|lab| {
        let missing = bridge(|config| config.existing = true);
        assert!(missing.addressing().unwrap_err().to_string().contains("bridge proat0 does not exist"));
        let maker = bridge(|config| config.subnet = "192.168.7.1/24".parse().ok());
        let first = lab.member(&maker);
        drop(maker);
        let bridge = bridge(|config| config.existing = true);
        let second = lab.member(&bridge);
        assert_eq!(second.endpoint.gateway, Ipv4Addr::new(192, 168, 7, 1));
        bridge.disconnect(&second.sandbox).unwrap();
        assert!(bridge.shutdown_if_unused().unwrap());
        assert!(!has_table(BRIDGE) && link_names().contains(&BRIDGE.to_owned()));
        drop(first);
    });
}

#[test]
fn a_sandbox_has_what_it_needs_and_no_ipv6() {
    in_lab(|lab| {
        let bridge = bridge(|config| config.mtu = 1400);
        let member = lab.member(&bridge);
        let again = bridge.connect(&EndpointRequest::of(member.sandbox.clone()), member.netns.as_fd());
        assert!(matches!(again, Err(Error::AlreadyConnected(_))));
        let (links, addresses) = proa_sys::netlink::in_namespace(member.netns.as_fd(), || {
            let mut socket = Socket::open(Protocol::Route).unwrap();
            let links = super::super::host::links(&mut socket).unwrap();
            let mut batch = Batch::new();
            batch.dump_addresses();
            let replies = socket.exchange(batch).unwrap();
            (links, replies.iter().filter_map(proa_sys::netlink::Address::read).collect::<Vec<_>>())
        })
        .unwrap();
        let eth0 = links.iter().find(|link| link.name == "eth0").unwrap();
        assert!(eth0.up && eth0.mtu == 1400 && eth0.address == member.endpoint.mac.0);
        assert!(links.iter().any(|link| link.name == "lo" && link.up));
        let of_eth0: Vec<IpAddr> =
            addresses.iter().filter(|a| a.link == eth0.index).map(|a| a.address).collect();
        assert_eq!(of_eth0, [IpAddr::from(member.endpoint.address)]);
    });
}
