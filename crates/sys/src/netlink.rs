//! Netlink: one blocking-free socket for requests, with an encoder and a decoder of our own.
//!
//! The kernel works off requests inside `sendmsg(2)`, so that all acknowledgements are queued when it returns; dumps
//! are continued inside `recvmsg(2)`. [`Socket::exchange`] relies on this: it never blocks, and an answer that is not
//! there when the queue is empty is an error rather than a wait. Answers are matched by sequence number.
//!
//! Manual: netlink(7), rtnetlink(7), <https://docs.kernel.org/userspace-api/netlink/intro.html>. Extended
//! acknowledgements need Linux 4.12, and are only used for better messages.

mod decode;
mod encode;
mod namespace;
mod route;

pub use decode::{Attributes, Message, Messages};
pub(crate) use encode::{ACK, APPEND, CREATE, DUMP, EXCLUSIVE};
pub use encode::{Batch, Body};
pub use namespace::{in_namespace, new_namespace, spawn_in_namespace};
pub use route::{Address, Link, LinkPeer, NewBridge, NewVeth, Route};

use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The largest datagram the kernel sends: dumps are cut at 32 KiB, acknowledgements carry no payload here.
const RECEIVE_BUFFER: usize = 64 << 10;
/// Batches over this size need a larger send buffer than the usual one of 208 KiB.
const USUAL_BATCH: usize = 96 << 10;

/// A failure of a netlink exchange.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {request}: {errno}{}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Refused {
        /// What was asked for, as given to [`Batch::message`].
        request: String,
        /// The position of the request in its batch.
        index: usize,
        /// The kernel's answer.
        errno: Errno,
        /// The kernel's own words, if it had any.
        detail: Option<String>,
    },
    /// A system call failed.
    #[error("netlink {call} failed: {errno}")]
    Call {
        /// The system call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// A request was not answered, or the answer was cut.
    #[error("cannot {0}: the kernel's answer is missing or incomplete")]
    Unanswered(String),
    /// An attribute or a batch would be longer than netlink can say.
    #[error("netlink request too long")]
    TooLong,
}

impl Error {
    /// The error number behind this failure, if there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } | Self::Call { errno, .. } => Some(*errno),
            Self::Unanswered(_) | Self::TooLong => None,
        }
    }
}

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes: `NETLINK_ROUTE`.
    Route,
    /// Packet filter and connection tracking: `NETLINK_NETFILTER`.
    Netfilter,
}

/// A message that is not an acknowledgement, with the position of the request it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The position of the request in its batch.
    pub index: usize,
    /// The message's type.
    pub kind: u16,
    /// What follows the netlink header.
    pub payload: Vec<u8>,
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket, close-on-exec.
    ///
    /// # Errors
    /// When the kernel has no such protocol or descriptors ran out.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        let protocol = match protocol {
            Protocol::Route => None,
            Protocol::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
                .map_err(|errno| Error::Call { call: "socket", errno })?;
        // Both only shape error messages: a kernel without them still works.
        let _ = set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = set_option(&fd, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        // Reserved, not written: memory that no answer needs is never touched.
        Ok(Self { fd, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// Sends a batch and collects what comes back. Every message that asked for an acknowledgement or a dump must have
    /// been answered.
    ///
    /// # Errors
    /// The first request, in the order of the batch, that the kernel refused; or a failed call.
    pub fn exchange(&mut self, batch: Batch) -> Result<Vec<Reply>, Error> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(u32::try_from(batch.len()).map_err(|_| Error::TooLong)?);
        let (bytes, requests) = batch.finish(first)?;
        self.send(&bytes)?;
        Collector::new(first, &requests).run(self)
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > USUAL_BATCH {
            let size = i32::try_from(bytes.len().saturating_mul(2)).map_err(|_| Error::TooLong)?;
            let _ = set_option(&self.fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size);
        }
        loop {
            match rustix::net::send(&self.fd, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::Call { call: "send", errno }),
            }
        }
    }

    /// The next datagram; `None` when the queue is empty.
    fn receive(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            self.buffer.clear();
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.fd, spare_capacity(&mut self.buffer), flags) {
                Ok((kept, whole)) if whole > kept => {
                    return Err(Error::Call { call: "recv", errno: Errno::MSGSIZE });
                }
                Ok(_) => return Ok(Some(self.buffer.as_slice())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(Error::Call { call: "recv", errno }),
            }
        }
    }
}

/// setsockopt(2) with an `int`, for the options rustix has no name for.
fn set_option(
    fd: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), Errno> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call; `value` is a live int and `length` its size; the kernel only
    // reads it. https://man7.org/linux/man-pages/man2/setsockopt.2.html
    let result =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(errno()) }
}

fn errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// What is known about one request while its answers come in.
pub(crate) struct Request {
    label: String,
    answers: bool,
}

struct Collector<'a> {
    first: u32,
    requests: &'a [Request],
    answered: Vec<bool>,
    refused: Option<(usize, Errno, Option<String>)>,
    replies: Vec<Reply>,
}

impl<'a> Collector<'a> {
    fn new(first: u32, requests: &'a [Request]) -> Self {
        Self { first, requests, answered: vec![false; requests.len()], refused: None, replies: Vec::new() }
    }

    fn run(mut self, socket: &mut Socket) -> Result<Vec<Reply>, Error> {
        while let Some(datagram) = socket.receive()? {
            for message in Messages::new(datagram) {
                self.take(&message);
            }
        }
        let label = |index: usize| self.requests.get(index).map(|r| r.label.clone()).unwrap_or_default();
        if let Some((index, errno, detail)) = self.refused {
            return Err(Error::Refused { request: label(index), index, errno, detail });
        }
        let open = self.requests.iter().zip(&self.answered).position(|(r, done)| r.answers && !done);
        if let Some(index) = open { Err(Error::Unanswered(label(index))) } else { Ok(self.replies) }
    }

    fn take(&mut self, message: &Message<'_>) {
        let index = message.sequence.wrapping_sub(self.first) as usize;
        let Some(answered) = self.answered.get_mut(index) else { return };
        match message.kind {
            decode::ERROR | decode::DONE => {
                *answered = true;
                let (code, detail) = message.acknowledgement();
                let earlier = self.refused.as_ref().is_none_or(|(known, ..)| index < *known);
                if code != 0 && earlier {
                    self.refused = Some((index, Errno::from_raw_os_error(code.saturating_neg()), detail));
                }
            }
            decode::NOOP | decode::OVERRUN => {}
            kind => self.replies.push(Reply { index, kind, payload: message.payload.to_vec() }),
        }
    }
}
