//! Against Debian's `docker-registry` on the loopback: plain, TLS with a private authority, and with passwords.
//! Skipped, with the reason, where that program is not installed.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proa_distribution::{Access, Config, Credentials, Error, Registry};
use proa_oci::image::{Descriptor, media};
use proa_oci::{Digest, Reference};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "/usr/bin/docker-registry";

struct Server {
    child: Child,
    dir: PathBuf,
    authority: String,
}

impl Server {
    /// Starts the registry; none if it is not installed.
    fn start(name: &str, extra: impl Fn(&Path) -> String) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            println!("skipped: {PROGRAM} is not installed");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("proa-distribution-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{}",
            dir.join("data").display(),
            extra(&dir)
        );
        std::fs::write(dir.join("config.yml"), config).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(dir.join("config.yml")).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, dir, authority: format!("127.0.0.1:{port}") };
        for _ in 0..1000 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("the registry does not answer");
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.authority).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Pushes a manifest with one layer, fetches both again and compares.
async fn round_trip(
    registry: &Registry,
    reference: &Reference,
    credentials: Option<Credentials>,
) -> Result<(), Error> {
    let layer: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let config = b"{}".to_vec();
    let (l, c) = (describe(media::LAYER, &layer), describe(media::CONFIG, &config));
    let push = registry.repository(reference, Access::Push, credentials.clone());
    for (descriptor, bytes) in [(&l, &layer), (&c, &config)] {
        assert!(!push.has_blob(&descriptor.digest).await?);
        let pieces: Vec<_> = bytes.chunks(70_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        push.push_blob(descriptor, None, futures_util::stream::iter(pieces)).await?;
        assert!(push.has_blob(&descriptor.digest).await?);
    }
    let manifest =
        serde_json::json!({"schemaVersion": 2, "mediaType": media::MANIFEST, "config": c, "layers": [l]});
    let digest = push.push_manifest("v1", media::MANIFEST, manifest.to_string().into_bytes()).await?;
    let pull = registry.repository(reference, Access::Pull, credentials);
    let fetched = pull.manifest("v1").await?;
    assert_eq!(
        (fetched.descriptor.digest.as_str(), &fetched.descriptor.media_type[..]),
        (digest.as_str(), media::MANIFEST)
    );
    assert_eq!(pull.manifest(digest.as_str()).await?.bytes, fetched.bytes);
    for offset in [0, 1_234_567] {
        let mut blob = pull.blob(&l, offset).await?;
        let mut got = Vec::new();
        while let Some(piece) = blob.next().await? {
            got.extend_from_slice(&piece);
        }
        assert!(got == layer[offset as usize..], "{} bytes from {offset}", got.len());
    }
    assert!(matches!(pull.manifest("absent").await, Err(Error::ManifestUnknown { .. })));
    Ok(())
}

fn describe(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64)
}

#[tokio::test]
async fn plain_registry_on_the_loopback() {
    let Some(server) = Server::start("plain", |_| String::new()) else { return };
    round_trip(&Registry::new(Config::default()), &server.reference("team/app:v1"), None).await.unwrap();
}

#[tokio::test]
async fn mounting_takes_a_blob_from_another_repository() {
    let Some(server) = Server::start("mount", |_| String::new()) else { return };
    let registry = Registry::new(Config::default());
    round_trip(&registry, &server.reference("team/app:v1"), None).await.unwrap();
    let config = describe(media::CONFIG, b"{}");
    let other = registry.repository(&server.reference("other/app"), Access::Push, None);
    let none = futures_util::stream::iter(Vec::<std::io::Result<Bytes>>::new());
    assert!(other.push_blob(&config, Some("team/app"), none).await.unwrap());
    assert!(other.has_blob(&config.digest).await.unwrap());
}

#[tokio::test]
async fn passwords_are_asked_for_and_checked() {
    // bcrypt of "secret", made once by htpasswd -B.
    let line = "user:$2y$05$0HbBFSCVWFmkqvLRqcsl0.bwkvlEyUIgMkMmvVuWFTCpXwqd1e2C2\n";
    let Some(server) = Server::start("auth", |dir| {
        std::fs::write(dir.join("htpasswd"), line).unwrap();
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", dir.join("htpasswd").display())
    }) else {
        return;
    };
    let registry = Registry::new(Config::default());
    let reference = server.reference("team/app:v1");
    let refused = round_trip(&registry, &reference, None).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
    let wrong = Credentials::Password { user: "user".into(), secret: "wrong".into() };
    let refused = registry.login(&server.authority, wrong).await;
    assert!(matches!(refused, Err(Error::Unauthorized { .. })), "{refused:?}");
}

#[tokio::test]
async fn tls_is_verified_against_the_authority_of_the_host() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let Some(server) = Server::start("tls", |dir| {
        std::fs::write(dir.join("cert.pem"), key.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
        format!("  tls:\n    certificate: {0}/cert.pem\n    key: {0}/key.pem\n", dir.display())
    }) else {
        return;
    };
    // The loopback needs no authority.
    round_trip(&Registry::new(Config::default()), &server.reference("team/app:v1"), None).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_is_down_is_told_apart() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reference: Reference = format!("127.0.0.1:{port}/x").parse().unwrap();
    let registry = Registry::new(Config::default());
    let error = registry.repository(&reference, Access::Pull, None).manifest("latest").await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("connection refused"), "{error}");
}
