//! Images for containers and users: push joins the store to the registry client (`pull` is next door); load, save and
//! import run where they hold nothing up.

use crate::engine::blocking;
use crate::events::EventKind;
use crate::{Engine, Error};
use futures_util::stream::{self, StreamExt};
use proa_distribution::{Access, Repository};
use proa_image::{HistoryRow, Image, ImageUse, ImportOptions, Loaded, Phase, Removal, RemoveOptions};
use proa_oci::image::Descriptor;
use proa_oci::{Digest, Reference};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use tokio::sync::mpsc;

pub use proa_distribution::Credentials;

/// An image as it is shown.
pub type ImageView = Image;

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
pub(crate) type News = mpsc::UnboundedSender<Progress>;

pub(crate) fn say(news: &News, id: &str, status: impl Into<String>) {
    let _ = news.send(Progress { id: id.into(), status: status.into(), detail: ProgressDetail::default() });
}

/// Passes the store's reports on.
pub(crate) struct Reports(pub(crate) News);

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
        let (engine, wanted) = (Arc::clone(self), text.to_owned());
        let removed = blocking(move || {
            // Those made ahead must not keep its layers.
            engine.drop_trees();
            Ok(engine.images.remove(&wanted, options, &|id| engine.users_of(id))?)
        })
        .await?;
        self.tell_removals(&removed);
        Ok(removed)
    }

    /// The containers that use an image.
    pub(crate) fn users_of(&self, id: &Digest) -> Vec<ImageUse> {
        let all = self.all();
        let using = all.iter().filter(|container| container.with(|record| record.image == *id));
        let one = |container: &Arc<crate::container::Container>| ImageUse {
            container: container.id.as_str().to_owned(),
            running: container.state().run().is_some(),
        };
        using.map(one).collect()
    }

    pub(crate) fn tell_removals(&self, removed: &[Removal]) {
        for removal in removed {
            match removal {
                Removal::Untagged(name) => self.tell_image("untag", name, name),
                Removal::Deleted(id) => self.tell_image("delete", id.as_str(), ""),
            }
        }
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

    pub(crate) fn tell_image(&self, action: &str, id: &str, name: &str) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        self.events.tell(EventKind::Image, action, id, attributes);
    }
}
