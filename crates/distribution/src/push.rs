//! Sending: blobs in one streamed PATCH each, then the manifest.

use crate::body;
use crate::host::Host;
use crate::transport::{Request, resolve};
use crate::{Error, Repository};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use proa_oci::Digest;
use proa_oci::image::Descriptor;

impl Repository {
    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let host = self.origin()?;
        let target = self.target(&format!("blobs/{digest}"));
        let response = self.retry(host, Request::new(Method::HEAD, &target)).await?;
        match response.status().as_u16() {
            404 => Ok(false),
            _ => self.expect(response, &host.url(&target), digest.as_str()).await.map(|_| true),
        }
    }

    /// Sends a blob, unless the registry takes it from repository `from` of its own; whether it did.
    ///
    /// # Errors
    /// When the registry refuses or the stream fails.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        from: Option<&str>,
        pieces: impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<bool, Error> {
        let origin = self.origin()?;
        let mut target = self.target("blobs/uploads/");
        if let Some(from) = from {
            target = format!("{target}?mount={}&from={}", descriptor.digest, crate::auth::encode(from));
        }
        let url = origin.url(&target);
        let response =
            self.retry(origin, Request::new(Method::POST, &target).header(CONTENT_LENGTH, "0")).await?;
        let response = self.expect(response, &url, descriptor.digest.as_str()).await?;
        if response.status().as_u16() == 201 {
            return Ok(true);
        }
        let (host, path) = location(origin, &response, &url)?;
        let request = Request::new(Method::PATCH, &path)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, &descriptor.size.to_string());
        let sent =
            self.transport.send_with(&host, self.auth.sign(&host, request), body::stream(pieces)).await?;
        let sent = self.expect(sent, &host.url(&path), descriptor.digest.as_str()).await?;
        let (host, path) = location(&host, &sent, &url)?;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={}", crate::auth::encode(descriptor.digest.as_str()));
        let request = Request::new(Method::PUT, &path).header(CONTENT_LENGTH, "0");
        let done = self.auth.send(&self.transport, &host, request).await?;
        self.expect(done, &host.url(&path), descriptor.digest.as_str()).await?;
        Ok(false)
    }

    /// Sends a manifest or index under a tag or its digest.
    ///
    /// # Errors
    /// When the registry refuses, or stores other bytes than were sent.
    pub async fn push_manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest, Error> {
        let host = self.origin()?;
        let digest = Digest::of(&bytes);
        let target = self.target(&format!("manifests/{reference}"));
        let mut request = Request::new(Method::PUT, &target).header(CONTENT_TYPE, media_type);
        request.body = bytes.into();
        let response = self.retry(host, request).await?;
        let response = self.expect(response, &host.url(&target), reference).await?;
        let stored = response.headers().get("docker-content-digest").and_then(|v| v.to_str().ok());
        match stored {
            Some(stored) if stored != digest.as_str() => Err(Error::Digest {
                name: format!("{}:{reference}", self.name),
                wanted: digest.to_string(),
                got: stored.to_owned(),
            }),
            _ => Ok(digest),
        }
    }
}

fn location(
    from: &Host,
    response: &hyper::Response<hyper::body::Incoming>,
    url: &str,
) -> Result<(Host, String), Error> {
    let location = response.headers().get("location").and_then(|v| v.to_str().ok()).unwrap_or_default();
    resolve(from, location)
        .ok_or_else(|| Error::Http { url: url.into(), detail: format!("upload location {location:?}") })
}
