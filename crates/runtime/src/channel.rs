//! Messages with descriptors between the runtime and the processes it makes.
//!
//! A message is a header (length of the text, number of descriptors), the descriptors in groups the kernel takes at
//! once (`SCM_MAX_FD`), and JSON. Both ends are of one binary, so the form has no version.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors in one group; the kernel's limit is 253.
const GROUP: usize = 250;
/// No message is longer: a specification is some ten kilobytes, and arguments have a limit of two megabytes.
const LONGEST: u64 = 64 << 20;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Two ends.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a), Self(b)))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Moves this end to a descriptor from `floor` up.
    pub(crate) fn move_above(&mut self, floor: usize) -> io::Result<()> {
        let floor = i32::try_from(floor).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.0 = rustix::io::fcntl_dupfd_cloexec(&self.0, floor)?;
        Ok(())
    }

    /// Sends a message. `EPIPE` when the other end is closed.
    pub(crate) fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut header = [0u8; 16];
        let (length, count) = header.split_at_mut(8);
        length.copy_from_slice(&(text.len() as u64).to_ne_bytes());
        count.copy_from_slice(&(fds.len() as u64).to_ne_bytes());
        let mut groups = fds.chunks(GROUP);
        self.send_bytes(&header, groups.next().unwrap_or_default())?;
        for group in groups {
            self.send_bytes(&[0], group)?;
        }
        self.send_bytes(&text, &[])
    }

    /// Receives a message; `None` when the other end is closed.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut header = [0u8; 16];
        let mut fds = Vec::new();
        if !self.receive_bytes(&mut header, &mut fds)? {
            return Ok(None);
        }
        let (length, count) = header.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map_or(u64::MAX, u64::from_ne_bytes);
        let (length, count) = (number(length), number(count));
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        while (fds.len() as u64) < count {
            let before = fds.len();
            if !self.receive_bytes(&mut [0], &mut fds)? || fds.len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
        if !self.receive_bytes(&mut text, &mut fds)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some((serde_json::from_slice(&text)?, fds)))
    }

    fn send_bytes(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut fds = fds;
        while !bytes.is_empty() {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GROUP))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let sent = rustix::io::retry_on_intr(|| {
                sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
            })?;
            fds = &[];
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills `bytes`; false when the other end was closed before the first of them.
    fn receive_bytes(&self, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while filled < bytes.len() {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GROUP))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let rest = bytes.get_mut(filled..).unwrap_or_default();
            let received =
                match recvmsg(&self.0, &mut [IoSliceMut::new(rest)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                    Err(rustix::io::Errno::INTR) => continue,
                    // The other end died with something unread.
                    Err(rustix::io::Errno::CONNRESET) => 0,
                    other => other?.bytes,
                };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    fds.extend(rights);
                }
            }
            match received {
                0 if filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_size_arrive_with_all_their_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let text = "x".repeat(3 << 20);
        let null = std::fs::File::open("/dev/null").unwrap();
        let fds: Vec<_> = (0..600).map(|_| null.as_fd()).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| a.send(&text, &fds).unwrap());
            let (got, fds) = b.receive::<String>().unwrap().unwrap();
            assert_eq!((got.len(), fds.len()), (text.len(), 600));
        });
        drop(a);
        assert!(b.receive::<String>().unwrap().is_none());
    }
}
