//! Sandboxes prepared ahead, so that a start finds its namespaces, cgroup, mounts and network ready.
//!
//! Only the most common kind is kept: what a container without special wishes needs, on the default bridge. A few are
//! kept, more while starts find the shelf empty, fewer when starts become rare and none when the engine has been idle
//! for long. A parked sandbox ends by itself if this process does.
//!
//! Making one costs several milliseconds of a processor that starts also want. So what was taken is replaced when no
//! start has come for [`QUIET`]; only when the shelf runs low is it refilled beside the starts, one at a time.

use crate::Engine;
use proa_network::Endpoint;
use proa_runtime::SandboxSpec;
use proa_shim::Shim;
use proa_types::SandboxId;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Kept while the engine is used now and then.
const FEW: usize = 3;
/// Most kept while it is busy.
const MANY: usize = 16;
/// No start for so long is a pause in which sandboxes are made.
const QUIET: Duration = Duration::from_millis(20);
/// After so long without a start, one is kept, and later none.
const RARE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(600);
/// How often it is looked whether fewer will do.
const LOOK: Duration = Duration::from_secs(5);
/// Made at the same time in a pause.
const MAKERS: usize = 2;

/// A sandbox that is ready.
pub(crate) struct Ready {
    pub(crate) id: SandboxId,
    pub(crate) shim: Shim,
    pub(crate) endpoint: Option<Endpoint>,
}

/// The sandboxes that are ready, all of one kind.
pub(crate) struct Pool {
    shelf: Mutex<Shelf>,
    /// How many are wished for; 0 switches preparing off.
    target: AtomicUsize,
    fixed: Option<usize>,
    busy: AtomicUsize,
    closed: AtomicBool,
    /// Whether a pause is waited for.
    waiting: AtomicBool,
}

#[derive(Default)]
struct Shelf {
    kind: Option<SandboxSpec>,
    ready: VecDeque<Ready>,
    last_use: Option<Instant>,
    /// Starts that found the shelf empty since the last look.
    misses: usize,
}

impl Pool {
    pub(crate) fn new(fixed: Option<usize>) -> Self {
        let target = AtomicUsize::new(fixed.unwrap_or(FEW));
        Self {
            shelf: Mutex::default(),
            target,
            fixed,
            busy: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
        }
    }

    /// A ready sandbox of this kind, if there is one. Asking makes the kind the one that is kept, if none is yet.
    pub(crate) fn take(&self, kind: &SandboxSpec) -> Option<Ready> {
        let mut shelf = self.shelf();
        shelf.last_use = Some(Instant::now());
        if self.target.load(Ordering::Relaxed) == 0 || self.closed.load(Ordering::Relaxed) {
            return None;
        }
        if shelf.kind.as_ref() != Some(kind) {
            return None;
        }
        let taken = shelf.ready.pop_front();
        if taken.is_none() {
            shelf.misses += 1;
        }
        taken
    }

    /// Takes a sandbox in; gives it back when the shelf is closed.
    fn put(&self, ready: Ready) -> Option<Ready> {
        let mut shelf = self.shelf();
        if self.closed.load(Ordering::Relaxed) {
            return Some(ready);
        }
        shelf.ready.push_back(ready);
        None
    }

    /// Sets how many are kept by how the engine has been used since the last look, and returns it.
    fn follow_use(&self) -> usize {
        let mut shelf = self.shelf();
        let misses = std::mem::take(&mut shelf.misses);
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let idle = shelf.last_use.map_or(Duration::ZERO, |last| last.elapsed());
        let target = self.target.load(Ordering::Relaxed);
        let target = match idle {
            _ if misses > 0 => (target * 2).clamp(FEW, MANY),
            idle if idle > IDLE => 0,
            idle if idle > RARE => 1,
            // What a burst needed goes in steps.
            idle if idle > LOOK => (target / 2).max(FEW),
            _ => target.max(FEW),
        };
        self.target.store(target, Ordering::Relaxed);
        target
    }

    /// The kind to make, if one more is wanted and may be made now; it counts as under way then.
    fn next(&self) -> Option<SandboxSpec> {
        let shelf = self.shelf();
        let (target, ready) = (self.target.load(Ordering::Relaxed), shelf.ready.len());
        let under_way = self.busy.load(Ordering::Relaxed);
        let quiet = shelf.last_use.is_none_or(|last| last.elapsed() >= QUIET);
        let allowed = if quiet { MAKERS } else { usize::from(ready <= target / 2) };
        let wanted = ready + under_way < target && under_way < allowed;
        if !wanted || self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let kind = shelf.kind.clone()?;
        self.busy.fetch_add(1, Ordering::Relaxed);
        Some(kind)
    }

    /// How long it is until the next pause could be; none if there is one now.
    fn until_quiet(&self) -> Option<Duration> {
        let since = self.shelf().last_use?.elapsed();
        QUIET.checked_sub(since).filter(|left| !left.is_zero())
    }

    /// Whether nothing is to be made ahead.
    pub(crate) fn is_off(&self) -> bool {
        self.target.load(Ordering::Relaxed) == 0
    }

    /// Whether some are under way.
    pub(crate) fn is_making(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Whether starts pause.
    pub(crate) fn is_quiet(&self) -> bool {
        self.until_quiet().is_none()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the shelf, for good.
    pub(crate) fn close(&self) -> Vec<Ready> {
        let mut shelf = self.shelf();
        self.closed.store(true, Ordering::Relaxed);
        shelf.ready.drain(..).collect()
    }

    /// Takes back what is more than wished for.
    fn surplus(&self) -> Vec<Ready> {
        let mut shelf = self.shelf();
        let kept = shelf.ready.len().min(self.target.load(Ordering::Relaxed));
        shelf.ready.drain(kept..).collect()
    }
}

impl Engine {
    /// Says which kind is kept, and begins to fill the shelf.
    pub(crate) fn open_pool(self: &Arc<Self>) {
        let Ok(kind) = self.usual_kind() else { return };
        {
            let mut shelf = self.pool.shelf();
            (shelf.kind, shelf.last_use) = (Some(kind), Some(Instant::now()));
        }
        self.refill();
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(engine) = engine.upgrade() else { return };
                if engine.pool.follow_use() <= 1 {
                    let engine = Arc::clone(&engine);
                    drop(tokio::task::spawn_blocking(move || engine.drop_trees()));
                }
                engine.make_ready();
                for ready in engine.pool.surplus() {
                    let engine = Arc::clone(&engine);
                    drop(tokio::task::spawn_blocking(move || engine.discard(ready)));
                }
            }
        });
    }

    /// Replaces what starts have taken: now if the shelf is low, else in the next pause.
    pub(crate) fn refill(self: &Arc<Self>) {
        self.pool.follow_use();
        self.make_ready();
        if self.pool.waiting.swap(true, Ordering::Relaxed) {
            return;
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(left) = engine.pool.until_quiet() {
                tokio::time::sleep(left).await;
            }
            engine.pool.waiting.store(false, Ordering::Relaxed);
            engine.make_ready();
            engine.make_trees();
        });
    }

    /// Makes what may be made now; each that is done asks again.
    fn make_ready(self: &Arc<Self>) {
        while let Some(kind) = self.pool.next() {
            let engine = Arc::clone(self);
            drop(tokio::task::spawn_blocking(move || {
                let made = engine.prepare(&kind, true);
                let put = made.map(|ready| engine.pool.put(ready));
                let more = matches!(put, Ok(None));
                match put {
                    Ok(None) => {}
                    Ok(Some(late)) => engine.discard(late),
                    Err(error) => tracing::warn!(%error, "a sandbox could not be prepared ahead"),
                }
                engine.pool.busy.fetch_sub(1, Ordering::Relaxed);
                if more {
                    engine.make_ready();
                }
            }));
        }
    }

    /// Gives back a sandbox that was not used.
    pub(crate) fn discard(&self, ready: Ready) {
        if let Err(error) = ready.shim.release() {
            tracing::warn!(sandbox = ready.id.short(), %error, "a prepared sandbox did not go");
        }
        if let (Some(bridge), Some(_)) = (&self.bridge, &ready.endpoint) {
            let _ = bridge.disconnect(&ready.id);
        }
    }
}
