//! Instructions that `import --change` and `commit --change` apply to a configuration, in a Dockerfile's
//! words: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR.

mod health;
mod words;

use crate::{Error, Result};
use proa_oci::image::ExecConfig;
use serde_json::json;

/// Applies one instruction to a configuration.
///
/// # Errors
/// [`Error::Change`], which says what is wrong with it.
pub fn apply(config: &mut ExecConfig, instruction: &str) -> Result<()> {
    let text = instruction.trim();
    let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let wrong = |problem: String| Error::Change { instruction: instruction.into(), problem };
    let arguments = arguments.trim();
    if arguments.is_empty() {
        return Err(wrong("it needs an argument, as in CMD [\"sh\"]".into()));
    }
    change(config, &name.to_ascii_uppercase(), arguments).map_err(wrong)
}

fn change(config: &mut ExecConfig, name: &str, arguments: &str) -> std::result::Result<(), String> {
    let expand = |text: &str| words::split(text, &|name| variable(&config.env, name));
    match name {
        "CMD" => config.cmd = Some(command(arguments)),
        "ENTRYPOINT" => config.entrypoint = Some(command(arguments)),
        "ENV" => {
            for (key, value) in pairs(arguments, expand(arguments)?)? {
                let prefix = format!("{key}=");
                config.env.retain(|have| !have.starts_with(&prefix));
                config.env.push(prefix + &value);
            }
        }
        "LABEL" => config.labels.extend(pairs(arguments, expand(arguments)?)?),
        "EXPOSE" => {
            for port in expand(arguments)? {
                config.exposed_ports.extend(ports(&port)?.into_iter().map(|port| (port, json!({}))));
            }
        }
        "USER" => config.user = expand(arguments)?.join(" "),
        "WORKDIR" => config.working_dir = directory(&config.working_dir, &expand(arguments)?.join(" ")),
        "VOLUME" => {
            let paths = match serde_json::from_str::<Vec<String>>(arguments) {
                Ok(paths) => paths,
                Err(_) => expand(arguments)?,
            };
            if paths.iter().any(String::is_empty) {
                return Err("a volume needs a path".into());
            }
            config.volumes.extend(paths.into_iter().map(|path| (path, json!({}))));
        }
        "STOPSIGNAL" => {
            let signal = expand(arguments)?.join(" ");
            signal.parse::<proa_types::Signal>().map_err(|error| error.to_string())?;
            config.stop_signal = signal;
        }
        "ONBUILD" => {
            let trigger = trigger(arguments)?;
            config.on_build.get_or_insert_default().push(trigger);
        }
        "HEALTHCHECK" => config.healthcheck = Some(health::check(arguments)?),
        _ => {
            return Err(format!(
                "{name} is not an instruction that changes an image: use CMD, ENTRYPOINT, ENV, EXPOSE, \
                 HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR"
            ));
        }
    }
    Ok(())
}

/// A command: a JSON array of words, or a line for the shell.
fn command(arguments: &str) -> Vec<String> {
    serde_json::from_str(arguments).unwrap_or_else(|_| vec!["/bin/sh".into(), "-c".into(), arguments.into()])
}

fn variable(env: &[String], name: &str) -> Option<String> {
    env.iter().find_map(|entry| Some(entry.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// `KEY=VALUE …`, or the older `KEY VALUE` with a value to the end of the line.
fn pairs(text: &str, words: Vec<String>) -> std::result::Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let mut words = words.into_iter();
        let key = words.next().unwrap_or_default();
        let value = words.collect::<Vec<_>>().join(" ");
        return if value.is_empty() { Err(format!("{key} has no value")) } else { Ok(vec![(key, value)]) };
    }
    let pair = |word: String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{word:?} is not KEY=VALUE")),
    };
    words.into_iter().map(pair).collect()
}

/// `80`, `80/udp` or `8000-8010/tcp`, as `80/tcp` and so on.
fn ports(text: &str) -> std::result::Result<Vec<String>, String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let wrong = || format!("invalid containerPort: {text}");
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let (first, last) = (port(first)?, port(last)?);
    let protocol = protocol.to_ascii_lowercase();
    if first > last || !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A path relative to another, without `.` and `..`.
fn directory(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// An instruction that runs when something is built on this image.
fn trigger(arguments: &str) -> std::result::Result<String, String> {
    let name = arguments.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "ONBUILD" => Err("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()),
        "FROM" | "MAINTAINER" => Err(format!("{name} isn't allowed as an ONBUILD trigger")),
        _ => Ok(arguments.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_a_configuration() {
        let mut config = ExecConfig::default();
        for instruction in [
            "CMD [\"sh\", \"-l\"]",
            "entrypoint run it",
            "ENV A=1 B='x y'",
            "ENV C $A and more",
            "EXPOSE 80 53/udp 8000-8001",
            "LABEL a=b c=\"d e\"",
            "USER nobody",
            "WORKDIR /srv",
            "WORKDIR app/../web",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "STOPSIGNAL SIGQUIT",
            "ONBUILD RUN make",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f localhost",
        ] {
            apply(&mut config, instruction).unwrap();
        }
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(config.env, ["A=1", "B=x y", "C=1 and more"]);
        let ports: Vec<&String> = config.exposed_ports.keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(config.labels.get("c").map(String::as_str), Some("d e"));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("nobody", "/srv/web"));
        assert_eq!(config.volumes.len(), 3);
        let health = config.healthcheck.unwrap();
        assert_eq!(health["Interval"], 90_000_000_000u64);
        assert_eq!(health["Test"], json!(["CMD-SHELL", "curl -f localhost"]));
    }

    #[test]
    fn wrong_instructions_say_what_is_wrong() {
        let mut config = ExecConfig::default();
        for (instruction, text) in [
            ("RUN make", "not an instruction"),
            ("CMD", "needs an argument"),
            ("EXPOSE 0", "invalid containerPort: 0"),
            ("EXPOSE 80/icmp", "invalid containerPort"),
            ("ENV a='b", "not closed"),
            ("ENV A", "no value"),
            ("STOPSIGNAL SIGNOPE", "SIGNOPE"),
            ("ONBUILD FROM x", "FROM"),
            ("HEALTHCHECK --interval=x CMD y", "interval"),
            ("HEALTHCHECK true", "CMD"),
        ] {
            let error = apply(&mut config, instruction).unwrap_err().to_string();
            assert!(error.contains(text), "{instruction}: {error}");
        }
        assert_eq!(config, ExecConfig::default());
    }
}
