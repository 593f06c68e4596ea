//! Prunes, updates and disk usage. The daemon is shared: what is pruned there carries a label of the trial.

use super::limits::{read, v1};
use proa_e2e::command::until;
use proa_e2e::{Ctx, Daemon, Suite, archive};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) fn add(s: &mut Suite) {
    prunes(s);
    prunes_of_images(s);
    updates(s);
    usage(s);
    s.alone("a prune must not take what a container that is being made will use", prune_race);
}

/// A filter for a label that only this trial has.
fn label(c: &Ctx) -> (String, String) {
    let label = c.name("label");
    (label.clone(), format!("label={label}"))
}

/// What a prune tells that must end well. Dockerd takes one at a time and refuses others, some after a part is done.
fn pruned(c: &Ctx, args: &[&str]) -> String {
    let mut told = String::new();
    until("no other prune", || {
        let out = c.run(args);
        let busy = c.reference && out.err().contains("a prune operation is already running");
        told.push_str(&if busy { String::from_utf8_lossy(&out.stdout).into_owned() } else { out.ok() });
        (!busy).then_some(())
    });
    told
}

/// Whether the client and the daemon speak a version in which a prune of volumes takes those with a name too.
fn is_old(c: &Ctx) -> bool {
    c.client.name == "docker20" || c.reference
}

fn prunes(s: &mut Suite) {
    s.each("container prune must remove stopped containers that fit, and tell the space", |c| {
        let (label, filter) = label(c);
        let [running, stopped, other] = ["a", "b", "d"].map(|suffix| c.name(suffix));
        c.start(&running, &["--label", &label], "sleep 300");
        c.start(&other, &[], "true");
        let fill = "head -c 1000000 /dev/zero > /file";
        let args = ["run", "--name", &stopped, "--label", &label, "busybox", "sh", "-c", fill];
        c.ok(&args);
        let id = c.inspect(&stopped, "{{.Id}}");
        pruned(c, &["container", "prune", "-f", "--filter", &filter, "--filter", "until=1h"]);
        c.run(&["container", "prune", "-f", "--filter", "until=soon"]).fails(1, "soon");
        c.run(&["container", "prune", "-f", "--filter", "color=red"]).fails(1, "invalid filter 'color'");
        assert_eq!(c.inspect(&stopped, "{{.Id}}"), id);
        let out = pruned(c, &["container", "prune", "-f", "--filter", &filter]);
        assert_eq!(out, format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 1MB"));
        c.run(&["inspect", &stopped]).fails(1, "no such object");
        assert_eq!(c.inspect(&running, "{{.State.Running}}"), "true");
        c.inspect(&other, "{{.Id}}");
    });
    s.each("a prune must ask, and remove nothing without a yes", |c| {
        let name = c.name("c");
        c.ok(&["create", "--name", &name, "busybox", "true"]);
        for (args, question) in [
            (&["container", "prune"][..], "This will remove all stopped containers."),
            (&["image", "prune"], "This will remove all dangling images."),
            (&["image", "prune", "-a"], "all images without at least one container associated to them."),
            (&["volume", "prune"], "local volumes not used by at least one container."),
            (
                &["network", "prune"],
                "This will remove all custom networks not used by at least one container.",
            ),
            (
                &["system", "prune"],
                "  - all stopped containers\n  - all networks not used by at least one container\n",
            ),
        ] {
            let out = c.feed(args, b"n\n").out();
            let asked = out.starts_with("WARNING! This will remove") && out.contains(question);
            assert!(asked && out.contains("Are you sure you want to continue? [y/N]"), "{args:?}: {out}");
        }
        assert_eq!(c.inspect(&name, "{{.State.Status}}"), "created");
    });
    s.each("volume prune must remove unused volumes that fit: anonymous ones, or all", |c| {
        let (label, filter) = label(c);
        let (named, used, holder) = (c.name("n"), c.name("u"), c.name("c"));
        c.ok(&["volume", "create", "--label", &label, &named]);
        c.ok(&["volume", "create", "--label", &label, &used]);
        let anonymous = c.ok(&["volume", "create", "--label", &label]);
        c.ok(&["create", "--name", &holder, "-v", &format!("{used}:/data"), "busybox", "true"]);
        c.sh(&["-v", &format!("{anonymous}:/data")], "head -c 1000000 /dev/zero > /data/file");
        let out = pruned(c, &["volume", "prune", "-f", "--filter", &filter]);
        let has = |name: &str| out.lines().any(|line| line == name);
        assert!(out.starts_with("Deleted Volumes:\n") && has(&anonymous) && !has(&used), "{out}");
        assert!(out.ends_with("\nTotal reclaimed space: 1MB"), "{out}");
        assert_eq!(has(&named), is_old(c), "{out}");
        if !is_old(c) {
            let out = pruned(c, &["volume", "prune", "-af", "--filter", &filter]);
            assert_eq!(out, format!("Deleted Volumes:\n{named}\n\nTotal reclaimed space: 0B"));
        }
        c.inspect(&holder, "{{.Id}}");
        assert_eq!(c.ok(&["volume", "ls", "-q", "--filter", &format!("name={used}")]), used);
    });
    s.each("network prune must leave the built-in networks", |c| {
        let (_, filter) = label(c);
        assert_eq!(pruned(c, &["network", "prune", "-f", "--filter", &filter]), "");
        c.ok(&["network", "inspect", "bridge", "host", "none"]);
    });
    s.each("system prune must end well though there is no build cache", |c| {
        let (label, filter) = label(c);
        let name = c.name("c");
        c.ok(&["create", "--name", &name, "--label", &label, "busybox", "true"]);
        assert!(pruned(c, &["system", "prune", "-f", "--filter", &filter]).contains("Deleted Containers:"));
        c.run(&["inspect", &name]).fails(1, &name);
    });
    s.ours("system prune must remove what fits of everything, and name it", |c| {
        let (label, filter) = label(c);
        let (name, not) = (c.name("c"), c.name("kept"));
        c.ok(&["create", "--name", &name, "--label", &label, "busybox", "true"]);
        c.ok(&["create", "--name", &not, "busybox", "true"]);
        let id = c.inspect(&name, "{{.Id}}");
        let volume = c.ok(&["volume", "create", "--label", &label]);
        let image = import(c, &label, None);
        let asked = c.feed(&["system", "prune", "--volumes", "-a", "--filter", &filter], b"\n");
        asked.fails(0, "Are you sure you want to continue?");
        let kind = if is_old(c) { "volumes" } else { "anonymous volumes" };
        let wanted = format!(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all {kind} not used by at least one container\n  - all images without at least one container \
             associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - {filter}\n\nAre you \
             sure you want to continue? [y/N] "
        );
        assert_eq!(asked.out(), wanted);
        let out = pruned(c, &["system", "prune", "--volumes", "-f", "--filter", &filter]);
        assert!(out.contains(&format!("Deleted Containers:\n{id}\n\n")), "{out}");
        assert!(out.contains(&format!("Deleted Volumes:\n{volume}\n\n")), "{out}");
        assert!(out.contains(&format!("deleted: {image}\n")), "{out}");
        assert!(c.reference || out.ends_with("Total reclaimed space: 1MB"), "{out}");
        c.inspect(&not, "{{.Id}}");
        let args = ["system", "prune", "-f", "--volumes", "--filter", "until=1h"];
        c.run(&args).fails(1, "The \"until\" filter is not supported with \"--volumes\"");
    });
    s.ours("a prune must be an event that tells the space", |c| {
        let (_, filter) = label(c);
        let begin = c.ok(&["info", "-f", "{{.SystemTime}}"]);
        pruned(c, &["volume", "prune", "-f", "--filter", &filter]);
        let end = c.ok(&["info", "-f", "{{.SystemTime}}"]);
        let wanted = ["--filter", "event=prune", "--format", "{{.Type}} {{.Actor.Attributes.reclaimed}}"];
        let told = c.ok(&[&["events", "--since", &begin, "--until", &end], &wanted[..]].concat());
        assert!(told.lines().any(|line| line == "volume 0"), "{told}");
    });
}

/// An image of a million bytes that no other has, with a label; its id.
fn import(c: &Ctx, label: &str, name: Option<&str>) -> String {
    let seed = label.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let bytes = archive::tar(&[archive::file("file", &archive::noise(1_000_000, seed))]);
    let change = format!("LABEL {label}=1");
    let args = ["import", "-c", &change, "-"];
    c.feed(&[&args[..], name.as_slice()].concat(), &bytes).ok()
}

fn prunes_of_images(s: &mut Suite) {
    s.each("image prune must remove images without a name that fit and are not used", |c| {
        let (label, filter) = label(c);
        let (first, used) = (import(c, &label, None), c.name("c"));
        c.ok(&["create", "--name", &used, &first, "/file"]);
        let out = pruned(c, &["image", "prune", "-f", "--filter", &filter]);
        assert_eq!(out, "Total reclaimed space: 0B");
        c.ok(&["rm", &used]);
        let out = pruned(c, &["image", "prune", "-f", "--filter", &filter, "--filter", "until=1h"]);
        assert_eq!(out, "Total reclaimed space: 0B");
        let out = pruned(
            c,
            &["image", "prune", "-f", "--filter", &format!("label!={label}=1"), "--filter", &filter],
        );
        assert_eq!(out, "Total reclaimed space: 0B");
        let out = pruned(c, &["image", "prune", "-f", "--filter", &filter]);
        assert!(out.starts_with(&format!("Deleted Images:\ndeleted: {first}\n")), "{out}");
        assert!(out.ends_with("\n\nTotal reclaimed space: 1MB"), "{out}");
        c.run(&["image", "inspect", &first]).fails(1, "no such image");
    });
    s.each("image prune -a must remove images with names too, unless a container uses them", |c| {
        let (label, filter) = label(c);
        let (image, used) = (c.name("image"), c.name("c"));
        let id = import(c, &label, Some(&image));
        c.ok(&["create", "--name", &used, &image, "/file"]);
        for args in [&["-f"][..], &["-af"]] {
            let out = pruned(c, &[&["image", "prune", "--filter", &filter], args].concat());
            assert_eq!(out, "Total reclaimed space: 0B");
        }
        assert_eq!(c.inspect(&image, "{{.Id}}"), id);
        c.ok(&["rm", &used]);
        let out = pruned(c, &["image", "prune", "-af", "--filter", &filter]);
        let lines = format!("Deleted Images:\nuntagged: {image}:latest\ndeleted: {id}\n");
        assert!(out.starts_with(&lines) && out.ends_with("Total reclaimed space: 1MB"), "{out}");
    });
}

/// Prunes volumes again and again, and images at the moment in which a container is made of one.
fn prune_race() {
    let daemon = Daemon::start_proa("prune-race", &[]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                prune(&daemon, "volumes", "%7B%22all%22%3A%5B%221%22%5D%7D");
            }
        });
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..15).map(|n| usize::from(make_and_run(&daemon, n))).sum::<usize>()
        }));
        ended.store(true, Ordering::Relaxed);
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("{made} of 15 containers were made before their image was pruned");
    });
}

fn prune(daemon: &Daemon, kind: &str, filters: &str) {
    let path = format!("/v1.54/{kind}/prune?filters={filters}");
    let answer = daemon.request_with("POST", &path, "").unwrap_or_default();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Whether a container could be made: its image may have been pruned, and nothing else may go wrong.
fn make_and_run(daemon: &Daemon, n: usize) -> bool {
    daemon.load_busybox();
    let name = format!("c{n}");
    let body = serde_json::json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "echo x > /named/f; echo x > /anonymous/f"],
        "HostConfig": { "Binds": [format!("v{n}:/named"), "/anonymous"] }, "Volumes": { "/another": {} },
    });
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| prune(daemon, "images", "%7B%22dangling%22%3A%5B%22false%22%5D%7D"));
        let path = format!("/v1.54/containers/create?name={name}");
        daemon.request_with("POST", &path, &body.to_string()).unwrap_or_default()
    });
    if !answer.starts_with("HTTP/1.1 201") {
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("No such image: busybox"), "{answer}");
        return false;
    }
    let out = daemon.docker(&["start", "-a", &name]);
    assert_eq!((out.code, out.err().as_str()), (0, ""), "{}", out.line);
    daemon.docker(&["image", "inspect", "busybox"]).ok();
    daemon.docker(&["rm", &name]).ok();
    true
}

fn updates(s: &mut Suite) {
    s.each("update must change limits of a running container, and of its next start", |c| {
        let name = c.name("c");
        c.start(&name, &["-m", "64m"], "exec sleep 300");
        let limits = ["-m", "96m", "--memory-swap", "192m", "--cpu-shares", "512", "--cpus", "0.5", "--pids-limit", "77"];
        assert_eq!(c.ok(&[&["update"], &limits[..], &[&name]].concat()), name);
        let told = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuShares}} {{.HostConfig.NanoCpus}}";
        let check = || {
            let wanted = format!("{} {} 512 500000000", 96 << 20, 192 << 20);
            assert_eq!(c.inspect(&name, told), wanted);
            if v1() {
                let memory = read(c, &name, "memory", "memory.limit_in_bytes");
                assert_eq!(memory, (96 << 20).to_string());
                assert_eq!(read(c, &name, "memory", "memory.memsw.limit_in_bytes"), (192 << 20).to_string());
                assert_eq!(read(c, &name, "cpu", "cpu.shares"), "512");
                assert_eq!(read(c, &name, "cpu", "cpu.cfs_quota_us"), "50000");
            } else {
                assert_eq!(read(c, &name, "", "memory.max"), (96 << 20).to_string());
                assert_eq!(read(c, &name, "", "memory.swap.max"), (96 << 20).to_string());
                assert_eq!(read(c, &name, "", "cpu.max"), "50000 100000");
            }
            let pids = c.inspect(&name, "{{.HostConfig.PidsLimit}}");
            assert_eq!(pids, "77");
        };
        check();
        c.ok(&["restart", "-t", "0", &name]);
        check();
        c.ok(&["update", "--pids-limit", "-1", &name]);
        assert!(["0", "-1", "<nil>"].contains(&&*c.inspect(&name, "{{.HostConfig.PidsLimit}}")));
        let pids = if v1() { read(c, &name, "pids", "pids.max") } else { read(c, &name, "", "pids.max") };
        assert_eq!(pids, "max");
    });
    s.each("update must refuse what cannot be, and change nothing then", |c| {
        let name = c.name("c");
        c.start(&name, &["-m", "64m", "--cpus", "0.5"], "exec sleep 300");
        c.run(&["update", "-m", "1m", &name]).fails(1, "Minimum memory limit allowed is");
        c.run(&["update", "-m", "512m", &name])
            .fails(1, "Memory limit should be smaller than already set memoryswap limit");
        c.run(&["update", "--cpu-quota", "20000", &name])
            .fails(1, "CPU Quota cannot be updated as NanoCPUs has already been set");
        c.run(&["update", "--cpus", "1000", &name]).fails(1, "range of CPUs is from");
        c.run(&["update", "--restart", "sometimes", &name]).fails(1, "policy");
        c.run(&["update", &name]).fails(1, "you must provide one or more flags when using this command");
        c.run(&["update", "-m", "96m", "no-such-container"]).fails(1, "No such container: no-such-container");
        assert_eq!(
            c.inspect(&name, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"),
            format!("{} 500000000", 64 << 20)
        );
    });
    s.each("update --restart must hold for a running container", |c| {
        let name = c.name("c");
        c.start(&name, &[], "trap 'exit 3' TERM; while :; do sleep 0.1; done");
        assert_eq!(c.ok(&["update", "--restart", "on-failure:5", &name]), name);
        let policy = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
        assert_eq!(c.inspect(&name, policy), "on-failure 5");
        // A signal before the trap is set is ignored by the first process of a container.
        until("it is started again", || {
            c.run(&["exec", &name, "kill", "-TERM", "1"]);
            (c.inspect(&name, "{{.RestartCount}}") != "0").then_some(())
        });
        c.ok(&["update", "--restart", "no", &name]);
        assert_eq!(c.inspect(&name, policy), "no 0");
        let gone = c.name("rm");
        c.start(&gone, &["--rm"], "sleep 300");
        c.run(&["update", "--restart", "always", &gone])
            .fails(1, "Restart policy cannot be updated because AutoRemove is enabled for the container");
    });
    s.ours("an update of what stays must be refused by name", |c| {
        let name = c.name("c");
        c.start(&name, &[], "exec sleep 300");
        let path = format!("/v1.54/containers/{name}/update");
        let answer = c.request("POST", &path, r#"{"Ulimits":[{"Name":"nofile","Soft":5,"Hard":5}]}"#);
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains("Ulimits cannot be updated"),
            "{answer}"
        );
        let told = c.post(&path, r#"{"KernelMemory":104857600,"MemoryReservation":33554432}"#);
        assert!(told["Warnings"][0].as_str().is_some_and(|text| text.contains("kernel memory")), "{told}");
        assert_eq!(c.inspect(&name, "{{.HostConfig.MemoryReservation}}"), (32 << 20).to_string());
    });
}

fn usage(s: &mut Suite) {
    s.each("system df must tell of every kind, and -v of every object", |c| {
        let (volume, holder) = (c.name("v"), c.name("c"));
        let fill = "head -c 1000000 /dev/zero > /data/f; head -c 2000000 /dev/zero > /f";
        let args = ["run", "--name", &holder, "-v", &format!("{volume}:/data"), "busybox", "sh", "-c", fill];
        c.ok(&args);
        let out = c.ok(&["system", "df", "--format", "{{.Type}}"]);
        assert_eq!(out, "Images\nContainers\nLocal Volumes\nBuild Cache");
        let heads = c.ok(&["system", "df"]);
        let heads: Vec<&str> = heads.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(heads, ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
        let out = c.ok(&["system", "df", "-v"]);
        let line = |name: &str| -> Vec<&str> {
            let found = out.lines().find(|line| line.split_whitespace().any(|word| word == name));
            found.unwrap_or_else(|| panic!("{name}: {out}")).split_whitespace().collect()
        };
        assert_eq!(line(&volume), [&volume, "1", "1MB"]);
        assert!(line(&holder).contains(&"2MB"), "{out}");
        for head in [
            "Images space usage:",
            "Containers space usage:",
            "Local Volumes space usage:",
            "Build cache usage: 0B",
        ] {
            assert!(out.lines().any(|line| line == head), "{out}");
        }
        let size = c.ok(&["ps", "-as", "--filter", &format!("name={holder}"), "--format", "{{.Size}}"]);
        assert!(size.starts_with("2MB (virtual "), "{size}");
        let sizes =
            c.ok(&["inspect", "--size", "--type", "container", "-f", "{{.SizeRw}} {{.SizeRootFs}}", &holder]);
        let (own, whole) = sizes.split_once(' ').unwrap();
        assert_eq!(own, "2000000");
        let image: u64 = c.inspect("busybox", "{{.Size}}").parse().unwrap();
        assert_eq!(whole.parse::<u64>().unwrap(), 2_000_000 + image);
    });
    s.ours("disk usage must have the shape of its version, and add up with the disk", |c| {
        let volume = c.name("v");
        let at = c.ok(&["volume", "create", &volume]);
        assert_eq!(at, volume);
        let at = c.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", &volume]);
        std::fs::create_dir(format!("{at}/d")).unwrap();
        for (name, length) in [("a", 1000), ("d/b", 234)] {
            std::fs::write(format!("{at}/{name}"), vec![0; length]).unwrap();
        }
        std::fs::hard_link(format!("{at}/a"), format!("{at}/again")).unwrap();
        let old = c.get("/v1.44/system/df");
        let find = |list: &serde_json::Value| -> serde_json::Value {
            list.as_array().unwrap().iter().find(|one| one["Name"] == *volume).cloned().unwrap_or_default()
        };
        assert_eq!(find(&old["Volumes"])["UsageData"], serde_json::json!({ "RefCount": 0, "Size": 1234 }));
        assert!(old["LayersSize"].as_u64() > Some(0) && old["BuildCache"].is_array(), "{old}");
        assert!(old["Images"][0]["SharedSize"].is_u64() && old.get("ImageUsage").is_none(), "{old}");
        let only = c.get("/v1.44/system/df?type=volume");
        assert!(only.get("Images").is_none() && only["Volumes"].is_array(), "{only}");
        assert!(c.get("/v1.41/system/df?type=volume")["Images"].is_array());
        let new = c.get("/v1.54/system/df?type=volume&type=image");
        assert!(new["VolumeUsage"]["TotalSize"].as_u64() >= Some(1234), "{new}");
        assert!(new.get("ContainerUsage").is_none() && new["VolumeUsage"].get("Items").is_none(), "{new}");
        let verbose = c.get("/v1.54/system/df?verbose=1");
        assert_eq!(find(&verbose["VolumeUsage"]["Items"])["UsageData"]["Size"], 1234);
        let refused = c.request("GET", "/v1.54/system/df?type=network", "");
        assert!(
            refused.starts_with("HTTP/1.1 400") && refused.contains("unknown object type: network"),
            "{refused}"
        );
    });
}
