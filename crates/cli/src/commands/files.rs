//! Files into and out of containers: `cp`, `export`, `diff`, `commit`.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proa_client::{BodyStream, Verb, escape, file_body, full, made_body};
use proa_docker_api::{ContainerPathStat, FilesystemChange, IdResponse};
use proa_image::tar::{ExtractOptions, Owner, extract, pack, plain};
use proa_types::units::human_size;
use tokio::sync::mpsc;

use super::copy::{self, End};
use crate::app::{App, reason};
use crate::error::{Failure, Result, fail};

/// What tells what a path is.
const STAT: &str = "x-docker-container-path-stat";
/// Pieces of an archive on their way.
const PIECES: usize = 16;

/// `cp`.
pub(crate) async fn copy(app: &App) -> Result<()> {
    let [from, to] = app.flags.args.as_slice() else { fail!("two paths are needed") };
    if from.is_empty() {
        fail!("source can not be empty");
    }
    if to.is_empty() {
        fail!("destination can not be empty");
    }
    let quiet = if app.flags.has("quiet") { app.flags.on("quiet") } else { !crate::terminal::stdout_is() };
    let (from, to) = (copy::split(from), copy::split(to));
    let done = match (from, to) {
        (("", _), ("", _)) => fail!("must specify at least one container source"),
        (("", path), (container, target)) => copy_in(app, path, container, target).await?,
        ((container, path), ("", target)) => copy_out(app, container, path, target).await?,
        _ => fail!("copying between containers is not supported"),
    };
    if let Some((bytes, place)) = done.filter(|_| !quiet) {
        eprintln!("Successfully copied {} to {place}", human_size(bytes, 3));
    }
    Ok(())
}

fn route(container: &str, path: &str) -> String {
    format!("/containers/{}/archive?path={}", escape(container), escape(path))
}

fn decoded(header: Option<String>) -> Result<ContainerPathStat> {
    let bytes = header.and_then(|header| STANDARD.decode(header).ok());
    let stat = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    stat.ok_or_else(|| Failure::new("the engine did not say what the path is"))
}

async fn stat(app: &App, container: &str, path: &str) -> Result<ContainerPathStat> {
    decoded(app.client.head(&route(container, path), STAT).await?)
}

/// How many bytes were copied, and where to.
type Done = Option<(u64, String)>;

async fn copy_out(app: &App, container: &str, path: &str, target: &str) -> Result<Done> {
    let to_stdout = target == "-";
    let target = if to_stdout { target.to_owned() } else { copy::absolute(target)? };
    if !to_stdout {
        copy::writable(&target)?;
    }
    let mut from = End { path: path.to_owned(), exists: true, ..End::default() };
    if app.flags.on("follow-link")
        && let Ok(stat) = stat(app, container, path).await
        && stat.is_symlink()
    {
        (from.path, from.rebase) = copy::followed(path, &copy::beside(path, &stat.link_target));
    }
    let (header, mut stream) = app.client.stream_with(&route(container, &from.path), STAT).await?;
    if to_stdout {
        while let Some(bytes) = stream.chunk().await? {
            super::pump::emit(&bytes)?;
        }
        return Ok(None);
    }
    from.is_dir = decoded(header)?.is_dir();
    let placed = copy::place(&from, &copy::destination(&target)?)?;
    let name = copy::entry(&from.path).1;
    let rename = match placed.rename {
        Some(new) => Some(new),
        None => Some(from.rebase).filter(|rebase| !rebase.is_empty()),
    };
    let options = ExtractOptions {
        owner: Owner::Caller,
        keep_kind: true,
        rename: rename.map(|new| (name.into_bytes(), new.into_bytes())),
        ids: None,
    };
    let bytes = unpack(stream, placed.dir, options).await?;
    Ok(Some((bytes, target)))
}

/// Unpacks what comes into a local directory, in a thread of its own; how many bytes came.
async fn unpack(mut stream: BodyStream, dir: String, options: ExtractOptions) -> Result<u64> {
    let (sender, pieces) = mpsc::channel::<Bytes>(PIECES);
    let unpacking = tokio::task::spawn_blocking(move || {
        use std::os::fd::AsFd;
        let opened = std::fs::File::open(&dir).or_else(|cause| fail!("open {dir}: {}", reason(&cause)))?;
        // Links of the archive lead to nowhere outside of the directory.
        let root = opened.try_clone()?;
        let archive =
            plain(Pieces { pieces, piece: Bytes::new() }).map_err(|e| Failure::new(e.to_string()))?;
        extract(archive, root.as_fd(), (opened.into(), b""), &options)
            .map_err(|e| Failure::new(e.to_string()))
    });
    let mut total = 0;
    let broken = loop {
        match stream.chunk().await {
            Ok(Some(bytes)) => {
                total += bytes.len() as u64;
                if sender.send(bytes).await.is_err() {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    drop(sender);
    let unpacked = unpacking.await.map_err(|error| Failure::new(error.to_string()))?;
    match broken {
        Some(error) => Err(error.into()),
        None => unpacked.map(|()| total),
    }
}

/// Pieces from another thread as a reader.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let taken = self.piece.split_to(buffer.len().min(self.piece.len()));
        buffer.get_mut(..taken.len()).unwrap_or_default().copy_from_slice(&taken);
        Ok(taken.len())
    }
}

async fn copy_in(app: &App, path: &str, container: &str, target: &str) -> Result<Done> {
    let mut to = End { path: target.to_owned(), ..End::default() };
    let mut found = stat(app, container, target).await;
    if let Ok(link) = &found
        && link.is_symlink()
    {
        to.path = copy::beside(target, &link.link_target);
        found = stat(app, container, &to.path).await;
    }
    if let Ok(stat) = &found {
        (to.exists, to.is_dir) = (true, stat.is_dir());
        regular(stat, container, target)?;
    }
    let shown = format!("{container}:{}", to.path);
    if path == "-" {
        if !to.is_dir {
            fail!("destination \"{container}:{target}\" must be a directory");
        }
        put(app, container, &to.path, file_body(tokio::io::stdin())).await?;
        return Ok(None);
    }
    let from = copy::source(&copy::absolute(path)?, app.flags.on("follow-link"))?;
    let placed = copy::place(&from, &to)?;
    let (dir, name) = copy::entry(&from.path);
    let given = if from.rebase.is_empty() { name.clone() } else { from.rebase };
    let shown_as = placed.rename.unwrap_or(given);
    let (sender, pieces) = mpsc::channel(PIECES);
    let packing = tokio::task::spawn_blocking(move || {
        use std::os::fd::AsFd;
        let opened = std::fs::File::open(&dir).or_else(|cause| fail!("open {dir}: {}", reason(&cause)))?;
        let name = if name == "/" { ".".into() } else { name };
        let name = std::ffi::CString::new(name).map_err(|error| Failure::new(error.to_string()))?;
        let mut to = Outlet { pieces: sender, total: 0 };
        let mut buffered = std::io::BufWriter::with_capacity(128 << 10, &mut to);
        let packed = pack((opened.as_fd(), &name), shown_as.as_bytes(), None, &mut buffered)
            .and_then(|()| buffered.flush());
        drop(buffered.into_parts());
        match packed {
            Ok(()) => Ok(to.total),
            // The engine took no more and says why.
            Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(to.total),
            Err(cause) => {
                let text = cause.to_string();
                let _ = to.pieces.blocking_send(Err(cause));
                fail!("{text}")
            }
        }
    });
    let sent = put(app, container, &placed.dir, made_body(pieces)).await;
    let packed = packing.await.map_err(|error| Failure::new(error.to_string()))?;
    let bytes = packed?;
    sent?;
    Ok(Some((bytes, shown)))
}

/// Refuses a device or the like as a destination.
fn regular(stat: &ContainerPathStat, container: &str, path: &str) -> Result<()> {
    // Go's bits: a device; a pipe, a socket.
    let word = match (stat.mode & 1 << 26, stat.mode & (1 << 25 | 1 << 24)) {
        (0, 0) => return Ok(()),
        (0, _) => "an irregular file",
        _ => "a device",
    };
    fail!("destination \"{container}:{path}\" must be a directory or a regular file: got {word}")
}

/// A blocking writer into a body.
struct Outlet {
    pieces: mpsc::Sender<std::io::Result<Bytes>>,
    total: u64,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.pieces.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        self.total += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn put(app: &App, container: &str, dir: &str, body: proa_client::Body) -> Result<()> {
    let own = if app.flags.on("archive") { "&copyUIDGID=true" } else { "" };
    let path = format!("{}&noOverwriteDirNonDir=true{own}", route(container, dir));
    let headers = [("Content-Type", "application/x-tar")];
    app.client.send(Verb::PUT, &path, &headers, body).await?;
    Ok(())
}

/// `export`.
pub(crate) async fn export(app: &App) -> Result<()> {
    let name = app.flags.args.first().map_or("", String::as_str);
    let output = app.flags.text("output").filter(|path| !path.is_empty());
    if output.is_none() && crate::terminal::stdout_is() {
        fail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    if let Some(path) = output {
        copy::writable(path).map_err(|e| Failure::new(format!("failed to export container: {e}")))?;
    }
    let path = format!("/containers/{}/export", escape(name));
    let stream = app.client.stream(Verb::GET, &path, &[], full("")).await?;
    super::image::save_stream(stream, output).await
}

/// `diff`.
pub(crate) async fn diff(app: &App) -> Result<()> {
    let name = app.flags.args.first().map_or("", String::as_str);
    if name.is_empty() {
        fail!("Container name cannot be empty");
    }
    let changes: Option<Vec<FilesystemChange>> =
        app.client.fetch(&format!("/containers/{}/changes", escape(name))).await?;
    let letter = |kind| match kind {
        0 => 'C',
        1 => 'A',
        _ => 'D',
    };
    for change in changes.unwrap_or_default() {
        crate::output::put(&format!("{} {}\n", letter(change.kind), change.path));
    }
    Ok(())
}

/// `commit`.
pub(crate) async fn commit(app: &App) -> Result<()> {
    let mut args = app.flags.args.iter();
    let name = args.next().map_or("", String::as_str);
    let (repo, tag) = args.next().map_or(("", ""), |reference| super::image::split(reference));
    if !repo.is_empty() {
        super::image::named(repo, "")?;
    }
    let mut path = format!("/commit?container={}&repo={}&tag={}", escape(name), escape(repo), escape(tag));
    for (flag, key) in [("author", "author"), ("message", "comment")] {
        if let Some(value) = app.flags.text(flag) {
            path.push_str(&format!("&{key}={}", escape(value)));
        }
    }
    for change in app.flags.list("change") {
        path.push_str(&format!("&changes={}", escape(&change)));
    }
    if app.flags.has("pause") && !app.flags.on("pause") {
        path.push_str("&pause=0");
    }
    let bytes = app.client.bytes(Verb::POST, &path, Vec::new()).await?;
    let made: IdResponse = serde_json::from_slice(&bytes)?;
    crate::output::put(&format!("{}\n", made.id));
    Ok(())
}
