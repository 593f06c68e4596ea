//! TLS configurations of hosts: the system's authorities, and certificates kept for single hosts in
//! `certs.d/HOST/` (`*.crt` authorities, `NAME.cert` with `NAME.key` for this client), as docker has them.

use crate::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The configuration for a host; `verify` off accepts any certificate.
pub(crate) fn config(host: &str, dirs: &[PathBuf], verify: bool) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions();
    let bad =
        |path: &Path, detail: String| Error::Certificates { host: host.into(), path: path.into(), detail };
    let builder = builder.map_err(|e| bad(Path::new(""), e.to_string()))?;
    let own: Vec<PathBuf> = dirs.iter().map(|dir| dir.join(host)).filter(|dir| dir.is_dir()).collect();
    let builder = if verify {
        builder.with_root_certificates(authorities(&own, &bad)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    };
    let config = match client_certificate(&own, &bad)? {
        Some((path, chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|e| bad(&path, e.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

type Bad<'a> = dyn Fn(&Path, String) -> Error + 'a;

fn authorities(own: &[PathBuf], bad: &Bad<'_>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // Unreadable system certificates only mean that fewer registries verify.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for file in files(own, "crt") {
        for certificate in CertificateDer::pem_file_iter(&file).map_err(|e| bad(&file, e.to_string()))? {
            let certificate = certificate.map_err(|e| bad(&file, e.to_string()))?;
            roots.add(certificate).map_err(|e| bad(&file, e.to_string()))?;
        }
    }
    Ok(roots)
}

type ClientCertificate = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(own: &[PathBuf], bad: &Bad<'_>) -> Result<Option<ClientCertificate>, Error> {
    let Some(file) = files(own, "cert").into_iter().next() else { return Ok(None) };
    let chain = CertificateDer::pem_file_iter(&file).and_then(Iterator::collect);
    let chain = chain.map_err(|e| bad(&file, e.to_string()))?;
    let key_file = file.with_extension("key");
    let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|e| bad(&key_file, e.to_string()))?;
    Ok(Some((file, chain, key)))
}

fn files(dirs: &[PathBuf], extension: &str) -> Vec<PathBuf> {
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.sort();
    files
}

/// Accepts any certificate: for hosts the administrator has listed as insecure, and for the loopback.
#[derive(Debug)]
struct AcceptAny(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
