//! How fast containers start, beside Debian's dockerd, podman, runc, and the kernel's floor.

use super::memory::{self, Memory};
use super::peer::Peer;
use super::table::{Samples, Table, time};
use crate::fixtures::Fixtures;
use crate::shell::{Outcome, output, which};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Between two starts of the main figure, as a user who types would leave.
const PAUSE: Duration = Duration::from_millis(100);

/// After so long without a start the engine counts as idle, and keeps less ready.
const IDLE: Duration = Duration::from_secs(70);

/// What is measured against what.
struct Bench {
    proa: Peer,
    cold: Peer,
    dockerd: Option<Peer>,
    podman: Option<Peer>,
    binary: PathBuf,
    bundle: PathBuf,
    rounds: usize,
    table: Table,
}

/// Runs the benchmark: `bench start [--rounds N]`.
pub(crate) fn start(rest: &[&str]) -> Outcome {
    let rounds = match rest {
        [] => 30,
        ["--rounds", n] => n.parse().map_err(|_| format!("--rounds {n}: write a number"))?,
        _ => return Err("usage: cargo xtask bench start [--rounds N]".into()),
    };
    let fixtures = Fixtures::ready()?;
    crate::fixtures::install(&[("podman", "podman"), ("runc", "runc"), ("unshare", "util-linux")]);
    let dir = std::env::temp_dir().join(format!("proa-bench-{}", std::process::id()));
    let mut bench = Bench::ready(&fixtures, &dir, rounds)?;
    bench.run_rm()?;
    bench.bursts()?;
    bench.steps()?;
    bench.runtime()?;
    bench.memory_and_scale()?;
    let missed = bench.table.print();
    drop(bench);
    let _ = std::fs::remove_dir_all(&dir);
    if missed == 0 { Ok(()) } else { Err(format!("{missed} bars do not hold in this run")) }
}

impl Bench {
    fn ready(fixtures: &Fixtures, dir: &Path, rounds: usize) -> Outcome<Self> {
        println!("── starting engines");
        let bundle = dir.join("bundle");
        unpack(&fixtures.cache.join("busybox.tar"), &bundle)?;
        let bench = Self {
            proa: Peer::proa("proa", &fixtures.proa, &dir.join("proa"), None)?,
            cold: Peer::proa("proa, nothing prepared", &fixtures.proa, &dir.join("cold"), Some(0))?,
            dockerd: Peer::dockerd(&dir.join("dockerd"))?,
            podman: Peer::podman(&dir.join("podman")),
            binary: fixtures.proa.clone(),
            bundle,
            rounds,
            table: Table::default(),
        };
        let tar = fixtures.cache.join("busybox.tar").display().to_string();
        for peer in bench.peers() {
            peer.run(&["import", &tar, "busybox:latest"])?;
            run_rm(peer)?;
        }
        Ok(bench)
    }

    fn peers(&self) -> Vec<&Peer> {
        let own = [Some(&self.proa), Some(&self.cold)];
        own.into_iter().chain([self.dockerd.as_ref(), self.podman.as_ref()]).flatten().collect()
    }

    /// `run --rm busybox true`, all engines and the floor in turn.
    fn run_rm(&mut self) -> Outcome {
        println!("── run --rm, {} rounds, {} ms apart", self.rounds, PAUSE.as_millis());
        let mut samples = vec![Samples::default(); self.peers().len()];
        let mut floor = Samples::default();
        for _ in 0..self.rounds {
            for (peer, samples) in self.peers().into_iter().zip(&mut samples) {
                std::thread::sleep(PAUSE);
                let (done, took) = time(|| run_rm(peer));
                done?;
                samples.add(took);
            }
            std::thread::sleep(PAUSE);
            floor.add(time(|| self.floor()).1);
        }
        let names: Vec<&str> = self.peers().iter().map(|peer| peer.name).collect();
        let own = samples.first().and_then(Samples::median);
        let cold = samples.get(1).and_then(Samples::median);
        let docker = names.iter().position(|n| *n == "dockerd").and_then(|at| samples.get(at)?.median());
        let show = |at: usize| samples.get(at).map(Samples::show).unwrap_or_default();
        self.table.bar("run --rm, ms", "≤ 12", show(0), own.map(|ms| ms <= 12.0));
        let ratio = docker.zip(own).map(|(docker, own)| docker / own);
        let shown = ratio.map(|r| format!("{r:.1} ×")).unwrap_or_default();
        self.table.bar("  faster than dockerd", "≥ 25 ×", shown, ratio.map(|r| r >= 25.0));
        self.table.bar("  nothing prepared, ms", "≤ 30", show(1), cold.map(|ms| ms <= 30.0));
        for (at, name) in names.iter().enumerate().skip(2) {
            self.table.row(&format!("  {name}, ms"), show(at));
        }
        self.table.row("  floor: unshare, mounts, exec, ms", floor.show());
        Ok(())
    }

    /// The same namespaces, a mount and an exec, with nothing around them.
    fn floor(&self) {
        let mut command = Command::new("unshare");
        command.args(["--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--root"]);
        command.arg(self.bundle.join("rootfs")).args(["--mount-proc", "/bin/true"]);
        let _ = quiet(&mut command).status();
    }

    fn bursts(&mut self) -> Outcome {
        println!("── bursts");
        let mut rates = Vec::new();
        for (peer, count) in [(Some(&self.proa), 100), (self.dockerd.as_ref(), 10)] {
            let Some(peer) = peer else { continue };
            let (done, took) = time(|| (0..count).try_for_each(|_| run_rm(peer)));
            done?;
            rates.push((peer.name, f64::from(count) / took.as_secs_f64()));
        }
        let own = rates.first().map(|(_, rate)| *rate);
        self.table.bar("back to back, per second", "≥ 40", text(own, 0), own.map(|rate| rate >= 40.0));
        for (name, rate) in rates.iter().skip(1) {
            self.table.row(&format!("  {name}"), format!("{rate:.1}"));
        }
        let mut spans = Vec::new();
        for peer in [Some(&self.proa), self.dockerd.as_ref()].into_iter().flatten() {
            std::thread::sleep(Duration::from_secs(2));
            spans.push((peer.name, time(|| parallel(peer, 20, 8)).1.as_secs_f64()));
        }
        let own = spans.first().map(|(_, span)| *span);
        self.table.bar("20 starts, 8 at a time, s", "≤ 0.6", text(own, 2), own.map(|span| span <= 0.6));
        for (name, span) in spans.iter().skip(1) {
            self.table.row(&format!("  {name}"), format!("{span:.2}"));
        }
        Ok(())
    }

    /// `run -d`, `exec true`, `rm -f`.
    fn steps(&mut self) -> Outcome {
        println!("── run -d, exec, rm -f");
        let rounds = self.rounds.min(20);
        let mut all = Vec::new();
        for peer in [Some(&self.proa), self.dockerd.as_ref()].into_iter().flatten() {
            let (mut run, mut exec, mut remove) =
                (Samples::default(), Samples::default(), Samples::default());
            for _ in 0..rounds {
                std::thread::sleep(PAUSE);
                let (id, took) = time(|| peer.run(&["run", "-d", "busybox", "sleep", "600"]));
                let id = id?.trim().to_owned();
                run.add(took);
                std::thread::sleep(PAUSE);
                exec.add(time(|| peer.run(&["exec", &id, "true"])).1);
                std::thread::sleep(PAUSE);
                remove.add(time(|| peer.run(&["rm", "-f", &id])).1);
            }
            all.push((peer.name, run, exec, remove));
        }
        let bars = [("run -d, ms", 12.0), ("exec true, ms", 8.0), ("rm -f of a running container, ms", 10.0)];
        for (at, (what, bar)) in bars.into_iter().enumerate() {
            for (name, run, exec, remove) in &all {
                let samples = [run, exec, remove][at];
                match *name {
                    "proa" => {
                        let holds = samples.median().map(|ms| ms <= bar);
                        self.table.bar(what, &format!("≤ {bar:.0}"), samples.show(), holds);
                    }
                    other => self.table.row(&format!("  {other}"), samples.show()),
                }
            }
        }
        Ok(())
    }

    /// `proa runtime run` of a bundle beside runc and crun.
    fn runtime(&mut self) -> Outcome {
        println!("── runtimes");
        let mut runtimes = [
            ("proa runtime", Some(self.binary.clone()), vec!["runtime"]),
            ("runc", which("runc"), vec![]),
            ("crun", which("crun"), vec![]),
        ];
        let mut samples = vec![Samples::default(); runtimes.len()];
        for round in 0..self.rounds.min(20) {
            for ((name, found, words), samples) in runtimes.iter_mut().zip(&mut samples) {
                let Some(program) = found.as_ref() else { continue };
                std::thread::sleep(PAUSE);
                let mut command = Command::new(program);
                command.args(&*words).args(["run", "--bundle"]).arg(&self.bundle);
                command.arg(format!("bench-{}-{round}", std::process::id()));
                let (status, took) = time(|| quiet(&mut command).status());
                match status {
                    Ok(status) if status.success() => samples.add(took),
                    _ if *name != "crun" => return Err(format!("{name}: {command:?} failed")),
                    _ => {
                        println!(
                            "   crun cannot run here (1.8 refuses hosts with both cgroup versions): not compared"
                        );
                        *found = None;
                    }
                }
            }
        }
        let own = samples.first().and_then(Samples::median);
        let runc = samples.get(1).and_then(Samples::median);
        let share = own.zip(runc).map(|(own, runc)| own / runc);
        self.table.bar(
            "proa runtime run against runc",
            "≤ 1/3",
            text(share, 2),
            share.map(|s| s <= 1.0 / 3.0),
        );
        for ((name, ..), samples) in runtimes.iter().zip(&samples) {
            self.table.row(&format!("  {name} run, ms"), samples.show());
        }
        Ok(())
    }

    /// Memory at rest and with a hundred containers; the hundredth start against the first.
    fn memory_and_scale(&mut self) -> Outcome {
        println!("── memory after a minute without a start, then a hundred containers");
        std::thread::sleep(IDLE);
        let ours = |bench: &Self| memory::of_engine(bench.proa.dir());
        let idle = ours(self);
        let resident = Memory::mib(idle.resident);
        let shown = format!(
            "{resident:.1} in {} processes ({:.1} proportional)",
            idle.processes,
            Memory::mib(idle.proportional)
        );
        self.table.bar("idle daemon and helpers, MiB resident", "≤ 25", shown, Some(resident <= 25.0));
        let mut first = Samples::default();
        let mut last = Samples::default();
        let mut ids = Vec::new();
        for number in 0..110 {
            std::thread::sleep(PAUSE);
            let (id, took) = time(|| self.proa.run(&["run", "-d", "busybox", "sleep", "600"]));
            ids.push(id?.trim().to_owned());
            match number {
                0..10 => first.add(took),
                100.. => last.add(took),
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_secs(3));
        let busy = ours(self);
        let each = Memory::mib(busy.proportional.saturating_sub(idle.proportional)) / ids.len() as f64;
        self.table.bar(
            "each idle container, MiB proportional",
            "≤ 1.2",
            format!("{each:.2}"),
            Some(each <= 1.2),
        );
        let ratio = last.median().zip(first.median()).map(|(last, first)| last / first);
        self.table.bar("100th start against the first", "≤ 1.3 ×", text(ratio, 2), ratio.map(|r| r <= 1.3));
        for ids in ids.chunks(20) {
            let words: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.iter().map(String::as_str)).collect();
            self.proa.run(&words)?;
        }
        let size = std::fs::metadata(&self.binary).map(|meta| meta.len() as f64 / 1e6).unwrap_or(f64::MAX);
        self.table.bar("binary, MB", "≤ 30", format!("{size:.1}"), Some(size <= 30.0));
        Ok(())
    }
}

fn run_rm(peer: &Peer) -> Outcome {
    let args = [&["run", "--rm"], peer.options(), &["busybox", "true"]].concat();
    let status = peer.command(&args).status().map_err(|e| format!("{}: {e}", peer.name))?;
    if status.success() { Ok(()) } else { Err(format!("{}: run --rm: {status}", peer.name)) }
}

fn parallel(peer: &Peer, count: usize, width: usize) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < count {
                    let _ = run_rm(peer);
                }
            });
        }
    });
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn text(value: Option<f64>, digits: usize) -> String {
    value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
}

/// A bundle of busybox that runs `true`.
fn unpack(tar: &Path, bundle: &Path) -> Outcome {
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(&rootfs).map_err(|e| format!("{}: {e}", rootfs.display()))?;
    output(Command::new("tar").arg("-C").arg(&rootfs).arg("-xf").arg(tar))?;
    output(Command::new("runc").arg("spec").current_dir(bundle))?;
    let file = bundle.join("config.json");
    let spec = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut spec: serde_json::Value = serde_json::from_str(&spec).map_err(|e| e.to_string())?;
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    spec["process"]["terminal"] = false.into();
    // Raising limits needs a capability that the host may lack.
    spec["process"]["rlimits"] = serde_json::json!([]);
    std::fs::write(&file, spec.to_string()).map_err(|e| format!("{}: {e}", file.display()))
}
