//! Limits, from docker's words to the runtime's.

use crate::spec::{DeviceValue, ResourceSpec};
use proa_oci::runtime::{BlockIo, Cpu, Memory, Pids, Resources, ThrottleDevice, WeightDevice};
use std::collections::BTreeMap;

/// Numbers of devices by path.
pub(crate) type Numbers = BTreeMap<String, (u32, u32)>;

/// The limits of a container, without device rules.
pub(crate) fn resources(asked: &ResourceSpec, numbers: &Numbers) -> Resources {
    Resources {
        memory: memory(asked),
        cpu: cpu(asked),
        pids: asked.pids_limit.filter(|limit| *limit > 0).map(|limit| Pids { limit }),
        block_io: block_io(asked, numbers),
        ..Resources::default()
    }
}

fn set(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

fn memory(asked: &ResourceSpec) -> Memory {
    // Without a word about swap, docker allows as much again as memory.
    let swap = match (asked.memory, asked.memory_swap) {
        (memory, 0) if memory > 0 => Some(memory.saturating_mul(2)),
        (_, swap) => set(swap),
    };
    Memory {
        limit: set(asked.memory),
        reservation: set(asked.memory_reservation),
        swap,
        swappiness: asked.memory_swappiness.and_then(|value| u64::try_from(value).ok()),
        disable_oom_killer: asked.oom_kill_disable.filter(|disable| *disable),
        ..Memory::default()
    }
}

fn cpu(asked: &ResourceSpec) -> Cpu {
    let (quota, period) = if asked.nano_cpus > 0 {
        (Some(asked.nano_cpus / 10_000), Some(100_000))
    } else {
        (set(asked.cpu_quota), positive(asked.cpu_period))
    };
    Cpu {
        shares: positive(asked.cpu_shares),
        quota,
        period,
        realtime_period: positive(asked.cpu_realtime_period),
        realtime_runtime: set(asked.cpu_realtime_runtime),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..Cpu::default()
    }
}

fn block_io(asked: &ResourceSpec, numbers: &Numbers) -> BlockIo {
    let found = |list: &[DeviceValue]| -> Vec<(i64, i64, u64)> {
        let number = |device: &DeviceValue| {
            numbers.get(&device.path).map(|(a, b)| (i64::from(*a), i64::from(*b), device.value))
        };
        list.iter().filter_map(number).collect()
    };
    let rates = |list: &[DeviceValue]| {
        found(list).into_iter().map(|(major, minor, rate)| ThrottleDevice { major, minor, rate }).collect()
    };
    let weights = found(&asked.blkio_weight_device).into_iter().map(|(major, minor, weight)| WeightDevice {
        major,
        minor,
        weight: u16::try_from(weight).ok(),
        leaf_weight: None,
    });
    BlockIo {
        weight: (asked.blkio_weight > 0).then_some(asked.blkio_weight),
        weight_device: weights.collect(),
        throttle_read_bps_device: rates(&asked.read_bps),
        throttle_write_bps_device: rates(&asked.write_bps),
        throttle_read_iops_device: rates(&asked.read_iops),
        throttle_write_iops_device: rates(&asked.write_iops),
        ..BlockIo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_and_cpus_follow_docker() {
        let asked = ResourceSpec { memory: 64, nano_cpus: 500_000_000, ..ResourceSpec::default() };
        let resources = resources(&asked, &Numbers::new());
        assert_eq!((resources.memory.limit, resources.memory.swap), (Some(64), Some(128)));
        assert_eq!((resources.cpu.quota, resources.cpu.period), (Some(50_000), Some(100_000)));
        assert!(resources.pids.is_none());
    }
}
