//! Images: lists, archives, registries.

use crate::body::{Answer, Writer, ok, reader, streamed, typed, with};
use crate::convert::{container, image};
use crate::error::Failure;
use crate::server::Call;
use bytes::Bytes;
use hyper::StatusCode;
use proa_docker_api::{ErrorDetail, HistoryItem, ImageDeleteItem, JsonMessage, ProgressDetail, decode_auth};
use proa_engine::{Credentials, ImageView, Progress, PullRequest};
use proa_image::{ImportOptions, Removal, RemoveOptions};
use proa_oci::{Digest, Reference};
use std::sync::Arc;
use tokio::sync::mpsc;

type Handled = Result<Answer, Failure>;

pub(crate) async fn list(call: Call) -> Handled {
    let mut filters = call.query.filters()?;
    // Older clients name a repository beside the filters.
    if let Some(name) = call.query.text("filter") {
        filters.0.entry("reference".into()).or_default().insert(name.to_owned());
    }
    let found = call.engine().images().filtered(&filters).map_err(proa_engine::Error::from)?;
    let patterns: Vec<&str> = filters.values("reference").collect();
    let all: Vec<_> =
        found.iter().map(|one| image::summary(&named(one, &patterns), call.engine(), call.version)).collect();
    ok(&all)
}

/// The image with those of its names that were asked for; all, where a pattern has wildcards or there is none.
fn named(image: &ImageView, patterns: &[&str]) -> ImageView {
    let mut image = image.clone();
    if !patterns.is_empty() && !patterns.iter().any(|pattern| pattern.contains(['*', '?', '['])) {
        image.repo_tags.retain(|tag| {
            let name = tag.rsplit_once(':').map_or(tag.as_str(), |(name, _)| name);
            patterns.iter().any(|pattern| *pattern == tag || *pattern == name)
        });
    }
    image
}

pub(crate) async fn inspect(call: Call) -> Handled {
    let found = call.engine().images().resolve(call.name()).map_err(proa_engine::Error::from)?;
    ok(&image::inspect(&found, call.engine(), call.version))
}

pub(crate) async fn history(call: Call) -> Handled {
    let rows = call.engine().history(call.name())?;
    let all: Vec<_> = rows
        .into_iter()
        .map(|row| HistoryItem {
            id: row.id.map_or_else(|| "<missing>".into(), |id| id.to_string()),
            created: row.created.seconds(),
            created_by: row.created_by,
            tags: crate::convert::nullable(row.tags),
            size: i64::try_from(row.size).unwrap_or(i64::MAX),
            comment: row.comment,
        })
        .collect();
    ok(&all)
}

pub(crate) async fn tag(call: Call) -> Handled {
    let repository = call.query.text("repo").unwrap_or_default();
    let target = match call.query.text("tag") {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    };
    call.engine().tag(call.name(), &target).await?;
    Ok(crate::body::empty(StatusCode::CREATED))
}

pub(crate) async fn remove(call: Call) -> Handled {
    let options = RemoveOptions { force: call.query.flag("force"), prune: !call.query.flag("noprune") };
    let removed = call.engine().image_remove(call.name(), options).await?;
    ok(&removed.into_iter().map(item).collect::<Vec<_>>())
}

/// A line of what was removed.
pub(crate) fn item(removal: Removal) -> ImageDeleteItem {
    match removal {
        Removal::Untagged(untagged) => ImageDeleteItem { untagged, ..ImageDeleteItem::default() },
        Removal::Deleted(id) => ImageDeleteItem { deleted: id.to_string(), ..ImageDeleteItem::default() },
    }
}

pub(crate) async fn save(call: Call) -> Handled {
    let names = vec![call.name().to_owned()];
    archive(call, names)
}

pub(crate) async fn save_many(call: Call) -> Handled {
    let names = call.query.all("names").iter().flat_map(|list| list.split(',')).map(Into::into).collect();
    archive(call, names)
}

fn archive(call: Call, names: Vec<String>) -> Handled {
    for name in &names {
        call.engine().images().resolve(name).map_err(proa_engine::Error::from)?;
    }
    let engine = Arc::clone(call.engine());
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        if let Err(error) =
            engine.save(names, std::io::BufWriter::with_capacity(256 << 10, Writer(sender))).await
        {
            tracing::warn!(%error, "saving images failed");
        }
    });
    Ok(typed(with(StatusCode::OK, streamed(receiver)), "application/x-tar"))
}

/// A stream of JSON messages: one for each piece of news, and the failure, if there is one, as the last.
fn messages(
    first: Option<Progress>,
    mut news: mpsc::UnboundedReceiver<Progress>,
    done: impl Future<Output = Result<Vec<JsonMessage>, Failure>> + Send + 'static,
) -> Answer {
    let (sender, receiver) = mpsc::channel(64);
    let line = |message: &JsonMessage| {
        let mut bytes = serde_json::to_vec(message).unwrap_or_default();
        bytes.extend_from_slice(b"\r\n");
        Bytes::from(bytes)
    };
    tokio::spawn(async move {
        if let Some(first) = first {
            let _ = sender.send(line(&message(&first))).await;
        }
        tokio::pin!(done);
        let result = loop {
            tokio::select! {
                biased;
                Some(progress) = news.recv() => drop(sender.send(line(&message(&progress))).await),
                result = &mut done => break result,
                // Nobody listens any more: what can be taken back is.
                () = sender.closed() => return,
            }
        };
        while let Ok(progress) = news.try_recv() {
            let _ = sender.send(line(&message(&progress))).await;
        }
        match result {
            Ok(last) => {
                for message in last {
                    let _ = sender.send(line(&message)).await;
                }
            }
            Err(failure) => {
                let detail = ErrorDetail { message: failure.message.clone(), ..ErrorDetail::default() };
                let message = JsonMessage {
                    error_detail: Some(detail),
                    error: failure.message,
                    ..JsonMessage::default()
                };
                let _ = sender.send(line(&message)).await;
            }
        }
    });
    typed(with(StatusCode::OK, streamed(receiver)), "application/json")
}

/// Work that goes on to its end, and is told, whoever listens: an archive that has come whole is taken in.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let failed = |error| proa_engine::Error::Internal(format!("a worker failed: {error}"));
    tokio::spawn(work).await.map_err(failed)?
}

fn message(progress: &Progress) -> JsonMessage {
    let (current, total) = (progress.detail.current, progress.detail.total);
    let detail = ProgressDetail {
        current: i64::try_from(current).unwrap_or(i64::MAX),
        total: i64::try_from(total).unwrap_or(i64::MAX),
        ..ProgressDetail::default()
    };
    JsonMessage {
        status: progress.status.clone(),
        id: progress.id.clone(),
        progress_detail: (!progress.id.is_empty()).then_some(detail),
        ..JsonMessage::default()
    }
}

pub(crate) async fn load(call: Call) -> Handled {
    let quiet = call.query.flag("quiet");
    let engine = Arc::clone(call.engine());
    let (news, heard) = mpsc::unbounded_channel();
    // Progress of layers is for terminals; the words of what was loaded are the answer.
    let heard = if quiet { mpsc::unbounded_channel().1 } else { heard };
    let from = reader(call.request.into_body());
    Ok(messages(
        None,
        heard,
        detached(async move {
            let loaded = engine.load(from, news).await?;
            let line = |image: proa_image::Loaded| {
                let stream = match image.tag {
                    Some(tag) => format!("Loaded image: {tag}\n"),
                    None => format!("Loaded image ID: {}\n", image.id),
                };
                JsonMessage { stream, ..JsonMessage::default() }
            };
            Ok(loaded.into_iter().map(line).collect())
        }),
    ))
}

/// Pull, or import with `fromSrc`.
pub(crate) async fn create(call: Call) -> Handled {
    let platform = container::platform(call.query.text("platform"))?;
    if let Some(source) = call.query.text("fromSrc") {
        if source != "-" {
            let status = StatusCode::NOT_IMPLEMENTED;
            return Err(Failure::new(
                status,
                "importing from a URL is not supported by this version of Proa: fetch it and import the file",
            ));
        }
        return import(call, platform);
    }
    let name = call.query.text("fromImage").ok_or_else(|| Failure::bad("fromImage or fromSrc is missing"))?;
    let reference = reference(name, call.query.text("tag"))?;
    let credentials = credentials(&call)?;
    let engine = Arc::clone(call.engine());
    let request = PullRequest { reference, platform, credentials };
    let (news, mut heard) = mpsc::unbounded_channel();
    let mut pulling = Box::pin(async move { engine.pull(request, news).await });
    // What fails before there is any news is an answer with a status of its own, as docker has it.
    tokio::select! {
        biased;
        first = heard.recv() => {
            Ok(messages(first, heard, async move { Ok(pulling.await.map(|()| Vec::new())?) }))
        }
        result = &mut pulling => {
            result?;
            Ok(messages(None, heard, async { Ok(Vec::new()) }))
        }
    }
}

fn import(call: Call, platform: Option<proa_oci::Platform>) -> Handled {
    let named = call.query.text("repo").map(|repo| reference(repo, call.query.text("tag"))).transpose()?;
    let options = ImportOptions {
        changes: call.query.all("changes"),
        message: call.query.text("message").unwrap_or_default().to_owned(),
        platform,
        reference: named,
    };
    let engine = Arc::clone(call.engine());
    let from = reader(call.request.into_body());
    Ok(messages(
        None,
        mpsc::unbounded_channel().1,
        detached(async move {
            let image = engine.import(from, options).await?;
            Ok(vec![JsonMessage { status: image.id.to_string(), ..JsonMessage::default() }])
        }),
    ))
}

pub(crate) async fn push(call: Call) -> Handled {
    let reference = reference(call.name(), call.query.text("tag"))?;
    let credentials = credentials(&call)?;
    let engine = Arc::clone(call.engine());
    engine.images().resolve(&reference.familiar()).map_err(|_| {
        Failure::new(
            StatusCode::NOT_FOUND,
            format!("An image does not exist locally with the tag: {}", reference.familiar_name()),
        )
    })?;
    let (news, heard) = mpsc::unbounded_channel();
    Ok(messages(None, heard, async move {
        Ok(engine.push(&reference, credentials, news).await.map(|()| Vec::new())?)
    }))
}

/// A name and perhaps a tag or digest beside it.
pub(crate) fn reference(name: &str, tag: Option<&str>) -> Result<Reference, Failure> {
    let parsed: Reference =
        name.parse().map_err(|e: proa_oci::reference::InvalidReference| Failure::bad(e.to_string()))?;
    match tag {
        None => Ok(parsed),
        Some(tag) => match tag.parse::<Digest>() {
            Ok(digest) => Ok(parsed.with_digest(digest)),
            Err(_) => format!("{}:{tag}", parsed.familiar_name())
                .parse()
                .map_err(|e: proa_oci::reference::InvalidReference| Failure::bad(e.to_string())),
        },
    }
}

/// The credentials of `X-Registry-Auth`. A header that cannot be read is no credentials, as for docker.
fn credentials(call: &Call) -> Result<Option<Credentials>, Failure> {
    let Some(header) = call.header("x-registry-auth").filter(|header| !header.is_empty()) else {
        return Ok(None);
    };
    let auth = decode_auth(header).map_err(|e| Failure::bad(e.to_string()))?;
    Ok(from_wire(auth))
}

/// What of a document of credentials is used.
pub(crate) fn from_wire(auth: proa_docker_api::AuthConfig) -> Option<Credentials> {
    if !auth.registrytoken.is_empty() {
        return Some(Credentials::RegistryToken(auth.registrytoken));
    }
    if !auth.identitytoken.is_empty() {
        return Some(Credentials::IdentityToken(auth.identitytoken));
    }
    (!auth.username.is_empty())
        .then_some(Credentials::Password { user: auth.username, secret: auth.password })
}
