//! `update` and `events --stats`.

use super::args::{Args, Flag};
use super::{CliError, Context};
use proa_oci::runtime::{Pids, Resources};
use std::collections::VecDeque;
use std::io::Read;

const UPDATE: &[Flag] = &[
    (&["resources", "r"], true),
    (&["blkio-weight"], true),
    (&["cpu-period"], true),
    (&["cpu-quota"], true),
    (&["cpu-burst"], true),
    (&["cpu-share"], true),
    (&["cpu-rt-period"], true),
    (&["cpu-rt-runtime"], true),
    (&["cpuset-cpus"], true),
    (&["cpuset-mems"], true),
    (&["cpu-idle"], true),
    (&["kernel-memory"], true),
    (&["kernel-memory-tcp"], true),
    (&["memory"], true),
    (&["memory-reservation"], true),
    (&["memory-swap"], true),
    (&["pids-limit"], true),
    (&["l3-cache-schema"], true),
    (&["mem-bw-schema"], true),
];

/// Changes limits.
pub(super) fn update(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, UPDATE)?;
    let home = context.root.home(&args.word("container id")?)?;
    let mut saved = home.load()?;
    let resources = match args.value("resources") {
        Some(file) => read(file)?,
        None => from_flags(&args)?,
    };
    for warning in saved.cgroup()?.set(&resources)? {
        context.log.warning(&warning);
    }
    saved.spec.linux.resources =
        Some(merged(saved.spec.linux.resources.take().unwrap_or_default(), resources));
    home.save(&saved)?;
    Ok(0)
}

fn read(file: &str) -> Result<Resources, CliError> {
    let mut text = Vec::new();
    let read = match file {
        "-" => std::io::stdin().read_to_end(&mut text),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text)),
    };
    read.map_err(|error| CliError::failed(format!("resources {file}: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| CliError::failed(format!("resources {file}: {error}")))
}

fn from_flags(args: &Args) -> Result<Resources, CliError> {
    let mut resources = Resources::default();
    let (cpu, memory) = (&mut resources.cpu, &mut resources.memory);
    cpu.period = args.number("cpu-period")?;
    cpu.quota = args.number("cpu-quota")?;
    cpu.burst = args.number("cpu-burst")?;
    cpu.shares = args.number("cpu-share")?;
    cpu.realtime_period = args.number("cpu-rt-period")?;
    cpu.realtime_runtime = args.number("cpu-rt-runtime")?;
    cpu.idle = args.number("cpu-idle")?;
    args.value("cpuset-cpus").unwrap_or_default().clone_into(&mut cpu.cpus);
    args.value("cpuset-mems").unwrap_or_default().clone_into(&mut cpu.mems);
    memory.limit = bytes(args, "memory")?;
    memory.reservation = bytes(args, "memory-reservation")?;
    memory.swap = bytes(args, "memory-swap")?;
    resources.block_io.weight = args.number("blkio-weight")?;
    resources.pids = args.number("pids-limit")?.map(|limit| Pids { limit });
    Ok(resources)
}

/// Bytes, with `k`, `m`, `g` as docker writes them; -1 is no limit.
fn bytes(args: &Args, name: &str) -> Result<Option<i64>, CliError> {
    let Some(text) = args.value(name) else { return Ok(None) };
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches('b');
    let (digits, factor) = match digits.chars().last() {
        Some('k') => (digits.trim_end_matches('k'), 1i64 << 10),
        Some('m') => (digits.trim_end_matches('m'), 1 << 20),
        Some('g') => (digits.trim_end_matches('g'), 1 << 30),
        _ => (digits, 1),
    };
    let number = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(factor));
    number
        .map(Some)
        .ok_or_else(|| CliError::usage(format!("invalid value {text:?} for -{name}: write 64m or bytes")))
}

/// The former limits with the new ones over them.
fn merged(old: Resources, new: Resources) -> Resources {
    let mut base = serde_json::to_value(old).unwrap_or_default();
    overlay(&mut base, serde_json::to_value(&new).unwrap_or_default());
    serde_json::from_value(base).unwrap_or(new)
}

fn overlay(base: &mut serde_json::Value, new: serde_json::Value) {
    match (base, new) {
        (serde_json::Value::Object(base), serde_json::Value::Object(new)) => {
            for (key, value) in new {
                overlay(base.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (base, new) => *base = new,
    }
}

/// Shows what a container uses, once.
pub(super) fn events(context: &Context, words: VecDeque<String>) -> Result<i32, CliError> {
    let mut args = Args::parse(words, &[(&["stats"], false), (&["interval"], true)])?;
    let id = args.word("container id")?;
    if !args.has("stats") {
        return Err(CliError::usage("only events --stats is known: it shows what the container uses, once"));
    }
    let stats = context.root.home(&id)?.load()?.cgroup()?.stats()?;
    let line = serde_json::json!({ "type": "stats", "id": id, "data": {
        "cpu": { "usage": { "total": stats.cpu.total } },
        "memory": { "usage": { "usage": stats.memory.usage, "limit": stats.memory.limit } },
        "pids": { "current": stats.pids.current, "limit": stats.pids.limit },
    }});
    println!("{line}");
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_limits_lie_over_the_former() {
        let mut old = Resources::default();
        old.memory.limit = Some(1);
        old.cpu.shares = Some(5);
        let mut new = Resources::default();
        new.memory.limit = Some(2);
        let merged = merged(old, new);
        assert_eq!((merged.memory.limit, merged.cpu.shares), (Some(2), Some(5)));
    }
}
