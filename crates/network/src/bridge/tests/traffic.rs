//! What reaches what.

use super::lab::*;
use crate::EndpointRequest;
use proa_sys::netlink::{in_namespace, new_namespace};
use proa_types::SandboxId;
use rustix::fd::AsFd;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

fn at(ip: Ipv4Addr, port: u16) -> SocketAddr {
    (ip, port).into()
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_sees_who_asks() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let (web, published) = lab.publisher(&bridge, &[on("", 8080, tcp(80))]);
        let (other, _) = (lab.member(&bridge), ());
        let server = web.listen(80);
        assert_eq!(talk(&lab.outside, at(HOST, 8080), &server), IpAddr::from(OUTSIDE));
        assert_eq!(
            talk(&lab.host, at(HOST, 8080), &server),
            IpAddr::from(HOST),
            "from the host's own address"
        );
        talk(&other.netns, at(HOST, 8080), &server);
        talk(&web.netns, at(HOST, 8080), &server);
        talk(&web.netns, at(web.endpoint.gateway, 8080), &server);
        talk(&lab.host, at(web.endpoint.gateway, 8080), &server);
        let mut listeners = published.into_iter().map(|port| TcpListener::from(port.listener));
        let (v4, v6) = (listeners.next().unwrap(), listeners.next().unwrap());
        talk(&lab.host, at(Ipv4Addr::LOCALHOST, 8080), &v4);
        talk(&lab.host, "[::1]:8080".parse().unwrap(), &v6);
        bridge.unpublish(&web.sandbox).unwrap();
        drop((v4, v6));
        assert!(is_unreachable(&lab.outside, at(HOST, 8080)), "taken back");
    });
}

#[test]
fn hairpin_traffic_needs_no_br_netfilter_and_survives_it() {
    in_lab(|lab| {
        for call in ["0", "1"] {
            if std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", call).is_err() {
                println!("skipped: no br_netfilter here to switch");
            }
            let bridge = bridge(|_| {});
            let (web, _held) = lab.publisher(&bridge, &[on("", 8080, tcp(80)), on("", 53, udp(53))]);
            let other = lab.member(&bridge);
            let (server, dns) = (web.listen(80), bind_udp(&web.netns, (Ipv4Addr::UNSPECIFIED, 53).into()));
            for from in [&web, &other] {
                talk(&from.netns, at(HOST, 8080), &server);
                talk_udp(&from.netns, at(HOST, 53), &dns);
            }
            bridge.disconnect(&web.sandbox).unwrap();
            bridge.disconnect(&other.sandbox).unwrap();
            assert!(bridge.shutdown_if_unused().unwrap());
        }
    });
}

#[test]
fn udp_is_published_too() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let (dns, _held) = lab.publisher(&bridge, &[on("", 5353, udp(53))]);
        let server = bind_udp(&dns.netns, (Ipv4Addr::UNSPECIFIED, 53).into());
        assert_eq!(talk_udp(&lab.outside, at(HOST, 5353), &server), IpAddr::from(OUTSIDE));
        talk_udp(&lab.host, at(HOST, 5353), &server);
        talk_udp(&dns.netns, at(HOST, 5353), &server);
    });
}

#[test]
fn a_udp_client_that_goes_on_is_led_to_the_new_holder() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let client = bind_udp(&lab.outside, at(OUTSIDE, 4000));
        let mut gone = Vec::new();
        for round in 0..3 {
            let (dns, held) = lab.publisher(&bridge, &[on("", 5353, udp(53))]);
            let server = bind_udp(&dns.netns, (Ipv4Addr::UNSPECIFIED, 53).into());
            client.send_to(b"ping", at(HOST, 5353)).unwrap();
            server.recv(&mut [0; 4]).unwrap_or_else(|error| panic!("round {round}: {error}"));
            bridge.unpublish(&dns.sandbox).unwrap();
            gone.push((dns, server));
            drop(held);
        }
        let (dns, held) = lab.publisher(&bridge, &[on("", 5353, udp(53))]);
        let server = bind_udp(&dns.netns, (Ipv4Addr::UNSPECIFIED, 53).into());
        client.send_to(b"ping", at(HOST, 5353)).unwrap();
        server.recv(&mut [0; 4]).unwrap();
        bridge.reconcile(&[]).unwrap();
        drop(held);
        gone.push((dns, server));
        client.send_to(b"ping", at(HOST, 5353)).unwrap();
        for (_, server) in &gone {
            server.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
            assert!(server.recv(&mut [0; 4]).is_err(), "nobody publishes the port");
        }
    });
}

#[test]
fn what_is_not_published_is_out_of_reach_from_outside() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let (web, _held) = lab.publisher(&bridge, &[on("", 8080, tcp(80))]);
        let (secret, server) = (web.listen(22), web.listen(80));
        assert!(is_unreachable(&lab.outside, web.at(22)), "routed straight at the container");
        assert!(is_unreachable(&lab.outside, web.at(80)), "the published one, but not by the host's address");
        assert!(is_unreachable(&lab.outside, at(HOST, 22)));
        talk(&lab.host, web.at(22), &secret);
        talk(&lab.outside, at(HOST, 8080), &server);
    });
}

#[test]
fn an_address_is_published_alone() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let ports = [on("10.99.0.1", 8080, tcp(80)), on("127.0.0.1", 9090, tcp(90))];
        let (web, published) = lab.publisher(&bridge, &ports);
        let server = web.listen(80);
        let _private = web.listen(90);
        assert_eq!(published.len(), 2);
        talk(&lab.outside, at(HOST, 8080), &server);
        assert!(is_unreachable(&lab.host, at(Ipv4Addr::LOCALHOST, 8080)));
        assert!(is_unreachable(&lab.host, at(web.endpoint.gateway, 8080)));
        assert!(is_unreachable(&lab.outside, at(HOST, 9090)));
        let loopback = TcpListener::from(published.into_iter().nth(1).unwrap().listener);
        talk(&lab.host, at(Ipv4Addr::LOCALHOST, 9090), &loopback);
    });
}

#[test]
fn a_port_of_the_loopback_stays_there_even_where_it_is_routed() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let allow = |_: ()| std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        allow(());
        in_namespace(lab.outside.as_fd(), || allow(())).unwrap();
        let control = listen(&lab.host, at(Ipv4Addr::LOCALHOST, 7000));
        talk(&lab.outside, at(Ipv4Addr::LOCALHOST, 7000), &control);
        let (_web, _held) = lab.publisher(&bridge, &[on("127.0.0.1", 8080, tcp(80))]);
        assert!(is_unreachable(&lab.outside, at(Ipv4Addr::LOCALHOST, 8080)));
        talk(&lab.outside, at(Ipv4Addr::LOCALHOST, 7000), &control);
    });
}

#[test]
fn endpoints_reach_each_other_unless_that_is_switched_off() {
    in_lab(|lab| {
        for inter_container in [true, false] {
            let bridge = bridge(|config| config.inter_container = inter_container);
            let (web, held) = lab.publisher(&bridge, &[on("", 8080, tcp(80))]);
            let other = lab.member(&bridge);
            let server = web.listen(80);
            let socket = TcpListener::from(held.into_iter().next().unwrap().listener);
            if inter_container {
                assert_eq!(talk(&other.netns, web.at(80), &server), IpAddr::from(other.endpoint.address));
                talk(&other.netns, at(HOST, 8080), &server);
            } else {
                assert!(is_unreachable(&other.netns, web.at(80)));
                talk(&other.netns, at(HOST, 8080), &socket);
            }
            talk(&lab.outside, at(HOST, 8080), &server);
            bridge.disconnect(&web.sandbox).unwrap();
            bridge.disconnect(&other.sandbox).unwrap();
            assert!(bridge.shutdown_if_unused().unwrap());
        }
    });
}

#[test]
fn what_leaves_the_host_has_its_address_unless_that_is_switched_off() {
    in_lab(|lab| {
        for masquerade in [true, false] {
            let bridge = bridge(|config| config.masquerade = masquerade);
            let member = lab.member(&bridge);
            let server = listen(&lab.outside, at(OUTSIDE, 9000));
            let seen = talk(&member.netns, at(OUTSIDE, 9000), &server);
            let wanted = if masquerade { HOST } else { member.endpoint.address };
            assert_eq!(seen, IpAddr::from(wanted));
            bridge.disconnect(&member.sandbox).unwrap();
            assert!(bridge.shutdown_if_unused().unwrap());
        }
    });
}

#[test]
fn the_first_packet_is_not_lost() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let server = listen(&lab.outside, at(OUTSIDE, 9000));
        for _ in 0..60 {
            let netns = new_namespace().unwrap();
            let start = std::time::Instant::now();
            let endpoint = bridge.connect(&EndpointRequest::of(SandboxId::random()), netns.as_fd()).unwrap();
            let connected = start.elapsed();
            let names = [BRIDGE, endpoint.host_link.as_str(), "eth0"];
            let links = in_namespace(netns.as_fd(), all_links).unwrap().into_iter().chain(all_links());
            let down: Vec<_> = links.filter(|l| names.contains(&l.name.as_str()) && !l.carries).collect();
            assert!(down.is_empty(), "packets would be dropped: {down:?}");
            let start = std::time::Instant::now();
            talk(&netns, at(OUTSIDE, 9000), &server);
            println!("connect {connected:?}, first exchange {:?}", start.elapsed());
        }
    });
}
