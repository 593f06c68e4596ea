//! Messages on a sequenced-packet socket: JSON, with descriptors beside. A long message travels in a memory file.

use crate::Error;
use crate::protocol::VERSION;
use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest message sent as it is.
const SHORT: usize = 32 << 10;
/// Longest message at all.
const LONGEST: u64 = 32 << 20;
/// Most descriptors of one message.
const MOST_FDS: usize = 250;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none", default = "Option::default")]
    m: Option<T>,
}

/// The address of the control socket in an open directory. Through the descriptor it is short however long the
/// directory's path is; a socket's address has room for 107 bytes.
pub(crate) fn address(dir: BorrowedFd<'_>) -> rustix::io::Result<rustix::net::SocketAddrUnix> {
    rustix::net::SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/control",
        std::os::fd::AsRawFd::as_raw_fd(&dir)
    ))
}

/// Opens a shim's directory for its address.
pub(crate) fn open_dir(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
}

/// Sends a message.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Error> {
    let bad = |e: serde_json::Error| Error::Protocol(e.to_string());
    let body = serde_json::to_vec(&Envelope { v: VERSION, m: Some(message) }).map_err(bad)?;
    if body.len() <= SHORT {
        return packet(socket, &body, fds, flags);
    }
    let file =
        rustix::fs::memfd_create("message", MemfdFlags::CLOEXEC).map_err(|e| Error::io("message", e))?;
    let mut file = std::fs::File::from(file);
    file.write_all(&body).and_then(|()| file.rewind()).map_err(|e| Error::io("message", e))?;
    let empty = serde_json::to_vec(&Envelope::<T> { v: VERSION, m: None }).map_err(bad)?;
    let all: Vec<BorrowedFd<'_>> = std::iter::once(file.as_fd()).chain(fds.iter().copied()).collect();
    packet(socket, &empty, &all, flags)
}

fn packet(
    socket: BorrowedFd<'_>,
    body: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Error> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::Protocol(format!("more than {MOST_FDS} descriptors in a message")));
    }
    match rustix::net::sendmsg(socket, &[IoSlice::new(body)], &mut control, flags | SendFlags::NOSIGNAL) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET | rustix::io::Errno::NOTCONN) => {
            Err(Error::Gone)
        }
        Err(error) => Err(Error::io("message", error)),
    }
}

/// Receives a message and its descriptors.
///
/// # Errors
/// [`Error::Gone`] when the other end is closed; `WouldBlock` when there is none now.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> Result<(T, Vec<OwnedFd>), Error> {
    let mut body = vec![0; SHORT + 1024];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let received = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut body)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        );
        match received {
            Ok(received) => break received.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Err(Error::Gone),
            Err(error) => return Err(Error::io("message", error)),
        }
    };
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if length == 0 {
        return Err(Error::Gone);
    }
    let bad = |e: serde_json::Error| Error::Protocol(e.to_string());
    let envelope: Envelope<T> =
        serde_json::from_slice(body.get(..length).unwrap_or_default()).map_err(bad)?;
    if let Some(message) = envelope.m {
        return Ok((message, fds));
    }
    if fds.is_empty() {
        return Err(Error::Protocol(format!("an empty message of version {}", envelope.v)));
    }
    let mut long = Vec::new();
    let file = std::fs::File::from(fds.remove(0));
    file.take(LONGEST).read_to_end(&mut long).map_err(|e| Error::io("message", e))?;
    let envelope: Envelope<T> = serde_json::from_slice(&long).map_err(bad)?;
    envelope.m.map(|message| (message, fds)).ok_or_else(|| Error::Protocol("an empty message".into()))
}
