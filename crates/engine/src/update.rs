//! `update`: limits and the restart policy of a container that exists, also while it runs.

use crate::container::Container;
use crate::create::{check_resources, check_restart};
use crate::engine::{blocking, passage};
use crate::plan;
use crate::record::ContainerRecord;
use crate::spec::{ResourceSpec, RestartPolicy};
use crate::state::State;
use crate::{Engine, Error};
use proa_oci::runtime::Pids;
use std::sync::Arc;

/// What is to change: limits that are not zero, and the policy if there is one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Limits.
    pub resources: ResourceSpec,
    /// Policy.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes limits and policy; what is not honoured as asked.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be, [`Error::Conflict`] where it contradicts what is set,
    /// [`Error::Start`] when the kernel refuses it: nothing has changed then.
    pub async fn update(self: &Arc<Self>, container: &str, mut update: Update) -> Result<Vec<String>, Error> {
        let container = self.find(container)?;
        let mut warnings = Vec::new();
        check_resources(&mut update.resources, true, &mut warnings)?;
        update.restart.as_ref().map_or(Ok(()), check_restart)?;
        let _operation = container.operation.lock().await;
        let before = container.record();
        let cannot = |why: String| Error::Conflict(format!("Cannot update container {}: {why}", before.id));
        if matches!(before.state, State::Removing) {
            return Err(cannot("Container is marked for removal and cannot be \"update\".".into()));
        }
        let after = changed(&before, &update).map_err(cannot)?;
        // Refuses now what the next start would refuse.
        let devices = plan::device_facts(&after)?;
        self.set(&container, &after)?;
        passage("update.record");
        if let (Ok(live), false) = (container.running(), update.resources == ResourceSpec::default()) {
            let resources = limits(&after.spec.host.resources, &devices);
            match blocking(move || Ok(live.shim.update(&resources)?)).await {
                Ok(more) => {
                    warnings.extend(more);
                    container.change(|record| record.limits_due = false);
                    self.note(&container.record())?;
                }
                // It has ended meanwhile: what is stored is for the next start.
                Err(_) if container.state().run().is_none() => {}
                Err(error) => {
                    self.set(&container, &before)?;
                    let message = format!("Cannot update container {}: {error}", before.id);
                    let kind = proa_types::Kinded::kind(&error);
                    return Err(Error::Start { message, kind, exit_code: None });
                }
            }
        }
        passage("update.limits");
        self.tell(&container, "update", &[]);
        Ok(warnings)
    }

    /// Tells the kernel the limits of a container that was found running, if an update was cut short.
    pub(crate) fn limit_again(&self, container: &Container) {
        let record = container.record();
        let Ok(live) = container.running() else { return };
        if !record.limits_due {
            return;
        }
        let limited = plan::device_facts(&record).and_then(|devices| {
            let resources = limits(&record.spec.host.resources, &devices);
            live.shim.update(&resources)?;
            container.change(|record| record.limits_due = false);
            self.note(&container.record())
        });
        if let Err(error) = limited {
            tracing::warn!(container = container.id.short(), %error, "an update of limits was cut short, and stays so");
        }
    }

    /// Gives a container the limits and the policy of a record.
    fn set(&self, container: &Container, wanted: &ContainerRecord) -> Result<(), Error> {
        let host = &wanted.spec.host;
        let record = container.change(|record| {
            record.spec.host.resources = host.resources.clone();
            record.spec.host.restart = host.restart.clone();
            record.limits_due = record.state.run().is_some();
            record.clone()
        });
        self.record_in_store(&record)?;
        self.note(&record)
    }
}

/// The limits for the kernel; also that there is none where there may have been one.
fn limits(resources: &ResourceSpec, devices: &plan::DeviceFacts) -> proa_oci::runtime::Resources {
    let mut limits = plan::limits(resources, &devices.numbers);
    if resources.pids_limit.is_some_and(|limit| limit <= 0) {
        limits.pids = Some(Pids { limit: -1 });
    }
    limits
}

/// A record after an update, or why that contradicts what it has.
fn changed(before: &ContainerRecord, update: &Update) -> Result<ContainerRecord, String> {
    let mut after = before.clone();
    let host = &mut after.spec.host;
    if let Some(restart) = &update.restart {
        if host.auto_remove && restart.name != "no" {
            let why = "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(why.into());
        }
        host.restart = restart.clone();
    }
    merge(&mut host.resources, &update.resources)?;
    Ok(after)
}

fn merge(own: &mut ResourceSpec, asked: &ResourceSpec) -> Result<(), String> {
    let conflict = |what: &str, with: &str| {
        Err(format!("Conflicting options: {what} cannot be updated as {with} has already been set"))
    };
    match () {
        () if asked.nano_cpus > 0 && own.cpu_period > 0 => return conflict("Nano CPUs", "CPU Period"),
        () if asked.nano_cpus > 0 && own.cpu_quota > 0 => return conflict("Nano CPUs", "CPU Quota"),
        () if asked.cpu_period > 0 && own.nano_cpus > 0 => return conflict("CPU Period", "NanoCPUs"),
        () if asked.cpu_quota > 0 && own.nano_cpus > 0 => return conflict("CPU Quota", "NanoCPUs"),
        () => {}
    }
    merge_memory(own, asked)?;
    for (own, asked) in [
        (&mut own.memory_reservation, asked.memory_reservation),
        (&mut own.nano_cpus, asked.nano_cpus),
        (&mut own.cpu_shares, asked.cpu_shares),
        (&mut own.cpu_period, asked.cpu_period),
        (&mut own.cpu_quota, asked.cpu_quota),
        (&mut own.cpu_realtime_period, asked.cpu_realtime_period),
        (&mut own.cpu_realtime_runtime, asked.cpu_realtime_runtime),
    ] {
        if asked != 0 {
            *own = asked;
        }
    }
    for (own, asked) in
        [(&mut own.cpuset_cpus, &asked.cpuset_cpus), (&mut own.cpuset_mems, &asked.cpuset_mems)]
    {
        if !asked.is_empty() {
            own.clone_from(asked);
        }
    }
    for (own, asked) in [
        (&mut own.blkio_weight_device, &asked.blkio_weight_device),
        (&mut own.read_bps, &asked.read_bps),
        (&mut own.write_bps, &asked.write_bps),
        (&mut own.read_iops, &asked.read_iops),
        (&mut own.write_iops, &asked.write_iops),
    ] {
        if !asked.is_empty() {
            own.clone_from(asked);
        }
    }
    if asked.blkio_weight != 0 {
        own.blkio_weight = asked.blkio_weight;
    }
    own.pids_limit = asked.pids_limit.or(own.pids_limit);
    Ok(())
}

fn merge_memory(own: &mut ResourceSpec, asked: &ResourceSpec) -> Result<(), String> {
    // Without a word about swap it was as much again as memory, and stays what it was.
    let swap = match (own.memory_swap, own.memory) {
        (0, memory) if memory > 0 => memory.saturating_mul(2),
        (swap, _) => swap,
    };
    if asked.memory > 0 {
        if swap > 0 && asked.memory > swap && asked.memory_swap == 0 {
            let why = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time";
            return Err(why.into());
        }
        (own.memory, own.memory_swap) = (asked.memory, swap);
    }
    if asked.memory_swap != 0 {
        own.memory_swap = asked.memory_swap;
    }
    if own.memory_swap > 0 && own.memory_swap < own.memory {
        return Err("Minimum memoryswap limit should be larger than memory limit, see usage".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(own: ResourceSpec, asked: ResourceSpec) -> Result<ResourceSpec, String> {
        let mut own = own;
        merge(&mut own, &asked).map(|()| own)
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let own = ResourceSpec {
            memory: 64,
            cpu_shares: 5,
            cpuset_cpus: "0".into(),
            pids_limit: Some(9),
            ..Default::default()
        };
        let asked = ResourceSpec { memory: 100, cpu_quota: -1, ..Default::default() };
        let after = merged(own.clone(), asked).unwrap();
        assert_eq!((after.memory, after.memory_swap, after.cpu_quota, after.cpu_shares), (100, 128, -1, 5));
        assert_eq!((after.cpuset_cpus.as_str(), after.pids_limit), ("0", Some(9)));
        let unlimited = ResourceSpec { pids_limit: Some(-1), memory_swap: -1, ..Default::default() };
        let after = merged(own, unlimited).unwrap();
        assert_eq!((after.pids_limit, after.memory_swap), (Some(-1), -1));
    }

    #[test]
    fn contradictions_are_told() {
        let own = ResourceSpec { memory: 64, nano_cpus: 1, ..Default::default() };
        let asked = ResourceSpec { memory: 200, ..Default::default() };
        assert!(merged(own.clone(), asked).unwrap_err().contains("update the memoryswap at the same time"));
        let asked = ResourceSpec { memory: 200, memory_swap: 400, ..Default::default() };
        assert!(merged(own.clone(), asked).is_ok());
        let asked = ResourceSpec { cpu_quota: 1000, ..Default::default() };
        assert_eq!(
            merged(own, asked).unwrap_err(),
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        );
    }
}
