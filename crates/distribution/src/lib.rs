//! Registry protocol client (OCI distribution-spec 1.1, and docker's registry API v2 before it).
//!
//! A [`Registry`] knows hosts, certificates and connections; a [`Repository`] is one repository seen with one
//! set of credentials. It fetches and sends manifests and blobs as bytes and streams: what they mean, and where
//! they are kept, is the caller's business.
//!
//! Registries are strangers: answers are bounded, digests are checked, redirects to other hosts lose the
//! credentials, and a token service gets them only over TLS or on the registry's own host.

mod auth;
mod body;
mod dns;
mod error;
mod host;
mod pull;
mod push;
mod tls;
mod transport;

pub use auth::Credentials;
pub use error::Error;
pub use host::Config;
pub use pull::{Blob, Manifest};

use host::Host;
use proa_oci::Reference;
use std::sync::{Arc, PoisonError, RwLock};

/// What a repository is opened for: decides which token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Fetching.
    Pull,
    /// Fetching and sending.
    Push,
}

/// The client: configuration and open connections, shared by all repositories.
pub struct Registry {
    config: RwLock<Config>,
    transport: Arc<transport::Transport>,
}

impl Registry {
    /// A client with this configuration. Certificates are read when a host is first contacted.
    pub fn new(config: Config) -> Self {
        let transport = Arc::new(transport::Transport::new(config.certificate_dirs.clone()));
        Self { config: RwLock::new(config), transport }
    }

    /// Takes another list of mirrors and of insecure registries. What was opened before keeps to the old ones.
    pub fn reload(&self, mirrors: Vec<String>, insecure: Vec<String>) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        config.mirrors = mirrors;
        config.insecure = insecure;
    }

    /// Opens the repository of a reference. Nothing is sent yet.
    pub fn repository(
        &self,
        reference: &Reference,
        access: Access,
        credentials: Option<Credentials>,
    ) -> Repository {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = match access {
            Access::Pull if reference.domain == proa_oci::reference::DEFAULT_DOMAIN => config.mirrors(),
            Access::Pull | Access::Push => Vec::new(),
        };
        hosts.push(config.host(&reference.domain));
        drop(config);
        Repository {
            transport: Arc::clone(&self.transport),
            hosts,
            path: reference.path.clone(),
            name: reference.familiar_name(),
            auth: auth::Authorizer::new(reference, access, credentials),
        }
    }

    /// Checks credentials against a registry, as `docker login` does.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when they are refused, others when the registry cannot be reached.
    pub async fn login(&self, domain: &str, credentials: Credentials) -> Result<(), Error> {
        let host = self.config.read().unwrap_or_else(PoisonError::into_inner).host(domain);
        let reference = Reference { domain: domain.into(), path: String::new(), tag: None, digest: None };
        let auth = auth::Authorizer::new(&reference, Access::Pull, Some(credentials));
        let request = transport::Request::get("/v2/");
        let response = auth.send(&self.transport, &host, request).await?;
        match response.status().as_u16() {
            200 => Ok(()),
            401 | 403 => Err(Error::Unauthorized {
                name: domain.into(),
                detail: "incorrect username or password".into(),
            }),
            status => Err(Error::Status { url: host.url("/v2/"), status, detail: String::new() }),
        }
    }
}

/// One repository, seen with one set of credentials.
pub struct Repository {
    transport: Arc<transport::Transport>,
    /// Mirrors in order, the registry itself last.
    hosts: Vec<Host>,
    path: String,
    name: String,
    auth: auth::Authorizer,
}

impl Repository {
    /// The registry itself, not a mirror.
    fn origin(&self) -> Result<&Host, Error> {
        self.hosts.last().ok_or_else(|| Error::NotFound { name: self.name.clone(), detail: "no host".into() })
    }

    /// `/v2/PATH/REST`.
    fn target(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.path)
    }
}
