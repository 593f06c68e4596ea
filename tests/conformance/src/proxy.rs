//! A unix socket in front of the daemon's. Bytes pass both ways as they come, ends of directions too: only so do
//! attached sessions, which end one direction and read the other, behave as without it.

use crate::http::{Body, Head, Parser, Sink};
use crate::verdict::{Exchange, Judge, Report};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The proxy; its socket is removed on drop.
#[derive(Debug)]
pub struct Proxy {
    front: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    judge: Judge,
    back: PathBuf,
    ended: AtomicBool,
    /// Connections that are open.
    open: AtomicUsize,
}

/// Requests that were not answered yet: method and target.
type Asked = Arc<Mutex<VecDeque<(String, String)>>>;

impl Proxy {
    /// Listens at `front` for a daemon that listens at `back`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(front: &Path, back: &Path) -> std::io::Result<Self> {
        let listener = UnixListener::bind(front)?;
        let shared = Arc::new(Shared {
            judge: Judge::new(),
            back: back.to_owned(),
            ended: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { front: front.to_owned(), shared })
    }

    /// Where clients connect.
    pub fn socket(&self) -> &Path {
        &self.front
    }

    /// What was seen. Connections that end now are waited for a moment, so that the last response counts.
    pub fn report(&self) -> Report {
        for _ in 0..100 {
            if self.shared.open.load(Ordering::Acquire) == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.shared.judge.report()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        let _ = UnixStream::connect(&self.front);
        let _ = std::fs::remove_file(&self.front);
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for client in listener.incoming().flatten() {
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        // A daemon that is gone is a connection that ends: what a client would see if it went away meanwhile.
        let Ok(daemon) = UnixStream::connect(&shared.back) else { continue };
        let shared = Arc::clone(shared);
        shared.open.fetch_add(1, Ordering::AcqRel);
        std::thread::spawn(move || {
            carry(&client, &daemon, &shared.judge);
            shared.open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

/// One connection, until both directions have ended.
fn carry(client: &UnixStream, daemon: &UnixStream, judge: &Judge) {
    let asked = Asked::default();
    std::thread::scope(|scope| {
        let requests = Arc::clone(&asked);
        scope.spawn(move || ask(client, daemon, Requests(requests)));
        answer(client, daemon, Responses { judge, asked, exchange: None });
    });
}

/// From the client to the daemon.
fn ask(client: &UnixStream, daemon: &UnixStream, mut sink: Requests) {
    let mut parser = Parser::requests();
    let mut buffer = vec![0; 64 << 10];
    while let Some(bytes) = read(client, &mut buffer) {
        // Noted before it is passed on: the answer may come at once.
        parser.feed(bytes, &mut sink);
        if write(daemon, bytes).is_err() {
            // The client may write no more; what the daemon said before it went is still on its way to it.
            let _ = client.shutdown(Shutdown::Read);
            return;
        }
    }
    let _ = daemon.shutdown(Shutdown::Write);
    // One direction has ended; a client that then goes away altogether must be missed by the daemon too.
    hung_up(client);
    let _ = daemon.shutdown(Shutdown::Both);
}

/// From the daemon to the client.
fn answer(client: &UnixStream, daemon: &UnixStream, mut sink: Responses<'_>) {
    let mut parser = Parser::responses();
    let mut buffer = vec![0; 64 << 10];
    while let Some(bytes) = read(daemon, &mut buffer) {
        // The client first: judging must not make it wait.
        let gone = write(client, bytes).is_err();
        parser.feed(bytes, &mut sink);
        if gone {
            let _ = daemon.shutdown(Shutdown::Both);
            break;
        }
    }
    parser.close(&mut sink);
    sink.cut();
    let _ = client.shutdown(Shutdown::Write);
    if hung_up_now(daemon) {
        let _ = client.shutdown(Shutdown::Both);
    }
}

fn read<'a>(mut from: &UnixStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let n = from.read(buffer).ok().filter(|&n| n > 0)?;
    buffer.get(..n)
}

fn write(mut to: &UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)
}

/// Waits until the other end is closed both ways, or this one is.
fn hung_up(stream: &UnixStream) {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
}

/// Whether the other end is closed both ways.
fn hung_up_now(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0)
}

struct Requests(Asked);

impl Sink for Requests {
    fn head(&mut self, head: &Head) -> Body {
        let [method, target, _] = &head.line;
        lock(&self.0).push_back((method.clone(), target.clone()));
        // What follows a request to change the protocol is not a request, unless it is refused: not read either way.
        if head.upgrade { Body::Raw } else { Body::Framed }
    }

    fn body(&mut self, _: &[u8]) {}

    fn end(&mut self) {}
}

struct Responses<'a> {
    judge: &'a Judge,
    asked: Asked,
    exchange: Option<Exchange>,
}

impl Responses<'_> {
    /// The connection has ended, perhaps within a body.
    fn cut(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.judge.end(&exchange, false);
        }
    }
}

impl Sink for Responses<'_> {
    fn head(&mut self, head: &Head) -> Body {
        let status: u16 = head.line[1].parse().unwrap_or(0);
        if (100..200).contains(&status) && status != 101 {
            return Body::None;
        }
        let Some((method, target)) = lock(&self.asked).pop_front() else { return Body::Raw };
        self.exchange = self.judge.begin(&method, &target, head);
        match status {
            101 => {
                self.end();
                Body::Raw
            }
            204 | 304 => Body::None,
            _ if method == "HEAD" => Body::None,
            _ => Body::Framed,
        }
    }

    fn body(&mut self, bytes: &[u8]) {
        if let Some(exchange) = &mut self.exchange {
            exchange.body(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.judge.end(&exchange, true);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
