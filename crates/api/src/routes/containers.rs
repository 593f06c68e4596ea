//! Containers.

use crate::body::{Answer, document_as, empty, json, ok, streamed, typed, with};
use crate::convert::{container, create as wire_create};
use crate::error::Failure;
use crate::server::{Call, Version};
use bytes::Bytes;
use hyper::StatusCode;
use proa_docker_api::{ContainerCreateRequest, CreateResponse, TopResponse, WaitError, WaitResponse};
use proa_engine::{Action, ListOptions, RemoveOptions, WaitCondition};
use proa_types::{ContainerName, Signal};
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

fn no_content() -> Handled {
    Ok(empty(StatusCode::NO_CONTENT))
}

fn signal(text: Option<&str>) -> Result<Option<Signal>, Failure> {
    text.map(|text| text.parse().map_err(|e: proa_types::signal::InvalidSignal| Failure::bad(e.to_string())))
        .transpose()
}

fn name(text: &str) -> Result<ContainerName, Failure> {
    text.parse().map_err(|e: proa_types::name::InvalidName| Failure::bad(e.to_string()))
}

pub(crate) async fn list(call: Call) -> Handled {
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: call.query.number::<i64>("limit")?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        size: call.query.flag("size"),
        filters: call.query.filters()?,
    };
    let views = call.engine().list(&options)?;
    let all: Vec<_> =
        views.iter().map(|view| container::summary(view, call.engine(), call.version)).collect();
    ok(&all)
}

pub(crate) async fn create(call: Call) -> Handled {
    let Call { api, request, query, version, .. } = call;
    // Before anything is refused: a client that still writes when the connection closes would not read why.
    let body = request.into_body();
    let mut request = document_as(body, ContainerCreateRequest::from_slice).await?;
    if let Some(check) = request.config.healthcheck.as_mut().filter(|_| version < Version(1, 44)) {
        // Versions before did not know it.
        check.start_interval = 0;
    }
    for mount in request.host_config.mounts.iter_mut().filter(|_| version < Version(1, 45)) {
        if let Some(options) = &mut mount.volume_options {
            options.subpath.clear();
        }
    }
    let wanted = query.text("name").map(name).transpose()?;
    let platform = container::platform(query.text("platform"))?;
    let spec = wire_create::spec(request)?;
    let created = api.engine.timed(Action::Create, api.engine.create(wanted, spec, platform)).await?;
    Ok(json(StatusCode::CREATED, &CreateResponse { id: created.id.to_string(), warnings: created.warnings }))
}

pub(crate) async fn inspect(call: Call) -> Handled {
    let view = call.engine().inspect(call.name(), call.query.flag("size"))?;
    ok(&container::inspect(&view, call.engine()))
}

pub(crate) async fn top(call: Call) -> Handled {
    let processes = call.engine().top(call.name(), call.query.text("ps_args").unwrap_or_default()).await?;
    ok(&TopResponse { processes: processes.rows, titles: processes.titles })
}

pub(crate) async fn start(call: Call) -> Handled {
    call.engine().timed(Action::Start, call.engine().start(call.name())).await?;
    no_content()
}

pub(crate) async fn stop(call: Call) -> Handled {
    let (seconds, with) = (call.query.number("t")?, signal(call.query.text("signal"))?);
    call.engine().stop(call.name(), seconds, with).await?;
    no_content()
}

pub(crate) async fn restart(call: Call) -> Handled {
    let (seconds, with) = (call.query.number("t")?, signal(call.query.text("signal"))?);
    call.engine().restart(call.name(), seconds, with).await?;
    no_content()
}

pub(crate) async fn kill(call: Call) -> Handled {
    let with = signal(call.query.text("signal"))?.unwrap_or(Signal::KILL);
    call.engine().kill(call.name(), with).await?;
    no_content()
}

pub(crate) async fn rename(call: Call) -> Handled {
    let wanted =
        call.query.text("name").ok_or_else(|| Failure::bad("Neither old nor new names may be empty"))?;
    call.engine().rename(call.name(), name(wanted)?).await?;
    no_content()
}

pub(crate) async fn pause(call: Call) -> Handled {
    call.engine().pause(call.name()).await?;
    no_content()
}

pub(crate) async fn unpause(call: Call) -> Handled {
    call.engine().unpause(call.name()).await?;
    no_content()
}

pub(crate) async fn resize(call: Call) -> Handled {
    let (rows, columns) = size(&call)?;
    call.engine().resize(call.name(), rows, columns).await?;
    Ok(empty(StatusCode::OK))
}

/// Rows and columns of a request.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Failure> {
    let needed =
        |name: &str| call.query.number(name)?.ok_or_else(|| Failure::bad(format!("{name} is missing")));
    Ok((needed("h")?, needed("w")?))
}

/// The head is sent at once: a client may start the container when it has it.
pub(crate) async fn wait(call: Call) -> Handled {
    let condition = match call.query.text("condition") {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(Failure::bad(format!("invalid condition: \"{other}\""))),
    };
    let wait = call.engine().wait(call.name(), condition)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let waited = tokio::select! {
            waited = wait.done() => waited,
            () = sender.closed() => return,
        };
        let error = (!waited.error.is_empty()).then(|| WaitError { message: waited.error.clone() });
        let answer = WaitResponse { status_code: i64::from(waited.code), error };
        let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
        bytes.push(b'\n');
        let _ = sender.send(Bytes::from(bytes)).await;
    });
    Ok(typed(with(StatusCode::OK, streamed(receiver)), "application/json"))
}

pub(crate) async fn remove(call: Call) -> Handled {
    if call.query.flag("link") {
        call.engine().remove_link(call.name()).await?;
        return no_content();
    }
    let options = RemoveOptions { force: call.query.flag("force"), volumes: call.query.flag("v") };
    call.engine().timed(Action::Delete, call.engine().remove(call.name(), options)).await?;
    no_content()
}
