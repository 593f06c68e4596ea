//! What an engine costs with a thousand containers, with a hundred clients at once, and with containers that write
//! much: cost must not grow with what is not asked for.

use super::memory::{self, Memory};
use super::peer::Peer;
use super::table::{Samples, Table, time};
use crate::fixtures::Fixtures;
use crate::shell::Outcome;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Containers that run while the main figures are taken.
const CROWD: usize = 1000;

/// Containers of dockerd: three per second are started, so a thousand would take minutes.
const CROWD_OF_DOCKERD: usize = 100;

/// Clients that follow at once: half of them a log, half of them events.
const FOLLOWERS: usize = 100;

/// Lines that are followed.
const LINES: usize = 5000;

/// Containers that come and go while events are followed.
const COMING: usize = 200;

/// Bytes that a container writes to its log.
const WRITTEN: usize = 200_000_000;

/// Between two starts that are timed.
const PAUSE: Duration = Duration::from_millis(100);

/// How long all of the followed may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the benchmark: `bench scale [--containers N]`.
pub(crate) fn scale(rest: &[&str]) -> Outcome {
    let crowd = match rest {
        [] => CROWD,
        ["--containers", n] => n.parse().map_err(|_| format!("--containers {n}: write a number"))?,
        _ => return Err("usage: cargo xtask bench scale [--containers N]".into()),
    };
    let fixtures = Fixtures::ready()?;
    let dir = std::env::temp_dir().join(format!("proa-bench-{}", std::process::id()));
    println!("── starting engines");
    let proa = Peer::proa("proa", &fixtures.proa, &dir.join("proa"), None)?;
    let dockerd = Peer::dockerd(&dir.join("dockerd"))?;
    let tar = fixtures.cache.join("busybox.tar").display().to_string();
    for peer in [Some(&proa), dockerd.as_ref()].into_iter().flatten() {
        peer.run(&["import", &tar, "busybox:latest"])?;
        peer.run(&["run", "--rm", "busybox", "true"])?;
    }
    let mut table = Table::default();
    many(&mut table, &proa, dockerd.as_ref(), crowd)?;
    followers(&mut table, &proa)?;
    removal(&mut table, &proa)?;
    writing(&mut table, &proa, dockerd.as_ref())?;
    let missed = table.print();
    drop((proa, dockerd));
    let _ = std::fs::remove_dir_all(&dir);
    if missed == 0 { Ok(()) } else { Err(format!("{missed} bars do not hold in this run")) }
}

/// The list, one start more, and memory, with the crowd running.
fn many(table: &mut Table, proa: &Peer, dockerd: Option<&Peer>, crowd: usize) -> Outcome {
    let crowds = [Some((proa, crowd)), dockerd.map(|peer| (peer, CROWD_OF_DOCKERD.min(crowd)))];
    for (peer, crowd) in crowds.into_iter().flatten() {
        println!("── {crowd} containers of {}", peer.name);
        let first = starts(peer)?;
        let (done, took) = time(|| start_many(peer, crowd.saturating_sub(10)));
        done?;
        let running = peer.run(&["ps", "-q"])?.lines().count();
        if running != crowd {
            return Err(format!("{}: {running} containers run, not {crowd}", peer.name));
        }
        let last = starts(peer)?;
        let mut list = Samples::default();
        for _ in 0..20 {
            let (done, took) = time(|| peer.run(&["ps"]));
            done?;
            list.add(took);
        }
        let ratio = last.median().zip(first.median()).map(|(last, first)| last / first);
        let shown = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let of_daemon = peer.daemon().map(memory::of_process).unwrap_or_default();
        let resident = Memory::mib(of_daemon.resident);
        if std::ptr::eq(peer, proa) {
            table.bar("ps, ms", "≤ 50", list.show(), list.median().map(|ms| ms <= 50.0));
            table.bar("one more start against the first", "≤ 1.3 ×", shown, ratio.map(|r| r <= 1.3));
            let fits = Some(resident <= 100.0);
            table.bar("daemon, MiB resident", "≤ 100", format!("{resident:.1}"), fits);
            let all = Memory::mib(memory::of_engine(peer.dir()).proportional);
            table.row("  with all monitors, MiB proportional", format!("{all:.0}"));
            let each = took.as_secs_f64() * 1000.0 / crowd as f64;
            table.row("  starting all, four at a time, ms each", format!("{each:.1}"));
        } else {
            table.row(&format!("  {} with {crowd}: ps, ms", peer.name), list.show());
            table.row("    one more start against the first", shown);
            table.row("    daemon, MiB resident", format!("{resident:.1}"));
        }
    }
    Ok(())
}

/// Ten starts of containers that stay.
fn starts(peer: &Peer) -> Outcome<Samples> {
    let mut samples = Samples::default();
    for _ in 0..10 {
        std::thread::sleep(PAUSE);
        let (done, took) = time(|| start_one(peer));
        done?;
        samples.add(took);
    }
    Ok(samples)
}

fn start_one(peer: &Peer) -> Outcome {
    peer.run(&["run", "-d", "--stop-timeout", "0", "busybox", "sleep", "100000"]).map(drop)
}

/// So many more, four at a time.
fn start_many(peer: &Peer, count: usize) -> Outcome {
    let begun = AtomicUsize::new(0);
    let work = || -> Outcome {
        while begun.fetch_add(1, Ordering::Relaxed) < count {
            start_one(peer)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Err("a worker ended".into())))
    })
}

/// A hundred clients follow a log and events while both are made; each must get everything.
fn followers(table: &mut Table, proa: &Peer) -> Outcome {
    println!("── {FOLLOWERS} clients follow a log of {LINES} lines and {COMING} containers");
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done; sleep 2");
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
    proa.run(&["run", "-d", "--name", "talker", "busybox", "sh", "-c", &script])?;
    let log = ["logs", "-f", "talker"];
    let filters = ["--filter", "label=coming", "--filter", "event=start", "--filter", "event=die"];
    let events =
        [&["events", "--since", &since, "--format", "{{.Action}} {{.Actor.ID}}"], &filters[..]].concat();
    let deadline = Instant::now() + PATIENCE;
    let (missing, took) = time(|| {
        std::thread::scope(|scope| {
            let follow = |number: usize| match number % 2 {
                0 => scope.spawn(|| follower(proa, &log, LINES, deadline)),
                _ => scope.spawn(|| follower(proa, &events, 2 * COMING, deadline)),
            };
            let clients: Vec<_> = (0..FOLLOWERS).map(follow).collect();
            let churned = (0..COMING)
                .try_for_each(|_| proa.run(&["run", "--rm", "-l", "coming", "busybox", "true"]).map(drop));
            let missing: Outcome<usize> =
                clients.into_iter().map(|c| c.join().unwrap_or(Err("a follower ended".into()))).sum();
            churned.and(missing)
        })
    });
    let missing = missing?;
    proa.run(&["rm", "-f", "talker"])?;
    let what = format!("lines missed by {FOLLOWERS} followers");
    table.bar(&what, "0", missing.to_string(), Some(missing == 0));
    table.row("  all of them served, s", format!("{:.1}", took.as_secs_f64()));
    Ok(())
}

/// Follows until so many lines came; how many are missing. A line twice counts as one missing.
fn follower(peer: &Peer, args: &[&str], lines: usize, deadline: Instant) -> Outcome<usize> {
    let child = peer.command(args).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| format!("{args:?}: {e}"))?;
    let pid = child.id();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    // A follower of too few lines would wait for ever.
    let guard = std::thread::spawn(move || {
        let left = deadline.saturating_duration_since(Instant::now());
        if ended.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
        }
    });
    let mut seen = std::collections::HashSet::new();
    let out = child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines());
    for line in out.map_while(Result::ok) {
        seen.insert(line);
        if seen.len() == lines {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    drop(done);
    let _ = guard.join();
    Ok(lines - seen.len())
}

/// All containers removed, twenty in a command.
fn removal(table: &mut Table, proa: &Peer) -> Outcome {
    println!("── removing all");
    let ids = proa.run(&["ps", "-aq"])?;
    let ids: Vec<&str> = ids.lines().collect();
    let (done, took) =
        time(|| ids.chunks(20).try_for_each(|ids| proa.run(&[&["rm", "-f"], ids].concat()).map(drop)));
    done?;
    table.row(
        "  removing all, ms each",
        format!("{:.1}", took.as_secs_f64() * 1000.0 / ids.len().max(1) as f64),
    );
    Ok(())
}

/// How long a container takes to write its log, by driver.
fn writing(table: &mut Table, proa: &Peer, dockerd: Option<&Peer>) -> Outcome {
    println!("── a container writes {} MB of log", WRITTEN / 1_000_000);
    const DRIVERS: [&str; 3] = ["none", "json-file", "local"];
    for (peer, rounds) in [Some((proa, 5)), dockerd.map(|peer| (peer, 1))].into_iter().flatten() {
        let mut samples = vec![Samples::default(); DRIVERS.len()];
        for _ in 0..rounds {
            for (driver, samples) in DRIVERS.iter().zip(&mut samples) {
                let (done, took) = time(|| write_log(peer, driver));
                done?;
                samples.add(took);
            }
        }
        let medians: Vec<f64> = samples.iter().filter_map(Samples::median).collect();
        for (at, driver) in DRIVERS.iter().enumerate() {
            let (Some(took), Some(none)) = (medians.get(at), medians.first()) else { continue };
            let rate = WRITTEN as f64 / 1e3 / took;
            let shown = format!("{:.2} ({rate:.0} MB/s)", took / none);
            if std::ptr::eq(peer, proa) && at > 0 {
                let what = format!("writing to {driver}, against none");
                table.bar(&what, "≤ 1.2 ×", shown, Some(took / none <= 1.2));
            } else {
                table.row(&format!("  {}: writing to {driver}, against none", peer.name), shown);
            }
        }
    }
    Ok(())
}

fn write_log(peer: &Peer, driver: &str) -> Outcome {
    let line = "a".repeat(99);
    let script = format!("yes {line} | head -c {WRITTEN}");
    let id = peer.run(&["run", "-d", "--log-driver", driver, "busybox", "sh", "-c", &script])?;
    let code = peer.run(&["wait", id.trim()])?;
    peer.run(&["rm", id.trim()])?;
    if code.trim() == "0" { Ok(()) } else { Err(format!("{}: writing ended with {code}", peer.name)) }
}
