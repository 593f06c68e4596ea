//! Places where the engine can be told to die, for the crash tests: `PROA_FAILPOINT=start.shim`.
//!
//! Every window between two steps that change something has one. Without the variable a passage costs one relaxed load.

use std::sync::OnceLock;

/// All places.
pub const NAMES: &[&str] = &[
    "create.snapshot",
    "create.record",
    "start.begin",
    "start.sandbox",
    "start.network",
    "start.publish",
    "start.shim",
    "start.record",
    "exec.begin",
    "exec.started",
    "exit.seen",
    "exit.record",
    "stop.signal",
    "remove.begin",
    "remove.record",
    "remove.release",
    "restore.begin",
    "restore.adopted",
    "volume.remove",
    "image.untag",
];

static CHOSEN: OnceLock<Option<String>> = OnceLock::new();

/// Ends the process at once, as `kill -9` would, if this place was chosen.
pub(crate) fn passage(name: &'static str) {
    debug_assert!(NAMES.contains(&name), "{name} is not listed");
    let chosen = CHOSEN.get_or_init(|| std::env::var("PROA_FAILPOINT").ok());
    if chosen.as_deref() == Some(name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
