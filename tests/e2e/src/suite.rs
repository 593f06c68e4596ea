//! A list of obligations, run once with each client, and the proof at its end that nothing leaked.

use crate::leak::Holdings;
use crate::reference::Differs;
use crate::{Client, Ctx, Daemon, reference};
use libtest_mimic::{Arguments, Failed, Trial};
use proa_conformance::Report;
use std::sync::{Arc, Mutex};

/// The trials of a test program.
pub struct Suite {
    clients: Vec<Client>,
    daemon: Arc<Mutex<Option<Arc<Daemon>>>>,
    trials: Vec<Trial>,
    before: Holdings,
    emulation: Option<Emulation>,
}

/// What is run where the processor is emulated: many times slower, so not everything with every client.
#[derive(Debug, Clone, Copy)]
pub struct Emulation {
    /// Obligations left out, each with the reason.
    pub left_out: &'static [(&'static str, &'static str)],
    /// Obligations run with the stock clients too; the others run with our own alone.
    pub stock: &'static [&'static str],
}

impl Default for Suite {
    fn default() -> Self {
        Self {
            clients: Client::all(),
            daemon: Arc::default(),
            trials: Vec::new(),
            before: Holdings::now(),
            emulation: None,
        }
    }
}

impl Suite {
    /// A suite that keeps to `emulation` if this machine is emulated.
    pub fn with_emulation(emulation: Emulation) -> Self {
        let emulated = std::env::var_os("PROA_EMULATED").is_some();
        Self { emulation: emulated.then_some(emulation), ..Self::default() }
    }

    /// An obligation on the shared daemon, through every client.
    pub fn each(&mut self, name: &str, test: fn(&Ctx)) {
        if let Some(reason) = self.left_out(name) {
            return self.skipped(name, reason);
        }
        let ours_alone = self.emulation.is_some_and(|emulation| !emulation.stock.contains(&name));
        for client in self.clients.clone().iter().filter(|client| client.is_ours() || !ours_alone) {
            self.with(client, name, test);
        }
    }

    fn left_out(&self, name: &str) -> Option<&'static str> {
        let left_out = self.emulation?.left_out;
        left_out.iter().find(|(left, _)| *left == name).map(|(_, reason)| *reason)
    }

    /// An obligation that needs something of this machine or of the daemon: where `lack` says that it is not there,
    /// the obligation is skipped for that reason, which counts as ignored and never as passed.
    pub fn needing(&mut self, lack: Option<&str>, name: &str, test: fn(&Ctx)) {
        match lack {
            Some(reason) => self.skipped(name, reason),
            None => self.each(name, test),
        }
    }

    /// An obligation on the shared daemon, through our own client.
    pub fn ours(&mut self, name: &str, test: fn(&Ctx)) {
        for client in self.clients.clone().iter().filter(|client| client.is_ours()) {
            self.with(client, name, test);
        }
    }

    fn with(&mut self, client: &Client, name: &str, test: fn(&Ctx)) {
        let (slot, client) = (Arc::clone(&self.daemon), client.clone());
        let difference = crate::against_reference().then(|| reference::differs(name)).flatten();
        let title = format!("{name}::{}", client.name);
        let trial = Trial::test(title.clone(), move || {
            let daemon = shared(&slot);
            let outcome = guard(move || test(&Ctx::new(&client, &daemon)));
            match difference {
                Some(differs) => differing(&title, differs, outcome),
                None => outcome,
            }
        });
        self.trials.push(trial);
    }

    /// An obligation that brings its own daemons. It may look into what Proa keeps, so the reference is left out.
    pub fn alone(&mut self, name: &str, test: fn()) {
        if crate::against_reference() {
            return self.skipped(name, "it looks into what Proa keeps");
        }
        self.trials.push(Trial::test(name, move || guard(test)));
    }

    /// An obligation this machine cannot show; the reason is printed.
    pub fn skipped(&mut self, name: &str, reason: &str) {
        println!("skipped: {name}: {reason}");
        // Fails if someone runs it all the same (`--ignored`).
        let reason = reason.to_owned();
        self.trials.push(Trial::test(name, move || Err(Failed::from(reason))).with_ignored_flag(true));
    }

    /// Runs everything, ends the daemon, looks for leaks, prints the summary and exits.
    pub fn run(self) -> ! {
        let mut args = Arguments::from_args();
        args.test_threads = args.test_threads.or(Some(4));
        let listing = args.list;
        let names = self.trials.iter().map(|trial| trial.name().split("::").next().unwrap_or_default());
        let unknown = reference::unknown(names);
        // Suites with obligations of their own, that the reference never sees, come here too.
        let foreign = !crate::against_reference();
        assert!(foreign || unknown.is_empty(), "differences of obligations that are not there: {unknown:?}");
        let conclusion = libtest_mimic::run(&args, self.trials);
        let daemon = self.daemon.lock().ok().and_then(|mut slot| slot.take());
        let judged = daemon.as_ref().and_then(|daemon| daemon.report());
        drop(daemon);
        if listing {
            conclusion.exit();
        }
        let judged = judged.is_none_or(|report| conform(&report));
        let leaked = obligation("nothing_leaked", &leaks(&self.before));
        std::process::exit(if conclusion.has_failed() || !judged || !leaked { 101 } else { 0 })
    }
}

/// Every response that a test saw must be one that the definition of the API allows.
fn conform(report: &Report) -> bool {
    println!(
        "{} responses of {} routes were judged; {} of versions before 1.44 were not",
        report.judged,
        report.routes.len(),
        report.older
    );
    obligation("responses_conform", &report.violations)
}

/// Prints an obligation of the whole suite as the runner prints its own; whether it holds.
fn obligation(name: &str, faults: &[String]) -> bool {
    let holds = faults.is_empty();
    println!("test {name} ... {}", if holds { "ok" } else { "FAILED" });
    for fault in faults {
        println!("    {name}: {fault}");
    }
    let (word, passed) = if holds { ("ok", 1) } else { ("FAILED", 0) };
    println!("test result: {word}. {passed} passed; {} failed; 0 ignored", 1 - passed);
    holds
}

/// What is left. The kernel takes links and namespaces down a little later, so it may look again.
fn leaks(before: &Holdings) -> Vec<String> {
    let mut left = Holdings::now().since(before);
    for _ in 0..100 {
        if left.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        left = Holdings::now().since(before);
    }
    left
}

/// The daemon that most tests share, started by the first.
fn shared(slot: &Mutex<Option<Arc<Daemon>>>) -> Arc<Daemon> {
    let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let daemon = slot.get_or_insert_with(|| {
        let mut daemon = Daemon::start("shared", &[]);
        // The reference speaks 1.41, which the definition does not describe.
        if !daemon.reference {
            daemon.judge();
        }
        daemon.load_busybox();
        Arc::new(daemon)
    });
    Arc::clone(daemon)
}

/// An obligation that the reference is known never to meet must not hold.
fn differing(title: &str, differs: Differs, outcome: Result<(), Failed>) -> Result<(), Failed> {
    match (outcome, differs) {
        (Ok(()), Differs::Always(why)) => {
            Err(Failed::from(format!("listed as a difference ({why}), and it holds: take it off the list")))
        }
        (Ok(()), Differs::AtTimes(_)) => Ok(()),
        (Err(_), Differs::Always(why) | Differs::AtTimes(why)) => {
            println!("differs: {title}: {why}");
            Ok(())
        }
    }
}

/// A panic of the test is its failure.
fn guard(test: impl FnOnce() + std::panic::UnwindSafe) -> Result<(), Failed> {
    std::panic::catch_unwind(test).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()));
        Failed::from(text.unwrap_or_else(|| "panicked".into()))
    })
}
