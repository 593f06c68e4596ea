//! `run`, `create`, `start`, `attach`.

use proa_client::{BodyStream, Error, Verb, escape, full};
use proa_docker_api::{ContainerCreateRequest, ContainerInspect, CreateResponse, WaitResponse};

use super::pump::{Session, pump};
use crate::app::App;
use crate::error::{Failure, Result, fail};
use crate::output::put;
use crate::{request, terminal};

/// The file a container's id goes to.
fn check_cidfile(app: &App) -> Result<Option<String>> {
    let Some(path) = app.flags.text("cidfile") else { return Ok(None) };
    if std::fs::symlink_metadata(path).is_ok() {
        fail!("container ID file found, make sure the other container isn't running or delete {path}");
    }
    Ok(Some(path.to_owned()))
}

async fn create(app: &App, body: &ContainerCreateRequest) -> Result<String> {
    let cidfile = check_cidfile(app)?;
    let mut path = "/containers/create".to_owned();
    let mut mark = '?';
    for (flag, key) in [("name", "name"), ("platform", "platform")] {
        if let Some(value) = app.flags.text(flag) {
            path.push_str(&format!("{mark}{key}={}", escape(value)));
            mark = '&';
        }
    }
    let image = body.config.image.as_str();
    // an id is no reference, and a broken name is told before anything is asked
    if image.contains(|c: char| c.is_ascii_uppercase()) {
        super::image::named(image, "").map_err(|failure| failure.code(125))?;
    }
    let quiet = app.flags.on("quiet");
    let pull = pull_option(app);
    if pull == "always" {
        super::image::pull(app, image, quiet, true).await?;
    }
    let made: CreateResponse = match app.client.post_json(&path, body).await {
        Err(error)
            if error.is_not_found() && pull == "missing" && error.message().contains("No such image") =>
        {
            if !quiet {
                eprintln!("Unable to find image '{}' locally", super::image::tagged(image));
            }
            super::image::pull(app, image, quiet, true).await?;
            app.client.post_json(&path, body).await?
        }
        other => other?,
    };
    for warning in &made.warnings {
        eprintln!("WARNING: {warning}");
    }
    if let Some(path) = cidfile {
        std::fs::write(&path, &made.id)?;
    }
    Ok(made.id)
}

fn pull_option(app: &App) -> &str {
    app.flags.text("pull").unwrap_or("missing")
}

fn body(app: &App) -> Result<ContainerCreateRequest> {
    let pull = pull_option(app);
    if !matches!(pull, "always" | "missing" | "never") {
        fail!("invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\"");
    }
    request::build(&app.flags).map_err(Failure::new)
}

/// Adds the proxies of `config.json`, which what the user gave goes before.
fn add_proxies(app: &App, body: &mut ContainerCreateRequest) {
    let Ok(config) = crate::config::Config::read(&app.config) else { return };
    for (name, value) in config.proxies(&app.client.host().to_string()) {
        let env = body.config.env.get_or_insert_default();
        if !env.iter().any(|known| known.split('=').next() == Some(name.as_str())) {
            env.push(format!("{name}={value}"));
        }
    }
}

/// `create`.
pub(crate) async fn create_only(app: &App) -> Result<()> {
    let mut body = body(app)?;
    add_proxies(app, &mut body);
    if app.flags.list("attach").is_empty() {
        (body.config.attach_stdout, body.config.attach_stderr) = (true, true);
    }
    let id = create(app, &body).await.map_err(Failure::bare)?;
    put(&format!("{id}\n"));
    Ok(())
}

/// The exit code for a container that could not be started.
fn start_code(message: &str) -> i32 {
    if ["executable file not found", "no such file or directory", "system cannot find the file"]
        .iter()
        .any(|text| message.contains(text))
    {
        127
    } else if ["permission denied", "is a directory", "not a directory"]
        .iter()
        .any(|text| message.contains(text))
    {
        126
    } else {
        125
    }
}

/// Registers a wait; the answer comes later.
async fn register(app: &App, id: &str, condition: &str) -> Result<BodyStream> {
    Ok(app
        .client
        .stream(Verb::POST, &format!("/containers/{id}/wait?condition={condition}"), &[], full(""))
        .await?)
}

async fn waited(stream: BodyStream) -> Result<i32> {
    let answer: Option<WaitResponse> = stream.lines().next().await?;
    match answer {
        Some(WaitResponse { error: Some(error), .. }) if !error.message.is_empty() => {
            Err(Failure::new(error.message).code(125))
        }
        Some(answer) => Ok(i32::try_from(answer.status_code).unwrap_or(125)),
        None => Ok(125),
    }
}

fn attach_path(app: &App, id: &str, streams: (bool, bool, bool)) -> String {
    let (stdin, stdout, stderr) = streams;
    let mut path = format!("/containers/{id}/attach?stream=1");
    for (on, name) in [(stdin, "stdin"), (stdout, "stdout"), (stderr, "stderr")] {
        if on {
            path.push_str(&format!("&{name}=1"));
        }
    }
    let keys = if stdin { app.detach_keys() } else { app.flags.text_or("detach-keys") };
    if !keys.is_empty() {
        path.push_str(&format!("&detachKeys={}", escape(&keys)));
    }
    path
}

/// `run`.
pub(crate) async fn run(app: &App) -> Result<()> {
    let mut body = body(app)?;
    add_proxies(app, &mut body);
    let detached = app.flags.on("detach");
    if detached && !app.flags.list("attach").is_empty() {
        let message = "conflicting options: cannot specify both --attach and --detach";
        return Err(Failure::new(message).bare());
    }
    let (stdin, tty) = (body.config.attach_stdin, body.config.tty);
    if !detached && tty && stdin && !terminal::stdin_is() {
        return Err(Failure::new("the input device is not a TTY").bare());
    }
    if detached {
        body.config.stdin_once = false;
    }
    let id = create(app, &body).await?;
    if detached {
        start_it(app, &id).await?;
        put(&format!("{id}\n"));
        return Ok(());
    }
    let local = tokio::task::LocalSet::new();
    local.run_until(attached_run(app, &id, &body)).await
}

async fn start_it(app: &App, id: &str) -> Result<()> {
    app.client.post(&format!("/containers/{id}/start")).await.map_err(|error| {
        let message = error.to_string();
        let code = start_code(&message);
        Failure::new(message).code(code)
    })
}

async fn attached_run(app: &App, id: &str, body: &ContainerCreateRequest) -> Result<()> {
    let config = &body.config;
    let streams = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
    let stream = if streams == (false, false, false) {
        None
    } else {
        Some(app.client.hijack(&attach_path(app, id, streams), Vec::new()).await?)
    };
    let condition = if body.host_config.auto_remove { "removed" } else { "next-exit" };
    let waiting = register(app, id, condition).await?;
    start_it(app, id).await?;
    let proxy = app.flags.text("sig-proxy").is_none_or(|_| app.flags.on("sig-proxy"));
    let target = format!("/containers/{id}");
    match stream {
        Some(stream) => {
            pump(app, Session { stream, stdin: config.attach_stdin, tty: config.tty, target, proxy }).await?
        }
        None => {
            put(&format!("{id}\n"));
        }
    }
    finish(app, id, waiting).await
}

/// Takes the exit code; a container that still runs was detached from.
async fn finish(app: &App, id: &str, waiting: BodyStream) -> Result<()> {
    let answer = waited(waiting);
    tokio::pin!(answer);
    let first = tokio::time::timeout(std::time::Duration::from_millis(300), &mut answer).await;
    let code = match first {
        Ok(code) => code?,
        Err(_) => {
            let inspected: std::result::Result<ContainerInspect, Error> =
                app.client.fetch(&format!("/containers/{id}/json")).await;
            if inspected.is_ok_and(|container| container.state.running) {
                return Ok(());
            }
            answer.await?
        }
    };
    if code == 0 { Ok(()) } else { Err(Failure::silent(code)) }
}

/// `start`.
pub(crate) async fn start(app: &App) -> Result<()> {
    let (attach, interactive) = (app.flags.on("attach"), app.flags.on("interactive"));
    if !attach && !interactive {
        let mut errors = Vec::new();
        for name in &app.flags.args {
            match app.client.post(&format!("/containers/{}/start", escape(name))).await {
                Ok(()) => put(&format!("{name}\n")),
                Err(error) => errors.push((name.clone(), error)),
            }
        }
        for (_, error) in &errors {
            eprintln!("{error}");
        }
        if !errors.is_empty() {
            let names: Vec<&str> = errors.iter().map(|(name, _)| name.as_str()).collect();
            fail!("Error: failed to start containers: {}", names.join(", "));
        }
        return Ok(());
    }
    let [name] = app.flags.args.as_slice() else {
        fail!("you cannot start and attach multiple containers at once")
    };
    let container: ContainerInspect = app.client.fetch(&format!("/containers/{}/json", escape(name))).await?;
    let stdin = interactive && container.config.open_stdin;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let stream =
                app.client.hijack(&attach_path(app, &container.id, (stdin, true, true)), Vec::new()).await?;
            let condition = if container.host_config.auto_remove { "removed" } else { "next-exit" };
            let waiting = register(app, &container.id, condition).await?;
            app.client.post(&format!("/containers/{}/start", container.id)).await?;
            let target = format!("/containers/{}", container.id);
            pump(app, Session { stream, stdin, tty: container.config.tty, target, proxy: true }).await?;
            finish(app, &container.id, waiting).await
        })
        .await
}

/// `attach`.
pub(crate) async fn attach(app: &App) -> Result<()> {
    let name = app.flags.args.first().cloned().unwrap_or_default();
    let container: ContainerInspect =
        app.client.fetch(&format!("/containers/{}/json", escape(&name))).await?;
    if !container.state.running {
        fail!("You cannot attach to a stopped container, start it first");
    }
    if container.state.paused {
        fail!("You cannot attach to a paused container, unpause it first");
    }
    let stdin = !app.flags.on("no-stdin") && container.config.open_stdin;
    if stdin && container.config.tty && !terminal::stdin_is() {
        fail!("the input device is not a TTY");
    }
    let proxy = app.flags.text("sig-proxy").is_none_or(|_| app.flags.on("sig-proxy"));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let waiting = register(app, &container.id, "").await?;
            let stream =
                app.client.hijack(&attach_path(app, &container.id, (stdin, true, true)), Vec::new()).await?;
            let target = format!("/containers/{}", container.id);
            pump(app, Session { stream, stdin, tty: container.config.tty, target, proxy }).await?;
            finish(app, &container.id, waiting).await
        })
        .await
}
