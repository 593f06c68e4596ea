//! What users are told about limits: docker's warnings word for word, and hints for the kernel's refusals.

pub(crate) const NO_MEMORY: &str = "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.";
pub(crate) const NO_SWAP: &str = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.";
pub(crate) const NO_RESERVATION: &str = "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.";
pub(crate) const NO_SWAPPINESS: &str = "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.";
pub(crate) const NO_KERNEL_MEMORY: &str = "Your kernel does not support kernel memory limit capabilities or the cgroup is not mounted. Limitation discarded.";
pub(crate) const NO_KERNEL_TCP: &str = "Your kernel does not support kernel memory TCP limit capabilities or the cgroup is not mounted. Limitation discarded.";
pub(crate) const NO_OOM_DISABLE: &str =
    "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
pub(crate) const OOM_WITHOUT_LIMIT: &str = "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.";
pub(crate) const NO_SHARES: &str =
    "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.";
pub(crate) const NO_QUOTA: &str =
    "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.";
pub(crate) const NO_BURST: &str = "Your kernel does not support CPU burst. Burst discarded.";
pub(crate) const NO_IDLE: &str = "Your kernel does not support idle cgroups. CPU idle discarded.";
pub(crate) const NO_CPUSET: &str =
    "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.";
pub(crate) const NO_PIDS: &str = "Your kernel does not support pids limit capabilities or the cgroup is not mounted. PIDs limit discarded.";
pub(crate) const NO_WEIGHT: &str =
    "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.";
pub(crate) const NO_WEIGHT_DEVICE: &str = "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.";
pub(crate) const NO_READ_BPS: &str = "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.";
pub(crate) const NO_WRITE_BPS: &str = "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.";
pub(crate) const NO_READ_IOPS: &str = "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.";
pub(crate) const NO_WRITE_IOPS: &str = "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.";
pub(crate) const NO_HUGEPAGES: &str =
    "Your kernel does not support huge page limits or the cgroup is not mounted. Hugepage limit discarded.";

pub(crate) const HINT_MEMORY: &str =
    " (is the limit below what is in use, or above the swap limit? set memory and swap limits together)";
pub(crate) const HINT_CPUSET: &str =
    " (the machine or the parent cgroup has no such processor or memory node)";
pub(crate) const HINT_REALTIME: &str = " (the parent cgroup has no real-time budget left)";
pub(crate) const HINT_QUOTA: &str = " (the parent cgroup allows less processor time)";
pub(crate) const HINT_DEVICE: &str = " (is there such a block device?)";
