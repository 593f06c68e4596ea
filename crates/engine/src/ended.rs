//! The end of a process, as those see it who have read its output to the end: it is recorded, so that whoever asks
//! next is told how it ended.

use crate::container::{Container, Progress};
use std::sync::Arc;
use tokio::sync::watch;

/// Resolves when the end of a process is recorded, or when it cannot be any more.
pub struct Ended(Kind);

enum Kind {
    Exec(watch::Receiver<bool>),
    Run { progress: watch::Receiver<Progress>, ends: u64, _container: Arc<Container> },
}

impl Ended {
    pub(crate) fn of_exec(ended: watch::Receiver<bool>) -> Self {
        Self(Kind::Exec(ended))
    }

    /// The end of a container's run, or of its next one if it does not run. Made before it is looked at whether it runs.
    pub(crate) fn of_run(container: &Arc<Container>) -> Self {
        let progress = container.progress.subscribe();
        let ends = progress.borrow().ends;
        Self(Kind::Run { progress, ends, _container: Arc::clone(container) })
    }

    /// Waits for it.
    pub async fn recorded(self) {
        match self.0 {
            // The sender goes with what would have to be asked about.
            Kind::Exec(mut ended) => drop(ended.wait_for(|ended| *ended).await),
            Kind::Run { mut progress, ends, _container } => {
                drop(progress.wait_for(|progress| progress.ends > ends || progress.removed).await);
            }
        }
    }
}
