//! What the end-to-end suites share: a daemon of their own on private paths, the clients, base images, and the
//! proof that nothing leaked.
//!
//! A test states an obligation ("a missing command must exit 127") and runs once with each client. Everything
//! a test makes carries a name of its own and is removed when the test ends, also when it fails.

pub mod archive;
pub mod client;
pub mod command;
pub mod daemon;
pub mod leak;
pub mod receiver;
pub mod reference;
pub mod registry;
pub mod suite;

pub use client::{Client, Ctx};
pub use command::Output;
pub use daemon::Daemon;
pub use receiver::Receiver;
pub use suite::{Emulation, Suite};

use std::path::PathBuf;

/// The binary under test.
pub fn proa() -> PathBuf {
    std::env::var_os("PROA_BIN").map(PathBuf::from).unwrap_or_else(|| {
        panic!("PROA_BIN is not set: run the suite by `cargo xtask test e2e`, which builds what it needs")
    })
}

/// Whether the suite runs against the reference, Debian's dockerd, to prove its tests.
pub fn against_reference() -> bool {
    std::env::var("PROA_AGAINST").is_ok_and(|peer| peer == "dockerd")
}

/// A cached base image or file, if it could be made.
pub fn fixture(name: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("PROA_FIXTURES").map(PathBuf::from)?;
    Some(dir.join(name)).filter(|file| file.exists())
}

/// A directory of this test program's own, removed by whoever made it.
pub fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("proa-e2e-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    dir
}
