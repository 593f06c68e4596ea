//! Images for containers and users: pull and push join the registry client to the store; load, save and import run
//! where they hold nothing up.

use crate::engine::{blocking, passage};
use crate::events::EventKind;
use crate::{Engine, Error};
use futures_util::stream::{self, StreamExt};
use proa_distribution::{Access, Repository};
use proa_image::{
    HistoryRow, Image, ImageUse, ImportOptions, Ingest, Loaded, NewImage, Phase, Removal, RemoveOptions,
};
use proa_oci::image::{Descriptor, ImageConfig, Index, Manifest, media};
use proa_oci::{Digest, Platform, Reference};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use tokio::sync::mpsc;

pub use proa_distribution::Credentials;

/// An image as it is shown.
pub type ImageView = Image;

/// What is pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image.
    pub reference: Reference,
    /// For which platform; the host's if none.
    pub platform: Option<Platform>,
    /// With which credentials.
    pub credentials: Option<Credentials>,
}

/// News of a long operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Layer, 12 digits; empty for the whole.
    pub id: String,
    /// In docker's words: `Downloading`, `Pull complete`.
    pub status: String,
    /// How far.
    pub detail: ProgressDetail,
}

/// How far an operation has come; zeros if that cannot be said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressDetail {
    /// Bytes done.
    pub current: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Where news go. A listener that has gone stops nothing.
type News = mpsc::UnboundedSender<Progress>;

fn say(news: &News, id: &str, status: impl Into<String>) {
    let _ = news.send(Progress { id: id.into(), status: status.into(), detail: ProgressDetail::default() });
}

/// Passes the store's reports on.
struct Reports(News);

impl proa_image::Progress for Reports {
    fn report(&self, layer: &str, phase: Phase, current: u64, total: u64) {
        let status = match phase {
            Phase::Receiving => "Downloading",
            Phase::Unpacking => "Extracting",
            Phase::Exists => "Already exists",
            Phase::Complete => "Pull complete",
        };
        let detail = match phase {
            Phase::Receiving | Phase::Unpacking => ProgressDetail { current, total },
            Phase::Exists | Phase::Complete => ProgressDetail::default(),
        };
        let _ = self.0.send(Progress { id: layer.into(), status: status.into(), detail });
    }
}

impl Engine {
    /// Fetches an image. Where no registry can be reached and the image is `hello-world`, the one in this binary is used.
    ///
    /// # Errors
    /// [`Error::Registry`], [`Error::Image`].
    pub async fn pull(self: &Arc<Self>, request: PullRequest, news: News) -> Result<(), Error> {
        let pulled = self.pull_from_registry(&request, &news).await;
        let name = request.reference.repository();
        match pulled {
            Err(Error::Registry(error))
                if error.is_unreachable() && name == "docker.io/library/hello-world" =>
            {
                tracing::info!(%error, "no registry can be reached: the hello-world of this binary is used");
                say(
                    &news,
                    "",
                    "No registry can be reached: using the hello-world image carried in Proa itself",
                );
                let engine = Arc::clone(self);
                blocking(move || Ok(engine.images.load(proa_image::builtin::hello_world(), &())?)).await?;
                if request.reference.tag.as_deref() != Some("latest") {
                    self.images.tag("hello-world:latest", &request.reference.familiar())?;
                }
                say(&news, "", format!("Status: Loaded built-in image for {}", request.reference.familiar()));
                Ok(())
            }
            other => other,
        }
    }

    async fn pull_from_registry(self: &Arc<Self>, request: &PullRequest, news: &News) -> Result<(), Error> {
        let reference = &request.reference;
        let wanted = reference
            .digest
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| reference.tag.clone())
            .unwrap_or_default();
        let repository = self.registry.repository(reference, Access::Pull, request.credentials.clone());
        let top = repository.manifest(&wanted).await?;
        say(news, &wanted, format!("Pulling from {}", reference.path));
        let (manifest, bytes, kind) = choose(&repository, &top, request.platform.as_ref(), reference).await?;
        let digest = top.descriptor.digest.clone();
        let config = fetch_small(&repository, &manifest.config).await?;
        let document: ImageConfig = serde_json::from_slice(&config).map_err(|e| {
            Error::Invalid(format!("{reference}: the image configuration cannot be read: {e}"))
        })?;
        if document.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(Error::Invalid(format!(
                "{reference}: the manifest names {} layers, the configuration {}",
                manifest.layers.len(),
                document.rootfs.diff_ids.len()
            )));
        }
        let before = self.images.resolve(&reference.familiar()).ok().map(|image| image.id.clone());
        let ingest = Arc::new(self.images.begin());
        self.fetch_layers(&repository, &ingest, &manifest.layers, &document.rootfs.diff_ids, news).await?;
        let by_digest = reference.with_digest(digest.clone());
        let tag = reference.tag.is_some().then(|| reference.clone());
        let image = blocking(move || {
            let ingest = Arc::try_unwrap(ingest)
                .map_err(|_| Error::Internal("a layer is still being fetched".into()))?;
            let new = NewImage {
                config: &config,
                manifest: Some((&kind, &bytes)),
                tag: tag.as_ref(),
                pulled_by: Some(&by_digest),
                parent: None,
            };
            Ok(ingest.commit(&new)?)
        })
        .await?;
        say(news, "", format!("Digest: {digest}"));
        let newer =
            if before.as_ref() == Some(&image.id) { "Image is up to date" } else { "Downloaded newer image" };
        say(news, "", format!("Status: {newer} for {}", reference.familiar()));
        self.tell_image("pull", &reference.familiar(), &reference.familiar());
        Ok(())
    }

    /// Fetches, checks and unpacks several layers at once.
    async fn fetch_layers(
        self: &Arc<Self>,
        repository: &Repository,
        ingest: &Arc<Ingest>,
        layers: &[Descriptor],
        diff_ids: &[Digest],
        news: &News,
    ) -> Result<(), Error> {
        let mut seen = std::collections::HashSet::new();
        let pairs = layers.iter().zip(diff_ids).filter(|(layer, _)| seen.insert(layer.digest.clone()));
        let jobs = pairs.map(|(layer, diff_id)| self.fetch_layer(repository, ingest, layer, diff_id, news));
        let jobs: Vec<_> = jobs.collect();
        let mut running = stream::iter(jobs).buffer_unordered(self.config().downloads);
        while let Some(done) = running.next().await {
            done?;
        }
        Ok(())
    }

    async fn fetch_layer(
        self: &Arc<Self>,
        repository: &Repository,
        ingest: &Arc<Ingest>,
        layer: &Descriptor,
        diff_id: &Digest,
        news: &News,
    ) -> Result<(), Error> {
        if ingest.has_layer(diff_id) {
            say(news, layer.digest.short(), "Already exists");
            return Ok(());
        }
        say(news, layer.digest.short(), "Pulling fs layer");
        let offset = ingest.received(&layer.digest);
        let mut blob = repository.blob(layer, offset).await?;
        let (sender, receiver) = mpsc::channel(32);
        let (held, descriptor, diff, reports) =
            (Arc::clone(ingest), layer.clone(), diff_id.clone(), Reports(news.clone()));
        let taking = blocking(move || {
            let mut pieces = Pieces { receiver, piece: bytes::Bytes::new() };
            Ok(held.layer(&descriptor, &diff, &mut pieces, &reports)?)
        });
        let sending = async move {
            loop {
                let piece = blob.next().await.transpose();
                let Some(piece) = piece else { return Ok(()) };
                let failed = piece.as_ref().err().map(ToString::to_string);
                let message = piece.map_err(|e| std::io::Error::other(e.to_string()));
                // A closed channel: the other side has failed and says why.
                if sender.send(message).await.is_err() || failed.is_some() {
                    return failed.map_or(Ok(()), Err);
                }
            }
        };
        let (taken, _) = tokio::join!(taking, sending);
        taken
    }

    /// Sends an image to its registry.
    ///
    /// # Errors
    /// [`Error::Image`] when there is no such image, [`Error::Registry`].
    pub async fn push(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<Credentials>,
        news: News,
    ) -> Result<(), Error> {
        let image = self.images.resolve(&reference.familiar()).map_err(|_| {
            Error::Image(proa_image::Error::NotFound(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_name()
            )))
        })?;
        let tag = reference.tag.clone().unwrap_or_else(|| "latest".into());
        say(&news, "", format!("The push refers to repository [{}]", reference.repository()));
        let (engine, held) = (Arc::clone(self), Arc::clone(&image));
        let plan = blocking(move || Ok(engine.images.push_plan(&held)?)).await?;
        let repository = self.registry.repository(reference, Access::Push, credentials);
        let blobs = plan.layers.iter().chain([&plan.config]);
        let jobs: Vec<_> = blobs
            .map(|blob| self.push_blob(&repository, blob, blob.digest != plan.config.digest, &news))
            .collect();
        let mut running = stream::iter(jobs).buffer_unordered(self.config().uploads);
        while let Some(done) = running.next().await {
            done?;
        }
        let size = plan.manifest.len();
        let digest = repository.push_manifest(&tag, &plan.media_type, plan.manifest).await?;
        self.images.pushed(&image.id, &reference.with_digest(digest.clone()))?;
        say(&news, "", format!("{tag}: digest: {digest} size: {size}"));
        self.tell_image("push", &reference.familiar(), &reference.familiar());
        Ok(())
    }

    async fn push_blob(
        self: &Arc<Self>,
        repository: &Repository,
        blob: &Descriptor,
        shown: bool,
        news: &News,
    ) -> Result<(), Error> {
        let short = blob.digest.short();
        let tell = |status: &str| {
            if shown {
                say(news, short, status);
            }
        };
        tell("Preparing");
        if repository.has_blob(&blob.digest).await? {
            tell("Layer already exists");
            return Ok(());
        }
        let (sender, receiver) = mpsc::channel::<std::io::Result<bytes::Bytes>>(16);
        let (engine, digest) = (Arc::clone(self), blob.digest.clone());
        let reading = blocking(move || {
            let mut from = engine.images.blob(&digest)?;
            loop {
                let mut piece = vec![0; 128 << 10];
                let read = from.reader.read(&mut piece);
                let end = !matches!(read, Ok(n) if n > 0);
                let message = read.map(|n| {
                    piece.truncate(n);
                    bytes::Bytes::from(piece)
                });
                // The end is told by closing, a failure in words.
                if end && message.is_ok() {
                    return Ok(());
                }
                if sender.blocking_send(message).is_err() || end {
                    return Ok(());
                }
            }
        });
        let (total, counting) = (blob.size, news.clone());
        let (mut current, id) = (0u64, short.to_owned());
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let pieces = pieces.inspect(move |piece| {
            current += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if shown {
                let detail = ProgressDetail { current, total };
                let _ = counting.send(Progress { id: id.clone(), status: "Pushing".into(), detail });
            }
        });
        let (read, sent) = tokio::join!(reading, repository.push_blob(blob, None, pieces));
        sent?;
        read?;
        tell("Pushed");
        Ok(())
    }

    /// Takes in the images of an archive.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub async fn load(
        self: &Arc<Self>,
        from: impl Read + Send + 'static,
        news: News,
    ) -> Result<Vec<Loaded>, Error> {
        let engine = Arc::clone(self);
        let loaded = blocking(move || Ok(engine.images.load(from, &Reports(news))?)).await?;
        for image in &loaded {
            self.tell_image("load", image.id.as_str(), image.tag.as_deref().unwrap_or_default());
        }
        Ok(loaded)
    }

    /// Makes an image of a file tree.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub async fn import(
        self: &Arc<Self>,
        from: impl Read + Send + 'static,
        options: ImportOptions,
    ) -> Result<Arc<Image>, Error> {
        let engine = Arc::clone(self);
        let image = blocking(move || Ok(engine.images.import(from, &options, &())?)).await?;
        self.tell_image("import", image.id.as_str(), "");
        Ok(image)
    }

    /// Writes images as an archive.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub async fn save(
        self: &Arc<Self>,
        names: Vec<String>,
        to: impl std::io::Write + Send + 'static,
    ) -> Result<(), Error> {
        let engine = Arc::clone(self);
        blocking(move || Ok(engine.images.save(&names, to)?)).await
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub async fn tag(self: &Arc<Self>, source: &str, target: &str) -> Result<(), Error> {
        let (engine, source, wanted) = (Arc::clone(self), source.to_owned(), target.to_owned());
        let image = blocking(move || Ok(engine.images.tag(&source, &wanted)?)).await?;
        self.tell_image("tag", image.id.as_str(), target);
        Ok(())
    }

    /// Takes a name from an image, or removes it.
    ///
    /// # Errors
    /// [`Error::Image`] when it is in use.
    pub async fn image_remove(
        self: &Arc<Self>,
        text: &str,
        options: RemoveOptions,
    ) -> Result<Vec<Removal>, Error> {
        passage("image.untag");
        let (engine, wanted) = (Arc::clone(self), text.to_owned());
        let removed = blocking(move || {
            let uses = |id: &Digest| -> Vec<ImageUse> {
                let all = engine.all();
                let using = all.iter().filter(|container| container.with(|record| record.image == *id));
                let one = |container: &Arc<crate::container::Container>| ImageUse {
                    container: container.id.as_str().to_owned(),
                    running: container.state().run().is_some(),
                };
                using.map(one).collect()
            };
            Ok(engine.images.remove(&wanted, options, &uses)?)
        })
        .await?;
        for removal in &removed {
            match removal {
                Removal::Untagged(name) => self.tell_image("untag", name, name),
                Removal::Deleted(id) => self.tell_image("delete", id.as_str(), ""),
            }
        }
        Ok(removed)
    }

    /// How an image came to be, newest step first.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub fn history(&self, text: &str) -> Result<Vec<HistoryRow>, Error> {
        Ok(self.images.history(text)?)
    }

    /// Containers that use an image.
    pub fn image_users(&self, id: &Digest) -> usize {
        self.all().iter().filter(|container| container.with(|record| record.image == *id)).count()
    }

    /// Checks credentials, as `login` does.
    ///
    /// # Errors
    /// [`Error::Registry`].
    pub async fn login(&self, domain: &str, credentials: Credentials) -> Result<(), Error> {
        Ok(self.registry.login(domain, credentials).await?)
    }

    fn tell_image(&self, action: &str, id: &str, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.events.tell(EventKind::Image, action, id, attributes);
    }
}

/// The manifest for a platform: the document itself, or the fitting one of an index.
async fn choose(
    repository: &Repository,
    top: &proa_distribution::Manifest,
    platform: Option<&Platform>,
    reference: &Reference,
) -> Result<(Manifest, Vec<u8>, String), Error> {
    let bad = |what: &str, e: serde_json::Error| {
        Error::Invalid(format!("{reference}: the {what} cannot be read: {e}"))
    };
    let json: serde_json::Value = serde_json::from_slice(&top.bytes).map_err(|e| bad("manifest", e))?;
    let (is_index, is_manifest) = (json.get("manifests").is_some(), json.get("layers").is_some());
    if is_index && is_manifest {
        return Err(Error::Invalid(format!(
            "{reference}: a manifest that is an index too is refused (CVE-2021-41190)"
        )));
    }
    if !is_index {
        let manifest = serde_json::from_slice(&top.bytes).map_err(|e| bad("manifest", e))?;
        let kind =
            if top.descriptor.media_type.is_empty() { media::MANIFEST } else { &top.descriptor.media_type };
        return Ok((manifest, top.bytes.clone(), kind.to_owned()));
    }
    let index: Index = serde_json::from_slice(&top.bytes).map_err(|e| bad("index", e))?;
    let host = Platform::host();
    let wanted = platform.unwrap_or(&host);
    let fits = |entry: &&Descriptor| {
        entry.platform.as_ref().is_some_and(|own| {
            own.os == wanted.os
                && own.architecture == wanted.architecture
                && (wanted.variant.is_none() || own.variant == wanted.variant)
        })
    };
    let entry = index.manifests.iter().find(fits).ok_or_else(|| {
        Error::Invalid(format!(
            "no matching manifest for {wanted} in the manifest list entries of {reference}"
        ))
    })?;
    let chosen = repository.manifest(entry.digest.as_str()).await?;
    let manifest = serde_json::from_slice(&chosen.bytes).map_err(|e| bad("manifest", e))?;
    Ok((manifest, chosen.bytes, chosen.descriptor.media_type))
}

/// A small blob, checked.
async fn fetch_small(repository: &Repository, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    const LIMIT: u64 = 8 << 20;
    if descriptor.size > LIMIT {
        return Err(Error::Invalid(format!("an image configuration of {} bytes", descriptor.size)));
    }
    let mut blob = repository.blob(descriptor, 0).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = blob.next().await? {
        bytes.extend_from_slice(&piece);
    }
    let found = Digest::of(&bytes);
    if found != descriptor.digest {
        return Err(Error::Invalid(format!(
            "the registry sent a configuration with digest {found}, not {}",
            descriptor.digest
        )));
    }
    Ok(bytes)
}

/// Pieces of a transfer as a reader.
struct Pieces {
    receiver: mpsc::Receiver<std::io::Result<bytes::Bytes>>,
    piece: bytes::Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        let taken = self.piece.split_to(n);
        buffer.get_mut(..n).unwrap_or_default().copy_from_slice(&taken);
        Ok(n)
    }
}
