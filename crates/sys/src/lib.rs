//! System calls, netlink, nftables and bpf: all unsafe code of the project

pub mod bpf;
pub mod failpoint;
pub mod fd;
pub mod inherited;
pub mod mount;
pub mod netlink;
pub mod nfnetlink;
pub mod process;
pub mod seccomp;
pub mod syncfs;
pub mod tree;
