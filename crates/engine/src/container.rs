//! A container in memory: its record, its monitor while it runs, and those who wait for it.

use crate::Error;
use crate::record::ContainerRecord;
use crate::state::{State, Transition};
use proa_shim::{AttachRequest, Shim};
use proa_types::{ContainerId, SandboxId};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A container.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    record: Mutex<Arc<ContainerRecord>>,
    /// Held over each operation that changes it.
    pub(crate) operation: tokio::sync::Mutex<()>,
    /// Held while what an ended run had is released: its ports and mounts are free for the next run only then.
    pub(crate) releasing: Arc<tokio::sync::Mutex<()>>,
    live: Mutex<Option<Arc<Live>>>,
    /// Streams of clients that attached before the start.
    early: Mutex<Vec<(AttachRequest, OwnedFd)>>,
    /// How often in a row its policy has started it again after a short run: the pauses grow with it.
    pub(crate) short_runs: AtomicU32,
    /// Whether the end of its run is part of an operation that goes on: `--rm` does not remove it then.
    pub(crate) kept: AtomicBool,
    /// Its root, mounted ahead of the start.
    mounted: Mutex<Option<OwnedFd>>,
    /// Looks at its files that are under way.
    views: Mutex<Views>,
    /// What those who wait are told.
    pub(crate) progress: watch::Sender<Progress>,
}

/// What those who wait for a container look at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// How many runs have ended, and how the last one did.
    pub(crate) ends: u64,
    pub(crate) code: i32,
    pub(crate) error: String,
    /// Whether it runs now.
    pub(crate) running: bool,
    /// Whether it is removed.
    pub(crate) removed: bool,
}

/// Looks at a container's files.
#[derive(Debug, Default)]
struct Views {
    count: usize,
    /// Whether there was a mount made ahead, which stays.
    ahead: bool,
}

/// What holds a running container.
pub(crate) struct Live {
    pub(crate) shim: Shim,
    pub(crate) sandbox: SandboxId,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Container {
    pub(crate) fn new(record: ContainerRecord) -> Arc<Self> {
        let running = record.state.run().is_some();
        Arc::new(Self {
            id: record.id.clone(),
            record: Mutex::new(Arc::new(record)),
            operation: tokio::sync::Mutex::new(()),
            releasing: Arc::default(),
            live: Mutex::new(None),
            early: Mutex::default(),
            short_runs: AtomicU32::new(0),
            kept: AtomicBool::new(false),
            mounted: Mutex::default(),
            views: Mutex::default(),
            progress: watch::channel(Progress { running, ..Progress::default() }).0,
        })
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<ContainerRecord> {
        Arc::clone(&lock(&self.record))
    }

    /// Looks at the record without copying it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&ContainerRecord) -> T) -> T {
        look(&lock(&self.record))
    }

    /// Changes the record.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut ContainerRecord) -> T) -> T {
        change(Arc::make_mut(&mut lock(&self.record)))
    }

    /// Refuses what cannot be done while its policy is about to start it again.
    pub(crate) fn not_restarting(&self) -> Result<(), Error> {
        if self.with(|record| record.state.is_restarting()) {
            let text = format!("Container {} is restarting, wait until the container is running", self.id);
            return Err(Error::Conflict(text));
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.record).state.clone()
    }

    /// Applies a transition.
    pub(crate) fn apply(&self, transition: Transition) -> Result<(), Error> {
        self.change(|record| match record.state.apply(transition) {
            Ok(state) => {
                record.state = state;
                Ok(())
            }
            Err(impossible) => Err(Error::Conflict(format!("Container {} {impossible}", record.id))),
        })
    }

    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        lock(&self.live).clone()
    }

    pub(crate) fn set_live(&self, live: Option<Arc<Live>>) -> Option<Arc<Live>> {
        std::mem::replace(&mut *lock(&self.live), live)
    }

    /// The monitor of a running container.
    pub(crate) fn running(&self) -> Result<Arc<Live>, Error> {
        let runs = self.with(|record| record.state.run().is_some());
        let live = self.live().filter(|_| runs);
        live.ok_or_else(|| Error::Conflict(format!("Container {} is not running", self.id)))
    }

    /// Keeps a stream for the next start; gives it back with the monitor if the container runs.
    pub(crate) fn attach_early(
        &self,
        request: AttachRequest,
        socket: OwnedFd,
    ) -> Result<(), (Arc<Live>, AttachRequest, OwnedFd)> {
        let mut early = lock(&self.early);
        // Looked at under the lock: a start takes what is here, runs, and looks here once more.
        match self.live() {
            Some(live) => Err((live, request, socket)),
            None => {
                early.push((request, socket));
                Ok(())
            }
        }
    }

    /// Puts a root mounted ahead in the place of the one there was.
    pub(crate) fn set_mounted(&self, mount: Option<OwnedFd>) -> Option<OwnedFd> {
        std::mem::replace(&mut *lock(&self.mounted), mount)
    }

    /// Somebody looks at the files. Its operation lock is held.
    pub(crate) fn view_begins(&self) {
        let mut views = lock(&self.views);
        if views.count == 0 {
            views.ahead = lock(&self.mounted).is_some();
        }
        views.count += 1;
    }

    /// Nobody does any more: a mount that was made for it goes, unless a start has taken it.
    pub(crate) fn view_ends(&self) {
        let mut views = lock(&self.views);
        views.count -= 1;
        if views.count == 0 && !views.ahead {
            drop(self.set_mounted(None));
        }
    }

    /// Keeps a mount of the root that a look at the files has, for the next start.
    pub(crate) fn share(&self, mount: OwnedFd) {
        drop(self.set_mounted(Some(mount)));
    }

    pub(crate) fn take_early(&self) -> Vec<(AttachRequest, OwnedFd)> {
        std::mem::take(&mut *lock(&self.early))
    }
}
