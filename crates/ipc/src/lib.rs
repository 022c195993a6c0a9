//! A bounded channel between two roles: messages over `SOCK_SEQPACKET` (unix(7)), a descriptor with each if need be.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg,
        sendmsg, setsockopt, socketpair, sockopt,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of one message at most: a context has three paths and three command lines of 4 KiB.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes in flight: the kernel's bound for the channel.
const BUFFER_BYTES: usize = 1024 * 1024;

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What came.
#[derive(Debug)]
pub enum Received<T> {
    /// A message, with its descriptor.
    Message(T, Option<OwnedFd>),
    /// Nothing is there now.
    Nothing,
    /// The other end is closed.
    Closed,
}

impl Channel {
    /// Both ends of a new channel; neither waits when sending.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // Root may go beyond net.core.wmem_max; without that the channel is shorter, no more.
        let _ = setsockopt(&ours, sockopt::SndBufForce, &BUFFER_BYTES);
        Ok((Self::new(ours), theirs))
    }

    /// The end of a channel that this process was started with.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MESSAGE_BYTES] }
    }

    /// The encoded form of a message, for [`Channel::send`].
    ///
    /// # Errors
    /// `InvalidData` for one that is too long.
    pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
        let bytes = postcard::to_stdvec(message)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if bytes.len() > MESSAGE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message between roles is too long"));
        }
        Ok(bytes)
    }

    /// Sends an encoded message; false when the channel is full.
    ///
    /// # Errors
    /// Those of sendmsg(2), `EPIPE` when the other end is closed.
    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let descriptors: Vec<RawFd> = descriptor.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let control = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &[IoSlice::new(message)], control, flags, None) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives a message if there is one.
    ///
    /// # Errors
    /// Those of recvmsg(2), `InvalidData` for a message of another version.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Received<T>> {
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let (length, descriptor) = {
            let mut buffers = [IoSliceMut::new(&mut self.buffer)];
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let socket = self.socket.as_raw_fd();
            let message = match recvmsg::<UnixAddr>(socket, &mut buffers, Some(&mut control), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ECONNRESET) => return Ok(Received::Closed),
                Err(error) => return Err(error.into()),
            };
            let mut descriptor = None;
            for part in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(descriptors) = part {
                    for raw in descriptors {
                        // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
                        descriptor = Some(unsafe { OwnedFd::from_raw_fd(raw) });
                    }
                }
            }
            (message.bytes, descriptor)
        };
        if length == 0 {
            return Ok(Received::Closed);
        }
        let message = postcard::from_bytes(&self.buffer[..length])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Received::Message(message, descriptor))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_in_order() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut theirs = Channel::new(theirs);
        let file = File::open("/proc/self/comm").unwrap();
        assert!(ours.send(&Channel::encode(&1_u32).unwrap(), None).unwrap());
        assert!(ours.send(&Channel::encode(&2_u32).unwrap(), Some(file.as_fd())).unwrap());
        drop(file);
        assert!(matches!(theirs.receive::<u32>().unwrap(), Received::Message(1, None)));
        let Received::Message(2, Some(descriptor)) = theirs.receive::<u32>().unwrap() else { panic!() };
        let mut text = String::new();
        File::from(descriptor).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
        assert!(matches!(theirs.receive::<u32>().unwrap(), Received::Nothing));
        drop(ours);
        assert!(matches!(theirs.receive::<u32>().unwrap(), Received::Closed));
    }

    #[test]
    fn a_full_channel_says_so_instead_of_waiting() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let message = Channel::encode(&vec![0_u8; 32 * 1024]).unwrap();
        let sent = (0..10_000).take_while(|_| ours.send(&message, None).unwrap()).count();
        assert!((1..1000).contains(&sent), "{sent}");
        assert!(Channel::encode(&vec![0_u8; MESSAGE_BYTES + 1]).is_err());
    }
}
