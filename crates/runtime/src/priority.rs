//! How a process is scheduled, its I/O priority and its execution domain (config.md, `scheduler`, `ioPriority`;
//! config-linux.md, `personality`).

use crate::Error;
use proa_sys::process::{Scheduling, set_io_priority, set_personality, set_scheduling};
use serde::Deserialize;
use serde_json::Value;

/// `ioPriority`.
#[derive(Debug, Deserialize)]
struct IoPriority {
    class: String,
    #[serde(default)]
    priority: u8,
}

/// `scheduler`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Scheduler {
    policy: String,
    nice: i32,
    priority: u32,
    flags: Vec<String>,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// `personality`.
#[derive(Debug, Deserialize)]
struct Personality {
    domain: String,
    #[serde(default)]
    flags: Vec<String>,
}

/// Applies what is given to the caller.
pub(crate) fn apply(
    io: Option<&Value>,
    scheduler: Option<&Value>,
    personality: Option<&Value>,
) -> Result<(), Error> {
    if let Some(value) = io {
        let asked: IoPriority = read("process.ioPriority", value)?;
        let class = match asked.class.as_str() {
            "IOPRIO_CLASS_RT" => 1,
            "IOPRIO_CLASS_BE" => 2,
            "IOPRIO_CLASS_IDLE" => 3,
            other => return Err(Error::spec("process.ioPriority", format!("there is no class {other:?}"))),
        };
        set_io_priority(class, asked.priority & 7)
            .map_err(|error| Error::step(format!("set I/O priority {}", asked.class), error))?;
    }
    if let Some(value) = scheduler {
        let asked: Scheduler = read("process.scheduler", value)?;
        let how = scheduling(&asked)?;
        set_scheduling(how).map_err(|error| Error::step(format!("set scheduler {}", asked.policy), error))?;
    }
    if let Some(value) = personality {
        let asked: Personality = read("linux.personality", value)?;
        let persona = match asked.domain.as_str() {
            "LINUX" => 0,
            "LINUX32" => 8,
            other => return Err(Error::spec("linux.personality", format!("there is no domain {other:?}"))),
        };
        if !asked.flags.is_empty() {
            return Err(Error::spec("linux.personality", "the specification has no flags"));
        }
        set_personality(persona).map_err(|error| Error::step("set the personality", error))?;
    }
    Ok(())
}

fn scheduling(asked: &Scheduler) -> Result<Scheduling, Error> {
    let policy = match asked.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(Error::spec("process.scheduler", format!("there is no policy {other:?}"))),
    };
    let mut flags = 0;
    for flag in &asked.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 1,
            "SCHED_FLAG_RECLAIM" => 2,
            "SCHED_FLAG_DL_OVERRUN" => 4,
            "SCHED_FLAG_KEEP_POLICY" => 8,
            "SCHED_FLAG_KEEP_PARAMS" => 16,
            other => return Err(Error::spec("process.scheduler", format!("there is no flag {other:?}"))),
        };
    }
    Ok(Scheduling {
        policy,
        flags,
        nice: asked.nice,
        priority: asked.priority,
        runtime: asked.runtime,
        deadline: asked.deadline,
        period: asked.period,
    })
}

fn read<T: for<'de> Deserialize<'de>>(field: &str, value: &Value) -> Result<T, Error> {
    T::deserialize(value).map_err(|error| Error::spec(field, error.to_string()))
}
