//! `exec`.

use proa_client::escape;
use proa_docker_api::{ExecCreate, ExecInspect, ExecStart, IdResponse};

use super::pump::{Session, pump};
use crate::app::App;
use crate::error::{Failure, Result, fail};
use crate::{spec, terminal};

/// `exec`.
pub(crate) async fn exec(app: &App) -> Result<()> {
    let flags = &app.flags;
    let (detach, tty) = (flags.on("detach"), flags.on("tty"));
    let stdin = flags.on("interactive") && !detach;
    if tty && stdin && !terminal::stdin_is() {
        fail!("the input device is not a TTY");
    }
    let Some((name, command)) = flags.args.split_first() else { fail!("no container given") };
    let mut env = Vec::new();
    for path in flags.list("env-file") {
        env.extend(spec::key_file(&path, true).map_err(Failure::new)?);
    }
    for text in flags.list("env") {
        env.extend(spec::environment(&text).map_err(Failure::new)?);
    }
    let console_size = terminal::size().filter(|_| tty);
    let create = ExecCreate {
        user: flags.text_or("user"),
        privileged: flags.on("privileged"),
        tty,
        console_size,
        attach_stdin: stdin,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach,
        detach_keys: if stdin { app.detach_keys() } else { flags.text_or("detach-keys") },
        env: Some(env).filter(|env| !env.is_empty()),
        working_dir: flags.text_or("workdir"),
        cmd: Some(command.to_vec()),
    };
    let made: IdResponse =
        app.client.post_json(&format!("/containers/{}/exec", escape(name)), &create).await?;
    let start = ExecStart { detach, tty, console_size };
    let path = format!("/exec/{}/start", made.id);
    if detach {
        app.client.bytes(proa_client::Verb::POST, &path, serde_json::to_vec(&start)?).await?;
        return Ok(());
    }
    let local = tokio::task::LocalSet::new();
    local.run_until(attached(app, &made.id, &path, stdin, &start)).await
}

async fn attached(app: &App, id: &str, path: &str, stdin: bool, start: &ExecStart) -> Result<()> {
    let started = app.client.hijack(path, serde_json::to_vec(start)?).await;
    let stream = started.map_err(|error| {
        let text = error.to_string();
        let code = if text.contains("executable file not found") || text.contains("no such file or directory")
        {
            127
        } else if text.contains("permission denied") || text.contains("is a directory") {
            126
        } else {
            1
        };
        Failure::new(text).code(code)
    })?;
    let target = format!("/exec/{id}");
    pump(app, Session { stream, stdin, tty: start.tty, target, proxy: false }).await?;
    let inspected: ExecInspect = app.client.fetch(&format!("/exec/{id}/json")).await?;
    match inspected.exit_code {
        Some(code) if code != 0 => Err(Failure::silent(i32::try_from(code).unwrap_or(1))),
        _ => Ok(()),
    }
}
