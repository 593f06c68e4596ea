//! The short commands on containers.

use proa_client::{Verb, escape};
use proa_docker_api::{ContainerInspect, TopResponse, WaitResponse};

use super::each;
use crate::app::App;
use crate::error::{Failure, Result, fail};
use crate::output::{align, put};

/// Carries out a command on containers.
pub(crate) async fn dispatch(app: &App, path: &str) -> Result<()> {
    let flags = &app.flags;
    let args = &flags.args;
    match path {
        "container port" => return port(app).await,
        "container top" => return top(app).await,
        "container wait" => return wait(app).await,
        "container rename" => return rename(app).await,
        _ => {}
    }
    let mut query = String::new();
    let mut add = |key: &str, value: &str| {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(&format!("{key}={}", escape(value)));
    };
    if let Some(signal) = flags.text("signal") {
        add("signal", signal);
    }
    if let Some(seconds) = flags.text("timeout").or_else(|| flags.text("time")) {
        add("t", seconds);
    }
    for (flag, key) in [("force", "force"), ("volumes", "v"), ("link", "link")] {
        if path == "container rm" && flags.on(flag) {
            add(key, "1");
        }
    }
    if path == "container rm" {
        let (query, force) = (&query, flags.on("force"));
        return each(args, |name| async move {
            let path = format!("/containers/{}{query}", escape(name.trim_matches('/')));
            match app.client.delete(&path).await {
                Err(error) if force && error.is_not_found() => {
                    eprintln!("{error}");
                    Ok(String::new())
                }
                outcome => outcome.map(|_| format!("{name}\n")).map_err(Failure::from),
            }
        })
        .await;
    }
    let verb = path.strip_prefix("container ").unwrap_or(path);
    let query = &query;
    each(args, |name| async move {
        app.client.post(&format!("/containers/{}/{verb}{query}", escape(&name))).await?;
        Ok(format!("{name}\n"))
    })
    .await
}

async fn rename(app: &App) -> Result<()> {
    let [old, new] = app.flags.args.as_slice() else { fail!("two names are needed") };
    let (old, new) = (old.trim(), new.trim());
    if old.is_empty() || new.is_empty() {
        fail!("Error: Neither old nor new names may be empty");
    }
    app.client
        .post(&format!("/containers/{}/rename?name={}", escape(old), escape(new)))
        .await
        .map_err(|error| Failure::new(format!("{error}\nError: failed to rename container named {old}")))
}

async fn wait(app: &App) -> Result<()> {
    each(&app.flags.args, |name| async move {
        let bytes =
            app.client.bytes(Verb::POST, &format!("/containers/{}/wait", escape(&name)), Vec::new()).await?;
        let answer: WaitResponse = serde_json::from_slice(&bytes)?;
        match answer.error {
            Some(error) if !error.message.is_empty() => fail!("{}", error.message),
            _ => Ok(format!("{}\n", answer.status_code)),
        }
    })
    .await
}

async fn top(app: &App) -> Result<()> {
    let Some((name, options)) = app.flags.args.split_first() else { fail!("no container given") };
    let query =
        if options.is_empty() { String::new() } else { format!("?ps_args={}", escape(&options.join(" "))) };
    let answer: TopResponse = app.client.fetch(&format!("/containers/{}/top{query}", escape(name))).await?;
    let mut lines = vec![answer.titles.join("\t")];
    lines.extend(answer.processes.iter().map(|process| process.join("\t")));
    put(&align(&lines));
    Ok(())
}

async fn port(app: &App) -> Result<()> {
    let Some((name, wanted)) = app.flags.args.split_first() else { fail!("no container given") };
    let container: ContainerInspect = app.client.fetch(&format!("/containers/{}/json", escape(name))).await?;
    let show = |ip: &str, port: &str| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    let ports = &container.network_settings.ports;
    if let Some(wanted) = wanted.first() {
        let key = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
        let Some(Some(bindings)) = ports.get(&key) else {
            fail!("Error: No public port '{wanted}' published for {name}");
        };
        for binding in bindings {
            put(&format!("{}\n", show(&binding.host_ip, &binding.host_port)));
        }
        return Ok(());
    }
    for (key, bindings) in ports {
        for binding in bindings.iter().flatten() {
            put(&format!("{key} -> {}\n", show(&binding.host_ip, &binding.host_port)));
        }
    }
    Ok(())
}
