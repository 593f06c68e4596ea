//! What an unhealthy container leads to, for those whose label asks: beyond docker, with podman's words.

use super::HealthStatus;
use crate::container::Container;
use crate::spec::ContainerSpec;
use crate::state::State;
use crate::{Engine, Error};
use std::sync::Arc;

/// The label that asks for it.
const LABEL: &str = "proa.health.on-failure";

/// What is done when a container becomes unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Nothing,
    Kill,
    Restart,
    Stop,
}

fn action(spec: &ContainerSpec) -> Result<Action, Error> {
    match spec.labels.get(LABEL).map(String::as_str) {
        None | Some("none") => Ok(Action::Nothing),
        Some("kill") => Ok(Action::Kill),
        Some("restart") => Ok(Action::Restart),
        Some("stop") => Ok(Action::Stop),
        Some(other) => {
            Err(Error::Invalid(format!("invalid label {LABEL}={other}: write none, kill, restart or stop")))
        }
    }
}

/// Refuses an action that is not known or that cannot be.
pub(crate) fn check_action(spec: &ContainerSpec) -> Result<(), Error> {
    match action(spec)? {
        Action::Restart if spec.host.auto_remove => {
            Err(Error::Invalid(format!("conflicting options: --rm and the label {LABEL}=restart")))
        }
        Action::Nothing | Action::Kill | Action::Restart | Action::Stop => Ok(()),
    }
}

/// Whether a container that is down is to be started again because it was unhealthy.
pub(crate) fn restarts(record: &crate::ContainerRecord) -> bool {
    record.healing && !record.stopped_by_user
}

impl Engine {
    /// Does it for a container that became unhealthy under an engine that is gone: it may not have come to it.
    pub(crate) fn heal_again(self: &Arc<Self>, container: &Arc<Container>) {
        let ill = container.with(|record| {
            let unhealthy =
                record.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
            unhealthy && matches!(record.state, State::Running(_))
        });
        if ill {
            let (engine, container) = (Arc::clone(self), Arc::clone(container));
            tokio::spawn(async move { engine.heal(&container).await });
        }
    }

    /// Does what a container that became unhealthy asks for.
    pub(super) async fn heal(self: &Arc<Self>, container: &Arc<Container>) {
        let action = container.with(|record| action(&record.spec)).unwrap_or(Action::Nothing);
        if action == Action::Nothing {
            return;
        }
        let ill = container.state().run().cloned();
        let _operation = container.operation.lock().await;
        let still = container.with(|record| {
            let health = record.health.as_ref().map(|health| health.status);
            health == Some(HealthStatus::Unhealthy)
                && record.state.run() == ill.as_ref()
                && !record.stopped_by_user
        });
        if !still || ill.is_none() || self.is_closing() {
            return;
        }
        tracing::info!(container = container.id.short(), ?action, "it is unhealthy");
        if let Err(error) = self.act(container, action).await {
            tracing::warn!(container = container.id.short(), %error, "what it asked for when unhealthy failed");
        }
    }

    async fn act(self: &Arc<Self>, container: &Arc<Container>, action: Action) -> Result<(), Error> {
        match action {
            Action::Nothing => Ok(()),
            // The restart policy says what follows.
            Action::Kill => self.kill_all(container).await,
            Action::Stop => {
                self.stop_locked(container, None, None).await?;
                self.tell(container, "stop", &[]);
                Ok(())
            }
            // One that goes with its end cannot come back.
            Action::Restart if container.with(|record| record.spec.host.auto_remove) => {
                self.kill_all(container).await
            }
            Action::Restart => {
                container.change(|record| record.healing = true);
                self.note(&container.record())?;
                // Nobody waits for ever for one that is ill.
                let timeout =
                    container.with(|record| record.spec.stop_timeout).filter(|&seconds| seconds < 0);
                self.end_run(container, timeout.map(|_| 10), None).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_one_of_four_words() {
        let mut spec = ContainerSpec::default();
        assert_eq!(action(&spec).unwrap(), Action::Nothing);
        for (word, wanted) in [("none", Action::Nothing), ("kill", Action::Kill), ("stop", Action::Stop)] {
            spec.labels.insert(LABEL.into(), word.into());
            assert_eq!(action(&spec).unwrap(), wanted);
        }
        spec.labels.insert(LABEL.into(), "restart".into());
        check_action(&spec).unwrap();
        spec.host.auto_remove = true;
        assert!(check_action(&spec).is_err());
        spec.labels.insert(LABEL.into(), "Restart".into());
        assert!(matches!(check_action(&spec), Err(Error::Invalid(text)) if text.contains("write none")));
    }
}
