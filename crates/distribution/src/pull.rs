//! Fetching: manifests whole, blobs as streams that resume where they broke.

use crate::body;
use crate::host::Host;
use crate::transport::Request;
use crate::{Error, Repository};
use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, RANGE};
use proa_oci::Digest;
use proa_oci::image::{Descriptor, media};
use std::time::Duration;

/// Largest manifest or index, as registries bound them.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// How often a broken transfer is taken up again.
const ATTEMPTS: u32 = 5;

/// A manifest or index as the registry has it.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes; they have that digest.
    pub bytes: Vec<u8>,
}

impl Repository {
    /// Fetches a manifest or index by tag or digest. Mirrors are asked first.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::Denied`], or what kept the registry from answering.
    pub async fn manifest(&self, reference: &str) -> Result<Manifest, Error> {
        let mut result = Err(Error::NotFound { name: self.name.clone(), detail: "no host".into() });
        for host in &self.hosts {
            result = self.manifest_from(host, reference).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    async fn manifest_from(&self, host: &Host, reference: &str) -> Result<Manifest, Error> {
        let target = self.target(&format!("manifests/{reference}"));
        let mut request = Request::get(&target);
        for kind in [media::INDEX, media::MANIFEST, media::DOCKER_LIST, media::DOCKER_MANIFEST] {
            request = request.header(ACCEPT, kind);
        }
        let response = self.retry(host, request).await?;
        let url = self.transport.url(host, &target);
        let response = self.expect(response, &url, reference).await?;
        let header = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media_type = header.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = body::collect(response.into_body(), &url, MANIFEST_LIMIT).await?;
        let digest = Digest::of(&bytes);
        if reference.contains(':') && reference != digest.as_str() {
            let (wanted, got) = (reference.to_owned(), digest.to_string());
            return Err(Error::Digest { name: self.name.clone(), wanted, got });
        }
        let descriptor = Descriptor::new(&media_type, digest, bytes.len() as u64);
        Ok(Manifest { descriptor, bytes })
    }

    /// Begins to fetch a blob at `offset` bytes. The bytes are not verified here: whoever keeps them must.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Denied`], or what kept the registry from answering.
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Blob<'_>, Error> {
        let mut result =
            Err(Error::NotFound { name: descriptor.digest.to_string(), detail: "no host".into() });
        for host in &self.hosts {
            result = self.blob_from(host, descriptor, offset).await;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    async fn blob_from(&self, host: &Host, descriptor: &Descriptor, offset: u64) -> Result<Blob<'_>, Error> {
        let mut blob = Blob {
            repository: self,
            host: host.clone(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            offset,
            body: None,
        };
        blob.open().await?;
        Ok(blob)
    }

    /// Sends a request that can be repeated, and repeats it while the trouble may pass.
    pub(crate) async fn retry(&self, host: &Host, request: Request) -> Result<Response<Incoming>, Error> {
        let mut attempt = 1u32;
        loop {
            let sent = self.auth.send(&self.transport, host, request.clone()).await;
            let again = match &sent {
                Ok(response) => response.status().is_server_error() || response.status().as_u16() == 429,
                Err(error) => error.is_transient(),
            };
            if !again || attempt >= 3 {
                return self.transport.follow(host, &self.auth.sign(host, request), sent?).await;
            }
            tokio::time::sleep(Duration::from_millis(200 * u64::from(attempt))).await;
            attempt += 1;
        }
    }

    /// Turns an unwelcome status into its error.
    pub(crate) async fn expect(
        &self,
        response: Response<Incoming>,
        url: &str,
        what: &str,
    ) -> Result<Response<Incoming>, Error> {
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let detail = body::complaint(response.into_body(), url).await;
        let separator = if what.contains(':') { '@' } else { ':' };
        match status {
            404 if url.contains("/manifests/") => {
                Err(Error::ManifestUnknown { name: format!("{}{separator}{what}", self.name), detail })
            }
            404 => Err(Error::NotFound { name: format!("{}{separator}{what}", self.name), detail }),
            401 | 403 => Err(Error::Denied { name: self.name.clone(), detail }),
            _ => Err(Error::Status { url: url.into(), status, detail }),
        }
    }
}

/// A blob on its way.
pub struct Blob<'a> {
    repository: &'a Repository,
    host: Host,
    digest: Digest,
    size: u64,
    offset: u64,
    body: Option<Incoming>,
}

impl Blob<'_> {
    /// The next piece; none when all `size` bytes have come. A broken transfer is taken up where it broke.
    ///
    /// # Errors
    /// When it stays broken, or more bytes come than the descriptor said.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let url = self.url();
        let mut attempt = 0u32;
        loop {
            let piece = match self.body.as_mut() {
                Some(body) => body::next(body, &url).await,
                None => Ok(None),
            };
            match piece {
                Ok(Some(piece)) => return self.count(piece, &url).map(Some),
                Ok(None) if self.offset >= self.size => return Ok(None),
                Ok(None) | Err(Error::Http { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(100u64 << attempt)).await;
                    tracing::debug!(digest = %self.digest, offset = self.offset, "transfer broke, resuming");
                    self.open().await?;
                }
                Ok(None) => {
                    let detail = format!("the transfer ended after {} of {} bytes", self.offset, self.size);
                    return Err(Error::Http { url, detail });
                }
                Err(Error::Http { detail, .. }) => {
                    let (had, size) = (self.offset, self.size);
                    let detail = format!(
                        "the transfer broke off after {had} of {size} bytes, again and again: {detail}"
                    );
                    return Err(Error::Http { url, detail });
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn count(&mut self, piece: Bytes, url: &str) -> Result<Bytes, Error> {
        self.offset += piece.len() as u64;
        if self.offset > self.size {
            return Err(Error::TooLarge { url: url.into(), limit: self.size });
        }
        Ok(piece)
    }

    async fn open(&mut self) -> Result<(), Error> {
        let mut request = Request::get(self.repository.target(&format!("blobs/{}", self.digest)));
        if self.offset > 0 {
            request = request.header(RANGE, &format!("bytes={}-", self.offset));
        }
        let response = self.repository.retry(&self.host, request).await?;
        let url = self.url();
        let response = self.repository.expect(response, &url, self.digest.as_str()).await?;
        let partial = response.status().as_u16() == 206;
        let mut body = response.into_body();
        if self.offset > 0 && !partial {
            skip(&mut body, self.offset, &url).await?;
        }
        self.body = Some(body);
        Ok(())
    }

    fn url(&self) -> String {
        self.repository.transport.url(&self.host, &self.repository.target(&format!("blobs/{}", self.digest)))
    }
}

/// Passes over what was already received, for registries that ignore ranges. Whole pieces only: HTTP gives no
/// promise about their borders, so one that straddles the mark means the transfer cannot be joined.
async fn skip(body: &mut Incoming, mut left: u64, url: &str) -> Result<(), Error> {
    while left > 0 {
        let piece = body::next(body, url).await?;
        let length = piece.map_or(0, |piece| piece.len() as u64);
        if length == 0 || length > left {
            return Err(Error::Status {
                url: url.into(),
                status: 200,
                detail: "cannot resume: ranges are ignored".into(),
            });
        }
        left -= length;
    }
    Ok(())
}
