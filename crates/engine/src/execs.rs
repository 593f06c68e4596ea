//! The execs there are, by id and by container: looking one up costs nothing that grows with their number.
//!
//! One that was never started goes with its container; one that has ended can be inspected a while longer.

use crate::Error;
use crate::ended::Ended;
use crate::exec::{ExecSpec, ExecView};
use proa_types::{ContainerId, ExecId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Ended execs of either kind that can still be inspected.
const KEPT: usize = 1024;

/// All execs.
#[derive(Default)]
pub(crate) struct Execs(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    by_id: HashMap<String, Exec>,
    /// Those of each container that have not ended.
    open: HashMap<ContainerId, BTreeSet<ExecId>>,
    /// Ended ones, the oldest first: those of users, and probes of health, which must not push the others out.
    ended: [VecDeque<ExecId>; 2],
}

struct Exec {
    view: ExecView,
    /// Whether its end is recorded.
    ended: watch::Sender<bool>,
}

impl Execs {
    fn with<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what is to run.
    pub(crate) fn insert(&self, container: ContainerId, spec: ExecSpec) -> ExecId {
        let id = ExecId::random();
        let view = ExecView {
            id: id.clone(),
            container: container.clone(),
            spec,
            running: false,
            pid: 0,
            exit_code: None,
        };
        let exec = Exec { view, ended: watch::channel(false).0 };
        self.with(|tables| {
            tables.by_id.insert(id.as_str().to_owned(), exec);
            tables.open.entry(container).or_default().insert(id.clone());
        });
        id
    }

    /// One by its id.
    pub(crate) fn find(&self, id: &str) -> Result<ExecView, Error> {
        let found = self.with(|tables| tables.by_id.get(id).map(|exec| exec.view.clone()));
        found.ok_or_else(|| Error::NoSuchExec(id.to_owned()))
    }

    /// Marks one as running, which succeeds once; what resolves when its end is recorded.
    pub(crate) fn begin(&self, id: &ExecId) -> Result<Ended, Error> {
        self.with(|tables| {
            let exec = tables.by_id.get_mut(id.as_str()).ok_or_else(|| Error::NoSuchExec(id.to_string()))?;
            if exec.view.running || exec.view.exit_code.is_some() {
                return Err(Error::Conflict(format!("exec command {id} has already run")));
            }
            exec.view.running = true;
            Ok(Ended::of_exec(exec.ended.subscribe()))
        })
    }

    /// Its process is known, unless it has ended meanwhile.
    pub(crate) fn started(&self, id: &ExecId, pid: i32) {
        self.with(|tables| {
            if let Some(exec) = tables.by_id.get_mut(id.as_str()).filter(|exec| exec.view.running) {
                exec.view.pid = pid;
            }
        });
    }

    /// Records an end, the first one told.
    pub(crate) fn finish(&self, id: &ExecId, code: i32) {
        self.with(|tables| tables.finish(id, code));
    }

    /// Lets those who wait for an end go on.
    pub(crate) fn announce(&self, id: &ExecId) {
        self.with(|tables| {
            if let Some(exec) = tables.by_id.get(id.as_str()) {
                exec.ended.send_replace(true);
            }
        });
    }

    /// The running execs of a container.
    pub(crate) fn of(&self, container: &ContainerId) -> Vec<ExecId> {
        self.with(|tables| {
            let runs = |id: &&ExecId| tables.by_id.get(id.as_str()).is_some_and(|exec| exec.view.running);
            tables.open.get(container).into_iter().flatten().filter(runs).cloned().collect()
        })
    }

    /// The container has ended: its execs with it.
    pub(crate) fn forget(&self, container: &ContainerId) {
        self.with(|tables| {
            for id in tables.open.remove(container).unwrap_or_default() {
                let Some(exec) = tables.by_id.get(id.as_str()) else { continue };
                if exec.view.running {
                    tables.finish(&id, 137);
                    tables.by_id.get(id.as_str()).map(|exec| exec.ended.send_replace(true));
                } else {
                    tables.by_id.remove(id.as_str());
                }
            }
        });
    }
}

impl Tables {
    fn finish(&mut self, id: &ExecId, code: i32) {
        let Some(exec) = self.by_id.get_mut(id.as_str()) else { return };
        if exec.view.exit_code.is_some() {
            return;
        }
        (exec.view.running, exec.view.pid, exec.view.exit_code) = (false, 0, Some(code));
        if let Some(open) = self.open.get_mut(&exec.view.container) {
            open.remove(id);
            if open.is_empty() {
                self.open.remove(&exec.view.container);
            }
        }
        let [users, probes] = &mut self.ended;
        let ended = if exec.view.spec.limit.is_some() { probes } else { users };
        ended.push_back(id.clone());
        while ended.len() > KEPT {
            let Some(oldest) = ended.pop_front() else { break };
            self.by_id.remove(oldest.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_starts_an_exec_and_its_end_is_told_after_it_is_recorded() {
        let (execs, container) = (Execs::default(), ContainerId::random());
        let id = execs.insert(container.clone(), ExecSpec::default());
        assert!(execs.of(&container).is_empty());
        let started = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| execs.begin(&id).is_ok())).collect();
            starts.into_iter().filter_map(|start| start.join().ok()).filter(|&won| won).count()
        });
        assert_eq!(started, 1);
        assert_eq!(execs.of(&container), std::slice::from_ref(&id));
        execs.started(&id, 7);
        assert_eq!(execs.find(id.as_str()).unwrap().pid, 7);
        execs.finish(&id, 12);
        // The end of the container comes later and changes nothing.
        execs.forget(&container);
        let view = execs.find(id.as_str()).unwrap();
        assert_eq!((view.running, view.pid, view.exit_code), (false, 0, Some(12)));
        assert!(matches!(execs.begin(&id), Err(Error::Conflict(_))));
        assert!(execs.find(id.as_str().get(..12).unwrap_or_default()).is_err());
    }

    #[test]
    fn the_container_takes_its_execs_along_and_ended_ones_are_bounded() {
        let (execs, container) = (Execs::default(), ContainerId::random());
        let (run, idle) = (
            execs.insert(container.clone(), ExecSpec::default()),
            execs.insert(container.clone(), ExecSpec::default()),
        );
        execs.begin(&run).unwrap();
        execs.forget(&container);
        assert_eq!(execs.find(run.as_str()).unwrap().exit_code, Some(137));
        assert!(execs.find(idle.as_str()).is_err());
        for _ in 0..KEPT {
            let id = execs.insert(container.clone(), ExecSpec::default());
            execs.begin(&id).unwrap();
            execs.finish(&id, 0);
        }
        assert!(execs.find(run.as_str()).is_err());
        assert_eq!(execs.with(|tables| (tables.by_id.len(), tables.open.len())), (KEPT, 0));
    }
}
