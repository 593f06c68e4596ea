//! System calls, netlink, nftables and bpf: all unsafe code of the project

pub mod netlink;
pub mod nfnetlink;
