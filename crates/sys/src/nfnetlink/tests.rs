//! Against the kernel, in a network namespace of the test's own thread; `nft` is the oracle where it is installed.

use super::*;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `work` on a thread with a network namespace of its own, unless that is not allowed here.
fn in_new_namespace(work: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root for a network namespace");
        return;
    }
    let inside = move || {
        // SAFETY: only this new thread is affected, which shares no descriptor table changes and ends with the test.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        work();
    };
    std::thread::spawn(inside).join().unwrap();
}

fn key(protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol, 0, 0, 0, high, low, 0, 0]
}

fn element(port: u16) -> Element {
    let [high, low] = port.to_be_bytes();
    Element { key: key(6, port), value: vec![172, 17, 0, 2, high, low, 0, 0] }
}

fn map_table(transaction: &mut Transaction) {
    transaction.add_table();
    let key = SetType::PROTOCOL.then(SetType::PORT);
    transaction.add_set("ports", key, Some(SetType::IPV4.then(SetType::PORT)));
}

/// What `nft list ruleset` prints in this thread's namespace, without white space at the edges of lines.
fn nft_listing() -> Option<Vec<String>> {
    let output = std::process::Command::new("nft").args(["-n", "list", "ruleset"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

#[test]
fn elements_are_read_back_and_removed() {
    in_new_namespace(|| {
        let mut socket = open().unwrap();
        assert!(!has_table(&mut socket, "proa-t").unwrap());
        let mut setup = Transaction::on("proa-t");
        map_table(&mut setup);
        let many: Vec<Element> = (1..=3000).map(element).collect();
        setup.add_elements("ports", &many);
        let before = generation(&mut socket).unwrap();
        setup.commit(&mut socket).unwrap();
        assert_ne!(generation(&mut socket).unwrap(), before);
        assert!(has_table(&mut socket, "proa-t").unwrap());
        let mut found = elements(&mut socket, "proa-t", "ports").unwrap();
        found.sort();
        let mut wanted = many.clone();
        wanted.sort();
        assert_eq!(found, wanted);
        let mut removal = Transaction::on("proa-t");
        removal.delete_elements("ports", &many);
        removal.commit(&mut socket).unwrap();
        assert_eq!(elements(&mut socket, "proa-t", "ports").unwrap(), []);
        let mut end = Transaction::on("proa-t");
        end.delete_table();
        end.commit(&mut socket).unwrap();
        assert!(!has_table(&mut socket, "proa-t").unwrap());
    });
}

#[test]
fn a_transaction_is_all_or_nothing_and_names_what_failed() {
    in_new_namespace(|| {
        let mut socket = open().unwrap();
        let mut setup = Transaction::on("proa-t");
        map_table(&mut setup);
        setup.add_elements("ports", &[element(1)]);
        setup.commit(&mut socket).unwrap();
        let mut bad = Transaction::on("proa-t");
        bad.add_elements("ports", &[element(2)]);
        bad.create_elements("ports", &[element(1)]);
        let error = bad.commit(&mut socket).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::EXIST), "{error}");
        let Error::Refused { index, .. } = error else { panic!("{error}") };
        assert_eq!(index, 2, "begin is 0, the good one 1");
        assert_eq!(elements(&mut socket, "proa-t", "ports").unwrap(), [element(1)]);
        let mut absent = Transaction::on("proa-t");
        absent.add_elements("nowhere", &[element(2)]);
        let error = absent.commit(&mut socket).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::NOENT), "{error}");
    });
}

#[test]
fn every_expression_says_what_nft_reads() {
    in_new_namespace(|| {
        use Expression as X;
        let name = *b"px0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let mut all = Transaction::on("proa-t");
        map_table(&mut all);
        all.add_set("known", SetType::IPV4.then(SetType::PROTOCOL).then(SetType::PORT), None);
        all.add_elements("ports", &[element(80)]);
        all.add_base_chain("pre", "nat", Hook::Prerouting, -100);
        all.add_base_chain("forward", "filter", Hook::Forward, 0);
        all.add_base_chain("post", "nat", Hook::Postrouting, 100);
        let dport = |to| X::Transport { offset: 2, length: 2, to };
        let local = [X::family(0), X::Equal { at: 0, value: vec![2] }, X::DestinationType { to: 0 }];
        let mut redirect = local.to_vec();
        redirect.extend([X::Equal { at: 0, value: 2u32.to_ne_bytes().into() }, X::protocol(0), dport(1)]);
        redirect.extend([X::Lookup { at: 0, map: "ports", to: 0 }, X::Redirect { address: 0, port: 1 }]);
        all.add_rule("pre", &redirect);
        let foreign =
            [X::output_name(0), X::Differs { at: 0, value: name.into() }, X::Verdict(Verdict::Accept)];
        all.add_rule("forward", &foreign);
        let known = [X::state(0), X::Mask { at: 0, mask: 6u32.to_ne_bytes().into() }];
        let not_zero = [X::Differs { at: 0, value: vec![0; 4] }, X::Counter, X::Verdict(Verdict::Return)];
        all.add_rule("forward", &[known.as_slice(), &not_zero].concat());
        let in_set = [X::Network { offset: 16, length: 4, to: 0 }, X::protocol(1), dport(2)];
        let drop = [X::In { at: 0, set: "known" }, X::Verdict(Verdict::Drop)];
        all.add_rule("forward", &[local.get(..2).unwrap(), &in_set, &drop].concat());
        all.add_rule("post", &[X::input_name(0), X::Equal { at: 0, value: name.into() }, X::Masquerade]);
        let mut socket = open().unwrap();
        all.commit(&mut socket).unwrap();
        let chains = base_chains(&mut socket).unwrap();
        assert!(chains.iter().any(|chain| chain.name == "forward" && chain.hook == 2 && !chain.drops));
        let Some(listing) = nft_listing() else { return println!("skipped: nft is not installed") };
        for line in [
            "type inet_proto . inet_service : ipv4_addr . inet_service",
            "elements = { 6 . 80 : 172.17.0.2 . 80 }",
            "type ipv4_addr . inet_proto . inet_service",
            "type nat hook prerouting priority -100; policy accept;",
            "meta nfproto 2 fib daddr type 2 dnat ip to meta l4proto . th dport map @ports",
            "oifname != \"px0\" accept",
            "ct state 0x2,0x4 counter packets 0 bytes 0 return",
            "ip daddr . meta l4proto . th dport @known drop",
            "iifname \"px0\" masquerade",
        ] {
            assert!(listing.iter().any(|found| found == line), "no `{line}` in {listing:#?}");
        }
    });
}
