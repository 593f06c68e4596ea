//! The OCI runtime: library and command line

pub mod cgroup;
pub mod seccomp;
