//! Where a container stands, and what may happen to it there.
//!
//! ```text
//!            start              pause
//! Created ──────────> Running <───────> Paused
//!    │                 │   ^              │
//!    │            exit │   │ start        │ exit
//!    │                 v   │              v
//!    │               Exited <─────────────┘
//!    └────remove──> Removing <──remove── Exited
//! ```
//!
//! `restarting` is not a state of its own: it is `Exited` with a restart that is due.

use proa_types::{SandboxId, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Made and never started.
    Created,
    /// Its program runs.
    Running(Run),
    /// Its processes are stopped where they stand.
    Paused(Run),
    /// Its program has ended, or could not be started.
    Exited(Exit),
    /// It is being removed.
    Removing,
}

/// A run of the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// First process, on the host.
    pub pid: i32,
    /// That process's start time in clock ticks after boot.
    pub start_time: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// The sandbox it is in.
    pub sandbox: SandboxId,
}

/// An end of the program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// When it had begun.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Whether memory ran out.
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: String,
    /// Whether it will be started again.
    #[serde(default)]
    pub restarting: bool,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The program runs.
    Start(Run),
    /// It could not be started.
    Fail(Exit),
    /// The processes are stopped.
    Pause,
    /// They go on.
    Resume,
    /// The program ended.
    End {
        /// Exit code.
        code: i32,
        /// When.
        at: Timestamp,
        /// Whether memory ran out.
        oom_killed: bool,
        /// Whether it will be started again.
        restarting: bool,
    },
    /// It will not be started again after all.
    GiveUp,
    /// Removal begins.
    Remove,
}

/// What is not possible where the container stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub &'static str);

impl State {
    /// The state after something has happened.
    ///
    /// # Errors
    /// [`Impossible`] when it cannot happen here.
    pub fn apply(&self, transition: Transition) -> Result<Self, Impossible> {
        use Transition as T;
        match (self, transition) {
            (Self::Created | Self::Exited(_), T::Start(run)) => Ok(Self::Running(run)),
            (Self::Created | Self::Exited(_), T::Fail(exit)) => Ok(Self::Exited(exit)),
            (Self::Running(run), T::Pause) => Ok(Self::Paused(run.clone())),
            (Self::Paused(run), T::Resume) => Ok(Self::Running(run.clone())),
            (Self::Running(run) | Self::Paused(run), T::End { code, at, oom_killed, restarting }) => {
                let started_at = run.started_at;
                Ok(Self::Exited(Exit {
                    code,
                    started_at,
                    finished_at: at,
                    oom_killed,
                    error: String::new(),
                    restarting,
                }))
            }
            (Self::Exited(exit), T::GiveUp) => Ok(Self::Exited(Exit { restarting: false, ..exit.clone() })),
            (Self::Created | Self::Exited(_), T::Remove) => Ok(Self::Removing),
            (Self::Running(_), T::Start(_) | T::Fail(_)) => Err(Impossible("is already running")),
            (Self::Paused(_), T::Start(_) | T::Fail(_)) => {
                Err(Impossible("cannot start a paused container, try unpause instead"))
            }
            (Self::Paused(_), T::Pause) => Err(Impossible("is already paused")),
            (Self::Running(_), T::Resume) => Err(Impossible("is not paused")),
            (Self::Running(_) | Self::Paused(_), T::Remove) => Err(Impossible("is running")),
            (Self::Removing, _) => Err(Impossible("is marked for removal")),
            (Self::Created | Self::Exited(_), T::Pause | T::Resume | T::End { .. }) => {
                Err(Impossible("is not running"))
            }
            (Self::Created | Self::Running(_) | Self::Paused(_), T::GiveUp) => {
                Err(Impossible("is not restarting"))
            }
        }
    }

    /// The run, while there is one.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Paused(run) => Some(run),
            Self::Created | Self::Exited(_) | Self::Removing => None,
        }
    }

    /// Whether it has ended and is about to be started again.
    pub fn is_restarting(&self) -> bool {
        matches!(self, Self::Exited(exit) if exit.restarting)
    }

    /// Docker's word for it.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running(_) => "running",
            Self::Paused(_) => "paused",
            Self::Exited(_) if self.is_restarting() => "restarting",
            // A start that failed, of one that has never run.
            Self::Exited(exit) if exit.started_at.is_never() && !exit.error.is_empty() => "created",
            Self::Exited(_) => "exited",
            Self::Removing => "removing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run { pid: 7, start_time: 9, started_at: Timestamp(5), sandbox: SandboxId::random() }
    }

    fn end(code: i32) -> Transition {
        Transition::End { code, at: Timestamp(8), oom_killed: false, restarting: false }
    }

    #[test]
    fn a_life_from_start_to_removal() {
        let running = State::Created.apply(Transition::Start(run())).unwrap();
        let paused = running.apply(Transition::Pause).unwrap();
        assert_eq!((running.status(), paused.status()), ("running", "paused"));
        let exited = paused.apply(Transition::Resume).unwrap().apply(end(3)).unwrap();
        assert!(matches!(&exited, State::Exited(exit) if exit.code == 3 && exit.started_at == Timestamp(5)));
        assert!(exited.apply(Transition::Start(run())).is_ok());
        assert_eq!(exited.apply(Transition::Remove).unwrap(), State::Removing);
    }

    #[test]
    fn what_is_impossible_is_refused() {
        let running = State::Running(run());
        for (state, transition) in [
            (&State::Created, Transition::Pause),
            (&State::Created, end(0)),
            (&running, Transition::Start(run())),
            (&running, Transition::Remove),
            (&running, Transition::Resume),
            (&State::Removing, Transition::Start(run())),
            (&State::Removing, Transition::Remove),
        ] {
            assert!(state.apply(transition.clone()).is_err(), "{state:?} {transition:?}");
        }
    }
}
