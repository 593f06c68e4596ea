//! `version`, `info`, `events`.

use proa_client::{Verb, escape, full};
use proa_docker_api::{EventMessage, Info, Version};
use serde_json::json;

use crate::app::App;
use crate::error::{Failure, Result};
use crate::output::put;
use crate::template::Template;

/// Shows a document as `format` asks.
pub(crate) fn formatted(format: &str, value: &impl serde::Serialize) -> Result<()> {
    let document = serde_json::to_vec(value)?;
    if format == "json" {
        put(&format!("{}\n", String::from_utf8_lossy(&document)));
        return Ok(());
    }
    let unread = |cause| Failure::new(format!("template parsing error: {cause}")).code(64);
    let template = Template::parse(format).map_err(unread)?;
    put(&format!("{}\n", template.render_raw(&document).map_err(Failure::new)?));
    Ok(())
}

/// `version`.
pub(crate) async fn version(app: &App) -> Result<()> {
    let server: std::result::Result<Version, _> = app.client.fetch("/version").await;
    let client = json!({ "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": app.client.version(), "DefaultAPIVersion": proa_docker_api::API_VERSION,
        "Os": "linux", "Arch": arch(), "Platform": { "Name": "Proa" }, "Context": app.context, "GitCommit": "", "GoVersion": "", "BuildTime": "" });
    if let Some(format) = app.flags.text("format").filter(|format| !format.is_empty()) {
        let server_value = server.as_ref().ok().map(serde_json::to_value).transpose()?;
        formatted(format, &json!({ "Client": client, "Server": server_value }))?;
        return server.map(drop).map_err(Into::into);
    }
    put(&client_text(&app.client.version(), &app.context));
    let server = server?;
    put(&format!(
        "\nServer: {}\n Engine:\n  Version:          {}\n  API version:      {} (minimum version {})\n  OS/Arch:          {}/{}\n  Kernel Version:   {}\n",
        server.platform.name,
        server.version,
        server.api_version,
        server.min_api_version,
        server.os,
        server.arch,
        server.kernel_version
    ));
    Ok(())
}

/// What `version` says of the client.
pub(crate) fn client_text(api: &str, context: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "Client: Proa\n Version:           {version}\n API version:       {api}\n OS/Arch:           linux/{}\n Context:           {context}\n",
        arch()
    )
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `info`.
pub(crate) async fn info(app: &App) -> Result<()> {
    let info: Info = app.client.fetch("/info").await?;
    if let Some(format) = app.flags.text("format").filter(|format| !format.is_empty()) {
        return formatted(format, &info);
    }
    let mut out = format!("Client: Proa\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    let mut line = |text: String| out.push_str(&format!(" {text}\n"));
    line(format!("Containers: {}", info.containers));
    line(format!(" Running: {}", info.containers_running));
    line(format!(" Paused: {}", info.containers_paused));
    line(format!(" Stopped: {}", info.containers_stopped));
    line(format!("Images: {}", info.images));
    line(format!("Server Version: {}", info.server_version));
    line(format!("Storage Driver: {}", info.driver));
    for [key, value] in &info.driver_status {
        line(format!(" {key}: {value}"));
    }
    line(format!("Logging Driver: {}", info.logging_driver));
    if let Some(plugins) = &info.plugins.authorization {
        line(format!("Plugins:\n  Authorization: {}", plugins.join(" ")));
    }
    line(format!("Cgroup Driver: {}", info.cgroup_driver));
    line(format!("Cgroup Version: {}", info.cgroup_version));
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    line(format!("Runtimes: {}", runtimes.join(" ")));
    line(format!("Default Runtime: {}", info.default_runtime));
    line(format!("Security Options: {}", info.security_options.join(" ")));
    line(format!("Kernel Version: {}", info.kernel_version));
    line(format!("Operating System: {}", info.operating_system));
    line(format!("OSType: {}", info.os_type));
    line(format!("Architecture: {}", info.architecture));
    line(format!("CPUs: {}", info.n_cpu));
    line(format!("Total Memory: {}", proa_types::units::human_binary(info.mem_total.unsigned_abs(), 4)));
    line(format!("Name: {}", info.name));
    line(format!("ID: {}", info.id));
    line(format!("Docker Root Dir: {}", info.docker_root_dir));
    line(format!("Debug Mode: {}", info.debug));
    list("Labels", &info.labels).into_iter().chain(registries(&info)).for_each(&mut line);
    line(format!("Live Restore Enabled: {}", info.live_restore_enabled));
    put(&out);
    for warning in info.warnings.iter().flatten() {
        eprintln!("{warning}");
    }
    Ok(())
}

/// A heading and its items, one a line; nothing where there are none.
fn list(heading: &str, items: &[String]) -> Vec<String> {
    let lines = items.iter().map(|item| format!(" {item}"));
    let heading = (!items.is_empty()).then(|| format!("{heading}:"));
    heading.into_iter().chain(lines).collect()
}

/// Which registries need no TLS, and the mirrors.
fn registries(info: &Info) -> Vec<String> {
    let config = &info.registry_config;
    let lax = config.index_configs.iter().filter(|(_, index)| !index.secure).map(|(name, _)| name.clone());
    let lax: Vec<String> = lax.chain(config.insecure_registry_cidrs.iter().cloned()).collect();
    let mirrors = config.mirrors.as_deref().unwrap_or_default();
    [list("Insecure Registries", &lax), list("Registry Mirrors", mirrors)].concat()
}

/// An event with the names that templates know.
fn shown(event: &EventMessage) -> serde_json::Value {
    json!({
        "Status": event.status, "ID": event.id, "From": event.from, "Type": event.kind, "Action": event.action,
        "Actor": { "ID": event.actor.id, "Attributes": event.actor.attributes },
        "Scope": event.scope, "Time": event.time, "TimeNano": event.time_nano,
    })
}

/// `events`.
pub(crate) async fn events(app: &App) -> Result<()> {
    let mut path = format!("/events?filters={}", super::filters(app)?);
    for flag in ["since", "until"] {
        if let Some(text) = app.flags.text(flag) {
            path.push_str(&format!("&{flag}={}", escape(&super::logs::moment(text).map_err(Failure::new)?)));
        }
    }
    let format = app.flags.text("format").filter(|format| !format.is_empty());
    let unread = |cause| Failure::new(format!("Error parsing format: {cause}")).code(64);
    let template =
        format.filter(|format| *format != "json").map(Template::parse).transpose().map_err(unread)?;
    let mut lines = app.client.stream(Verb::GET, &path, &[], full("")).await?.lines();
    while let Some(event) = lines.next::<EventMessage>().await? {
        if let Some(format) = format {
            match &template {
                // attributes are a map, and what it has not is no error
                Some(template) if format != "{{json .}}" => {
                    let text = template.render(&shown(&event), false).map_err(Failure::new)?;
                    put(&format!("{text}\n"));
                }
                _ => formatted("json", &event)?,
            }
            continue;
        }
        let time = proa_types::Timestamp(event.time_nano).fixed_nanos();
        let attributes: Vec<String> =
            event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let tail =
            if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
        put(&format!("{time} {} {} {}{tail}\n", event.kind, event.action, event.actor.id));
    }
    Ok(())
}
