//! Attacks that worked on some runtime once.

use crate::bundle::{Bundle, text};
use crate::{Test, check};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("cve_2019_5736_the_runtimes_binary_cannot_be_overwritten", overwrite_by_exec),
        ("cve_2019_5736_a_program_that_is_proc_self_exe_harms_nothing", overwrite_by_entrypoint),
        ("cve_2024_21626_no_working_directory_leads_to_the_host", working_directory),
        ("cve_2024_21626_nor_does_that_of_an_executed_process", working_directory_of_exec),
        ("cve_2025_31133_masks_do_not_come_from_the_containers_dev_null", masks_from_rootfs),
        ("cve_2025_52881_nothing_is_mounted_over_proc", mounts_over_proc),
        ("cve_2026_41579_links_in_the_root_do_not_lead_out_of_it", links_in_root),
        ("mount_points_are_never_made_on_the_host", mount_points),
        ("mount_points_are_never_made_on_the_host_in_a_race", mount_points_in_a_race),
        ("cve_2020_15257_no_abstract_socket_is_left", abstract_sockets),
        ("hostile_programs_and_directories_fail_with_a_message", bad_programs),
        ("what_the_caller_ignores_and_blocks_is_not_ignored_inside", signals),
    ]
}

/// A copy of the runtime, so that an attack that works harms the copy only.
fn with_copy(bundle: &mut Bundle) -> Vec<u8> {
    let copy = bundle.dir.join("runtime");
    std::fs::copy(&bundle.runtime, &copy).unwrap();
    bundle.runtime = copy;
    std::fs::read(&bundle.runtime).unwrap()
}

fn expect_unchanged(bundle: &Bundle, before: &[u8]) -> Result<(), String> {
    check(std::fs::read(&bundle.runtime).unwrap() == before, || "the runtime's binary was overwritten".into())
}

fn overwrite_by_exec() -> Result<(), String> {
    let mut bundle = Bundle::new(&["overwrite"]);
    // With ptrace rights the attacker sees most.
    for set in bundle
        .process()
        .capabilities
        .iter_mut()
        .flat_map(|c| [&mut c.bounding, &mut c.effective, &mut c.permitted])
    {
        set.push("CAP_SYS_PTRACE".into());
    }
    let before = with_copy(&mut bundle);
    bundle.start()?;
    let end = Instant::now() + Duration::from_secs(5);
    let mut executed = 0;
    while Instant::now() < end {
        executed += u32::from(bundle.exec(&[], &["true"]).status.success());
    }
    check(executed > 0, || "no process could be executed at all".into())?;
    expect_unchanged(&bundle, &before)
}

fn overwrite_by_entrypoint() -> Result<(), String> {
    let mut bundle = Bundle::new(&[]);
    std::fs::write(bundle.rootfs().join("script"), "#!/proc/self/exe\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bundle.rootfs().join("script"), mode).unwrap();
    let before = with_copy(&mut bundle);
    for program in ["/script", "/proc/self/exe"] {
        bundle.process().args = vec![program.into(), "--probe".into(), "overwrite".into()];
        let output = bundle.run();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        check(!said.contains("overwritten"), || format!("{program}: {said}"))?;
        let _ = bundle.call(&["delete", "-f", &bundle.id]);
    }
    expect_unchanged(&bundle, &before)
}

/// Either the directory is refused or it is inside the container.
fn expect_not_reached(output: std::process::Output, cwd: &str) -> Result<(), String> {
    let said = text(output).unwrap_or_else(|_| "refused".into());
    check(matches!(said.trim(), "refused" | "not reached"), || format!("cwd {cwd}: {said}"))
}

fn working_directory() -> Result<(), String> {
    let mut bundle = Bundle::new(&[]);
    let secret = bundle.dir.join("secret");
    std::fs::write(&secret, "x").unwrap();
    bundle.process().args = ["/probe", "--probe", "reach", secret.to_str().unwrap()].map(Into::into).to_vec();
    for n in 3..20 {
        let cwd = format!("/proc/self/fd/{n}");
        bundle.process().cwd = cwd.clone().into();
        expect_not_reached(bundle.run(), &cwd)?;
        let _ = bundle.call(&["delete", "-f", &bundle.id]);
    }
    Ok(())
}

fn working_directory_of_exec() -> Result<(), String> {
    let bundle = Bundle::new(&["sleep"]);
    let secret = bundle.dir.join("secret");
    std::fs::write(&secret, "x").unwrap();
    bundle.start()?;
    let secret = secret.to_str().unwrap();
    check(text(bundle.exec(&["--cwd", "/"], &["reach", secret]))?.trim() == "not reached", || {
        "even from /".into()
    })?;
    for n in 3..20 {
        let cwd = format!("/proc/self/fd/{n}");
        expect_not_reached(bundle.exec(&["--cwd", &cwd], &["reach", secret]), &cwd)?;
    }
    Ok(())
}

fn masks_from_rootfs() -> Result<(), String> {
    let mut bundle = Bundle::new(&["look", "/proc/keys", "/proc/timer_list", "/proc/kcore"]);
    // The container's /dev is its image's, and its null device leads to a file of the host's kernel.
    bundle.spec.mounts.retain(|mount| !mount.destination.starts_with("/dev"));
    std::fs::create_dir(bundle.rootfs().join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.rootfs().join("dev/null")).unwrap();
    let output = bundle.run();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // It may be refused; if it runs, the masks hide.
    check(!said.contains(" content"), || said)
}

fn mounts_over_proc() -> Result<(), String> {
    for (target, file) in
        [("/proc", false), ("/proc/self/attr", false), ("/proc/sys", false), ("/proc/self/attr/exec", true)]
    {
        let mut bundle = Bundle::new(&["true"]);
        let source = bundle.canary();
        let fake = bundle.dir.join("fake");
        std::fs::write(&fake, "").unwrap();
        bundle.bind(if file { &fake } else { &source }, target, &[]);
        let output = bundle.run();
        check(!output.status.success(), || format!("something was mounted over {target}"))?;
        bundle.unharmed()?;
    }
    Ok(())
}

fn links_in_root() -> Result<(), String> {
    for name in ["dev", "proc", "sys", "tmp", "run"] {
        for relative in [false, true] {
            let mut bundle = Bundle::new(&["true"]);
            let canary = bundle.canary();
            let link = bundle.rootfs().join(name);
            let _ = std::fs::remove_dir(&link);
            let way = if relative { "../canary".into() } else { canary.clone() };
            symlink(way, &link).unwrap();
            let file = bundle.dir.join("hosts");
            std::fs::write(&file, "127.0.0.1 localhost\n").unwrap();
            symlink(canary.join("hosts"), bundle.rootfs().join("etc/hosts")).unwrap();
            bundle.bind(&file, "/etc/hosts", &[]);
            // It may run or be refused: what counts is the host.
            let _ = bundle.run();
            bundle.unharmed().map_err(|error| format!("/{name}: {error}"))?;
        }
    }
    Ok(())
}

fn mount_points() -> Result<(), String> {
    // Links that lead to something inside: the mounts are there.
    let mut bundle = Bundle::new(&["look", "/data/seen", "/up/inside/other/seen"]);
    let volume = bundle.dir.join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("seen"), "x").unwrap();
    std::fs::create_dir_all(bundle.rootfs().join("inside/place")).unwrap();
    symlink("/inside/place", bundle.rootfs().join("data")).unwrap();
    symlink("../../../../../../../../../../..", bundle.rootfs().join("up")).unwrap();
    bundle.bind(&volume, "/data", &[]);
    bundle.bind(&volume, "/up/inside/other", &[]);
    let said = bundle.output()?;
    check(said.lines().all(|line| line.ends_with(" content")), || said)?;
    // Links that lead to what only the host has: it may be made inside or refused, but not made on the host.
    for target in ["/way", "/way/new", "/way/new/er"] {
        for file in [false, true] {
            let mut bundle = Bundle::new(&["true"]);
            let (canary, source) = (bundle.canary(), bundle.dir.join("source"));
            symlink(&canary, bundle.rootfs().join("way")).unwrap();
            if file {
                std::fs::write(&source, "x").unwrap();
            } else {
                std::fs::create_dir(&source).unwrap();
            }
            bundle.bind(&source, target, &[]);
            let _ = bundle.run();
            bundle.unharmed().map_err(|error| format!("{target}: {error}"))?;
        }
    }
    Ok(())
}

fn mount_points_in_a_race() -> Result<(), String> {
    let mut bundle = Bundle::new(&["true"]);
    let canary = bundle.canary();
    let (place, bait) = (bundle.rootfs().join("place"), bundle.rootfs().join("bait"));
    std::fs::create_dir(&place).unwrap();
    symlink(&canary, &bait).unwrap();
    let volume = bundle.dir.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let file = bundle.dir.join("file");
    std::fs::write(&file, "x").unwrap();
    bundle.bind(&volume, "/place/a/b", &[]);
    bundle.bind(&file, "/place/c/d", &[]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let here = rustix::fs::CWD;
                let _ =
                    rustix::fs::renameat_with(here, &place, here, &bait, rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..25 {
            let _ = bundle.run();
            let _ = bundle.call(&["delete", "-f", &bundle.id]);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    bundle.unharmed()
}

fn abstract_sockets() -> Result<(), String> {
    let names = || -> std::collections::BTreeSet<String> {
        let list = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
        list.lines()
            .filter_map(|line| line.split_whitespace().nth(7))
            .filter(|n| n.starts_with('@'))
            .map(str::to_owned)
            .collect()
    };
    let before = names();
    let bundle = Bundle::new(&["sleep"]);
    bundle.start()?;
    let new: Vec<String> =
        names().difference(&before).filter(|name| name.contains("proa")).cloned().collect();
    check(new.is_empty(), || format!("{new:?}"))
}

fn bad_programs() -> Result<(), String> {
    for (program, cwd, code, wanted) in [
        ("nope", "/", 127, "executable file not found in $PATH"),
        ("/nope", "/", 127, "no such file or directory"),
        ("/etc", "/", 126, "/etc"),
        ("/etc/plain", "/", 126, "permission denied"),
    ] {
        let mut bundle = Bundle::new(&[]);
        std::fs::write(bundle.rootfs().join("etc/plain"), "x").unwrap();
        bundle.process().args = vec![program.into()];
        bundle.process().cwd = cwd.into();
        let output = bundle.run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        check(output.status.code() == Some(code) && said.contains(wanted), || {
            format!("{program}: {} {said}", output.status)
        })?;
    }
    Ok(())
}

/// A runtime or shim that ignores SIGPIPE must not hand that on: `yes | head` would never end.
fn signals() -> Result<(), String> {
    let mut bundle = Bundle::new(&["cat", "/proc/self/status"]);
    let wrapper = bundle.dir.join("wrapper");
    let script = format!("#!/bin/sh\ntrap '' HUP USR1 TERM\nexec {} \"$@\"\n", bundle.runtime.display());
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bundle.runtime = wrapper;
    let status = bundle.output()?;
    let mask = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        u64::from_str_radix(line.trim(), 16).unwrap_or(u64::MAX)
    };
    let given = [libc::SIGHUP, libc::SIGUSR1, libc::SIGTERM].iter().fold(0u64, |m, s| m | 1 << (s - 1));
    check(mask("SigIgn:") & given == 0, || format!("ignored inside: {:x}", mask("SigIgn:")))?;
    check(mask("SigBlk:") == 0, || format!("blocked inside: {:x}", mask("SigBlk:")))
}
