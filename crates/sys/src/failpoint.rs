//! Places where the process can be told to die, for the crash tests: `PROA_FAILPOINT=start.shim`.
//!
//! Every window between two steps that change something has one; each crate lists its own. Without the variable a
//! passage costs one relaxed load.

use std::sync::OnceLock;

static CHOSEN: OnceLock<Option<String>> = OnceLock::new();

/// Ends the process at once, as `kill -9` would, if this place was chosen.
pub fn passage(name: &'static str) {
    let chosen = CHOSEN.get_or_init(|| std::env::var("PROA_FAILPOINT").ok());
    if chosen.as_deref() == Some(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
