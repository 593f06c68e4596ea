//! `update`.

use proa_client::escape;
use proa_docker_api::{HostConfig, UpdateResponse};

use super::each;
use crate::app::App;
use crate::error::{Failure, Result, fail};
use crate::{request, spec};

/// `update`: limits and the policy that were given, on each container.
pub(crate) async fn update(app: &App) -> Result<()> {
    let flags = &app.flags;
    if flags.names().next().is_none() {
        fail!("you must provide one or more flags when using this command");
    }
    let mut host = HostConfig::default();
    request::resources(flags, &mut host).map_err(Failure::new)?;
    // What has no flag here is left as it is.
    (host.memory_swappiness, host.oom_kill_disable) = (None, None);
    host.pids_limit = flags.int("pids-limit");
    if let Some(policy) = flags.text("restart") {
        host.restart_policy = spec::restart(policy).map_err(Failure::new)?;
    }
    each(&flags.args, |name| {
        let host = host.clone();
        async move {
            let path = format!("/containers/{}/update", escape(&name));
            let answer: UpdateResponse = app.client.post_json(&path, &host).await?;
            let warnings = answer.warnings.unwrap_or_default();
            Ok(std::iter::once(name).chain(warnings).map(|line| format!("{line}\n")).collect())
        }
    })
    .await
}
