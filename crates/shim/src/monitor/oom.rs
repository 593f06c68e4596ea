//! Who goes when memory runs out: the container, and not its monitor (proc_pid_oom_score_adj(5)).

/// The score of a monitor: all but never chosen.
const PROTECTED: &str = "-999";
/// The score of a process nobody said anything of.
const ORDINARY: &str = "0";

/// Protects this process. Without the right to, it stays as it is.
pub(super) fn protect() {
    let _ = std::fs::write("/proc/self/oom_score_adj", PROTECTED);
}

/// Does something, as starting a process, while this one is not protected.
pub(super) fn unprotected<T>(work: impl FnOnce() -> T) -> T {
    let _ = std::fs::write("/proc/self/oom_score_adj", ORDINARY);
    let done = work();
    protect();
    done
}
