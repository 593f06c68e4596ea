//! What a running container uses: read from the kernel when somebody looks, and never otherwise.

use crate::container::{Container, Live};
use crate::engine::blocking;
use crate::spec::other_container;
use crate::{Engine, Error};
use proa_runtime::cgroup::{Cgroup, CgroupPath};
use proa_types::{SandboxId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

pub use proa_runtime::cgroup::{BlockStats as BlockUsage, Stats as Usage};

/// Between two samples of one who looks on.
const PERIOD: Duration = Duration::from_secs(1);

/// A look at a container.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it uses; nothing where it does not run.
    pub reading: Option<Reading>,
}

/// What a running container uses.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// When it was read.
    pub at: Timestamp,
    /// What its cgroup says.
    pub usage: Usage,
    /// Its network interfaces by name.
    pub links: BTreeMap<String, LinkUsage>,
    /// Time that all processors spent, in nanoseconds.
    pub system: u64,
    /// Processors of the machine.
    pub processors: u32,
    /// Memory of the machine in bytes: the limit of what has none.
    pub memory: u64,
    /// Whether the machine accounts by cgroup v1.
    pub cgroup_v1: bool,
}

/// What went over a network interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkUsage {
    /// Bytes, packets, errors and drops of what was received.
    pub received: [u64; 4],
    /// The same of what was sent.
    pub sent: [u64; 4],
}

/// Samples of one container, one a second while somebody asks for them.
pub struct Samples {
    container: Arc<Container>,
    removed: watch::Receiver<crate::container::Progress>,
    /// Whether its interfaces are its own, or another container's, and not the host's.
    links: bool,
    cgroup_v1: bool,
    opened: Option<Opened>,
    ticks: Interval,
}

/// The cgroup of a run.
struct Opened {
    sandbox: SandboxId,
    cgroup: Cgroup,
    /// Whether a process of ours is in it.
    one_more: bool,
}

impl Engine {
    /// Looks at a container from now on.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn samples(&self, container: &str) -> Result<Samples, Error> {
        let container = self.find(container)?;
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let removed = container.progress.subscribe();
        let links = self.has_links(&container.with(|record| record.spec.host.network_mode.clone()), 0);
        Ok(Samples { container, removed, links, cgroup_v1: self.cgroup_v1, opened: None, ticks })
    }

    /// Whether interfaces in a network are a container's and not the host's.
    fn has_links(&self, mode: &str, depth: usize) -> bool {
        match other_container(mode) {
            // A chain that leads back to itself cannot run.
            Some(other) if depth < 16 => self.find(other).is_ok_and(|other| {
                self.has_links(&other.with(|record| record.spec.host.network_mode.clone()), depth + 1)
            }),
            Some(_) => false,
            None => !matches!(mode, "host" | "none"),
        }
    }
}

impl Samples {
    /// The next sample; none when the container is removed. The first one comes at once.
    pub async fn next(&mut self) -> Option<Sample> {
        let gone = async { drop(self.removed.wait_for(|progress| progress.removed).await) };
        tokio::select! {
            biased;
            () = gone => return None,
            _ = self.ticks.tick() => {}
        }
        let (id, name) = self.container.with(|record| (record.id.to_string(), record.name.to_string()));
        Some(Sample { id, name, reading: self.read().await })
    }

    /// Whether the container runs.
    pub fn is_running(&self) -> bool {
        self.container.running().is_ok()
    }

    /// Reads what a running container uses. One that ends meanwhile uses nothing.
    async fn read(&mut self) -> Option<Reading> {
        let Ok(live) = self.container.running() else {
            self.opened = None;
            return None;
        };
        let opened = self.opened.take().filter(|opened| opened.sandbox == live.sandbox);
        let (container, links, cgroup_v1) = (Arc::clone(&self.container), self.links, self.cgroup_v1);
        let (opened, reading) = blocking(move || {
            let opened = match opened {
                Some(opened) => opened,
                None => open(&live)?,
            };
            let mut reading = Reading { cgroup_v1, ..machine() };
            reading.usage = opened.usage()?;
            if links {
                reading.links = links_of(&container);
            }
            Ok((opened, reading))
        })
        .await
        .ok()?;
        self.opened = Some(opened);
        Some(reading)
    }
}

/// The cgroup of a running container.
fn open(live: &Live) -> Result<Opened, Error> {
    let facts = live.shim.facts()?;
    let opened = CgroupPath::new(&facts.cgroup).and_then(|path| Cgroup::open(&path));
    let cgroup = opened.map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Opened { sandbox: live.sandbox.clone(), cgroup, one_more: facts.one_more })
}

impl Opened {
    /// What is in use, without the process of ours.
    fn usage(&self) -> Result<Usage, Error> {
        let mut usage = self.cgroup.stats().map_err(|error| Error::Internal(error.to_string()))?;
        let ours = u64::from(self.one_more);
        usage.pids.current = usage.pids.current.saturating_sub(ours);
        usage.pids.limit = usage.pids.limit.map(|limit| limit.saturating_sub(ours));
        Ok(usage)
    }
}

/// What is read of the machine for every sample.
fn machine() -> Reading {
    let (system, processors) = processor_time(&std::fs::read_to_string("/proc/stat").unwrap_or_default());
    Reading { at: Timestamp::now(), system, processors, memory: crate::info::memory(), ..Reading::default() }
}

/// Time spent by all processors in nanoseconds, and how many there are (proc_stat(5)).
fn processor_time(stat: &str) -> (u64, u32) {
    // Ticks of a hundredth of a second, whatever the kernel's own are (time(7)).
    const TICK: u64 = 10_000_000;
    let mut lines = stat.lines();
    let numbers = lines.next().unwrap_or_default().split_whitespace().skip(1);
    // What guests spend is in the first two.
    let ticks: u64 = numbers.take(8).filter_map(|text| text.parse::<u64>().ok()).sum();
    let each = lines.take_while(|line| line.starts_with("cpu")).count();
    (ticks.saturating_mul(TICK), u32::try_from(each).unwrap_or(u32::MAX))
}

/// The interfaces of the network that a container's first process sees.
fn links_of(container: &Container) -> BTreeMap<String, LinkUsage> {
    let Some((pid, start)) = container.with(|r| r.state.run().map(|run| (run.pid, run.start_time))) else {
        return BTreeMap::new();
    };
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    // Another process may have its number by now, in another network.
    if proa_runtime::start_time(pid).ok() != Some(start) {
        return BTreeMap::new();
    }
    links(&text)
}

/// Lines of `  eth0: 1 2 …`, received first (proc_pid_net(5)).
fn links(text: &str) -> BTreeMap<String, LinkUsage> {
    let link = |line: &str| -> Option<(String, LinkUsage)> {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        let four = |at: usize| numbers.get(at..at + 4)?.try_into().ok();
        Some((name.trim().to_owned(), LinkUsage { received: four(0)?, sent: four(8)? }))
    };
    text.lines().filter_map(link).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let stat =
            "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5\ncpu9 is no line\n";
        assert_eq!(processor_time(stat), (3_600_000_000, 2));
        assert_eq!(processor_time(""), (0, 0));
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0:1234 5 6 7 0 0 0 0 8 9 10 11 0 0 0 0\n eth1: 1 2\n";
        let read = links(text);
        assert_eq!(read.len(), 1);
        assert_eq!(read["eth0"], LinkUsage { received: [1234, 5, 6, 7], sent: [8, 9, 10, 11] });
    }
}
