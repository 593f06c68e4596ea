//! Waiting for a container, in two steps: the interest is registered first, so that nothing that happens before the
//! answer is read can be missed.

use crate::container::{Container, Progress};
use crate::state::State;
use crate::{Engine, Error};
use std::sync::Arc;
use tokio::sync::watch;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run.
    NotRunning,
    /// That it ends the next time.
    NextExit,
    /// That it is removed.
    Removed,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Exit code.
    pub code: i32,
    /// Why it could not be started; usually nothing.
    pub error: String,
}

/// A registered interest.
pub struct Wait {
    receiver: watch::Receiver<Progress>,
    /// Keeps the sender alive: a removed container still has its news to tell.
    _container: Arc<Container>,
    condition: WaitCondition,
    ends: u64,
    /// The last end, for a container that ran before this engine did.
    last: Waited,
}

impl Engine {
    /// Registers an interest in a container's end.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn wait(&self, container: &str, condition: WaitCondition) -> Result<Wait, Error> {
        Ok(Wait::of(&self.find(container)?, condition))
    }
}

impl Wait {
    /// Registers an interest.
    pub(crate) fn of(container: &Arc<Container>, condition: WaitCondition) -> Self {
        let receiver = container.progress.subscribe();
        let ends = receiver.borrow().ends;
        let last = match container.state() {
            State::Exited(exit) => Waited { code: exit.code, error: String::new() },
            _ => Waited { code: 0, error: String::new() },
        };
        Self { receiver, _container: Arc::clone(container), condition, ends, last }
    }

    /// Waits for it.
    pub async fn done(mut self) -> Waited {
        let (condition, ends) = (self.condition, self.ends);
        let reached = self.receiver.wait_for(|progress| match condition {
            WaitCondition::NotRunning => !progress.running,
            WaitCondition::NextExit => progress.ends > ends,
            WaitCondition::Removed => progress.removed,
        });
        match reached.await {
            Ok(progress) if progress.ends > 0 => {
                Waited { code: progress.code, error: progress.error.clone() }
            }
            _ => self.last,
        }
    }
}
