//! When the next probe of each container is due. One task waits for the earliest of them all, while there is one: a
//! container that is not checked costs nothing, one that is checked costs an entry.

use crate::Engine;
use crate::container::Container;
use proa_types::ContainerId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// Probes that are begun at the same moment.
const AT_ONCE: usize = 16;

/// The containers that are checked.
pub(crate) struct Schedule {
    tables: Mutex<Tables>,
    earlier: Notify,
    pub(super) beginning: Semaphore,
}

#[derive(Default)]
struct Tables {
    next: u64,
    /// The watch over each container, and when its probe is due unless one is being made.
    watches: HashMap<ContainerId, (u64, Option<Instant>)>,
    due: BTreeMap<(Instant, u64), Arc<Container>>,
    /// Whether the task is there that waits.
    waits: bool,
}

/// A probe that is due.
pub(super) struct Due {
    pub(super) container: Arc<Container>,
    pub(super) watch: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        let beginning = Semaphore::new(AT_ONCE);
        Self { tables: Mutex::default(), earlier: Notify::new(), beginning }
    }
}

impl Schedule {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a container from now on, whose first probe is due after a pause; whether a task is needed that waits.
    fn open(&self, container: &Arc<Container>, pause: Duration) -> bool {
        let mut tables = self.tables();
        tables.close(&container.id);
        let watch = tables.next;
        tables.next += 1;
        tables.put(container, watch, pause);
        self.earlier.notify_one();
        !std::mem::replace(&mut tables.waits, true)
    }

    /// Ends the watch over a container; whether there was one.
    pub(super) fn close(&self, container: &ContainerId) -> bool {
        self.tables().close(container)
    }

    /// Whether this watch goes on.
    pub(super) fn holds(&self, container: &ContainerId, watch: u64) -> bool {
        self.tables().watches.get(container).is_some_and(|(open, _)| *open == watch)
    }

    /// The next probe of a container is due after a pause, if this watch goes on; whether a task is needed that waits.
    fn again(&self, container: &Arc<Container>, watch: u64, pause: Duration) -> bool {
        let mut tables = self.tables();
        if tables.watches.get(&container.id).is_none_or(|(open, _)| *open != watch) {
            return false;
        }
        tables.put(container, watch, pause);
        self.earlier.notify_one();
        !std::mem::replace(&mut tables.waits, true)
    }

    /// What is due now, and when to look again. With nothing left to wait for the task that asks is over.
    fn take(&self) -> (Vec<Due>, Option<Instant>) {
        let mut tables = self.tables();
        let (mut due, now) = (Vec::new(), Instant::now());
        while let Some(first) = tables.due.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, watch), container) = first.remove_entry();
            if let Some((_, at)) = tables.watches.get_mut(&container.id) {
                *at = None;
            }
            due.push(Due { container, watch });
        }
        let next = tables.due.first_key_value().map(|((at, _), _)| *at);
        tables.waits = next.is_some();
        (due, next)
    }
}

impl Tables {
    fn put(&mut self, container: &Arc<Container>, watch: u64, pause: Duration) {
        // A century is for ever, and can be added to any moment.
        let at = Instant::now() + pause.min(Duration::from_secs(100 * 365 * 86_400));
        self.watches.insert(container.id.clone(), (watch, Some(at)));
        self.due.insert((at, watch), Arc::clone(container));
    }

    fn close(&mut self, container: &ContainerId) -> bool {
        let Some((watch, at)) = self.watches.remove(container) else { return false };
        at.map(|at| self.due.remove(&(at, watch)));
        true
    }
}

impl Engine {
    /// Watches over a container from now on.
    pub(super) fn open_watch(self: &Arc<Self>, container: &Arc<Container>, pause: Duration) {
        if self.health.open(container, pause) {
            self.keep_time();
        }
    }

    /// Goes on with a watch.
    pub(super) fn keep_watch(self: &Arc<Self>, due: &Due, pause: Duration) {
        if self.health.again(&due.container, due.watch, pause) {
            self.keep_time();
        }
    }

    fn keep_time(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (due, next) = engine.health.take();
                for due in due {
                    let engine = Arc::clone(&engine);
                    tokio::spawn(async move { engine.probe(due).await });
                }
                let Some(next) = next else { return };
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = engine.health.earlier.notified() => {}
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_ends_with_nothing_left_of_it() {
        let schedule = Schedule::default();
        let container = Container::new(crate::system::plain_record());
        let sizes = || {
            let tables = schedule.tables();
            (tables.due.len(), tables.watches.len())
        };
        assert!(schedule.open(&container, Duration::MAX));
        // Opened anew, and the task is there already.
        assert!(!schedule.open(&container, Duration::from_secs(3600)));
        assert_eq!(sizes(), (1, 1));
        assert!(schedule.close(&container.id) && !schedule.close(&container.id));
        assert_eq!(sizes(), (0, 0));
        assert!(schedule.take().1.is_none());
        // The task that found nothing is over: the next watch needs another.
        assert!(schedule.open(&container, Duration::ZERO));
        let (due, next) = schedule.take();
        let due = due.first().unwrap();
        assert!(next.is_none() && schedule.holds(&container.id, due.watch));
        assert!(schedule.again(&container, due.watch, Duration::from_secs(9)));
        assert!(schedule.close(&container.id));
        // A probe that ends after its watch is not followed by another.
        assert!(!schedule.again(&container, due.watch, Duration::ZERO));
        assert!(schedule.take().0.is_empty());
    }
}
