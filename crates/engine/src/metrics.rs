//! What the engine counts, in the text form of Prometheus, under docker's names where docker has them.
//!
//! Most of it is looked at only when it is asked for. What has to be noted when it happens (how long an action took) is
//! noted only where somebody may ask: without `metrics-addr` nothing is.

use crate::{Engine, Error};
use std::fmt::Write;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An action on containers that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `docker diff`.
    Changes,
    /// `docker commit`.
    Commit,
    /// `docker create`.
    Create,
    /// `docker rm`.
    Delete,
    /// `docker start`.
    Start,
}

const ACTIONS: [(Action, &str); 5] = [
    (Action::Changes, "changes"),
    (Action::Commit, "commit"),
    (Action::Create, "create"),
    (Action::Delete, "delete"),
    (Action::Start, "start"),
];

/// Upper bounds in seconds: docker's, and finer ones below, since an action takes milliseconds here.
const BOUNDS: [f64; 13] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How long actions took.
#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

/// What is noted when it happens.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    wanted: bool,
    actions: Mutex<[Histogram; ACTIONS.len()]>,
    pub(crate) probes: AtomicU64,
    pub(crate) probes_failed: AtomicU64,
}

impl Metrics {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    fn note(&self, action: Action, took: Duration) {
        let mut all = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ACTIONS.iter().position(|(known, _)| *known == action);
        let Some(histogram) = at.and_then(|at| all.get_mut(at)) else { return };
        histogram.count += 1;
        histogram.sum += took;
        for (bucket, bound) in histogram.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(took.as_secs_f64() <= bound);
        }
    }
}

impl Engine {
    /// Carries out an action, and notes how long it took if it was done.
    ///
    /// # Errors
    /// The action's.
    pub async fn timed<T>(
        &self,
        action: Action,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if !self.metrics.wanted {
            return work.await;
        }
        let begin = Instant::now();
        let done = work.await;
        if done.is_ok() {
            self.metrics.note(action, begin.elapsed());
        }
        done
    }

    /// Everything, as Prometheus reads it.
    pub fn metrics(&self, version: &str) -> String {
        let mut out = Text(String::new());
        self.describe(&mut out, version);
        self.describe_actions(&mut out);
        self.describe_logs(&mut out);
        describe_process(&mut out);
        out.0
    }

    fn describe(&self, out: &mut Text, version: &str) {
        let info = self.info();
        out.begin(
            "engine_daemon_container_states_containers",
            "gauge",
            "The count of containers in various states",
        );
        let stopped = info.containers - info.running - info.paused;
        for (state, count) in [("paused", info.paused), ("running", info.running), ("stopped", stopped)] {
            out.value("engine_daemon_container_states_containers", &[("state", state)], count as f64);
        }
        let one = |out: &mut Text, name: &str, kind: &str, help: &str, value: f64| {
            out.begin(name, kind, help);
            out.value(name, &[], value);
        };
        let cpus = "The number of cpus that the host system of the engine has";
        one(out, "engine_daemon_engine_cpus_cpus", "gauge", cpus, info.processors as f64);
        let name = "engine_daemon_engine_info";
        out.begin(name, "gauge", "The information related to the engine and the OS it is running on");
        let labels = [
            ("architecture", std::env::consts::ARCH),
            ("commit", ""),
            ("daemon_id", &info.id),
            ("graphdriver", &info.driver),
            ("kernel", &info.kernel),
            ("os", &info.system),
            ("os_type", "linux"),
            ("os_version", &info.system_version),
            ("version", version),
        ];
        out.value(name, &labels, 1.0);
        let memory = "The number of bytes of memory that the host system of the engine has";
        one(out, "engine_daemon_engine_memory_bytes", "gauge", memory, info.memory as f64);
        let (told, listeners) = self.events.counts();
        one(out, "engine_daemon_events_total", "counter", "The number of events logged", told as f64);
        let name = "engine_daemon_events_subscribers_total";
        one(out, name, "gauge", "The number of current subscribers to events", listeners as f64);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let (probes, failed) = (count(&self.metrics.probes), count(&self.metrics.probes_failed));
        let help = "The total number of health checks";
        one(out, "engine_daemon_health_checks_total", "counter", help, probes);
        let help = "The total number of failed health checks";
        one(out, "engine_daemon_health_checks_failed_total", "counter", help, failed);
    }

    fn describe_actions(&self, out: &mut Text) {
        let name = "engine_daemon_container_actions_seconds";
        out.begin(name, "histogram", "The number of seconds it takes to process each container action");
        let all = self.metrics.actions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((_, action), histogram) in ACTIONS.iter().zip(&all) {
            for (bucket, bound) in histogram.buckets.iter().zip(BOUNDS) {
                let labels = [("action", *action), ("le", &bound.to_string())];
                out.value(&format!("{name}_bucket"), &labels, *bucket as f64);
            }
            let labels = [("action", *action), ("le", "+Inf")];
            out.value(&format!("{name}_bucket"), &labels, histogram.count as f64);
            out.value(&format!("{name}_sum"), &[("action", action)], histogram.sum.as_secs_f64());
            out.value(&format!("{name}_count"), &[("action", action)], histogram.count as f64);
        }
    }

    /// What became of the lines of logs that are sent away.
    fn describe_logs(&self, out: &mut Text) {
        let all = self.all().into_iter().filter_map(|container| {
            let cursor = self.sent(&container)?;
            Some((container.id.to_string(), container.with(|record| record.name.to_string()), cursor))
        });
        let all: Vec<_> = all.collect();
        let (sent, lost) = ("proa_container_log_sent_lines_total", "proa_container_log_lost_lines_total");
        for (name, help) in [
            (sent, "The number of log lines that were sent to the container's log receiver"),
            (lost, "The number of log lines that were lost on the way to the container's log receiver"),
        ] {
            if !all.is_empty() {
                out.begin(name, "counter", help);
            }
            for (id, container, cursor) in &all {
                let value = if name == sent { cursor.sent } else { cursor.lost };
                out.value(name, &[("id", id), ("name", container)], value as f64);
            }
        }
    }
}

/// The process of the engine (proc_pid_stat(5)).
fn describe_process(out: &mut Text) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    // Fields are numbered from 1; the first here is the fourth.
    let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0.0);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    let boot = read("/proc/stat");
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok()).unwrap_or(0.0);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            (field(14) + field(15)) / ticks,
        ),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit as f64),
        ("process_open_fds", "gauge", "Number of open file descriptors.", open as f64),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", field(24) * page),
        (
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            boot + field(22) / ticks,
        ),
        ("process_threads", "gauge", "Number of threads.", field(20)),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(23)),
    ] {
        out.begin(name, kind, help);
        out.value(name, &[], value);
    }
}

/// The text form (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
struct Text(String);

impl Text {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let pairs = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(self.0, "{name}{pairs} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_fall_into_every_bucket_above_them() {
        let metrics = Metrics::new(true);
        metrics.note(Action::Start, Duration::from_millis(4));
        metrics.note(Action::Start, Duration::from_secs(60));
        let all = metrics.actions.lock().unwrap();
        let start = &all[4];
        assert_eq!((start.buckets[1], start.buckets[2], start.buckets[12], start.count), (0, 1, 1, 2));
    }

    #[test]
    fn values_are_written_as_prometheus_reads_them() {
        let mut out = Text(String::new());
        out.value("a_total", &[("x", "a\"b\\"), ("y", "2")], 1.5);
        out.value("b", &[], 3.0);
        assert_eq!(out.0, "a_total{x=\"a\\\"b\\\\\",y=\"2\"} 1.5\nb 3\n");
    }
}
