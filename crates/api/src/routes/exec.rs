//! Processes beside a container's first.

use super::containers::size;
use crate::body::{Answer, document, empty, json, ok};
use crate::error::Failure;
use crate::hijack::{self, Manner};
use crate::server::Call;
use hyper::StatusCode;
use proa_docker_api::{ExecCreate, ExecInspect, ExecProcess, ExecStart, IdResponse, Stream, header};
use proa_engine::{AttachOptions, AttachStream, ExecSpec};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

type Handled = Result<Answer, Failure>;

fn console(size: Option<[u32; 2]>) -> Option<(u16, u16)> {
    let [rows, columns] = size?;
    Some((u16::try_from(rows).ok()?, u16::try_from(columns).ok()?))
}

pub(crate) async fn create(call: Call) -> Handled {
    let container = call.name().to_owned();
    let Call { api, request, .. } = call;
    let wire: ExecCreate = document(request.into_body()).await?;
    let spec = ExecSpec {
        cmd: wire.cmd.unwrap_or_default(),
        env: wire.env.unwrap_or_default(),
        working_dir: wire.working_dir,
        user: wire.user,
        tty: wire.tty,
        attach: AttachOptions {
            stdin: wire.attach_stdin,
            stdout: wire.attach_stdout,
            stderr: wire.attach_stderr,
        },
        privileged: wire.privileged,
        detach_keys: wire.detach_keys,
        console_size: console(wire.console_size).unwrap_or_default(),
        limit: None,
    };
    let id = api.engine.exec_create(&container, spec)?;
    Ok(json(StatusCode::CREATED, &IdResponse { id: id.to_string() }))
}

pub(crate) async fn start(call: Call) -> Handled {
    let id = call.name().to_owned();
    let (engine, multiplexed) = (std::sync::Arc::clone(call.engine()), call.since(1, 42));
    // The body is read first; the head keeps the way to the connection.
    let (head, body) = call.request.into_parts();
    let wire: ExecStart = document(body).await?;
    let request = hyper::Request::from_parts(head, ());
    let view = engine.exec_inspect(&id)?;
    let keys = hijack::keys(Some(view.spec.detach_keys.as_str()).filter(|keys| !keys.is_empty()))?;
    let stream = match engine.exec_start(&id, wire.detach, console(wire.console_size)).await {
        // As docker: the client has its connection, reads why, and asks for the exit code.
        Err(error @ proa_engine::Error::Start { exit_code: Some(_), .. }) if !wire.detach => {
            Some(told(&error.to_string(), view.spec.tty).await?)
        }
        other => other?,
    };
    match stream {
        Some(stream) => {
            let (input, raw) = (view.spec.attach.stdin, Some(wire.tty));
            Ok(hijack::upgrade(request, stream, Manner { input, keys, multiplexed, raw }))
        }
        None => Ok(empty(StatusCode::OK)),
    }
}

/// A stream that says why there is none.
async fn told(text: &str, tty: bool) -> Result<AttachStream, Failure> {
    let failed = |e: std::io::Error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let (stream, mut other) = UnixStream::pair().map_err(failed)?;
    let line = format!("{text}\r\n");
    if !tty {
        let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
        other.write_all(&header(Stream::Stdout, length)).await.map_err(failed)?;
    }
    other.write_all(line.as_bytes()).await.map_err(failed)?;
    Ok(AttachStream { log: None, stream, tty, ended: None })
}

pub(crate) async fn resize(call: Call) -> Handled {
    let (rows, columns) = size(&call)?;
    call.engine().exec_resize(call.name(), rows, columns).await?;
    Ok(empty(StatusCode::OK))
}

pub(crate) async fn inspect(call: Call) -> Handled {
    let view = call.engine().exec_inspect(call.name())?;
    let (entrypoint, arguments) =
        view.spec.cmd.split_first().map(|(p, a)| (p.clone(), a.to_vec())).unwrap_or_default();
    ok(&ExecInspect {
        id: view.id.to_string(),
        running: view.running,
        exit_code: view.exit_code.map(i64::from),
        process_config: ExecProcess {
            tty: view.spec.tty,
            entrypoint,
            arguments,
            privileged: view.spec.privileged,
            user: view.spec.user.clone(),
        },
        open_stdin: view.spec.attach.stdin,
        open_stderr: view.spec.attach.stderr,
        open_stdout: view.spec.attach.stdout,
        can_remove: false,
        container_id: view.container.to_string(),
        detach_keys: view.spec.detach_keys.clone(),
        pid: i64::from(view.pid),
    })
}
