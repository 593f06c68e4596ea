//! The socket on which a runtime hands over the master end of a new terminal (runc's `--console-socket`).

use super::super::control::Failure;
use proa_types::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The runtime connects and sends before its command ends; so long is it waited for at most.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const NAME: &str = "console";

/// The listening socket. Its file goes with it.
pub(super) struct Console {
    socket: OwnedFd,
    dir: OwnedFd,
}

impl Console {
    pub(super) fn listen(dir: &Path) -> Result<Self, Failure> {
        let dir = crate::wire::open_dir(dir)?;
        let _ = rustix::fs::unlinkat(&dir, NAME, rustix::fs::AtFlags::empty());
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let console = Self { socket, dir };
        rustix::net::bind(&console.socket, &SocketAddrUnix::new(console.path())?)?;
        rustix::net::listen(&console.socket, 1)?;
        Ok(console)
    }

    /// Where the runtime is to connect. By way of this process the path is short: an address has room for 107 bytes.
    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}/{NAME}", std::process::id(), self.dir.as_raw_fd())
    }

    /// The terminal that was sent.
    pub(super) fn receive(self) -> Result<OwnedFd, Failure> {
        let missing = || Failure::new(ErrorKind::Internal, "the runtime has sent no terminal");
        ready(self.socket.as_fd())?;
        let peer = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        ready(peer.as_fd())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut body = [0; 4096];
        rustix::net::recvmsg(
            &peer,
            &mut [IoSliceMut::new(&mut body)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fds.last().ok_or_else(missing)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.dir, NAME, rustix::fs::AtFlags::empty());
    }
}

fn ready(socket: BorrowedFd<'_>) -> Result<(), Failure> {
    let polled = rustix::io::retry_on_intr(|| {
        rustix::event::poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&PATIENCE))
    });
    match polled? {
        0 => Err(Failure::new(ErrorKind::Internal, "the runtime has sent no terminal")),
        _ => Ok(()),
    }
}
