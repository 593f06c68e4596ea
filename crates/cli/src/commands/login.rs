//! `login`, `logout` and the stored credentials.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proa_docker_api::{AuthConfig, AuthResponse, encode_auth};
use serde_json::{Value, json};

use crate::app::App;
use crate::config::Config;
use crate::error::{Result, fail};
use crate::output::put;

const HUB: &str = "https://index.docker.io/v1/";

/// The registry an image name belongs to.
fn registry(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// The `X-Registry-Auth` header for an image name, where credentials are stored.
///
/// # Errors
/// The configuration is broken, or its credential helper fails.
pub(crate) fn header(app: &App, name: &str) -> Result<Option<String>> {
    let config = Config::read(&app.config)?;
    let server = registry(name);
    if let Some(helper) = config.helper(server) {
        return Ok(from_helper(&helper, server)?.map(|auth| encode_auth(&auth)));
    }
    Ok(config.auth(server).map(|entry| encode_auth(&from_entry(entry, server))))
}

fn from_entry(entry: &Value, server: &str) -> AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = STANDARD.decode(text("auth")).ok().and_then(|raw| String::from_utf8(raw).ok());
    let decoded = decoded.unwrap_or_default();
    let (username, password) = decoded.split_once(':').unwrap_or_default();
    AuthConfig {
        username: username.into(),
        password: password.trim_end_matches('\0').into(),
        identitytoken: text("identitytoken"),
        serveraddress: server.into(),
        ..AuthConfig::default()
    }
}

/// Calls a credential helper: the verb as its argument, the request on its standard input.
fn call_helper(helper: &str, verb: &str, request: &str) -> Result<std::process::Output> {
    use std::process::{Command, Stdio};
    let spawned = Command::new(helper)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(cause) => fail!("error getting credentials: exec {helper:?}: {}", crate::app::reason(&cause)),
    };
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(request.as_bytes());
    }
    Ok(child.wait_with_output()?)
}

fn from_helper(helper: &str, server: &str) -> Result<Option<AuthConfig>> {
    let output = call_helper(helper, "get", server)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        if text.contains("credentials not found") {
            return Ok(None);
        }
        fail!("error getting credentials: {helper}: {}", text.trim());
    }
    let answer: Value = serde_json::from_str(&text)?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut auth = AuthConfig { serveraddress: server.into(), ..AuthConfig::default() };
    match text("Username").as_str() {
        "<token>" => auth.identitytoken = text("Secret"),
        username => (auth.username, auth.password) = (username.to_owned(), text("Secret")),
    }
    Ok(Some(auth))
}

/// Keeps credentials with the helper, or in the file with a warning.
fn keep(config: &mut Config, auth: &AuthConfig, token: &str) -> Result<()> {
    let server = &auth.serveraddress;
    if let Some(helper) = config.helper(server) {
        let (username, secret) =
            if token.is_empty() { (&*auth.username, &*auth.password) } else { ("<token>", token) };
        let request = json!({ "ServerURL": server, "Username": username, "Secret": secret });
        let output = call_helper(&helper, "store", &request.to_string())?;
        if !output.status.success() {
            fail!("error storing credentials: {helper}: {}", String::from_utf8_lossy(&output.stdout).trim());
        }
        config.set_auth(server, Some(json!({})));
        return config.write();
    }
    let user = &auth.username;
    let entry = if token.is_empty() {
        json!({ "auth": STANDARD.encode(format!("{user}:{}", auth.password)) })
    } else {
        json!({ "auth": STANDARD.encode(format!("{user}:")), "identitytoken": token })
    };
    config.set_auth(server, Some(entry));
    config.write()?;
    let path = config.path().display();
    eprintln!(
        "\nWARNING! Your credentials are stored unencrypted in '{path}'.\nConfigure a credential helper to remove this warning.\n"
    );
    Ok(())
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
    keep(&mut Config::read(&app.config)?, &auth, &answer.identity_token)?;
    put(&format!("{}\n", if answer.status.is_empty() { "Login Succeeded" } else { &answer.status }));
    Ok(())
}

/// `logout`.
pub(crate) fn logout(app: &App) -> Result<()> {
    let server = app.flags.args.first().map_or(HUB, String::as_str);
    let mut config = Config::read(&app.config)?;
    put(&format!("Removing login credentials for {server}\n"));
    if let Some(helper) = config.helper(server) {
        call_helper(&helper, "erase", server)?;
    }
    if config.auth(server).is_none() {
        return Ok(());
    }
    config.set_auth(server, None);
    config.write()
}
