//! `stats`: what containers use, as a table that is kept up to date.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use proa_client::{Lines, Verb, escape, full};
use proa_docker_api::{BlkioEntry, ContainerSummary, CpuStats, EventMessage, MemoryStats, Stats};
use proa_types::units::{human_binary, human_size};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{Failure, Result};
use crate::output::{self, Column, Row, put};

/// How often the table is written anew.
const PERIOD: Duration = Duration::from_millis(500);
/// Longest that the first table waits for a container that says nothing.
const PATIENCE: Duration = Duration::from_secs(5);

const COLUMNS: &[Column] = &[
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// What is known of one container.
struct Line {
    /// As it was asked for.
    container: String,
    stats: Option<Stats>,
    /// Why it could not be looked at.
    failure: Option<String>,
}

/// What is known of all, by those who look at one each.
struct Board<'a> {
    app: &'a App,
    lines: RefCell<Vec<Line>>,
}

type Follower<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// `stats`.
pub(crate) async fn stats(app: &App) -> Result<()> {
    let board = Board { app, lines: RefCell::default() };
    let named = !app.flags.args.is_empty();
    // Listened to before the list is asked for, so that none is missed between the two.
    let events = if named || app.flags.on("no-stream") { None } else { Some(news(app).await?) };
    let mut followers: FuturesUnordered<Follower<'_>> = FuturesUnordered::new();
    for name in if named { app.flags.args.clone() } else { listed(app).await? } {
        followers.extend(board.follow(name));
    }
    board.first(&mut followers, app.flags.on("no-stream")).await?;
    if app.flags.on("no-stream") {
        put(&board.table()?);
        return Ok(());
    }
    board.keep(followers, events).await
}

/// The containers that are looked at when none is named.
async fn listed(app: &App) -> Result<Vec<String>> {
    let path = if app.flags.on("all") { "/containers/json?all=1" } else { "/containers/json" };
    let items: Vec<ContainerSummary> = app.client.fetch(path).await?;
    Ok(items.iter().map(|item| short(&item.id)).collect())
}

/// What begins and ends from now on.
async fn news(app: &App) -> Result<Lines> {
    let mut filters = proa_docker_api::Filters::default();
    filters.add("type", "container");
    let path = format!("/events?filters={}", escape(&filters.encode()));
    Ok(app.client.stream(Verb::GET, &path, &[], full("")).await?.lines())
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

impl<'a> Board<'a> {
    /// Adds a container and looks at it, unless that is done already.
    fn follow(&'a self, container: String) -> Option<Follower<'a>> {
        let mut lines = self.lines.borrow_mut();
        if lines.iter().any(|line| line.container == container) {
            return None;
        }
        lines.push(Line { container: container.clone(), stats: None, failure: None });
        Some(Box::pin(async move {
            if let Err(failure) = self.watch(&container).await {
                self.change(&container, |line| line.failure = Some(failure.message));
            }
            // What has ended uses nothing that could be told.
            if !self.app.flags.on("no-stream") {
                self.change(&container, |line| line.stats = None);
            }
        }))
    }

    async fn watch(&self, container: &str) -> Result<()> {
        let stream = u8::from(!self.app.flags.on("no-stream"));
        let path = format!("/containers/{}/stats?stream={stream}", escape(container));
        let mut lines = self.app.client.stream(Verb::GET, &path, &[], full("")).await?.lines();
        while let Some(stats) = lines.next::<Stats>().await? {
            if !self.change(container, |line| line.stats = Some(stats)) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Changes a line; whether there is one.
    fn change(&self, container: &str, change: impl FnOnce(&mut Line)) -> bool {
        let mut lines = self.lines.borrow_mut();
        lines.iter_mut().find(|line| line.container == container).map(change).is_some()
    }

    /// Waits until each container has said something (all of it, if that is all that is wanted).
    async fn first(&self, followers: &mut FuturesUnordered<Follower<'a>>, all: bool) -> Result<()> {
        let said = |line: &Line| line.stats.is_some() || line.failure.is_some();
        let everything = async {
            while (all || !self.lines.borrow().iter().all(said)) && !followers.is_empty() {
                tokio::select! {
                    _ = followers.next() => {}
                    () = tokio::time::sleep(Duration::from_millis(20)), if !all => {}
                }
            }
        };
        if all {
            everything.await;
        } else {
            let _ = tokio::time::timeout(PATIENCE, everything).await;
        }
        let lines = self.lines.borrow();
        let failures: Vec<&str> = lines.iter().filter_map(|line| line.failure.as_deref()).collect();
        if failures.is_empty() || self.app.flags.args.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(failures.join("\n")))
        }
    }

    /// Writes the table again and again; containers come and go if none was named.
    async fn keep(
        &'a self,
        mut followers: FuturesUnordered<Follower<'a>>,
        mut events: Option<Lines>,
    ) -> Result<()> {
        let mut ticks = tokio::time::interval(PERIOD);
        let terminal = crate::terminal::stdout_is();
        loop {
            tokio::select! {
                Some(()) = followers.next() => {}
                event = next(&mut events) => match event? {
                    Some(event) => followers.extend(self.heard(&event)),
                    // The engine has gone.
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    let table = self.table()?;
                    put(&if terminal { screen(&table) } else { table });
                }
            }
        }
    }

    /// Adds or removes a container of which something was heard.
    fn heard(&'a self, event: &EventMessage) -> Option<Follower<'a>> {
        let (container, all) = (short(&event.actor.id), self.app.flags.on("all"));
        match event.action.as_str() {
            "start" => self.follow(container),
            "create" if all => self.follow(container),
            "destroy" => self.leave(&container),
            "die" if !all => self.leave(&container),
            _ => None,
        }
    }

    fn leave(&self, container: &str) -> Option<Follower<'a>> {
        self.lines.borrow_mut().retain(|line| line.container != container);
        None
    }

    fn table(&self) -> Result<String> {
        let rows: Vec<Row> = self.lines.borrow().iter().map(|line| row(self.app, line)).collect();
        let format = match self.app.flags.text("format") {
            None => self.app.setting("statsFormat"),
            Some(format) => format.to_owned(),
        };
        output::written(&rows, &format, COLUMNS, &[("Container", "CONTAINER")])
    }
}

/// The next event; never one where nobody listens.
async fn next(events: &mut Option<Lines>) -> Result<Option<EventMessage>> {
    match events {
        Some(events) => Ok(events.next().await?),
        None => std::future::pending().await,
    }
}

/// The table in the place of the one before it: from the upper left corner, each line and the rest cleared.
fn screen(table: &str) -> String {
    format!("\x1b[H{}\x1b[J", table.replace('\n', "\x1b[K\n"))
}

fn row(app: &App, line: &Line) -> Row {
    let value = match &line.stats {
        Some(stats) => filled(app, &line.container, stats),
        None => json!({
            "Container": line.container, "Name": "--", "ID": "--", "CPUPerc": "--", "MemUsage": "-- / --",
            "MemPerc": "--", "NetIO": "-- / --", "BlockIO": "-- / --", "PIDs": "--",
        }),
    };
    match value {
        Value::Object(map) => map,
        _ => Row::new(),
    }
}

fn filled(app: &App, container: &str, stats: &Stats) -> Value {
    let id = if app.flags.on("no-trunc") { stats.id.clone() } else { short(&stats.id) };
    let (used, limit) = (used(&stats.memory_stats), stats.memory_stats.limit);
    let share = if limit > 0 { used as f64 / limit as f64 * 100.0 } else { 0.0 };
    let sum = |pick: fn(&proa_docker_api::NetworkStats) -> u64| stats.networks.values().map(pick).sum();
    let pair = |a: u64, b: u64| format!("{} / {}", human_size(a, 3), human_size(b, 3));
    let bytes = stats.blkio_stats.io_service_bytes_recursive.as_deref().unwrap_or_default();
    json!({
        "Container": container, "Name": stats.name.trim_start_matches('/'), "ID": id,
        "CPUPerc": format!("{:.2}%", processor(&stats.cpu_stats, &stats.precpu_stats)),
        "MemUsage": format!("{} / {}", human_binary(used, 4), human_binary(limit, 4)),
        "MemPerc": format!("{share:.2}%"), "NetIO": pair(sum(|link| link.rx_bytes), sum(|link| link.tx_bytes)),
        "BlockIO": pair(moved(bytes, "read"), moved(bytes, "write")), "PIDs": stats.pids_stats.current.to_string(),
    })
}

/// Memory without the page cache that could be given back.
fn used(memory: &MemoryStats) -> u64 {
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|name| memory.stats.get(*name));
    cache.filter(|cache| **cache < memory.usage).map_or(memory.usage, |cache| memory.usage - cache)
}

/// Percent of one processor.
fn processor(now: &CpuStats, before: &CpuStats) -> f64 {
    let spent = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let system = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let processors = if now.online_cpus > 0 {
        f64::from(now.online_cpus)
    } else {
        now.cpu_usage.percpu_usage.len() as f64
    };
    if spent > 0.0 && system > 0.0 { spent / system * processors * 100.0 } else { 0.0 }
}

fn moved(entries: &[BlkioEntry], operation: &str) -> u64 {
    entries.iter().filter(|entry| entry.op.eq_ignore_ascii_case(operation)).map(|entry| entry.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_must_be_those_of_the_published_formulas() {
        let at = |total, system| {
            let mut cpu = CpuStats { system_cpu_usage: system, online_cpus: 2, ..CpuStats::default() };
            cpu.cpu_usage.total_usage = total;
            cpu
        };
        assert!((processor(&at(150, 2000), &at(50, 1000)) - 20.0).abs() < 1e-9);
        assert!(processor(&at(50, 1000), &at(50, 1000)).abs() < 1e-9);
        let mut memory = MemoryStats { usage: 100, ..MemoryStats::default() };
        memory.stats.insert("inactive_file".into(), 30);
        assert_eq!(used(&memory), 70);
        memory.stats.insert("total_inactive_file".into(), 400);
        assert_eq!(used(&memory), 100);
    }

    #[test]
    fn a_table_on_a_terminal_must_clear_what_was_there() {
        assert_eq!(screen("a\nb\n"), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
    }
}
