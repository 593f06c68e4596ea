//! From limits to files: pure. What is written, where and in what order is decided here; nothing is touched.
//!
//! Every controller is served by v1, by v2 or not at all (on a hybrid host this differs by controller).
//! A limit that cannot be had becomes a warning in docker's words, as docker runs the container without it.

use super::Error;
use super::texts::*;
use super::units;
use proa_oci::runtime::{BlockIo, Cpu, Memory, Resources};
use std::borrow::Cow;

/// Which version serves a controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// A v1 hierarchy.
    V1,
    /// The v2 tree.
    V2,
    /// None.
    #[default]
    Absent,
}

/// Who serves what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) cpu: Place,
    pub(crate) cpuset: Place,
    pub(crate) memory: Place,
    pub(crate) pids: Place,
    pub(crate) io: Place,
    pub(crate) hugetlb: Place,
}

/// What to do about a file the kernel does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Tell the user this, once.
    Warn(&'static str),
    /// Nothing: another file says the same, or nothing is lost.
    Ignore,
    /// The limit was asked for in a way that excludes going on without it.
    Fail,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The v1 controller whose hierarchy has the file; none is the v2 tree.
    pub(crate) v1: Option<&'static str>,
    pub(crate) file: Cow<'static, str>,
    pub(crate) value: String,
    /// The file to use where the first one does not exist, and the value for it.
    pub(crate) instead: Option<(&'static str, String)>,
    pub(crate) missing: Missing,
    /// Whether a refusal may be due to a limit written later, so that it is worth trying once more at the end.
    pub(crate) again: bool,
    /// What a refusal probably means, for the error; begins with a blank.
    pub(crate) hint: &'static str,
}

/// What shall be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    pub(crate) warnings: Vec<String>,
}

/// Decides what to write for these limits.
pub(crate) fn plan(resources: &Resources, places: Places) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    plan.memory(&resources.memory, places.memory)?;
    plan.cpu(&resources.cpu, places.cpu)?;
    plan.cpuset(&resources.cpu, places.cpuset);
    if let Some(pids) = &resources.pids {
        let value = if pids.limit <= 0 { "max".to_owned() } else { pids.limit.to_string() };
        plan.put(places.pids, ("pids", "pids.max"), "pids.max", value, Missing::Warn(NO_PIDS));
    }
    plan.block(&resources.block_io, places.io)?;
    for limit in &resources.hugepage_limits {
        plan.hugepages(&limit.page_size, limit.limit, places.hugetlb)?;
    }
    plan.unified(resources, places)?;
    Ok(plan)
}

impl Plan {
    fn warn(&mut self, text: &str) {
        if !self.warnings.iter().any(|warning| warning == text) {
            self.warnings.push(text.to_owned());
        }
    }

    /// Adds a write of the file that the serving version has; a warning where none serves.
    fn put(
        &mut self,
        place: Place,
        v1: (&'static str, &'static str),
        v2: &'static str,
        value: String,
        missing: Missing,
    ) -> Option<&mut Write> {
        let (v1, file) = match (place, missing) {
            (Place::V1, _) => (Some(v1.0), v1.1),
            (Place::V2, _) => (None, v2),
            (Place::Absent, Missing::Warn(text)) => {
                self.warn(text);
                return None;
            }
            (Place::Absent, _) => return None,
        };
        let file = Cow::Borrowed(file);
        self.writes.push(Write { v1, file, value, instead: None, missing, again: false, hint: "" });
        self.writes.last_mut()
    }

    /// Memory. Limit and swap limit of v1 constrain each other: whichever is refused is tried again last.
    fn memory(&mut self, memory: &Memory, place: Place) -> Result<(), Error> {
        let limit = units::limit("memory limit", memory.limit)?;
        let swap = units::limit("memory swap limit", memory.swap)?;
        let reservation = units::limit("memory reservation", memory.reservation)?;
        if let (Some(Some(limit)), Some(Some(swap))) = (limit, swap)
            && swap < limit
        {
            return Err(value(
                "memory swap limit",
                format!("{swap} is below the memory limit {limit}, which it includes"),
            ));
        }
        match place {
            Place::V1 => self.memory_v1(memory, limit, swap),
            Place::V2 => self.memory_v2(limit, swap)?,
            Place::Absent => {
                if limit.is_some() || swap.is_some() {
                    self.warn(NO_MEMORY);
                }
            }
        }
        if let Some(reservation) = reservation {
            let amount = match place {
                Place::V2 => reservation.map_or_else(|| "max".to_owned(), |n| n.to_string()),
                _ => units::v1_amount(reservation),
            };
            let soft = ("memory", "memory.soft_limit_in_bytes");
            self.put(place, soft, "memory.low", amount, Missing::Warn(NO_RESERVATION));
        }
        self.memory_rest(memory, place)
    }

    fn memory_v1(&mut self, memory: &Memory, limit: Option<Option<u64>>, swap: Option<Option<u64>>) {
        // Memory made unlimited needs swap unlimited as well, or it is refused.
        let swap = if limit == Some(None) && memory.swap.is_none_or(|s| s == 0) { Some(None) } else { swap };
        for (amount, file, missing) in
            [(limit, "memory.limit_in_bytes", NO_MEMORY), (swap, "memory.memsw.limit_in_bytes", NO_SWAP)]
        {
            let Some(amount) = amount else { continue };
            // Unlimited swap is what a kernel without swap accounting has anyway.
            let missing = if amount.is_none() { Missing::Ignore } else { Missing::Warn(missing) };
            let amount = units::v1_amount(amount);
            if let Some(write) = self.put(Place::V1, ("memory", file), "", amount, missing) {
                (write.again, write.hint) = (true, HINT_MEMORY);
            }
        }
    }

    /// On v2 swap is counted beside memory, not with it.
    fn memory_v2(&mut self, limit: Option<Option<u64>>, swap: Option<Option<u64>>) -> Result<(), Error> {
        let amount = |amount: Option<u64>| amount.map_or_else(|| "max".to_owned(), |n| n.to_string());
        let swap = match (limit, swap) {
            (Some(None), None) | (_, Some(None)) => Some(None),
            (_, None) => None,
            (Some(Some(limit)), Some(Some(swap))) => Some(Some(swap.saturating_sub(limit))),
            (_, Some(Some(_))) => {
                return Err(value("memory swap limit", "it needs a memory limit beside it".into()));
            }
        };
        if let Some(swap) = swap {
            // Without swap accounting there is no swap to give, or no way to hold it back.
            let missing = if swap.is_none() { Missing::Ignore } else { Missing::Warn(NO_SWAP) };
            self.put(Place::V2, ("", ""), "memory.swap.max", amount(swap), missing);
        }
        if let Some(limit) = limit {
            let write = self.put(Place::V2, ("", ""), "memory.max", amount(limit), Missing::Warn(NO_MEMORY));
            if let Some(write) = write {
                write.hint = HINT_MEMORY;
            }
        }
        Ok(())
    }

    fn memory_rest(&mut self, memory: &Memory, place: Place) -> Result<(), Error> {
        if memory.kernel.is_some_and(|limit| limit != 0) {
            // Obsolete since Linux 5.4, without effect since 5.16, absent from v2: never written.
            self.warn(NO_KERNEL_MEMORY);
        }
        if let Some(limit) = units::limit("kernel memory TCP limit", memory.kernel_tcp)? {
            match place {
                Place::V1 => {
                    let file = ("memory", "memory.kmem.tcp.limit_in_bytes");
                    self.put(place, file, "", units::v1_amount(limit), Missing::Warn(NO_KERNEL_TCP));
                }
                Place::V2 | Place::Absent => self.warn(NO_KERNEL_TCP),
            }
        }
        if let Some(swappiness) = memory.swappiness {
            if swappiness > 100 {
                let reason = format!("{swappiness}: the valid memory swappiness range is 0-100");
                return Err(value("memory swappiness", reason));
            }
            match place {
                Place::V1 => {
                    let file = ("memory", "memory.swappiness");
                    self.put(place, file, "", swappiness.to_string(), Missing::Warn(NO_SWAPPINESS));
                }
                Place::V2 | Place::Absent => self.warn(NO_SWAPPINESS),
            }
        }
        match (memory.disable_oom_killer, place) {
            (Some(disable), Place::V1) => {
                if disable && memory.limit.is_none_or(|limit| limit <= 0) {
                    self.warn(OOM_WITHOUT_LIMIT);
                }
                let (file, value) = (("memory", "memory.oom_control"), u8::from(disable).to_string());
                self.put(place, file, "", value, Missing::Warn(NO_OOM_DISABLE));
            }
            (Some(true), Place::V2 | Place::Absent) => self.warn(NO_OOM_DISABLE),
            _ => {}
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu, place: Place) -> Result<(), Error> {
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            let amount = match place {
                Place::V2 => units::weight_of_shares(shares).to_string(),
                _ => shares.clamp(units::MIN_SHARES, units::MAX_SHARES).to_string(),
            };
            self.put(place, ("cpu", "cpu.shares"), "cpu.weight", amount, Missing::Warn(NO_SHARES));
        }
        if let Some(idle) = cpu.idle {
            if !(0..=1).contains(&idle) {
                return Err(value("cpu idle", format!("{idle} is neither 0 nor 1")));
            }
            self.put(place, ("cpu", "cpu.idle"), "cpu.idle", idle.to_string(), Missing::Warn(NO_IDLE));
        }
        let period = cpu.period.filter(|period| *period != 0);
        let quota = cpu.quota.filter(|quota| *quota != 0);
        units::check_period(period)?;
        units::check_quota(quota)?;
        match place {
            Place::V1 => self.quota_v1(quota, period),
            Place::V2 if quota.is_some() || period.is_some() => {
                let quota = quota.filter(|q| *q > 0).map_or_else(|| "max".to_owned(), |q| q.to_string());
                let both = period.map_or_else(|| quota.clone(), |period| format!("{quota} {period}"));
                if let Some(write) = self.put(place, ("", ""), "cpu.max", both, Missing::Warn(NO_QUOTA)) {
                    (write.again, write.hint) = (true, HINT_QUOTA);
                }
            }
            Place::V2 => {}
            Place::Absent if quota.is_some() || period.is_some() => self.warn(NO_QUOTA),
            Place::Absent => {}
        }
        if let Some(burst) = cpu.burst {
            let file = ("cpu", "cpu.cfs_burst_us");
            let write = self.put(place, file, "cpu.max.burst", burst.to_string(), Missing::Warn(NO_BURST));
            if let Some(write) = write {
                (write.again, write.hint) = (true, " (the burst may not exceed the quota)");
            }
        }
        self.realtime(cpu, place)
    }

    /// Quota and period of v1 are judged together against the parent's: either may have to go first.
    fn quota_v1(&mut self, quota: Option<i64>, period: Option<u64>) {
        let files = [
            ("cpu.cfs_period_us", period.map(|period| period.to_string())),
            ("cpu.cfs_quota_us", quota.map(|quota| quota.max(-1).to_string())),
        ];
        for (file, amount) in files {
            let Some(amount) = amount else { continue };
            let write = self.put(Place::V1, ("cpu", file), "", amount, Missing::Warn(NO_QUOTA));
            if let Some(write) = write {
                (write.again, write.hint) = (true, HINT_QUOTA);
            }
        }
    }

    fn realtime(&mut self, cpu: &Cpu, place: Place) -> Result<(), Error> {
        let period = cpu.realtime_period.filter(|period| *period != 0).map(|period| period.to_string());
        let runtime = cpu.realtime_runtime.filter(|runtime| *runtime != 0).map(|r| r.to_string());
        if period.is_none() && runtime.is_none() {
            return Ok(());
        }
        if place != Place::V1 {
            return Err(Error::Unsupported {
                feature: "CPU real-time period and runtime".into(),
                reason:
                    "your kernel does not support CPU real-time scheduler for cgroups here (cgroup v1 only)"
                        .into(),
            });
        }
        for (file, amount) in [("cpu.rt_period_us", period), ("cpu.rt_runtime_us", runtime)] {
            let Some(amount) = amount else { continue };
            if let Some(write) = self.put(place, ("cpu", file), "", amount, Missing::Fail) {
                (write.again, write.hint) = (true, HINT_REALTIME);
            }
        }
        Ok(())
    }

    fn cpuset(&mut self, cpu: &Cpu, place: Place) {
        for (list, file) in [(&cpu.cpus, "cpuset.cpus"), (&cpu.mems, "cpuset.mems")] {
            if list.is_empty() {
                continue;
            }
            let write = self.put(place, ("cpuset", file), file, list.clone(), Missing::Warn(NO_CPUSET));
            if let Some(write) = write {
                write.hint = HINT_CPUSET;
            }
        }
    }

    fn block(&mut self, io: &BlockIo, place: Place) -> Result<(), Error> {
        for weight in [io.weight, io.leaf_weight].into_iter().flatten() {
            units::check_weight(u64::from(weight))?;
        }
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            let (bfq, plain) = (weight.to_string(), u64::from(weight));
            let instead = match place {
                Place::V2 => ("io.weight", format!("default {}", units::io_weight(plain))),
                _ => ("blkio.weight", weight.to_string()),
            };
            let file = ("blkio", "blkio.bfq.weight");
            if let Some(write) = self.put(place, file, "io.bfq.weight", bfq, Missing::Warn(NO_WEIGHT)) {
                write.instead = Some(instead);
            }
        }
        if let Some(leaf) = io.leaf_weight.filter(|weight| *weight != 0) {
            match place {
                Place::V1 => {
                    let file = ("blkio", "blkio.leaf_weight");
                    self.put(place, file, "", leaf.to_string(), Missing::Warn(NO_WEIGHT));
                }
                Place::V2 | Place::Absent => self.warn(NO_WEIGHT),
            }
        }
        self.device_weights(io, place)?;
        match place {
            Place::V2 => self.io_max(io),
            Place::V1 | Place::Absent => self.throttle_v1(io, place),
        }
        Ok(())
    }

    fn device_weights(&mut self, io: &BlockIo, place: Place) -> Result<(), Error> {
        for device in &io.weight_device {
            let Some(weight) = device.weight.filter(|weight| *weight != 0) else { continue };
            units::check_weight(u64::from(weight))?;
            let number = format!("{}:{}", device.major, device.minor);
            let line = format!("{number} {weight}");
            let instead = match place {
                Place::V2 => ("io.weight", format!("{number} {}", units::io_weight(u64::from(weight)))),
                _ => ("blkio.weight_device", line.clone()),
            };
            let file = ("blkio", "blkio.bfq.weight_device");
            let missing = Missing::Warn(NO_WEIGHT_DEVICE);
            if let Some(write) = self.put(place, file, "io.bfq.weight", line, missing) {
                (write.instead, write.hint) = (Some(instead), HINT_DEVICE);
            }
        }
        Ok(())
    }

    fn throttle_v1(&mut self, io: &BlockIo, place: Place) {
        let lists = [
            (&io.throttle_read_bps_device, "blkio.throttle.read_bps_device", NO_READ_BPS),
            (&io.throttle_write_bps_device, "blkio.throttle.write_bps_device", NO_WRITE_BPS),
            (&io.throttle_read_iops_device, "blkio.throttle.read_iops_device", NO_READ_IOPS),
            (&io.throttle_write_iops_device, "blkio.throttle.write_iops_device", NO_WRITE_IOPS),
        ];
        for (devices, file, missing) in lists {
            for device in devices {
                let line = format!("{}:{} {}", device.major, device.minor, device.rate);
                let write = self.put(place, ("blkio", file), "", line, Missing::Warn(missing));
                if let Some(write) = write {
                    write.hint = HINT_DEVICE;
                }
            }
        }
    }

    /// One write to `io.max` a device, with all its rates.
    fn io_max(&mut self, io: &BlockIo) {
        let lists = [
            (&io.throttle_read_bps_device, "rbps", NO_READ_BPS),
            (&io.throttle_write_bps_device, "wbps", NO_WRITE_BPS),
            (&io.throttle_read_iops_device, "riops", NO_READ_IOPS),
            (&io.throttle_write_iops_device, "wiops", NO_WRITE_IOPS),
        ];
        let mut lines: Vec<((i64, i64), String, &'static str)> = Vec::new();
        for (devices, key, missing) in lists {
            for device in devices {
                let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
                let number = (device.major, device.minor);
                match lines.iter_mut().find(|(known, ..)| *known == number) {
                    Some((_, line, _)) => *line = format!("{line} {key}={rate}"),
                    None => lines.push((
                        number,
                        format!("{}:{} {key}={rate}", device.major, device.minor),
                        missing,
                    )),
                }
            }
        }
        for (_, line, missing) in lines {
            let write = self.put(Place::V2, ("", ""), "io.max", line, Missing::Warn(missing));
            if let Some(write) = write {
                write.hint = HINT_DEVICE;
            }
        }
    }

    fn hugepages(&mut self, size: &str, limit: u64, place: Place) -> Result<(), Error> {
        let digits = size.bytes().take_while(u8::is_ascii_digit).count();
        let unit = size.get(digits..).unwrap_or_default();
        if digits == 0 || !matches!(unit, "KB" | "MB" | "GB") {
            return Err(value("hugepage limit", format!("{size:?} is no page size such as 2MB or 1GB")));
        }
        let (v1, file) = match place {
            Place::V1 => (Some("hugetlb"), format!("hugetlb.{size}.limit_in_bytes")),
            Place::V2 => (None, format!("hugetlb.{size}.max")),
            Place::Absent => {
                self.warn(NO_HUGEPAGES);
                return Ok(());
            }
        };
        self.writes.push(Write {
            v1,
            file: file.into(),
            value: limit.to_string(),
            instead: None,
            missing: Missing::Warn(NO_HUGEPAGES),
            again: false,
            hint: "",
        });
        Ok(())
    }

    /// Files of v2 by name, after all others.
    fn unified(&mut self, resources: &Resources, places: Places) -> Result<(), Error> {
        for (file, content) in &resources.unified {
            let plain = file.contains('.')
                && file.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
            let forbidden = file.starts_with("cgroup.")
                && !matches!(file.as_str(), "cgroup.max.depth" | "cgroup.max.descendants");
            if !plain || forbidden {
                return Err(value("unified resource", format!("{file:?} is no file of a limit")));
            }
            let controller = file.split('.').next().unwrap_or_default();
            let served = match controller {
                "memory" => places.memory,
                "cpu" => places.cpu,
                "cpuset" => places.cpuset,
                "pids" => places.pids,
                "io" => places.io,
                "hugetlb" => places.hugetlb,
                _ => Place::V2,
            };
            if served != Place::V2 {
                return Err(Error::Unsupported {
                    feature: format!("unified resource {file}"),
                    reason: format!("controller {controller} is not available on cgroup v2"),
                });
            }
            self.writes.push(Write {
                v1: None,
                file: file.clone().into(),
                value: content.clone(),
                instead: None,
                missing: Missing::Fail,
                again: false,
                hint: "",
            });
        }
        Ok(())
    }
}

fn value(limit: &'static str, reason: String) -> Error {
    Error::Value { limit, reason }
}
