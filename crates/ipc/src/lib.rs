//! The channel between two processes of one picosnitch: messages of a fixed type, with at most one file descriptor each.
//!
//! # Contract
//!
//! * **Transport.** A pair of `SOCK_SEQPACKET` sockets (unix(7)): the kernel keeps the limits of messages and their order,
//!   and one message is one packet. The monitor makes the pair and gives one end to the process that it executes.
//! * **Encoding.** Messages are encoded with postcard, which has no version: both ends are the same executable file.
//! * **Bounds.** A message has at most 64 KiB ([`Channel::encode`] refuses a longer one). The bytes in flight are bounded by
//!   the kernel's send buffer of the sender: 1 MiB for the end that [`Channel::pair`] returns as a [`Channel`], the default
//!   of the system for the other end.
//! * **No waiting.** Neither [`Channel::send`] nor [`Channel::receive`] waits. A full channel makes `send` return false; the
//!   sender keeps the message or counts it as lost. The descriptor ([`AsFd`]) is there to wait for with poll(2).
//! * **Descriptors.** A descriptor is duplicated into the receiving process (`SCM_RIGHTS`), with close-on-exec. The receiver
//!   takes one descriptor for each message; further ones are closed. A receiver that is out of descriptors gets the message
//!   without its descriptor.
//! * **End.** The receiver gets all messages that were sent before the other end was closed, and then
//!   [`Received::Closed`]; sending fails with `EPIPE`.
//! * **Trust.** The receiver checks the encoding of a message, and the caller has to check its content.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg, setsockopt,
        socketpair, sockopt,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Upper bound for an encoded message: a context has three paths and three command lines of 4 KiB each.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Size of the kernel's send buffer, which bounds the bytes in flight.
const SEND_BUFFER_BYTES: usize = 1024 * 1024;

/// One end of a channel between two processes.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// The result of [`Channel::receive`].
#[derive(Debug)]
pub enum Received<T> {
    /// A message and the descriptor that came with it.
    Message(T, Option<OwnedFd>),
    /// There is no message now.
    Nothing,
    /// The other end is closed, and all of its messages were received.
    Closed,
}

impl Channel {
    /// Makes a new channel: the end of this process, and the one for the other process.
    ///
    /// # Errors
    /// The errors of socketpair(2).
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        // Only root may exceed net.core.wmem_max. The send buffer of other users is smaller, which is no error.
        let _ = setsockopt(&ours, sockopt::SndBufForce, &SEND_BUFFER_BYTES);
        Ok((Self::new(ours), theirs))
    }

    /// Uses the end of a channel with which this process was started.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MAX_MESSAGE_BYTES] }
    }

    /// Encodes a message for [`Channel::send`].
    ///
    /// # Errors
    /// `InvalidData` for a message that is too long, or has no bytes, which the other end would take for the end of the channel.
    pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
        let bytes = postcard::to_stdvec(message)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let problem = match bytes.len() {
            0 => "is empty",
            1..=MAX_MESSAGE_BYTES => return Ok(bytes),
            _ => "is too long",
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message between the processes of picosnitch {problem}"),
        ))
    }

    /// Sends an encoded message; returns false if the channel is full. Never waits.
    ///
    /// # Errors
    /// The errors of sendmsg(2); `EPIPE` if the other end is closed.
    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let descriptors: Vec<RawFd> = descriptor.iter().map(|descriptor| descriptor.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let control = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &[IoSlice::new(message)], control, flags, None)
            {
                Ok(_) => return Ok(true),
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(false),
                // Reported once, see `receive`; from then on it is EPIPE.
                Err(Errno::ECONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives a message if there is one. Never waits.
    ///
    /// # Errors
    /// The errors of recvmsg(2); `InvalidData` for a packet that is not a message of this type.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Received<T>> {
        let (flags, socket) = (MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC, self.socket.as_raw_fd());
        let (length, descriptor) = loop {
            let mut control = nix::cmsg_space!([RawFd; 1]);
            let mut buffers = [IoSliceMut::new(&mut self.buffer)];
            match recvmsg::<UnixAddr>(socket, &mut buffers, Some(&mut control), flags)
                .map(|found| found.bytes)
            {
                Ok(length) => break (length, take_descriptors(&control).pop()),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                // The other end was closed with messages that it had not read. The kernel reports that once, before the
                // messages from there.
                Err(Errno::ECONNRESET) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if length == 0 {
            return Ok(Received::Closed);
        }
        let message = postcard::from_bytes(&self.buffer[..length])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Received::Message(message, descriptor))
    }
}

/// Takes the descriptors that recvmsg(2) has put into a zeroed buffer for control messages. nix refuses to list them if some
/// did not arrive, because the process is out of descriptors or the buffer is too small; those that did would stay open.
fn take_descriptors(control: &[u8]) -> Vec<OwnedFd> {
    // SAFETY: the macros only calculate.
    let (start, space) =
        unsafe { (libc::CMSG_LEN(0) as usize, libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize) };
    if control.len() < space {
        return Vec::new();
    }
    // SAFETY: the buffer is longer than a header, which may have any content.
    let header: libc::cmsghdr = unsafe { control.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return Vec::new();
    }
    let (descriptors, _) = control.get(start..header.cmsg_len).unwrap_or_default().as_chunks();
    // SAFETY: the kernel has just made these descriptors for this process, and no other owner of them exists.
    descriptors.iter().map(|raw| unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*raw)) }).collect()
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
    fn a_message_has_some_bytes() {
        assert_eq!(Channel::encode(&()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(Channel::encode(&false).unwrap(), [0]);
        let longest = vec![0_u8; MAX_MESSAGE_BYTES];
        assert_eq!(Channel::encode(&longest).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn messages_arrive_although_the_sender_has_ended_without_reading_its_own() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut theirs = Channel::new(theirs);
        for number in 0..3_u32 {
            assert!(ours.send(&Channel::encode(&number).unwrap(), None).unwrap());
        }
        assert!(theirs.send(&Channel::encode(&7_u32).unwrap(), None).unwrap());
        drop(ours);
        for number in 0..3 {
            let received = theirs.receive::<u32>().unwrap();
            assert!(matches!(received, Received::Message(found, None) if found == number), "{received:?}");
        }
        assert!(matches!(theirs.receive::<u32>().unwrap(), Received::Closed));
    }

    #[test]
    fn sending_fails_once_the_other_end_is_closed() {
        for unread in [0, 1] {
            let (ours, theirs) = Channel::pair().unwrap();
            let message = Channel::encode(&1_u32).unwrap();
            for _ in 0..unread {
                assert!(ours.send(&message, None).unwrap());
            }
            drop(theirs);
            assert_eq!(ours.send(&message, None).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn sending_to_a_full_channel_returns_false_and_does_not_wait() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let message = Channel::encode(&vec![0_u8; 32 * 1024]).unwrap();
        let sent = (0..10_000).take_while(|_| ours.send(&message, None).unwrap()).count();
        assert!((1..1000).contains(&sent), "{sent}");
        assert!(Channel::encode(&vec![0_u8; MAX_MESSAGE_BYTES + 1]).is_err());
    }
}
