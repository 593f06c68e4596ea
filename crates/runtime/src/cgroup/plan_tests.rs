//! Plans as text: what would be written on v1, on v2 and on a hybrid host.

use super::plan::{Place, Places, Plan, plan};
use proa_oci::runtime::Resources;

fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

fn all(place: Place) -> Places {
    Places { cpu: place, cpuset: place, memory: place, pids: place, io: place, hugetlb: place }
}

fn text(plan: &Plan) -> Vec<String> {
    plan.writes
        .iter()
        .map(|w| {
            let place = w.v1.map_or_else(String::new, |controller| format!("{controller}/"));
            let instead = w.instead.as_ref().map_or_else(String::new, |(f, v)| format!(" | {f}={v}"));
            format!("{place}{}={}{instead}", w.file, w.value)
        })
        .collect()
}

const EVERYTHING: &str = r#"{
    "memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 10,
               "kernelTCP": 1048576, "disableOOMKiller": true},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 100},
    "blockIO": {"weight": 300, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1048576}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 0}, {"major": 8, "minor": 16, "rate": 7}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 100}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]
}"#;

#[test]
fn everything_on_v1() {
    let plan = plan(&resources(EVERYTHING), all(Place::V1)).unwrap();
    let expected = [
        "memory/memory.limit_in_bytes=67108864",
        "memory/memory.memsw.limit_in_bytes=134217728",
        "memory/memory.soft_limit_in_bytes=33554432",
        "memory/memory.kmem.tcp.limit_in_bytes=1048576",
        "memory/memory.swappiness=10",
        "memory/memory.oom_control=1",
        "cpu/cpu.shares=512",
        "cpu/cpu.cfs_period_us=100000",
        "cpu/cpu.cfs_quota_us=50000",
        "cpu/cpu.cfs_burst_us=1000",
        "cpuset/cpuset.cpus=0-1",
        "cpuset/cpuset.mems=0",
        "pids/pids.max=100",
        "blkio/blkio.bfq.weight=300 | blkio.weight=300",
        "blkio/blkio.bfq.weight_device=8:0 500 | blkio.weight_device=8:0 500",
        "blkio/blkio.throttle.read_bps_device=8:0 1048576",
        "blkio/blkio.throttle.write_bps_device=8:0 0",
        "blkio/blkio.throttle.write_bps_device=8:16 7",
        "blkio/blkio.throttle.read_iops_device=8:0 100",
        "hugetlb/hugetlb.2MB.limit_in_bytes=4194304",
    ];
    assert_eq!(text(&plan), expected);
    assert!(plan.warnings.is_empty());
}

#[test]
fn everything_on_v2() {
    let plan = plan(&resources(EVERYTHING), all(Place::V2)).unwrap();
    let expected = [
        "memory.swap.max=67108864",
        "memory.max=67108864",
        "memory.low=33554432",
        "cpu.weight=59",
        "cpu.max=50000 100000",
        "cpu.max.burst=1000",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=100",
        "io.bfq.weight=300 | io.weight=default 2930",
        "io.bfq.weight=8:0 500 | io.weight=8:0 4950",
        "io.max=8:0 rbps=1048576 wbps=max riops=100",
        "io.max=8:16 wbps=7",
        "hugetlb.2MB.max=4194304",
    ];
    assert_eq!(text(&plan), expected);
    let warned = |what: &str| plan.warnings.iter().any(|warning| warning.contains(what));
    assert!(warned("swappiness") && warned("OomKillDisable") && warned("TCP"));
    assert_eq!(plan.warnings.len(), 3);
}

#[test]
fn a_host_without_controllers_discards_with_dockers_words() {
    let plan = plan(&resources(EVERYTHING), all(Place::Absent)).unwrap();
    assert!(plan.writes.is_empty());
    for what in [
        "memory limit capabilities",
        "soft limit",
        "swappiness",
        "CPU shares",
        "CFS",
        "cpuset",
        "pids limit",
        "Block I/O weight or",
        "weight_device",
        "BPS Block I/O read",
        "BPS Block I/O write",
        "IOPS Block read",
        "huge page",
    ] {
        assert!(plan.warnings.iter().any(|w| w.contains(what)), "{what}: {:?}", plan.warnings);
    }
    let mut once = plan.warnings.clone();
    once.dedup();
    assert_eq!(once.len(), plan.warnings.len());
}

#[test]
fn nothing_asked_is_nothing_written() {
    for place in [Place::V1, Place::V2, Place::Absent] {
        assert_eq!(plan(&Resources::default(), all(place)).unwrap(), Plan::default());
    }
}

#[test]
fn no_limit_is_written_as_such() {
    let none = resources(r#"{"memory":{"limit":-1},"cpu":{"quota":-1},"pids":{"limit":-1}}"#);
    let v1 = plan(&none, all(Place::V1)).unwrap();
    let expected = [
        "memory/memory.limit_in_bytes=-1",
        "memory/memory.memsw.limit_in_bytes=-1",
        "cpu/cpu.cfs_quota_us=-1",
        "pids/pids.max=max",
    ];
    assert_eq!(text(&v1), expected);
    let v2 = plan(&none, all(Place::V2)).unwrap();
    assert_eq!(text(&v2), ["memory.swap.max=max", "memory.max=max", "cpu.max=max", "pids.max=max"]);
}

#[test]
fn a_hybrid_host_serves_each_controller_where_it_is() {
    let places = Places { hugetlb: Place::V2, ..all(Place::V1) };
    let plan = plan(
        &resources(r#"{"pids":{"limit":5},"hugepageLimits":[{"pageSize":"1GB","limit":0}],"unified":{"hugetlb.2MB.max":"0"}}"#),
        places,
    )
    .unwrap();
    assert_eq!(text(&plan), ["pids/pids.max=5", "hugetlb.1GB.max=0", "hugetlb.2MB.max=0"]);
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for (json, name) in [
        (r#"{"memory":{"limit":-5}}"#, "memory limit"),
        (r#"{"memory":{"limit":100,"swap":50}}"#, "memory swap limit"),
        (r#"{"memory":{"swappiness":101}}"#, "memory swappiness"),
        (r#"{"cpu":{"period":5}}"#, "cpu period"),
        (r#"{"cpu":{"quota":5}}"#, "cpu quota"),
        (r#"{"cpu":{"idle":2}}"#, "cpu idle"),
        (r#"{"blockIO":{"weight":5}}"#, "blkio weight"),
        (r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":2000}]}}"#, "blkio weight"),
        (r#"{"hugepageLimits":[{"pageSize":"../x","limit":1}]}"#, "hugepage limit"),
        (r#"{"unified":{"../../x":"1"}}"#, "unified resource"),
        (r#"{"unified":{"cgroup.procs":"1"}}"#, "unified resource"),
    ] {
        for place in [Place::V1, Place::V2] {
            let error = plan(&resources(json), all(place)).unwrap_err();
            assert!(error.to_string().contains(name), "{json}: {error}");
        }
    }
    assert!(plan(&resources(r#"{"cpu":{"realtimeRuntime":5000}}"#), all(Place::V2)).is_err());
    assert!(plan(&resources(r#"{"memory":{"swap":50}}"#), all(Place::V2)).is_err());
    assert!(plan(&resources(r#"{"unified":{"memory.high":"1"}}"#), all(Place::V1)).is_err());
}
