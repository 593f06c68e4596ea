//! Commands on images.

use proa_client::{BodyStream, Verb, escape, file_body, full};
use proa_docker_api::ImageDeleteItem;

use super::{each, progress};
use crate::app::{App, reason};
use crate::error::{Result, fail};
use crate::output::put;

/// A reference with its tag written out.
pub(crate) fn tagged(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains(':') || reference.contains('@') {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

pub(crate) fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, ""),
    }
}

/// Carries out a command on images.
pub(crate) async fn dispatch(app: &App, path: &str) -> Result<()> {
    let args = &app.flags.args;
    let first = args.first().cloned().unwrap_or_default();
    match path {
        "image pull" => {
            named(&first, "")?;
            let all = app.flags.on("all-tags");
            if !all && split(&first).1.is_empty() && !app.flags.on("quiet") {
                put("Using default tag: latest\n");
            }
            pull(app, &first, app.flags.on("quiet"), false).await?;
            put(&format!("{}\n", familiar(&tagged(&first))));
            Ok(())
        }
        "image push" => push(app, &first).await,
        "image tag" => {
            let [source, target] = args.as_slice() else { fail!("two names are needed") };
            named(target, &format!("Error parsing reference: {target:?} is not a valid repository/tag: "))?;
            let (repo, tag) = split(target);
            Ok(app
                .client
                .post(&format!("/images/{}/tag?repo={}&tag={}", escape(source), escape(repo), escape(tag)))
                .await?)
        }
        "image rm" => remove(app).await,
        "image load" => load(app).await,
        "image save" => save(app).await,
        "image import" => import(app).await,
        other => fail!("{} {other} is not supported by this version of Proa.", app.program),
    }
}

/// The full name that docker prints after a pull.
fn familiar(reference: &str) -> String {
    let (head, _) = reference.split_once('/').unwrap_or(("", reference));
    if head.is_empty() {
        format!("docker.io/library/{reference}")
    } else if head.contains(['.', ':']) || head == "localhost" {
        reference.to_owned()
    } else {
        format!("docker.io/{reference}")
    }
}

/// Pulls an image and shows how far it is.
pub(crate) async fn pull(app: &App, reference: &str, quiet: bool, to_stderr: bool) -> Result<()> {
    let (name, tag) = split(reference);
    let tag = if app.flags.on("all-tags") {
        ""
    } else if tag.is_empty() {
        "latest"
    } else {
        tag
    };
    let mut path = format!("/images/create?fromImage={}&tag={}", escape(name), escape(tag));
    if let Some(platform) = app.flags.text("platform") {
        path.push_str(&format!("&platform={}", escape(platform)));
    }
    let auth = super::login::header(app, name)?;
    let headers: Vec<(&str, &str)> = auth.iter().map(|value| ("X-Registry-Auth", value.as_str())).collect();
    let stream = app.client.stream(Verb::POST, &path, &headers, full("")).await?;
    progress::show(stream.lines(), quiet, to_stderr).await.map(drop)
}

/// Refuses what is no reference before anything is asked of the engine.
pub(crate) fn named(reference: &str, before: &str) -> Result<()> {
    use proa_oci::reference::InvalidReference;
    match reference.parse::<proa_oci::reference::Reference>() {
        Ok(_) => Ok(()),
        Err(InvalidReference::Uppercase(name)) if !name.contains('/') => {
            fail!("{before}invalid reference format: repository name (library/{name}) must be lowercase")
        }
        Err(InvalidReference::Format(_)) => fail!("{before}invalid reference format"),
        Err(cause) => fail!("{before}{cause}"),
    }
}

async fn push(app: &App, reference: &str) -> Result<()> {
    named(reference, "")?;
    if app.flags.on("all-tags") && !split(reference).1.is_empty() {
        fail!("tag can't be used with --all-tags/-a");
    }
    let (name, tag) = split(reference);
    let all = app.flags.on("all-tags");
    let tag = if all {
        ""
    } else if tag.is_empty() {
        "latest"
    } else {
        tag
    };
    if !app.flags.on("quiet") && split(reference).1.is_empty() && !all {
        put("Using default tag: latest\n");
    }
    let auth = super::login::header(app, name)?.unwrap_or_else(|| "e30=".into());
    let path = format!("/images/{name}/push?tag={}", escape(tag));
    let stream = app.client.stream(Verb::POST, &path, &[("X-Registry-Auth", &auth)], full("")).await?;
    progress::show(stream.lines(), app.flags.on("quiet"), false).await?;
    if app.flags.on("quiet") {
        put(&format!("{}\n", familiar(reference)));
    }
    Ok(())
}

async fn remove(app: &App) -> Result<()> {
    let mut query = String::from("?");
    if app.flags.on("force") {
        query.push_str("force=1&");
    }
    if app.flags.on("no-prune") {
        query.push_str("noprune=1&");
    }
    let query = query.trim_end_matches(['&', '?']);
    each(&app.flags.args, |name| async move {
        let bytes = app.client.delete(&format!("/images/{}{query}", escape(&name))).await?;
        let items: Vec<ImageDeleteItem> = serde_json::from_slice(&bytes)?;
        let line = |item: &ImageDeleteItem| {
            if item.deleted.is_empty() {
                format!("Untagged: {}\n", item.untagged)
            } else {
                format!("Deleted: {}\n", item.deleted)
            }
        };
        Ok(items.iter().map(line).collect())
    })
    .await
}

async fn load(app: &App) -> Result<()> {
    let quiet = app.flags.on("quiet");
    let body = match app.flags.text("input") {
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            file_body(file.or_else(|cause| fail!("open {path}: {}", reason(&cause)))?)
        }
        None if crate::terminal::stdin_is() => fail!("requested load from stdin, but stdin is empty"),
        None => file_body(tokio::io::stdin()),
    };
    let path = format!("/images/load?quiet={}", u8::from(quiet || !crate::terminal::stdout_is()));
    let stream = app.client.stream(Verb::POST, &path, &[("Content-Type", "application/x-tar")], body).await?;
    progress::show(stream.lines(), false, false).await.map(drop)
}

async fn save(app: &App) -> Result<()> {
    let names: Vec<String> = app.flags.args.iter().map(|name| format!("names={}", escape(name))).collect();
    let output = app.flags.text("output");
    if output.is_none() && crate::terminal::stdout_is() {
        fail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    let stream =
        app.client.stream(Verb::GET, &format!("/images/get?{}", names.join("&")), &[], full("")).await?;
    save_stream(stream, output).await
}

/// Writes an archive that comes to a file, which is there when it is whole only, or to standard output.
pub(crate) async fn save_stream(mut stream: BodyStream, output: Option<&str>) -> Result<()> {
    let Some(path) = output else {
        while let Some(bytes) = stream.chunk().await? {
            super::pump::emit(&bytes)?;
        }
        return Ok(());
    };
    let partial = format!("{path}.partial-{}", std::process::id());
    let written = async {
        let mut file = std::fs::File::create(&partial)
            .or_else(|cause| fail!("failed to save image: open {path}: {}", reason(&cause)))?;
        while let Some(bytes) = stream.chunk().await? {
            std::io::Write::write_all(&mut file, &bytes)?;
        }
        Ok(std::fs::rename(&partial, path)?)
    }
    .await;
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}

async fn import(app: &App) -> Result<()> {
    let mut args = app.flags.args.iter();
    let source = args.next().map_or("", String::as_str);
    let (repo, tag) = args.next().map_or(("", ""), |reference| split(reference));
    let remote = source.starts_with("http://") || source.starts_with("https://");
    let mut path = format!(
        "/images/create?fromSrc={}&repo={}&tag={}",
        if remote { escape(source) } else { "-".into() },
        escape(repo),
        escape(tag)
    );
    for (flag, key) in [("message", "message"), ("platform", "platform")] {
        if let Some(value) = app.flags.text(flag) {
            path.push_str(&format!("&{key}={}", escape(value)));
        }
    }
    for change in app.flags.list("change") {
        path.push_str(&format!("&changes={}", escape(&change)));
    }
    let body = match source {
        _ if remote => full(""),
        "-" => file_body(tokio::io::stdin()),
        source => {
            let file = tokio::fs::File::open(source).await;
            file_body(file.or_else(|cause| fail!("open {source}: {}", reason(&cause)))?)
        }
    };
    let stream = app.client.stream(Verb::POST, &path, &[("Content-Type", "application/x-tar")], body).await?;
    progress::show(stream.lines(), false, false).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_must_be_split_and_completed() {
        assert_eq!(split("h:5000/a"), ("h:5000/a", ""));
        assert_eq!(split("h:5000/a:1"), ("h:5000/a", "1"));
        assert_eq!(split("a@sha256:x"), ("a", "sha256:x"));
        assert_eq!(tagged("h:5000/a"), "h:5000/a:latest");
        assert_eq!(familiar("busybox:latest"), "docker.io/library/busybox:latest");
        assert_eq!(familiar("me/x:1"), "docker.io/me/x:1");
        assert_eq!(familiar("localhost:5000/x:1"), "localhost:5000/x:1");
    }
}
