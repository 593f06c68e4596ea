//! The first process: how it begins, ends, and what is left when it cannot begin.

use crate::Test;
use crate::world::{World, mount, process, spec, wait};
use proa_oci::runtime::{Hook, Namespace, Pids, Rlimit};
use proa_runtime::{Error, ExecOptions, Stdio, TerminalSize};
use proa_types::{ErrorKind, Kinded};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

pub(crate) const TESTS: &[Test] = &[
    (
        "programs_that_cannot_run_are_named_and_leave_nothing",
        programs_that_cannot_run_are_named_and_leave_nothing,
    ),
    ("a_dropped_sandbox_leaves_nothing", a_dropped_sandbox_leaves_nothing),
    ("user_groups_umask_and_home_are_set", user_groups_umask_and_home_are_set),
    (
        "the_reaper_waits_for_orphans_and_passes_signals_on",
        the_reaper_waits_for_orphans_and_passes_signals_on,
    ),
    ("a_terminal_is_the_containers_own", a_terminal_is_the_containers_own),
    ("an_exec_has_a_terminal_and_another_user", an_exec_has_a_terminal_and_another_user),
    ("limits_beyond_the_hosts_rights_fail_or_warn", limits_beyond_the_hosts_rights_fail_or_warn),
    ("the_limit_of_processes_is_the_programs", the_limit_of_processes_is_the_programs),
    ("hooks_run_at_their_points_in_order", hooks_run_at_their_points_in_order),
    ("no_directory_outside_can_be_the_working_directory", no_directory_outside_can_be_the_working_directory),
    ("a_paused_or_ended_container_takes_no_exec", a_paused_or_ended_container_takes_no_exec),
    ("a_network_can_be_shared", a_network_can_be_shared),
    ("a_user_namespace_maps_root_away", a_user_namespace_maps_root_away),
    ("clocks_can_be_moved", clocks_can_be_moved),
];

fn failure(world: &World, program: &str) -> Error {
    let mut spec = spec("");
    spec.process.as_mut().unwrap().args = vec![program.into()];
    world.start(&spec).map(|_| ()).unwrap_err()
}

fn groups(world: &World) -> usize {
    let path = world.cgroup();
    let parent = path.as_str().trim_start_matches('/').split('/').next().unwrap().to_owned();
    let directories = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
    let found = directories.iter().find_map(|d| std::fs::read_dir(Path::new(d).join(&parent)).ok());
    found.map_or(0, |entries| entries.flatten().filter(|e| e.path().is_dir()).count())
}

fn programs_that_cannot_run_are_named_and_leave_nothing() {
    let world = World::new("programs");
    std::fs::write(world.root().join("bin/text"), "no program").unwrap();
    std::fs::write(world.root().join("etc/plain"), "x").unwrap();
    let set = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.root().join("bin/text"), set).unwrap();
    for (program, text, exit, kind) in [
        ("nope", r#"exec: "nope": executable file not found in $PATH"#, 127, ErrorKind::NotFound),
        ("/nope", r#"exec: "/nope": stat /nope: no such file or directory"#, 127, ErrorKind::NotFound),
        ("/etc", r#"exec: "/etc": is a directory: permission denied"#, 126, ErrorKind::InvalidArgument),
        ("/etc/plain", r#"exec: "/etc/plain": permission denied"#, 126, ErrorKind::InvalidArgument),
        ("text", r#"exec: "text": exec format error"#, 126, ErrorKind::InvalidArgument),
    ] {
        let error = failure(&world, program);
        assert_eq!((error.to_string().as_str(), error.exit_code(), error.kind()), (text, exit, kind));
    }
    let mut missing = spec("true");
    missing.mounts.push(mount("/data", "bind", Path::new("/nowhere"), "rbind"));
    let error = world.start(&missing).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("/nowhere") && error.kind() == ErrorKind::NotFound, "{error}");
    assert_eq!(groups(&world), 0);
    let child = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(child.unwrap_err(), rustix::io::Errno::CHILD);
}

fn a_dropped_sandbox_leaves_nothing() {
    let world = World::new("dropped");
    let sandbox = world.prepare(&spec("true"));
    assert!(groups(&world) > 0);
    drop(sandbox);
    assert_eq!(groups(&world), 0);
}

fn user_groups_umask_and_home_are_set() {
    let world = World::new("user");
    let mut spec =
        spec("id; umask; echo $HOME; grep -E '^Cap(Eff|Prm)' /proc/self/status; echo x > /dev/stdout");
    let user = &mut spec.process.as_mut().unwrap().user;
    (user.uid, user.gid, user.umask) = (1000, 1000, Some(0o077));
    user.additional_gids = vec![7, 8];
    let (text, code) = world.run(&spec);
    assert_eq!(code, 0, "the user can open its own streams: {text}");
    let id = text.lines().next().unwrap();
    assert!(id.starts_with("uid=1000(u) gid=1000") && id.contains('7') && id.contains('8'), "{text}");
    assert!(text.contains("0077\n/home/u\n"), "{text}");
    assert!(
        text.contains("CapPrm:\t0000000000000000") && text.contains("CapEff:\t0000000000000000"),
        "{text}"
    );
}

fn the_reaper_waits_for_orphans_and_passes_signals_on() {
    let world = World::new("reaper");
    let script = "trap 'exit 42' TERM; (sleep 0.1 & ) ; echo $$; cat /proc/1/comm; sleep 0.5; ps | grep -c '[Z]ombie'; \
        echo ready; while :; do sleep 0.1; done";
    let spec = spec(script);
    let sandbox = world.prepare(&spec);
    let mut running = world.start_in(sandbox, &spec, |request| request.init = true).unwrap();
    let text = running.read_until("ready\n");
    running.container().signal(libc::SIGTERM).unwrap();
    let (rest, code) = running.finish();
    assert_eq!(code, 42, "{text}{rest}");
    assert_eq!(text, "2\ndocker-init\n0\nready\n");
}

fn a_terminal_is_the_containers_own() {
    let world = World::new("terminal");
    let spec = spec(
        "tty; [ -t 0 ] && [ -c /dev/console ] && echo yes > /dev/console; busybox stty size; ls -l /dev/pts/0",
    );
    let sandbox = world.prepare(&spec);
    let size = Some(TerminalSize { rows: 33, columns: 99 });
    let mut running =
        world.start_in(sandbox, &spec, |request| request.stdio = Stdio::Terminal { size }).unwrap();
    let master = running.container.as_mut().unwrap().take_terminal().unwrap();
    let mut text = Vec::new();
    // A terminal whose other end is closed reads as an error.
    let _ = std::fs::File::from(master).read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("/dev/pts/0") && text.contains("yes") && text.contains("33 99"), "{text}");
}

fn an_exec_has_a_terminal_and_another_user() {
    let world = World::new("execuser");
    let spec = spec("sleep 60");
    let running = world.start(&spec).unwrap();
    let mut process = process(&spec, "tty; id -u; exit 9");
    process.user.uid = 1000;
    let options = ExecOptions {
        filter: None,
        stdio: Stdio::Terminal { size: None },
        preserved: Vec::new(),
        degrade: false,
    };
    let exec = running.container().exec(&process, options).unwrap();
    let mut text = Vec::new();
    let _ = std::fs::File::from(exec.terminal.unwrap()).read_to_end(&mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "/dev/pts/0\r\n1000\r\n");
    assert_eq!(wait(exec.pidfd.as_fd()), 9);
}

fn limits_beyond_the_hosts_rights_fail_or_warn() {
    let world = World::new("limits");
    let mut spec = spec("cat /proc/self/limits");
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let may_raise = u64::from_str_radix(bounding, 16).unwrap() >> 24 & 1 == 1;
    let Some(own) = own.filter(|_| !may_raise) else {
        println!("skipped: this process may raise its limits");
        return;
    };
    let limit = Rlimit { kind: "RLIMIT_NOFILE".into(), soft: own + 1, hard: own + 1 };
    spec.process.as_mut().unwrap().rlimits = vec![limit];
    let error = world.start(&spec).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("RLIMIT_NOFILE") && error.kind() == ErrorKind::Forbidden, "{error}");
    let sandbox = world.prepare(&spec);
    let running = world.start_in(sandbox, &spec, |request| request.degrade = true).unwrap();
    assert_eq!(running.container().warnings().len(), 1);
    assert!(running.finish().0.contains(&own.to_string()));
}

fn the_limit_of_processes_is_the_programs() {
    let world = World::new("pids");
    let mut spec = spec("sleep 1 & sleep 1 & wait; echo end");
    spec.linux.resources.as_mut().unwrap().pids = Some(Pids { limit: 3 });
    assert_eq!(world.run(&spec).0, "end\n");
    spec.linux.resources.as_mut().unwrap().pids = Some(Pids { limit: 2 });
    assert!(world.run(&spec).0.contains("fork"));
}

fn hooks_run_at_their_points_in_order() {
    let world = World::new("hooks");
    let log = world.dir.join("log");
    let hook = |name: &str, target: &str| Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), format!("grep -q '\"id\":\"test\"' && echo {name} >> {target}")],
        env: vec!["PATH=/bin:/usr/bin".into()],
        timeout: Some(20),
    };
    let mut spec = spec("cat /tmp/inside");
    let outside = log.to_str().unwrap().to_owned();
    spec.hooks.prestart = vec![hook("prestart", &outside)];
    spec.hooks.create_runtime = vec![hook("createRuntime", &outside)];
    spec.hooks.create_container = vec![hook("createContainer", &outside)];
    spec.hooks.start_container = vec![hook("startContainer", "/tmp/inside")];
    assert_eq!(world.run(&spec).0, "startContainer\n");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "prestart\ncreateRuntime\ncreateContainer\n");
    spec.hooks.create_runtime.push(Hook { path: "/bin/false".into(), ..Hook::default() });
    let error = world.start(&spec).map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("createRuntime hook /bin/false"), "{error}");
}

fn no_directory_outside_can_be_the_working_directory() {
    let world = World::new("cwd");
    let running = world.start(&spec("sleep 60")).unwrap();
    // Two containers each: under emulation not for every number.
    let step = if std::env::var_os("PROA_EMULATED").is_some() { 3 } else { 1 };
    for n in (0..24).step_by(step) {
        let mut spec = spec("cat ../../../../../etc/hostname; echo escaped");
        let cwd = format!("/proc/self/fd/{n}");
        spec.process.as_mut().unwrap().cwd = cwd.into();
        if let Ok(started) = world.start(&spec) {
            panic!("{n}: {:?}", started.finish());
        }
        if let Ok(result) = running.exec(spec.process.as_ref().unwrap()) {
            panic!("exec {n}: {result:?}");
        }
    }
}

fn a_paused_or_ended_container_takes_no_exec() {
    let world = World::new("paused");
    let spec = spec("sleep 60");
    let running = world.start(&spec).unwrap();
    let state = |expected: &str| {
        let error = running.exec(&process(&spec, "true")).unwrap_err();
        assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains(expected), "{error}");
    };
    running.container().pause().unwrap();
    state("paused");
    running.container().resume().unwrap();
    assert_eq!(running.exec(&process(&spec, "exit 3")).unwrap().1, 3);
    running.container().signal(libc::SIGKILL).unwrap();
    let pidfd = running.container().pidfd();
    let exited = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd), exited).unwrap();
    state("ended");
}

fn a_network_can_be_shared() {
    let world = World::new("netns");
    let first = world.start(&spec("sleep 60")).unwrap();
    let pid = first.container().pid();
    let mut second =
        spec("readlink /proc/self/ns/net; readlink /proc/self/ns/pid; ls /proc | grep -c '^[0-9]'");
    for namespace in &mut second.linux.namespaces {
        if namespace.kind == "network" || namespace.kind == "pid" {
            let file = if namespace.kind == "pid" { "pid" } else { "net" };
            *namespace =
                Namespace { path: Some(format!("/proc/{pid}/ns/{file}").into()), ..namespace.clone() };
        }
    }
    let (text, _) = world.run(&second);
    for file in ["net", "pid"] {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
        assert!(text.contains(link.to_str().unwrap()), "{text}");
    }
}

fn a_user_namespace_maps_root_away() {
    let world = World::new("userns");
    std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(&world.dir).status().unwrap();
    let mut spec =
        spec("id -u; cat /proc/self/uid_map; echo x > /dev/null && cat /dev/null; cat /proc/keys; hostname");
    spec.linux.namespaces.push(Namespace { kind: "user".into(), path: None });
    let mapping = proa_oci::runtime::IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
    spec.linux.uid_mappings = vec![mapping.clone()];
    spec.linux.gid_mappings = vec![mapping];
    let (text, code) = world.run(&spec);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "box"], "{code} {text}");
    let mut spec = spec.clone();
    spec.process.as_mut().unwrap().args = vec!["sleep".into(), "60".into()];
    let running = world.start(&spec).unwrap();
    let (text, _) = running.exec(&process(&spec, "id -u; cat /proc/1/uid_map")).unwrap();
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "0", "100000", "65536"]);
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("/proc/{}", running.container().pid())).unwrap(),
    );
    assert_eq!(owner, 100_000);
}

fn clocks_can_be_moved() {
    let world = World::new("clocks");
    let mut spec = spec("cat /proc/uptime");
    spec.linux.namespaces.push(Namespace { kind: "time".into(), path: None });
    let day = proa_oci::runtime::TimeOffset { secs: 86_400_000, nanosecs: 0 };
    spec.linux.time_offsets.insert("boottime".into(), day);
    let (text, _) = world.run(&spec);
    let up: f64 = text.split_whitespace().next().unwrap().parse().unwrap();
    assert!(up > 86_400_000.0, "{text}");
}
