//! Debian's dockerd as the daemon under test, so that the tests themselves are tested: what it needs to run beside
//! others, and the obligations it does not meet.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// An obligation that dockerd does not meet.
struct Difference {
    /// The obligation, as the suite names it.
    name: &'static str,
    why: &'static str,
    /// Whether it differs on this machine.
    here: fn() -> bool,
}

/// Every difference. Each obligation runs all the same: one that holds is an error, so that the list cannot grow old.
static DIFFERENCES: &[Difference] = &[
    Difference {
        name: "attach must show what the container says after the input has ended",
        why: "dockerd ends an attached session with its input when the container keeps its own input open",
        here: always,
    },
    Difference {
        name: "exec --privileged must give more capabilities",
        why: LACKING,
        here: lacks_capabilities,
    },
    Difference { name: "--privileged must give what the daemon has", why: LACKING, here: lacks_capabilities },
    Difference {
        name: "exec of a missing program must exit 127 and of a directory 126",
        why: "dockerd 20.10 says 126 of a program that is missing, as of one that cannot be executed",
        here: always,
    },
    Difference {
        name: "/proc/interrupts must be masked",
        why: "dockerd 20.10 masks fewer files than its successors do",
        here: always,
    },
    Difference {
        name: "a port in use must name who holds it",
        why: "dockerd names the address and the port alone",
        here: always,
    },
    Difference {
        name: "events must be told in order, all of them before the reply",
        why: "dockerd sends and tells the stop signal also where nothing is waited for, and so tells two kills",
        here: always,
    },
    Difference {
        name: "a container whose label asks must be restarted when it is unhealthy",
        why: "dockerd does nothing for a container that is unhealthy",
        here: always,
    },
    Difference {
        name: "a container whose label asks must be killed or stopped when it is unhealthy",
        why: "dockerd does nothing for a container that is unhealthy",
        here: always,
    },
    Difference {
        name: "an update of what stays must be refused by name",
        why: "dockerd passes over what it cannot update, and 20.10 speaks no version after 1.41",
        here: always,
    },
    Difference {
        name: "wait must refuse a condition that it does not know",
        why: "dockerd 20.10 takes it for not-running",
        here: always,
    },
    Difference { name: "a stats answer must have the shape of its version", why: OLD, here: always },
    Difference {
        name: "disk usage must have the shape of its version, and add up with the disk",
        why: OLD,
        here: always,
    },
    Difference {
        name: "a probe that takes too long must be killed with what it has started",
        why: "dockerd 20.10 leaves the processes of such a probe running, and what they said untold",
        here: always,
    },
    Difference {
        name: "--mount volume-subpath must mount a part of a volume, and nothing outside it",
        why: "dockerd 20.10 does not know it",
        here: always,
    },
    Difference {
        name: "cp -a into a container must give all to the container's user",
        why: "dockerd 20.10 looks for the container's user in the user table of the host, and for the group in its name",
        here: always,
    },
    Difference {
        name: "a container must start while its files are looked at, and keep what was copied in",
        why: "dockerd holds the container until the last byte of the archive has been taken",
        here: always,
    },
    Difference {
        name: "commit must take instructions and keep the rest of the configuration",
        why: "dockerd 20.10 refuses STOPSIGNAL among the changes",
        here: always,
    },
];

/// What dockerd meets at times: it lets two things race, and the load of the machine decides.
static RACES: &[(&str, &str)] = &[
    (
        "the name of a container with --rm must be free when its end is told",
        "dockerd removes such a container behind the end that it tells",
    ),
    (
        "attach with logs=1 must give the log and then the stream, without gap or double",
        "dockerd reads the log and then attaches: what is written in between is lost",
    ),
];

const OLD: &str = "dockerd 20.10 speaks no version after 1.41";
const LACKING: &str =
    "dockerd asks for every capability, also for those that this machine's bounding set lacks";

fn always() -> bool {
    true
}

/// Whether the bounding set lacks a capability that the kernel knows.
fn lacks_capabilities() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let last: u32 = read("/proc/sys/kernel/cap_last_cap").trim().parse().unwrap_or(40);
    let status = read("/proc/self/status");
    let bound = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    u64::from_str_radix(bound.trim(), 16).is_ok_and(|bound| bound.count_ones() < last + 1)
}

/// How dockerd meets an obligation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Differs {
    /// Never, and why.
    Always(&'static str),
    /// At times, and why not always.
    AtTimes(&'static str),
}

/// Whether dockerd differs about an obligation on this machine.
pub(crate) fn differs(name: &str) -> Option<Differs> {
    if let Some((_, why)) = RACES.iter().find(|(race, _)| *race == name) {
        return Some(Differs::AtTimes(why));
    }
    let listed = DIFFERENCES.iter().find(|difference| difference.name == name)?;
    (listed.here)().then_some(Differs::Always(listed.why))
}

/// Entries of the list that no obligation has the name of.
pub(crate) fn unknown<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'static str> {
    let listed = DIFFERENCES.iter().map(|difference| difference.name).chain(RACES.iter().map(|race| race.0));
    listed.filter(|listed| names.clone().all(|name| name != *listed)).collect()
}

/// A bridge for one dockerd: its own cannot be renamed, and would be shared with any other dockerd of this machine.
#[derive(Debug)]
pub(crate) struct Bridge {
    name: String,
    number: u32,
}

impl Bridge {
    /// Makes the bridge with an address of its own.
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let bridge = Self { name: format!("peb{}.{number}", std::process::id()), number };
        ip(&["link", "add", &bridge.name, "type", "bridge"]);
        ip(&["addr", "add", &bridge.subnet("1/24"), "dev", &bridge.name]);
        ip(&["link", "set", &bridge.name, "up"]);
        bridge
    }

    /// The bridge's subnet, or an address in it.
    fn subnet(&self, host: &str) -> String {
        format!("10.{}.{}.{host}", 217 + self.number % 8, std::process::id() % 256)
    }

    /// The link's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Bridge {
    /// Removes the link, and the rules that dockerd leaves in the host's tables.
    fn drop(&mut self) {
        for table in ["filter", "nat"] {
            let out = Command::new("iptables").args(["-w", "-t", table, "-S"]).output();
            let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
            let (link, subnet) = (format!(" {} ", self.name), self.subnet("0/24"));
            for rule in text.lines().filter(|rule| rule.contains(&link) || rule.contains(&subnet)) {
                let words = rule.split(' ').skip(1);
                let _ = Command::new("iptables").args(["-w", "-t", table, "-D"]).args(words).status();
            }
        }
        let _ = Command::new("ip").args(["link", "del", &self.name]).status();
    }
}

/// Unmounts what dockerd leaves: the file that holds its own network namespace.
pub(crate) fn unmount_below(dir: &Path) {
    for line in crate::daemon::mounted_below(dir) {
        if let Some(at) = line.split(' ').nth(4) {
            let _ = Command::new("umount").arg(at).status();
        }
    }
}

fn ip(args: &[&str]) {
    let out = Command::new("ip").args(args).output().unwrap_or_else(|e| panic!("ip: {e}"));
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}
