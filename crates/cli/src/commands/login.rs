//! `login`, `logout` and the stored credentials.

use std::io::Read as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proa_docker_api::{AuthConfig, AuthResponse, encode_auth};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{Result, fail};
use crate::output::put;

const HUB: &str = "https://index.docker.io/v1/";

fn file(app: &App) -> PathBuf {
    app.config.join("config.json")
}

fn stored(app: &App) -> Result<Value> {
    match std::fs::read(file(app)) {
        Ok(raw) => serde_json::from_slice(&raw).or_else(|cause| fail!("{}: {cause}", file(app).display())),
        Err(_) => Ok(json!({})),
    }
}

fn store(app: &App, value: &Value) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::create_dir_all(&app.config)?;
    let partial = app.config.join(format!("config.json.{}", std::process::id()));
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    std::io::Write::write_all(&mut out, &serde_json::to_vec_pretty(value)?)?;
    Ok(std::fs::rename(partial, file(app))?)
}

/// The registry an image name belongs to.
fn registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// The `X-Registry-Auth` header for an image name, where credentials are stored.
pub(crate) fn header(app: &App, name: &str) -> Option<String> {
    let config = stored(app).ok()?;
    let server = registry(name);
    let entry = config.get("auths")?.get(server)?;
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded =
        STANDARD.decode(text("auth")).ok().and_then(|raw| String::from_utf8(raw).ok()).unwrap_or_default();
    let (username, password) = decoded.split_once(':').unwrap_or_default();
    Some(encode_auth(&AuthConfig {
        username: username.into(),
        password: password.trim_end_matches('\0').into(),
        identitytoken: text("identitytoken"),
        serveraddress: server.into(),
        ..AuthConfig::default()
    }))
}

fn ask(question: &str, hidden: bool) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    super::pump::emit(question.as_bytes())?;
    let stdin = rustix::stdio::stdin();
    let before = tcgetattr(stdin).ok().filter(|_| hidden);
    if let Some(mut quiet) = before.clone() {
        quiet.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(stdin, OptionalActions::Now, &quiet);
    }
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if let Some(before) = before {
        let _ = tcsetattr(stdin, OptionalActions::Now, &before);
        put("\n");
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// `login`.
pub(crate) async fn login(app: &App) -> Result<()> {
    let flags = &app.flags;
    let server = flags.args.first().map_or(HUB, String::as_str).to_owned();
    let mut username = flags.text_or("username");
    let mut password = flags.text_or("password");
    if flags.on("password-stdin") {
        if flags.has("password") {
            fail!("conflicting options: cannot specify both --password and --password-stdin");
        }
        if username.is_empty() {
            fail!("the --password-stdin option requires --username to be set");
        }
        std::io::stdin().read_to_string(&mut password)?;
        password = password.trim_end_matches(['\n', '\r']).to_owned();
    } else if flags.has("password") {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    if (username.is_empty() || password.is_empty()) && !crate::terminal::stdin_is() {
        fail!("Error: Cannot perform an interactive login from a non TTY device");
    }
    if username.is_empty() {
        username = ask("Username: ", false)?;
    }
    if password.is_empty() {
        password = ask("Password: ", true)?;
    }
    let auth = AuthConfig {
        username: username.clone(),
        password: password.clone(),
        serveraddress: server.clone(),
        ..AuthConfig::default()
    };
    let answer: AuthResponse = app.client.post_json("/auth", &auth).await?;
    let mut config = stored(app)?;
    let entry = if answer.identity_token.is_empty() {
        json!({ "auth": STANDARD.encode(format!("{username}:{password}")) })
    } else {
        json!({ "auth": STANDARD.encode(format!("{username}:")), "identitytoken": answer.identity_token })
    };
    let auths = config.as_object_mut().map(|map| map.entry("auths").or_insert_with(|| json!({})));
    if let Some(auths) = auths.and_then(Value::as_object_mut) {
        auths.insert(server, entry);
    }
    store(app, &config)?;
    eprintln!("WARNING! Your password will be stored unencrypted in {}.", file(app).display());
    put(&format!("{}\n", if answer.status.is_empty() { "Login Succeeded" } else { &answer.status }));
    Ok(())
}

/// `logout`.
pub(crate) fn logout(app: &App) -> Result<()> {
    let server = app.flags.args.first().map_or(HUB, String::as_str);
    let mut config = stored(app)?;
    let removed =
        config.get_mut("auths").and_then(Value::as_object_mut).and_then(|auths| auths.remove(server));
    if removed.is_none() {
        put(&format!("Not logged in to {server}\n"));
        return Ok(());
    }
    put(&format!("Removing login credentials for {server}\n"));
    store(app, &config)
}
