//! Which ports can be published, and who is in the way.

use super::lab::*;
use crate::{Error, PortBinding, PortRange};
use proa_types::{ErrorKind, Kinded};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::collections::BTreeSet;
use std::net::TcpListener;

#[test]
fn a_taken_port_names_its_holder_and_nothing_is_published() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let foreign = TcpListener::bind("10.99.0.1:8081").unwrap();
        let (web, held) = lab.publisher(&bridge, &[on("", 8080, tcp(80))]);
        let other = lab.member(&bridge);
        let publish = |ports: &[PortBinding]| bridge.publish(&other.sandbox, other.endpoint.address, ports);
        let error = publish(&[on("", 9000, tcp(80)), on("", 8081, tcp(80))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let text = error.to_string();
        assert!(text.starts_with("Bind for 0.0.0.0:8081 failed: port is already allocated"), "{text}");
        let pid = std::process::id();
        assert!(
            text.contains("port 8081/tcp is already in use by ") && text.contains(&format!("(pid {pid})")),
            "{text}"
        );
        let error = publish(&[on("", 8080, tcp(80))]).unwrap_err();
        let Error::PortTaken { holder: crate::PortHolder::Sandbox(id), .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*id, web.sandbox);
        let named = error.with_holder(|_| Some("web".into())).to_string();
        assert!(named.ends_with("port 8080/tcp is already in use by container web"), "{named}");
        publish(&[on("", 9000, tcp(80)), on("", 8080, udp(80))]).unwrap();
        drop((held, foreign));
        bridge.unpublish(&web.sandbox).unwrap();
        publish(&[on("", 8080, tcp(80)), on("", 8081, tcp(80))]).unwrap();
    });
}

#[test]
fn ranges_and_no_wish_take_what_is_free() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let _one = TcpListener::bind("0.0.0.0:7000").unwrap();
        let range = |first, last| Some(PortRange { first, last });
        let ports = [PortBinding::to(tcp(80), range(7000, 7001)), PortBinding::to(tcp(81), None)];
        let (web, held) = lab.publisher(&bridge, &ports);
        let hosts: Vec<String> = held.iter().map(|p| format!("{}->{}", p.host_ip, p.container)).collect();
        assert_eq!(hosts, ["0.0.0.0->80/tcp", "::->80/tcp", "0.0.0.0->81/tcp", "::->81/tcp"]);
        let numbers: Vec<u16> = held.iter().map(|port| port.host_port).collect();
        let [a, b, c, d] = numbers.try_into().unwrap();
        assert_eq!((a, b, c), (7001, 7001, d));
        assert!((32768..=60999).contains(&c), "{c}");
        let full = bridge.publish(&web.sandbox, web.endpoint.address, &ports).unwrap_err();
        assert!(matches!(full, Error::PortsExhausted { first: 7000, last: 7001, .. }), "{full}");
        let wrong = [PortBinding::to(tcp(80), range(9, 8))];
        let wrong = bridge.publish(&web.sandbox, web.endpoint.address, &wrong).unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);
        let absent = bridge.publish(&web.sandbox, web.endpoint.address, &[on("203.0.113.9", 80, tcp(80))]);
        assert!(absent.unwrap_err().to_string().contains("203.0.113.9 is no address of this host"));
        let zero = bridge.publish(&web.sandbox, web.endpoint.address, &[on("", 0, udp(5))]).unwrap();
        assert_eq!(zero.len(), 2);
    });
}

#[test]
fn a_thousand_ports_are_one_batch() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let ports: Vec<PortBinding> = (20_000..21_000).map(|port| on("", port, tcp(port))).collect();
        let start = std::time::Instant::now();
        let (web, held) = lab.publisher(&bridge, &ports);
        println!("1000 ports published in {:?}", start.elapsed());
        assert_eq!(held.len(), 2000);
        let server = web.listen(20_777);
        talk(&lab.outside, (HOST, 20_777).into(), &server);
        let start = std::time::Instant::now();
        bridge.unpublish(&web.sandbox).unwrap();
        println!("1000 ports taken back in {:?}", start.elapsed());
        drop(held);
        assert!(is_unreachable(&lab.outside, (HOST, 20_777).into()));
    });
}

#[test]
fn many_at_once_get_addresses_and_ports_of_their_own() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let ports = [PortBinding::to(tcp(80), None), PortBinding::to(udp(53), None)];
        let start = std::time::Instant::now();
        let rounds = || (0..5).map(|_| lab.publisher(&bridge, &ports)).collect::<Vec<_>>();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(rounds)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        println!("40 sandboxes with endpoints and ports by 8 threads in {:?}", start.elapsed());
        let addresses: BTreeSet<_> = all.iter().map(|(member, _)| member.endpoint.address).collect();
        assert_eq!(addresses.len(), 40);
        let published = all.iter().flat_map(|(_, published)| published);
        let ports: BTreeSet<_> = published.map(|p| (p.host_ip, p.container.protocol, p.host_port)).collect();
        assert_eq!(ports.len(), 160);
        for (member, published) in all.iter().step_by(13) {
            talk(&lab.outside, (HOST, published.first().unwrap().host_port).into(), &member.listen(80));
        }
        std::thread::scope(|scope| {
            for (member, _) in &all {
                scope.spawn(|| bridge.disconnect(&member.sandbox).unwrap());
            }
        });
        drop(all);
        assert!(bridge.shutdown_if_unused().unwrap());
    });
}

#[test]
fn publishing_and_taking_back_is_quick() {
    in_lab(|lab| {
        let bridge = bridge(|_| {});
        let member = lab.member(&bridge);
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = std::time::Instant::now();
            let held =
                bridge.publish(&member.sandbox, member.endpoint.address, &[on("", 8080, tcp(80))]).unwrap();
            let published = start.elapsed();
            bridge.unpublish(&member.sandbox).unwrap();
            times.push((published, start.elapsed() - published));
            drop(held);
        }
        times.sort();
        println!("publish, unpublish: median {:?}, slowest {:?}", times.get(25), times.last());
    });
}
