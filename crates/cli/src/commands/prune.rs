//! Prunes, each after a question, and all of them together.

use std::io::{BufRead as _, Write as _};

use proa_client::escape;
use proa_docker_api::{ContainersPruned, Filters, ImagesPruned, NetworksPruned, VolumesPruned};
use proa_types::units::human_size;

use crate::app::App;
use crate::config::Config;
use crate::error::{Failure, Result, fail};
use crate::output::put;

/// What a prune tells: the text of what went, and the bytes.
type Told = (String, u64);

/// Carries out the prune of that path.
pub(crate) async fn prune(app: &App, path: &str) -> Result<()> {
    let filters = filters(app)?;
    let all = app.flags.on("all");
    let (what, question) = match path {
        "container prune" => ("container", "This will remove all stopped containers."),
        "network prune" => {
            ("network", "This will remove all custom networks not used by at least one container.")
        }
        "image prune" if all => {
            ("image", "This will remove all images without at least one container associated to them.")
        }
        "image prune" => ("image", "This will remove all dangling images."),
        "volume prune" if all || !anonymous_only(app) => {
            ("volume", "This will remove all local volumes not used by at least one container.")
        }
        "volume prune" => {
            ("volume", "This will remove anonymous local volumes not used by at least one container.")
        }
        _ => return system(app, filters).await,
    };
    if what == "volume" && all && filters.contains("all") {
        fail!("conflicting options: cannot specify both --all and --filter all=1");
    }
    if what == "volume" && all && !anonymous_only(app) {
        fail!(
            "\"--all\" requires API version 1.42, but the Docker daemon API version is {}",
            app.client.version()
        );
    }
    confirm(app, &format!("WARNING! {question}\nAre you sure you want to continue?"))?;
    let (text, freed) = match what {
        "container" => containers(app, &filters).await?,
        "image" => images(app, &filters, all).await?,
        "volume" => volumes(app, &filters, all).await?,
        _ => networks(app, &filters).await?,
    };
    if !text.is_empty() {
        put(&format!("{text}\n"));
    }
    if what != "network" {
        put(&total(freed));
    }
    Ok(())
}

/// Whether the engine leaves volumes with a name alone.
fn anonymous_only(app: &App) -> bool {
    let version = app.client.version();
    let minor = version.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok());
    minor.is_none_or(|minor| minor >= 42)
}

/// The filters given, and those of the configuration that no filter given contradicts.
fn filters(app: &App) -> Result<Filters> {
    let mut filters = Filters::default();
    for text in app.flags.list("filter") {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        filters.add(name.trim().to_lowercase(), value.trim());
    }
    let configured = Config::read(&app.config).map(|config| config.list("pruneFilters")).unwrap_or_default();
    for text in configured {
        let Some((name, value)) = text.split_once('=') else { continue };
        let opposite = if name == "label" { "label!" } else { "label" };
        if name.starts_with("label") && filters.values(opposite).any(|given| given == value) {
            continue;
        }
        filters.add(name, value);
    }
    Ok(filters)
}

/// Asks on the terminal; `y` is yes.
fn confirm(app: &App, question: &str) -> Result<()> {
    if app.flags.on("force") {
        return Ok(());
    }
    put(&format!("{question} [y/N] "));
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    // docker's client says no more to a "no", and it is no failure
    Err(Failure::silent(0))
}

fn total(freed: u64) -> String {
    format!("Total reclaimed space: {}\n", human_size(freed, 4))
}

/// A heading and its lines; nothing where there are none.
fn listed(heading: &str, lines: impl Iterator<Item = String>) -> String {
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    if lines.is_empty() { lines } else { format!("{heading}:\n{lines}") }
}

async fn post<T: serde::de::DeserializeOwned>(app: &App, kind: &str, filters: &Filters) -> Result<T> {
    let path = format!("/{kind}/prune?filters={}", escape(&filters.encode()));
    let bytes = app.client.bytes(proa_client::Verb::POST, &path, Vec::new()).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

async fn containers(app: &App, filters: &Filters) -> Result<Told> {
    let pruned: ContainersPruned = post(app, "containers", filters).await?;
    let ids = pruned.containers_deleted.unwrap_or_default();
    Ok((listed("Deleted Containers", ids.into_iter()), pruned.space_reclaimed))
}

async fn images(app: &App, filters: &Filters, all: bool) -> Result<Told> {
    let mut filters = filters.clone();
    filters.add("dangling", if all { "false" } else { "true" });
    let pruned: ImagesPruned = post(app, "images", &filters).await?;
    let items = pruned.images_deleted.unwrap_or_default().into_iter();
    let lines = items.map(|item| match item.untagged.as_str() {
        "" => format!("deleted: {}", item.deleted),
        name => format!("untagged: {name}"),
    });
    Ok((listed("Deleted Images", lines), pruned.space_reclaimed))
}

async fn volumes(app: &App, filters: &Filters, all: bool) -> Result<Told> {
    let mut filters = filters.clone();
    if all {
        filters.add("all", "true");
    }
    let pruned: VolumesPruned = post(app, "volumes", &filters).await?;
    let names = pruned.volumes_deleted.unwrap_or_default();
    Ok((listed("Deleted Volumes", names.into_iter()), pruned.space_reclaimed))
}

async fn networks(app: &App, filters: &Filters) -> Result<Told> {
    let pruned: NetworksPruned = post(app, "networks", filters).await?;
    Ok((listed("Deleted Networks", pruned.networks_deleted.unwrap_or_default().into_iter()), 0))
}

/// Build cache; an engine that builds nothing has none.
async fn cache(app: &App, filters: &Filters, all: bool) -> Result<Told> {
    let filters = escape(&filters.encode());
    let path = format!("/build/prune?all={}&filters={filters}", u8::from(all));
    match app.client.bytes(proa_client::Verb::POST, &path, Vec::new()).await {
        Ok(bytes) => {
            let pruned: serde_json::Value = serde_json::from_slice(&bytes)?;
            let ids = pruned.get("CachesDeleted").and_then(|ids| ids.as_array().cloned()).unwrap_or_default();
            let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned));
            let freed = pruned.get("SpaceReclaimed").and_then(serde_json::Value::as_u64).unwrap_or(0);
            Ok((listed("Deleted build cache objects", ids), freed))
        }
        Err(proa_client::Error::Daemon { status: 501, .. }) => Ok((String::new(), 0)),
        Err(error) => Err(error.into()),
    }
}

async fn system(app: &App, filters: Filters) -> Result<()> {
    let (all, with_volumes) = (app.flags.on("all"), app.flags.on("volumes"));
    if with_volumes && filters.contains("until") {
        fail!("ERROR: The \"until\" filter is not supported with \"--volumes\"");
    }
    confirm(app, &warning(app, all, with_volumes))?;
    let mut freed = 0;
    let mut tell = |(text, bytes): Told| {
        freed += bytes;
        if !text.is_empty() {
            put(&format!("{text}\n"));
        }
    };
    tell(containers(app, &filters).await?);
    tell(networks(app, &filters).await?);
    if with_volumes {
        tell(volumes(app, &filters, false).await?);
    }
    tell(images(app, &filters, all).await?);
    tell(cache(app, &filters, all).await?);
    put(&total(freed));
    Ok(())
}

/// What a prune of everything would remove.
fn warning(app: &App, all: bool, with_volumes: bool) -> String {
    let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
    if with_volumes {
        lines.push(match anonymous_only(app) {
            true => "all anonymous volumes not used by at least one container",
            false => "all volumes not used by at least one container",
        });
    }
    lines.extend(if all {
        ["all images without at least one container associated to them", "all build cache"]
    } else {
        ["all dangling images", "unused build cache"]
    });
    let mut text = String::from("WARNING! This will remove:");
    lines.iter().for_each(|line| text.push_str(&format!("\n  - {line}")));
    let mut given = app.flags.list("filter");
    given.sort();
    if !given.is_empty() {
        text.push_str("\n\n  Items to be pruned will be filtered with:");
        given.iter().for_each(|filter| text.push_str(&format!("\n  - {filter}")));
    }
    text.push_str("\n\nAre you sure you want to continue?");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_must_be_listed_under_a_heading() {
        let names = ["a", "b"].map(str::to_owned);
        assert_eq!(listed("Deleted Volumes", names.into_iter()), "Deleted Volumes:\na\nb\n");
        assert_eq!(listed("Deleted Volumes", std::iter::empty()), "");
        assert_eq!(total(1_234_567), "Total reclaimed space: 1.235MB\n");
    }
}
