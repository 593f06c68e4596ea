//! Claims: an image of which a container is being made is in use before that container can be seen.
//!
//! A claim is made while the catalog is read, and looked at while it is changed: so an image that was claimed is there,
//! and one that was removed cannot be claimed.

use crate::store::Inner;
use crate::{Image, ImageStore, ImageUse, Result};
use proa_oci::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who has claimed what.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Held>);

#[derive(Default)]
struct Held {
    by_image: HashMap<Digest, Vec<String>>,
    /// How many claims have ended: what was claimed is shown as used by a container from then on.
    ended: u64,
}

/// An image that stays while this is held.
pub struct Claim {
    /// The image.
    pub image: Arc<Image>,
    container: String,
    inner: Arc<Inner>,
}

impl Claims {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many claims have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.held().ended
    }

    /// Who claims an image now, as users that no force overrides.
    pub(crate) fn users(&self, image: &Digest) -> Vec<ImageUse> {
        let held = self.held();
        let containers = held.by_image.get(image).into_iter().flatten();
        containers.map(|id| ImageUse { container: id.clone(), running: true }).collect()
    }
}

impl ImageStore {
    /// The image a user means, which stays until the claim is dropped: for the container of this id, which is to show
    /// by then that it uses the image.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn claim(&self, text: &str, container: &str) -> Result<Claim> {
        let catalog = self.inner.catalog();
        let id = catalog.find(text)?;
        let entry = catalog.images.get(&id).ok_or_else(|| crate::Error::NotFound(text.into()))?;
        self.inner.claims.held().by_image.entry(id).or_default().push(container.to_owned());
        Ok(Claim {
            image: Arc::clone(&entry.image),
            container: container.to_owned(),
            inner: Arc::clone(&self.inner),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.inner.claims.held();
        held.ended += 1;
        if let Some(containers) = held.by_image.get_mut(&self.image.id) {
            if let Some(at) = containers.iter().position(|id| *id == self.container) {
                containers.swap_remove(at);
            }
            if containers.is_empty() {
                held.by_image.remove(&self.image.id);
            }
        }
    }
}
