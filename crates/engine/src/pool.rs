//! Sandboxes prepared ahead, so that a start finds its namespaces, cgroup, mounts and network ready.
//!
//! Only the most common kind is kept: what a container without special wishes needs, on the default bridge. As many
//! as were used lately, none when the engine has been idle for long. A parked sandbox ends by itself if this process
//! does.

use crate::Engine;
use proa_network::Endpoint;
use proa_runtime::SandboxSpec;
use proa_shim::Shim;
use proa_types::SandboxId;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Kept while the engine is used now and then.
const FEW: usize = 3;
/// Most kept while it is busy.
const MANY: usize = 16;
/// After so long without a start, none is kept.
const IDLE: Duration = Duration::from_secs(600);

/// A sandbox that is ready.
pub(crate) struct Ready {
    pub(crate) id: SandboxId,
    pub(crate) shim: Shim,
    pub(crate) endpoint: Option<Endpoint>,
}

/// The sandboxes that are ready, all of one kind.
pub(crate) struct Pool {
    ready: Mutex<Shelf>,
    /// How many are wished for; 0 switches preparing off.
    target: AtomicUsize,
    fixed: Option<usize>,
    busy: AtomicUsize,
    closed: AtomicBool,
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
            ready: Mutex::default(),
            target,
            fixed,
            busy: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// A ready sandbox of this kind, if there is one. Asking makes the kind the one that is kept, if none is yet.
    pub(crate) fn take(&self, kind: &SandboxSpec) -> Option<Ready> {
        let mut shelf = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn wanted(&self) -> Option<(SandboxSpec, usize)> {
        let mut shelf = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let idle = shelf.last_use.is_some_and(|last| last.elapsed() > IDLE);
        let mut target = self.target.load(Ordering::Relaxed);
        if self.fixed.is_none() {
            target = match (shelf.misses, idle) {
                (0, true) => 0,
                (0, false) => target.max(FEW),
                _ => (target * 2).clamp(FEW, MANY),
            };
            self.target.store(target, Ordering::Relaxed);
        }
        shelf.misses = 0;
        let under_way = self.busy.load(Ordering::Relaxed);
        let kind = shelf.kind.clone()?;
        Some((kind, target.saturating_sub(shelf.ready.len() + under_way)))
    }

    /// Empties the shelf, for good.
    pub(crate) fn close(&self) -> Vec<Ready> {
        self.closed.store(true, Ordering::Relaxed);
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).ready.drain(..).collect()
    }

    /// Takes back what is idle.
    fn surplus(&self) -> Vec<Ready> {
        let mut shelf = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.target.load(Ordering::Relaxed);
        let mut surplus = Vec::new();
        while self.fixed.is_none() && target == 0 && shelf.ready.len() > target {
            surplus.extend(shelf.ready.pop_back());
        }
        surplus
    }
}

impl Engine {
    /// Says which kind is kept, and begins to fill the shelf.
    pub(crate) fn open_pool(self: &Arc<Self>) {
        let Ok(kind) = self.usual_kind() else { return };
        self.pool.ready.lock().unwrap_or_else(PoisonError::into_inner).kind = Some(kind);
        self.refill();
        let engine = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(30)).await;
                let Some(engine) = engine.upgrade() else { return };
                engine.refill();
                for ready in engine.pool.surplus() {
                    let engine = Arc::clone(&engine);
                    drop(tokio::task::spawn_blocking(move || engine.discard(ready)));
                }
            }
        });
    }

    /// Prepares what is missing, behind the replies.
    pub(crate) fn refill(self: &Arc<Self>) {
        let Some((kind, missing)) = self.pool.wanted() else { return };
        for _ in 0..missing {
            self.pool.busy.fetch_add(1, Ordering::Relaxed);
            let (engine, kind) = (Arc::clone(self), kind.clone());
            drop(tokio::task::spawn_blocking(move || {
                let made = engine.prepare(&kind, true);
                match made {
                    Ok(ready) if !engine.pool.closed.load(Ordering::Relaxed) => {
                        engine
                            .pool
                            .ready
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .ready
                            .push_back(ready);
                    }
                    Ok(ready) => engine.discard(ready),
                    Err(error) => tracing::warn!(%error, "a sandbox could not be prepared ahead"),
                }
                engine.pool.busy.fetch_sub(1, Ordering::Relaxed);
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
