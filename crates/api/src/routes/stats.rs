//! What a container uses.

use crate::body::{Answer, json, streamed, typed, with};
use crate::error::Failure;
use crate::server::Call;
use bytes::Bytes;
use hyper::StatusCode;
use proa_docker_api::{
    BlkioEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, Stats, ThrottlingData,
};
use proa_engine::{LinkUsage, Reading, Sample, Samples, Usage};
use proa_types::Timestamp;
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

/// One sample, or one a second until the container is removed or nobody listens.
pub(crate) async fn stats(call: Call) -> Handled {
    let stream = call.query.text("stream").is_none() || call.query.flag("stream");
    let once = call.since(1, 41) && call.query.flag("one-shot");
    if stream && once {
        return Err(Failure::bad("cannot have stream=true and one-shot=true"));
    }
    let samples = call.engine().samples(call.name())?;
    let shown = Shown { os_type: call.since(1, 52), before: None };
    if stream { Ok(follow(samples, shown)) } else { one(samples, shown, once).await }
}

/// One sample. Unless it is to come at once, it is the second, so that it tells what went on between the two.
async fn one(mut samples: Samples, mut shown: Shown, once: bool) -> Handled {
    let runs = samples.is_running();
    let gone = || Failure::new(StatusCode::NOT_FOUND, "the container was removed");
    let mut sample = samples.next().await.ok_or_else(gone)?;
    if !once && runs {
        shown.next(&sample);
        sample = samples.next().await.ok_or_else(gone)?;
    }
    Ok(json(StatusCode::OK, &shown.next(&sample)))
}

fn follow(mut samples: Samples, mut shown: Shown) -> Answer {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let sample = tokio::select! { sample = samples.next() => sample, () = sender.closed() => return };
            let Some(sample) = sample else { return };
            let mut bytes = serde_json::to_vec(&shown.next(&sample)).unwrap_or_default();
            bytes.push(b'\n');
            if sender.send(Bytes::from(bytes)).await.is_err() {
                return;
            }
        }
    });
    typed(with(StatusCode::OK, streamed(receiver)), "application/json")
}

/// What a client has been shown.
struct Shown {
    /// Whether it knows of other systems: since 1.52.
    os_type: bool,
    before: Option<(Timestamp, CpuStats)>,
}

impl Shown {
    /// The document of a sample, with the processor time of the one before.
    fn next(&mut self, sample: &Sample) -> Stats {
        let mut wire = Stats {
            name: format!("/{}", sample.name),
            id: sample.id.clone(),
            os_type: if self.os_type { "linux".into() } else { String::new() },
            read: Timestamp(0).to_string(),
            preread: Timestamp(0).to_string(),
            ..Stats::default()
        };
        let Some(reading) = &sample.reading else {
            self.before = None;
            return wire;
        };
        if let Some((at, cpu)) = self.before.take() {
            (wire.preread, wire.precpu_stats) = (at.to_string(), cpu);
        }
        wire.read = reading.at.to_string();
        wire.cpu_stats = cpu(reading);
        wire.memory_stats = memory(reading);
        let pids = &reading.usage.pids;
        wire.pids_stats = PidsStats { current: pids.current, limit: pids.limit.unwrap_or(0) };
        wire.blkio_stats = block(reading);
        wire.networks = reading.links.iter().map(|(name, usage)| (name.clone(), link(usage))).collect();
        self.before = Some((reading.at, wire.cpu_stats.clone()));
        wire
    }
}

fn cpu(reading: &Reading) -> CpuStats {
    let cpu = &reading.usage.cpu;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.total,
            percpu_usage: cpu.per_cpu.clone(),
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: reading.system,
        online_cpus: reading.processors,
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        },
    }
}

fn memory(reading: &Reading) -> MemoryStats {
    let memory = &reading.usage.memory;
    let of_v1 = |value: u64| if reading.cgroup_v1 { value } else { 0 };
    MemoryStats {
        usage: memory.usage,
        max_usage: of_v1(memory.max_usage.unwrap_or(0)),
        stats: memory.detail.clone(),
        failcnt: of_v1(memory.failures),
        // What has no limit is limited by the machine.
        limit: memory.limit.min(reading.memory),
    }
}

fn block(reading: &Reading) -> BlkioStats {
    let Usage { block, .. } = &reading.usage;
    let [read, write] = if reading.cgroup_v1 { ["Read", "Write"] } else { ["read", "write"] };
    let entries = |numbers: fn(&proa_engine::BlockUsage) -> [u64; 2]| -> Vec<BlkioEntry> {
        let device = |device| {
            let [was_read, was_written] = numbers(device);
            let entry = |op: &str, value| BlkioEntry {
                major: device.major,
                minor: device.minor,
                op: op.into(),
                value,
            };
            [entry(read, was_read), entry(write, was_written)]
        };
        block.iter().flat_map(device).collect()
    };
    let none = reading.cgroup_v1.then(Vec::new);
    BlkioStats {
        io_service_bytes_recursive: Some(entries(|device| [device.read_bytes, device.write_bytes])),
        io_serviced_recursive: reading.cgroup_v1.then(|| entries(|device| [device.reads, device.writes])),
        io_queue_recursive: none.clone(),
        io_service_time_recursive: none.clone(),
        io_wait_time_recursive: none.clone(),
        io_merged_recursive: none.clone(),
        io_time_recursive: none.clone(),
        sectors_recursive: none,
    }
}

fn link(usage: &LinkUsage) -> NetworkStats {
    let ([rx_bytes, rx_packets, rx_errors, rx_dropped], [tx_bytes, tx_packets, tx_errors, tx_dropped]) =
        (usage.received, usage.sent);
    NetworkStats { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }
}
