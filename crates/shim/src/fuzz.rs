//! Fuzz tests of what comes over the control socket.

use crate::protocol::{Event, Request, Response};
use crate::wire;
use proa_fuzz::run;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use std::os::fd::{AsFd, OwnedFd};

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair")
}

#[test]
fn fuzz_wire() {
    let (ours, theirs) = pair();
    let seeds: [&[u8]; 4] = [
        br#"{"v":1,"m":"Pids"}"#,
        br#"{"v":1,"m":{"Signal":{"exec":null,"signal":9}}}"#,
        br#"{"v":1,"m":{"Exited":{"exec":null,"exit":{"code":0,"at":0,"oom_killed":false}}}}"#,
        br#"{"v":1}"#,
    ];
    run("wire", &seeds, |bytes| {
        let bytes = bytes.get(..bytes.len().min(30_000)).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        for _ in 0..3 {
            rustix::net::send(&ours, bytes, SendFlags::empty()).expect("room");
        }
        let _ = wire::receive::<Request>(theirs.as_fd());
        let _ = wire::receive::<Response>(theirs.as_fd());
        let _ = wire::receive::<Event>(theirs.as_fd());
    });
}
