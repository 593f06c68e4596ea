//! The commands.

mod container;
mod context;
mod copy;
mod df;
mod dial;
mod exec;
mod files;
mod image;
mod inspect;
mod list;
mod login;
mod logs;
mod progress;
mod prune;
mod pump;
mod run;
mod stats;
mod system;
mod update;
mod volume;

use crate::app::App;
use crate::error::{Failure, Result, fail};

pub(crate) use context::environment_host;
pub(crate) use system::{client_text as client_version, formatted};

/// Carries out the command of that path.
pub(crate) async fn dispatch(app: &App, path: &str) -> Result<()> {
    match path {
        "container run" => run::run(app).await,
        "container create" => run::create_only(app).await,
        "container start" => run::start(app).await,
        "container attach" => run::attach(app).await,
        "container exec" => exec::exec(app).await,
        "container ls" => list::containers(app).await,
        "container commit" => files::commit(app).await,
        "container diff" => files::diff(app).await,
        "container cp" => files::copy(app).await,
        "container export" => files::export(app).await,
        "container logs" => logs::logs(app).await,
        "container update" => update::update(app).await,
        "doctor" => crate::doctor::doctor(app),
        "system dial-stdio" => dial::dial(app).await,
        "system df" => df::df(app).await,
        path if path.ends_with(" prune") => prune::prune(app, path).await,
        "container stats" => stats::stats(app).await,
        "container inspect" => inspect::inspect(app, Some("container")).await,
        "image inspect" => inspect::inspect(app, Some("image")).await,
        "volume inspect" => inspect::inspect(app, Some("volume")).await,
        "network inspect" => inspect::inspect(app, Some("network")).await,
        "inspect" => inspect::inspect(app, None).await,
        "image ls" => list::images(app).await,
        "volume ls" => list::volumes(app).await,
        "network ls" => list::networks(app).await,
        "image history" => list::history(app).await,
        "volume create" => volume::create(app).await,
        "volume clone" => volume::clone(app).await,
        "volume rename" => volume::rename(app).await,
        "volume export" => volume::export(app).await,
        "volume import" => volume::import(app).await,
        "volume update" => volume::update(app).await,
        "volume rm" => volume::remove(app).await,
        "system events" => system::events(app).await,
        "system info" => system::info(app).await,
        "version" => system::version(app).await,
        path if path.starts_with("context ") => context::dispatch(app, path),
        "login" => login::login(app).await,
        "logout" => login::logout(app),
        path if path.starts_with("image ") => image::dispatch(app, path).await,
        path => container::dispatch(app, path).await,
    }
}

/// Does one thing for every argument; prints what it gives, tells what fails, and fails at the end.
pub(crate) async fn each<F>(names: &[String], act: impl Fn(String) -> F) -> Result<()>
where
    F: Future<Output = Result<String>>,
{
    let mut errors = Vec::new();
    for name in names {
        match act(name.clone()).await {
            Ok(text) => crate::output::put(&text),
            Err(failure) => errors.push(failure.message),
        }
    }
    if errors.is_empty() { Ok(()) } else { fail!("{}", errors.join("\n")) }
}

/// The same for what needs no waiting.
pub(crate) fn each_now(names: &[String], act: impl Fn(&str) -> Result<String>) -> Result<()> {
    let mut errors = Vec::new();
    for name in names {
        match act(name) {
            Ok(text) => crate::output::put(&text),
            Err(failure) => errors.push(failure.message),
        }
    }
    if errors.is_empty() { Ok(()) } else { fail!("{}", errors.join("\n")) }
}

/// The `--filter` values as a query's value.
pub(crate) fn filters(app: &App) -> Result<String> {
    let mut filters = proa_docker_api::Filters::default();
    for text in app.flags.list("filter") {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::new(format!(
                "invalid argument {text:?} for \"-f, --filter\" flag: invalid argument format \"{text}\""
            )));
        };
        filters.add(name.trim().to_lowercase(), value.trim());
    }
    Ok(if filters.is_empty() { String::new() } else { proa_client::escape(&filters.encode()) })
}
