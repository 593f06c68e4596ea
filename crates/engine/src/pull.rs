//! Pull: an image from its registry into the store, layers at once, checked and unpacked as they come.
//!
//! A pull that fails or is cut off (its future is dropped) leaves what came of a blob for the next attempt and nothing
//! else. Pulls that want the same layer at the same time share one transfer.

use crate::engine::blocking;
use crate::images::{News, Reports, say};
use crate::pieces::Pieces;
use crate::{Engine, Error};
use futures_util::stream::{self, StreamExt};
use proa_distribution::{Access, Credentials, Repository};
use proa_image::{Ingest, NewImage};
use proa_oci::image::{Descriptor, ImageConfig, Index, Manifest, media};
use proa_oci::{Digest, Platform, Reference};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedMutexGuard, mpsc};

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

/// Layers that pulls fetch right now.
#[derive(Default)]
pub(crate) struct Fetching(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl Fetching {
    /// Waits until nobody else fetches this layer. Whoever had to wait will often find it here.
    async fn turn(&self, layer: &Digest) -> OwnedMutexGuard<()> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turns| turns.strong_count() > 0);
            let known = all.get(layer).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turns = Arc::default();
                all.insert(layer.clone(), Arc::downgrade(&turns));
                turns
            })
        };
        turns.lock_owned().await
    }
}

/// The last one to let go of an ingest, on the blocking pool: ending one that was not committed removes directories.
struct Lease(Option<Arc<Ingest>>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(ingest), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(ingest));
        }
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
        let begun = Arc::new(self.images.begin());
        let _lease = Lease(Some(Arc::clone(&begun)));
        // Declared after the lease, so it goes before it.
        let ingest = begun;
        self.fetch_layers(&repository, &ingest, &manifest.layers, &document.rootfs.diff_ids, news).await?;
        let by_digest = reference.with_digest(digest.clone());
        let tag = reference.tag.is_some().then(|| reference.clone());
        let image = blocking(move || {
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
        let turn = self.fetching.turn(diff_id).await;
        if ingest.has_layer(diff_id) {
            say(news, layer.digest.short(), "Pull complete");
            return Ok(());
        }
        // The next one's turn comes when this layer is in or its files are closed, also if the pull is cut off.
        let turn = Arc::new(turn);
        let offset = ingest.received(&layer.digest);
        let taken = self.transfer(repository, ingest, layer, diff_id, (offset, &turn), news).await;
        match taken {
            // What an earlier attempt left may be what is wrong; it is gone now.
            Err(Error::Image(proa_image::Error::Mismatch { .. } | proa_image::Error::Layer { .. }))
                if offset > 0 =>
            {
                let offset = ingest.received(&layer.digest);
                self.transfer(repository, ingest, layer, diff_id, (offset, &turn), news).await
            }
            taken => taken,
        }
    }

    /// Fetches a layer from an offset on, as the store takes it in.
    async fn transfer(
        self: &Arc<Self>,
        repository: &Repository,
        ingest: &Arc<Ingest>,
        layer: &Descriptor,
        diff_id: &Digest,
        (offset, turn): (u64, &Arc<OwnedMutexGuard<()>>),
        news: &News,
    ) -> Result<(), Error> {
        let mut blob = repository.blob(layer, offset).await?;
        let (sender, receiver) = mpsc::channel(32);
        let (held, descriptor, diff, reports) =
            (Arc::clone(ingest), layer.clone(), diff_id.clone(), Reports(news.clone()));
        let turn = Arc::clone(turn);
        let taking = blocking(move || {
            let _turn = turn;
            let mut pieces = Pieces::new(receiver);
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
