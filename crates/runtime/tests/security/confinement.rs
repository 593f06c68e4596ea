//! What a container with docker's defaults may and may not.

use crate::bundle::{Bundle, MASKED, READ_ONLY, device, text};
use crate::{Test, check};
use std::collections::BTreeMap;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("capabilities_are_dockers_fourteen_and_none_is_inheritable", capabilities),
        ("executed_processes_are_confined_alike", executed_processes),
        ("the_filter_refuses_what_the_profile_refuses", filter),
        ("no_new_privileges_is_set_where_asked", no_new_privileges),
        ("masked_paths_show_nothing", masked_paths),
        ("read_only_paths_and_cgroups_cannot_be_written", read_only_paths),
        ("devices_without_a_rule_cannot_be_opened", devices),
        ("no_descriptor_but_the_three_is_inherited", descriptors),
        ("namespaces_cannot_be_made_or_left", namespaces),
        ("the_number_of_processes_is_bounded", processes),
        ("mounts_are_docker_s_and_nothing_of_the_host_is_visible", mounts),
    ]
}

/// Lines of `key: value` or `key value`.
fn pairs(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once([':', ' ']))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

fn capabilities() -> Result<(), String> {
    let status = pairs(&Bundle::new(&["cat", "/proc/self/status"]).output()?);
    expect_confined(&status)?;
    expect(&status, "NoNewPrivs", "0")
}

fn expect(found: &BTreeMap<String, String>, key: &str, value: &str) -> Result<(), String> {
    check(found.get(key).is_some_and(|v| v == value), || {
        format!("{key} is {:?}, not {value}", found.get(key))
    })
}

fn expect_confined(status: &BTreeMap<String, String>) -> Result<(), String> {
    for (set, bits) in [
        ("CapInh", 0),
        ("CapPrm", 0xa804_25fb_u64),
        ("CapEff", 0xa804_25fb),
        ("CapBnd", 0xa804_25fb),
        ("CapAmb", 0),
    ] {
        expect(status, set, &format!("{bits:016x}"))?;
    }
    expect(status, "Seccomp", "2")
}

fn executed_processes() -> Result<(), String> {
    let bundle = Bundle::new(&["sleep"]);
    bundle.start()?;
    let status = pairs(&text(bundle.exec(&[], &["cat", "/proc/self/status"]))?);
    // An executed process has the container's bounding set at most, and its filter.
    expect(&status, "CapInh", "0000000000000000")?;
    expect(&status, "CapBnd", "00000000a80425fb")?;
    expect(&status, "CapAmb", "0000000000000000")?;
    expect(&status, "Seccomp", "2")?;
    let calls = text(bundle.exec(&[], &["calls"]))?;
    expect_refused(&pairs(&calls))?;
    let found = text(bundle.exec(&[], &["descriptors"]))?;
    expect_three(&found)?;
    let devices = text(bundle.exec(&[], &["devices"]))?;
    expect_devices(&devices)
}

fn filter() -> Result<(), String> {
    expect_refused(&pairs(&Bundle::new(&["calls"]).output()?))
}

fn expect_refused(calls: &BTreeMap<String, String>) -> Result<(), String> {
    check(calls.len() >= 13, || format!("only {} calls were tried", calls.len()))?;
    for (call, errno) in calls {
        let wanted = match call.as_str() {
            "Clone3" => libc::ENOSYS,
            "Personality" | "Socket(1)" => 0,
            _ => libc::EPERM,
        };
        check(errno == "none" || *errno == wanted.to_string(), || format!("{call}: {errno}, not {wanted}"))?;
    }
    Ok(())
}

fn no_new_privileges() -> Result<(), String> {
    let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
    bundle.process().no_new_privileges = true;
    let status = pairs(&bundle.output()?);
    expect(&status, "NoNewPrivs", "1")?;
    expect_confined(&status)
}

fn masked_paths() -> Result<(), String> {
    let words: Vec<&str> = ["look"].into_iter().chain(MASKED).collect();
    let found = Bundle::new(&words).output()?;
    check(found.lines().count() == MASKED.len(), || found.clone())?;
    let content: Vec<&str> = found.lines().filter(|line| line.ends_with(" content")).collect();
    check(content.is_empty(), || format!("not hidden: {content:?}"))?;
    let hidden = found.lines().filter(|line| !line.ends_with(" absent")).count();
    check(hidden >= 3, || format!("hardly anything was there to hide:\n{found}"))?;
    // The test itself: without masks something shows.
    let mut open = Bundle::new(&words);
    open.spec.linux.masked_paths.clear();
    check(open.output()?.contains(" content"), || "nothing shows without masks either".into())
}

fn read_only_paths() -> Result<(), String> {
    let files = [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/swappiness",
        "/proc/irq/default_smp_affinity",
        "/proc/sys/net/ipv4/ip_forward",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/devices/devices.allow",
        "/sys/fs/cgroup/memory/release_agent",
    ];
    let words: Vec<&str> = ["write"].into_iter().chain(files).chain(READ_ONLY).collect();
    let found = Bundle::new(&words).output()?;
    let done: Vec<&str> = found.lines().filter(|line| line.ends_with(" done")).collect();
    check(done.is_empty(), || format!("written to: {done:?}"))?;
    check(found.lines().count() == words.len() - 1, || found)
}

fn devices() -> Result<(), String> {
    let mut bundle = Bundle::new(&["devices"]);
    // A node made by the runtime does not open either without a rule.
    bundle.spec.linux.devices.push(device("/dev/given", "c", 1, 11));
    expect_devices(&bundle.output()?)
}

/// Lines of name, whether the node could be made, errno of opening it.
fn expect_devices(found: &str) -> Result<(), String> {
    check(found.lines().count() >= 6, || format!("too few attempts:\n{found}"))?;
    for line in found.lines() {
        let (name, errno) = (line.split(' ').next().unwrap_or_default(), line.rsplit(' ').next());
        let (_, wanted) = (name, if name == "zero" { "0" } else { "1" });
        // A device given is only in the one test that gives it.
        let absent = name == "given" && errno == Some("2");
        check(absent || errno == Some(wanted), || format!("{line}: opening it must give {wanted}"))?;
    }
    Ok(())
}

fn descriptors() -> Result<(), String> {
    expect_three(&Bundle::new(&["descriptors"]).output()?)
}

fn expect_three(found: &str) -> Result<(), String> {
    let numbers: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
    let extra: Vec<&&str> = numbers.iter().filter(|n| !matches!(**n, "0" | "1" | "2")).collect();
    check(numbers.len() >= 3 && extra.is_empty(), || format!("descriptors {extra:?} of:\n{found}"))
}

fn namespaces() -> Result<(), String> {
    let found = Bundle::new(&["namespaces"]).output()?;
    let refused = found.lines().filter(|line| line.ends_with(&format!(" {}", libc::EPERM))).count();
    check(refused == 4, || found)
}

fn processes() -> Result<(), String> {
    let mut bundle = Bundle::new(&["forks"]);
    bundle.spec.linux.resources.as_mut().unwrap().pids = Some(proa_oci::runtime::Pids { limit: 12 });
    let found = bundle.output()?;
    let count: usize = found.trim().parse().map_err(|_| found.clone())?;
    check((1..=12).contains(&count), || format!("{count} processes were made with a limit of 12"))
}

fn mounts() -> Result<(), String> {
    let bundle = Bundle::new(&["cat", "/proc/self/mountinfo"]);
    let found = bundle.output()?;
    let host = bundle.dir.file_name().unwrap().to_string_lossy().into_owned();
    for line in found.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (point, options) =
            (fields.get(4).copied().unwrap_or_default(), fields.get(5).copied().unwrap_or_default());
        check(!point.contains(&host), || format!("a mount of the host shows: {line}"))?;
        let wanted: &[&str] = match point {
            "/proc" => &["nosuid", "nodev", "noexec"],
            "/sys" | "/sys/fs/cgroup" => &["ro", "nosuid", "nodev", "noexec"],
            "/dev/shm" | "/dev/mqueue" => &["nosuid", "nodev", "noexec"],
            "/dev" => &["nosuid"],
            "/probe" => &["ro"],
            _ => &[],
        };
        let missing: Vec<_> = wanted.iter().filter(|w| !options.split(',').any(|o| o == **w)).collect();
        check(missing.is_empty(), || format!("{missing:?} is missing: {line}"))?;
    }
    for point in ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"] {
        check(found.lines().any(|line| line.split(' ').nth(4) == Some(point)), || {
            format!("{point} is missing:\n{found}")
        })?;
    }
    let propagates = found.lines().find(|line| line.contains(" shared:") || line.contains(" master:"));
    check(propagates.is_none(), || format!("mounts come and go with the host's: {propagates:?}"))
}
