//! `ps`, `images`, `history`, `volume ls`, `network ls`.

use proa_client::escape;
use proa_docker_api::{ContainerSummary, HistoryItem, ImageSummary, Network, PortSummary, VolumeList};
use proa_types::units::{human_duration, human_size};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::Result;
use crate::output::{self, Column, LABELS, Row, put};

/// The format that was asked for, else the configuration's.
fn format_or(app: &App, setting: &str) -> String {
    app.flags.text("format").map_or_else(|| app.setting(setting), str::to_owned)
}

/// A row of a table.
pub(crate) fn row(value: Value) -> Row {
    match value {
        Value::Object(map) => map,
        _ => Row::new(),
    }
}

fn short(id: &str, app: &App) -> String {
    if app.flags.on("no-trunc") {
        id.to_owned()
    } else {
        id.trim_start_matches("sha256:").chars().take(12).collect()
    }
}

fn ellipsis(text: &str, width: usize, app: &App) -> String {
    if app.flags.on("no-trunc") || text.chars().count() <= width {
        return text.to_owned();
    }
    let head: String = text.chars().take(width - 1).collect();
    format!("{head}…")
}

fn age(seconds: i64) -> String {
    format!("{} ago", human_duration(proa_types::Timestamp::now().seconds() - seconds))
}

fn size(bytes: i64, digits: usize) -> String {
    human_size(bytes.max(0).unsigned_abs(), digits)
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}

/// A time of the API as Go prints one.
fn go_time(text: &str) -> String {
    let Ok(at) = proa_types::Timestamp::parse(text) else { return text.to_owned() };
    at.to_string().replacen('T', " ", 1).replace('Z', " +0000 UTC")
}

fn local_time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| String::new(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
    )
}

/// Ports as docker groups them: runs of neighbours become ranges.
fn ports(ports: &[PortSummary]) -> String {
    let mut list: Vec<&PortSummary> = ports.iter().collect();
    list.sort_by_key(|port| (port.ip.clone(), port.kind.clone(), port.private_port, port.public_port));
    let mut groups: Vec<(&PortSummary, u16)> = Vec::new();
    for port in list {
        match groups.last_mut() {
            Some((first, length))
                if first.ip == port.ip
                    && first.kind == port.kind
                    && (first.public_port == 0) == (port.public_port == 0)
                    && u32::from(port.private_port)
                        == u32::from(first.private_port) + u32::from(*length) + 1
                    && (port.public_port == 0
                        || u32::from(port.public_port)
                            == u32::from(first.public_port) + u32::from(*length) + 1) =>
            {
                *length += 1
            }
            _ => groups.push((port, 0)),
        }
    }
    let span = |first: u16, length: u16| {
        if length == 0 { first.to_string() } else { format!("{first}-{}", first + length) }
    };
    let show = |(first, length): &(&PortSummary, u16)| {
        let private = span(first.private_port, *length);
        if first.public_port == 0 {
            return format!("{private}/{}", first.kind);
        }
        let ip = if first.ip.contains(':') { format!("[{}]", first.ip) } else { first.ip.clone() };
        format!("{ip}:{}->{private}/{}", span(first.public_port, *length), first.kind)
    };
    groups.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// A container's row.
pub(crate) fn container_row(app: &App, item: &ContainerSummary) -> Row {
    let names: Vec<&str> = item
        .names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        .filter(|name| app.flags.on("no-trunc") || !name.contains('/'))
        .collect();
    let labels: Vec<String> = item.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mounts: Vec<String> = item
        .mounts
        .iter()
        .map(|mount| ellipsis(if mount.name.is_empty() { &mount.source } else { &mount.name }, 15, app))
        .collect();
    let networks: Vec<&str> = item.network_settings.networks.keys().map(String::as_str).collect();
    let rw = size(item.size_rw.unwrap_or(0), 3);
    let total = item
        .size_root_fs
        .filter(|size| *size > 0)
        .map_or_else(String::new, |bytes| format!(" (virtual {})", size(bytes, 3)));
    let locals = item.mounts.iter().filter(|mount| mount.driver == "local").count();
    let image = item.image.strip_prefix("sha256:").map_or_else(|| item.image.clone(), |id| short(id, app));
    row(json!({
        "ID": short(&item.id, app), "Names": names.join(","), "Image": image,
        "Command": format!("\"{}\"", ellipsis(&item.command, 20, app)), "CreatedAt": local_time(item.created), "RunningFor": age(item.created),
        "Ports": ports(&item.ports), "State": item.state, "Status": item.status, "Size": format!("{rw}{total}"), "Labels": labels.join(","),
        "Mounts": mounts.join(","), "Networks": networks.join(","), "LocalVolumes": locals.to_string(), LABELS: item.labels,
    }))
}

/// `ps`.
pub(crate) async fn containers(app: &App) -> Result<()> {
    const COLUMNS: &[Column] = &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Size", "SIZE"),
    ];
    const HEADINGS: &[Column] = &[
        ("CreatedAt", "CREATED AT"),
        ("State", "STATE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("Networks", "NETWORKS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
    ];
    let flags = &app.flags;
    let format = match flags.text("format") {
        None if !flags.on("quiet") => app.setting("psFormat"),
        given => given.unwrap_or_default().to_owned(),
    };
    let mut path = format!("/containers/json?filters={}", super::filters(app)?);
    if flags.on("all") {
        path.push_str("&all=1");
    }
    let limit = if flags.on("latest") { 1 } else { flags.int("last").unwrap_or(-1) };
    if limit > 0 {
        path.push_str(&format!("&limit={limit}"));
    }
    let sized = flags.on("size") || format.contains(".Size") || format.contains("json .");
    if sized {
        path.push_str("&size=1");
    }
    let items: Vec<ContainerSummary> = app.client.fetch(&path).await?;
    if flags.on("quiet") && format.is_empty() {
        items.iter().for_each(|item| put(&format!("{}\n", short(&item.id, app))));
        return Ok(());
    }
    let rows: Vec<Row> = items.iter().map(|item| container_row(app, item)).collect();
    output::rows(&rows, &format, if sized { COLUMNS } else { COLUMNS.get(..7).unwrap_or(COLUMNS) }, HEADINGS)
}

/// The rows of an image: one for each name.
pub(crate) fn image_rows(app: &App, item: &ImageSummary, digests: bool, out: &mut Vec<Row>) {
    let split = |reference: &str| {
        reference
            .rsplit_once(':')
            .map_or((reference.to_owned(), String::new()), |(repo, tag)| (repo.to_owned(), tag.to_owned()))
    };
    let mut names: Vec<(String, String)> =
        item.repo_tags.iter().flatten().map(|reference| split(reference)).collect();
    let known: Vec<(&str, &str)> =
        item.repo_digests.iter().flatten().filter_map(|text| text.split_once('@')).collect();
    if names.is_empty() {
        let repo = known.first().map_or("<none>", |(repo, _)| repo);
        names.push((repo.to_owned(), "<none>".into()));
    }
    for (repo, tag) in names {
        let digest = known.iter().find(|(name, _)| *name == repo).map_or("<none>", |(_, digest)| digest);
        let mut value = row(json!({
            "Repository": repo, "Tag": tag, "Digest": digest, "ID": short(&item.id, app), "CreatedSince": age(item.created),
            "CreatedAt": local_time(item.created), "Size": size(item.size, 3), "VirtualSize": size(item.size, 3), "SharedSize": "N/A", "UniqueSize": "N/A", "Containers": "N/A",
        }));
        if !digests && !app.flags.has("format") {
            value.insert("Digest".into(), "<none>".into());
        }
        out.push(value);
    }
}

/// `images`.
pub(crate) async fn images(app: &App) -> Result<()> {
    const PLAIN: &[Column] = &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ];
    const DIGESTS: &[Column] = &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ];
    let flags = &app.flags;
    let mut filters = proa_docker_api::Filters::default();
    for text in flags.list("filter") {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        filters.add(name, value);
    }
    if let Some(reference) = flags.args.first() {
        filters.add("reference", reference.as_str());
    }
    let mut path = format!("/images/json?filters={}", escape(&filters.encode()));
    if flags.on("all") {
        path.push_str("&all=1");
    }
    if flags.on("digests") {
        path.push_str("&digests=1");
    }
    let mut items: Vec<ImageSummary> = app.client.fetch(&path).await?;
    items.sort_by_key(|item| std::cmp::Reverse(item.created));
    let mut rows = Vec::new();
    for item in &items {
        image_rows(app, item, flags.on("digests"), &mut rows);
    }
    if flags.on("quiet") && !flags.has("format") {
        rows.iter()
            .for_each(|row| put(&format!("{}\n", row.get("ID").and_then(Value::as_str).unwrap_or_default())));
        return Ok(());
    }
    output::rows(
        &rows,
        &match flags.text("format") {
            None => app.setting("imagesFormat"),
            Some(format) => format.to_owned(),
        },
        if flags.on("digests") { DIGESTS } else { PLAIN },
        &[("Digest", "DIGEST"), ("CreatedAt", "CREATED AT")],
    )
}

/// `history`.
pub(crate) async fn history(app: &App) -> Result<()> {
    const COLUMNS: &[Column] = &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ];
    let name = app.flags.args.first().cloned().unwrap_or_default();
    let items: Vec<HistoryItem> = app.client.fetch(&format!("/images/{}/history", escape(&name))).await?;
    let human = !app.flags.has("human") || app.flags.on("human");
    let mut columns = COLUMNS.to_vec();
    if let Some(column) = columns.get_mut(1).filter(|_| !human) {
        *column = ("CreatedAt", "CREATED AT");
    }
    let make = |item: &HistoryItem| {
        let bytes = if human { size(item.size, 3) } else { item.size.to_string() };
        row(
            json!({ "ID": short(&item.id, app), "CreatedSince": age(item.created), "CreatedAt": rfc3339(item.created), "CreatedBy": ellipsis(&item.created_by.replace('\t', " "), 45, app), "Size": bytes, "Comment": item.comment }),
        )
    };
    let rows: Vec<Row> = items.iter().map(make).collect();
    if app.flags.on("quiet") {
        rows.iter()
            .for_each(|row| put(&format!("{}\n", row.get("ID").and_then(Value::as_str).unwrap_or_default())));
        return Ok(());
    }
    output::rows(&rows, &app.flags.text_or("format"), &columns, &[("CreatedAt", "CREATED AT")])
}

/// `volume ls`.
pub(crate) async fn volumes(app: &App) -> Result<()> {
    let mut list: VolumeList =
        app.client.fetch(&format!("/volumes?filters={}", super::filters(app)?)).await?;
    list.volumes.sort_by(|a, b| output::natural(&a.name, &b.name));
    let rows: Vec<Row> = list
        .volumes
        .iter()
        .map(|volume| {
            let labels = volume.labels.clone().unwrap_or_default();
            let text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row(json!({ "Name": volume.name, "Driver": volume.driver, "Scope": volume.scope, "Mountpoint": volume.mountpoint, "Labels": text.join(","), "Links": "N/A", "Size": "N/A", "Availability": "N/A", "Group": "N/A", "Status": "N/A", LABELS: labels }))
        })
        .collect();
    if app.flags.on("quiet") {
        list.volumes.iter().for_each(|volume| put(&format!("{}\n", volume.name)));
        return Ok(());
    }
    output::rows(
        &rows,
        &format_or(app, "volumesFormat"),
        &[("Driver", "DRIVER"), ("Name", "VOLUME NAME")],
        &[
            ("Scope", "SCOPE"),
            ("Mountpoint", "MOUNTPOINT"),
            ("Labels", "LABELS"),
            ("Links", "LINKS"),
            ("Size", "SIZE"),
            ("Availability", "AVAILABILITY"),
            ("Group", "GROUP"),
            ("Status", "STATUS"),
        ],
    )
}

/// `network ls`.
pub(crate) async fn networks(app: &App) -> Result<()> {
    const COLUMNS: &[Column] =
        &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE")];
    let mut list: Vec<Network> =
        app.client.fetch(&format!("/networks?filters={}", super::filters(app)?)).await?;
    list.sort_by(|a, b| output::natural(&a.name, &b.name));
    if app.flags.on("quiet") && !app.flags.has("format") {
        list.iter().for_each(|network| put(&format!("{}\n", short(&network.id, app))));
        return Ok(());
    }
    let make = |network: &Network| {
        let labels: Vec<String> =
            network.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        row(
            json!({ "ID": short(&network.id, app), "Name": network.name, "Driver": network.driver, "Scope": network.scope, "Internal": network.internal.to_string(), "IPv4": network.enable_ipv4.to_string(), "IPv6": network.enable_ipv6.to_string(), "CreatedAt": go_time(&network.created), "Labels": labels.join(","), LABELS: network.labels }),
        )
    };
    let rows: Vec<Row> = list.iter().map(make).collect();
    output::rows(
        &rows,
        &format_or(app, "networksFormat"),
        COLUMNS,
        &[("Internal", "INTERNAL"), ("IPv6", "IPV6"), ("CreatedAt", "CREATED AT"), ("Labels", "LABELS")],
    )
}
