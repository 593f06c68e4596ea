//! A registry on the loopback that misbehaves as it is told: a border the engine does not own.

use proa_oci::Digest;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a repository answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Well,
    /// Blobs in small pieces with pauses.
    Slow,
    /// Blobs in small pieces; the first transfer of each breaks off after half of it.
    BreaksOnce,
    /// Blobs that always end after half of what was promised, wherever they start.
    Truncated,
    /// Blobs with one byte changed.
    Altered,
    /// Blobs with more bytes than the manifest says.
    Longer,
    /// Asks for a password (Basic).
    Password,
    /// Names a token service that refuses.
    TokenRefused,
    /// Knows nothing.
    Absent,
    /// Fails with status 500.
    Broken,
    /// Answers manifests with something else.
    NotJson,
    /// Answers manifests without end.
    Endless,
    /// Closes the connection without an answer.
    HangsUp,
    /// Redirects for ever.
    Redirects,
}

/// A served image.
struct Served {
    manner: Manner,
    manifest: Vec<u8>,
    blobs: HashMap<String, Vec<u8>>,
    broke: bool,
}

type Repositories = Arc<Mutex<HashMap<String, Served>>>;

/// The server; ends on drop.
pub struct Strange {
    /// `HOST:PORT`.
    pub authority: String,
    repositories: Repositories,
    asked: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
}

impl Strange {
    /// Starts it on the loopback.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// Starts it at an address of this host.
    pub fn start_at(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap_or_else(|e| panic!("{host}: {e}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let strange = Self {
            authority: format!("{host}:{port}"),
            repositories: Arc::default(),
            asked: Arc::default(),
            ends: Arc::default(),
        };
        let (repositories, asked, ends) =
            (Arc::clone(&strange.repositories), Arc::clone(&strange.asked), Arc::clone(&strange.ends));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let (repositories, asked) = (Arc::clone(&repositories), Arc::clone(&asked));
                std::thread::spawn(move || drop(answer(stream, &repositories, &asked)));
            }
        });
        strange
    }

    /// Serves an image of these layers (tar archives, sent compressed) at `REPOSITORY:latest`; its full name.
    pub fn serve(&self, repository: &str, manner: Manner, layers: &[Vec<u8>]) -> String {
        let mut blobs = HashMap::new();
        let mut put = |bytes: Vec<u8>, kind: &str| {
            let digest = Digest::of(&bytes).to_string();
            let descriptor =
                serde_json::json!({"mediaType": kind, "digest": digest.clone(), "size": bytes.len()});
            blobs.insert(digest, bytes);
            descriptor
        };
        let diffs: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["/bin/sh"], "Labels": {"of": repository}},
            "rootfs": {"type": "layers", "diff_ids": diffs}, "history": [],
        });
        let config = put(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let layers: Vec<_> = layers.iter().map(|layer| put(gzip(layer), kind)).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        let served = Served { manner, manifest: manifest.to_string().into_bytes(), blobs, broke: false };
        locked(&self.repositories).insert(repository.to_owned(), served);
        format!("{}/{repository}", self.authority)
    }

    /// Changes how a repository answers.
    pub fn set(&self, repository: &str, manner: Manner) {
        if let Some(served) = locked(&self.repositories).get_mut(repository) {
            served.manner = manner;
        }
    }

    /// What was asked for: `GET PATH` or `GET PATH bytes=N-`.
    pub fn asked(&self) -> Vec<String> {
        locked(&self.asked).clone()
    }
}

impl Drop for Strange {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.authority);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compresses with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).and_then(|()| out.finish()).unwrap_or_else(|e| panic!("gzip: {e}"))
}

/// One request on one connection.
fn answer(
    mut stream: TcpStream,
    repositories: &Repositories,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 65536 && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
        if head == [22] {
            // A TLS greeting.
            return plain(&mut stream, "400 Bad Request", "", b"this is HTTP");
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = head.lines().find_map(|l| {
        let (name, value) = l.split_once(": ")?;
        name.eq_ignore_ascii_case("range").then(|| value.to_owned())
    });
    let said = format!("GET {path} {}", range.clone().unwrap_or_default());
    locked(asked).push(said.trim_end().to_owned());
    let offset = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    if path == "/v2/" {
        return plain(&mut stream, "200 OK", "", b"{}");
    }
    if path.starts_with("/token") {
        let text = br#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#;
        return plain(&mut stream, "401 Unauthorized", "", text);
    }
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    let (repository, what) = match (rest.split_once("/manifests/"), rest.split_once("/blobs/")) {
        (Some((repository, _)), _) => (repository, None),
        (_, Some((repository, digest))) => (repository, Some(digest)),
        _ => return plain(&mut stream, "404 Not Found", "", b""),
    };
    let (manner, body, cut) = {
        let mut all = locked(repositories);
        let Some(served) = all.get_mut(repository) else {
            let text = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}"#;
            return plain(&mut stream, "404 Not Found", "", text);
        };
        let body = match what {
            None => Some(served.manifest.clone()),
            Some(digest) => served.blobs.get(digest).cloned(),
        };
        // A configuration is small: only layers break.
        let large = body.as_ref().is_some_and(|body| what.is_some() && body.len() > 4096);
        let cut = large && served.manner == Manner::BreaksOnce && !std::mem::replace(&mut served.broke, true);
        (served.manner, body, cut)
    };
    let Some(body) = body else { return plain(&mut stream, "404 Not Found", "", b"") };
    let manifest = what.is_none();
    refuse(&mut stream, manner, manifest).unwrap_or_else(|| {
        if manifest {
            let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
            return plain(&mut stream, "200 OK", kind, &body);
        }
        blob(&mut stream, manner, &body, offset, cut)
    })
}

/// The answer of a repository that gives nothing, or none.
fn refuse(stream: &mut TcpStream, manner: Manner, manifest: bool) -> Option<std::io::Result<()>> {
    let host = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let unauthorized = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    Some(match manner {
        Manner::Password => {
            let header = "WWW-Authenticate: Basic realm=\"strange\"\r\n";
            plain(stream, "401 Unauthorized", header, unauthorized)
        }
        Manner::TokenRefused => {
            let header =
                format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"strange\"\r\n");
            plain(stream, "401 Unauthorized", &header, unauthorized)
        }
        Manner::Absent => {
            let text = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            plain(stream, "404 Not Found", "", text)
        }
        Manner::Broken => plain(stream, "500 Internal Server Error", "", b"the disk is on fire"),
        Manner::HangsUp => Ok(()),
        Manner::Redirects => plain(stream, "307 Temporary Redirect", "Location: /v2/x/manifests/y\r\n", b""),
        Manner::NotJson if manifest => plain(stream, "200 OK", "", b"<html>welcome to the hotel</html>"),
        Manner::Endless if manifest => endless(stream),
        _ => return None,
    })
}

fn plain(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}

fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[b' '; 65536])?;
    }
}

fn blob(
    stream: &mut TcpStream,
    manner: Manner,
    body: &[u8],
    offset: Option<usize>,
    cut: bool,
) -> std::io::Result<()> {
    let mut bytes = body.get(offset.unwrap_or(0)..).unwrap_or_default().to_vec();
    let large = body.len() > 4096;
    match manner {
        Manner::Altered if large => {
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
        }
        Manner::Longer if large => bytes.extend_from_slice(&[7; 5000]),
        _ => {}
    }
    let status = if offset.is_some() { "206 Partial Content" } else { "200 OK" };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
    if large && (cut || manner == Manner::Truncated) {
        bytes.truncate(bytes.len() / 2);
    }
    if !large || !matches!(manner, Manner::Slow | Manner::BreaksOnce) {
        return stream.write_all(&bytes);
    }
    for piece in bytes.chunks(16 << 10) {
        stream.write_all(piece)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
