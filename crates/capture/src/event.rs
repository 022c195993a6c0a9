//! Decoding of the events that the kernel half sends.

use model::{Bytes, ProcessEvent, ProcessId};

use crate::abi::{self, types};

const EXEC: u32 = types::event_kind::EVENT_EXEC.0;
const FORK: u32 = types::event_kind::EVENT_FORK.0;
const EXIT: u32 = types::event_kind::EVENT_EXIT.0;
const RENAME: u32 = types::event_kind::EVENT_RENAME.0;
const RELEASE: u32 = types::event_kind::EVENT_RELEASE.0;
const CGROUP: u32 = types::event_kind::EVENT_CGROUP.0;
const PACKET_RING: u32 = types::event_kind::EVENT_PACKET_RING.0;
const EXISTING_PROCESS: u32 = types::event_kind::EVENT_EXISTING_PROCESS.0;
const OPEN_SOCKET: u32 = types::event_kind::EVENT_OPEN_SOCKET.0;
const SILENT_RELEASE: u32 = types::event_kind::EVENT_SILENT_RELEASE.0;

const COMM_BYTES: usize = types::abi_bound::COMM_BYTES.0 as usize;
const KERNEL_THREAD: u32 = types::process_flag::PROCESS_KERNEL_THREAD.0;
const PATH_TRUNCATED: u32 = types::process_flag::PROCESS_PATH_TRUNCATED.0;
const WATCHED: u32 = types::process_flag::PROCESS_WATCHED.0;

/// The release of a socket, or the same description of a socket that was found open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketEvent {
    /// Inode number of the socket.
    pub socket: u64,
    /// Bytes that left the receive queue towards programs; `None` where the socket does not count them.
    pub consumed: Option<u64>,
    /// The process that closed the socket, or holds it.
    pub process: ProcessId,
    /// `AF_PACKET` frames arrive in a ring, uncounted.
    pub receive_ring: bool,
    /// A raw or ping socket: only its packets name its peers.
    pub needs_packets: bool,
    /// Local address and port, of a socket that was found open.
    pub local: ([u8; 16], u16),
}

/// A socket that a process has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenSocket {
    /// The socket, and the process that holds it.
    pub socket: SocketEvent,
    /// Id of that process's version 2 cgroup.
    pub cgroup: u64,
    /// Real user id of that process.
    pub uid: u32,
    /// Network namespace of the socket (`ns_common.inum`).
    pub network_namespace: u32,
    /// Address family of the socket (`AF_INET`, `AF_INET6` or `AF_PACKET`).
    pub family: u16,
    /// IP protocol, or the EtherType of an `AF_PACKET` socket.
    pub protocol: u16,
    /// Remote address and port; zero if the socket is not connected.
    pub peer: ([u8; 16], u16),
    /// TCP state (include/net/tcp_states.h), which the kernel also sets for datagram sockets.
    pub state: u8,
    /// The program has chosen the local port.
    pub bound: bool,
    /// Bytes that programs have sent through a TCP socket, and 1 more if it was connected with connect(2); `None` where the
    /// socket does not count them.
    pub sent: Option<u64>,
}

/// An event that the kernel half has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process has executed another program.
    Executed(Box<ProcessEvent>),
    /// A process has forked another one.
    Forked(Box<ProcessEvent>),
    /// A process existed before the kernel half was loaded.
    Existing(Box<ProcessEvent>),
    /// The last thread of a process has exited.
    Exited(ProcessId),
    /// A thread-group leader has a new comm.
    Renamed(ProcessId, Bytes),
    /// A version 2 cgroup, by its id, was created at this path or renamed to it.
    Cgroup(u64, Bytes),
    /// A process has set up an `AF_PACKET` receive ring.
    ReceiveRing(ProcessId),
    /// A socket was closed by its last user.
    Released(SocketEvent),
    /// A socket was found open.
    Socket(Box<OpenSocket>),
}

impl Event {
    /// Decodes the event at the start of `bytes` and returns it with its length. `None` for bytes that no kernel
    /// half of this version sends, and for events that only wake the reader (`EVENT_NEED_PACKET_HOOKS`).
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let kind = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        match kind {
            EXEC | FORK | EXISTING_PROCESS => {
                let (event, length) = process(bytes)?;
                let event = Box::new(event);
                let event = match kind {
                    EXEC => Self::Executed(event),
                    FORK => Self::Forked(event),
                    _ => Self::Existing(event),
                };
                Some((event, length))
            }
            EXIT | RENAME | PACKET_RING => {
                let event: types::process_id_event = abi::read(bytes)?;
                let id = event.id.into();
                let decoded = match kind {
                    EXIT => Self::Exited(id),
                    RENAME => Self::Renamed(id, until_zero(&event.comm.map(|byte| byte as u8)).to_vec()),
                    _ => Self::ReceiveRing(id),
                };
                Some((decoded, size_of_val(&event)))
            }
            RELEASE | SILENT_RELEASE => {
                let event: types::release_event = abi::read(bytes)?;
                Some((Self::Released(event.into()), size_of_val(&event)))
            }
            OPEN_SOCKET => {
                let event: types::socket_event = abi::read(bytes)?;
                let socket = OpenSocket {
                    socket: event.socket.into(),
                    cgroup: event.cgroup,
                    uid: event.uid,
                    network_namespace: event.netns,
                    family: event.family,
                    protocol: event.protocol,
                    peer: (event.peer, event.peer_port),
                    state: event.state,
                    bound: event.bound != 0,
                    sent: (event.sent != u64::MAX).then_some(event.sent),
                };
                Some((Self::Socket(Box::new(socket)), size_of_val(&event)))
            }
            CGROUP => {
                let head = std::mem::offset_of!(types::cgroup_event, path);
                let id = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
                let path = until_zero(bytes.get(head..)?);
                Some((Self::Cgroup(id, path.to_vec()), bytes.len()))
            }
            _ => None,
        }
    }
}

impl From<types::release_event> for SocketEvent {
    fn from(event: types::release_event) -> Self {
        Self {
            socket: event.socket,
            consumed: (event.has_consumed != 0).then_some(event.consumed),
            process: event.process.into(),
            receive_ring: event.receive_ring != 0,
            needs_packets: event.needs_packets != 0,
            local: (event.local, event.local_port),
        }
    }
}

/// The bytes before the first zero byte, or all.
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Decodes a process event. The kernel half sends only the used part of its data, so it is shorter than the struct.
fn process(bytes: &[u8]) -> Option<(ProcessEvent, usize)> {
    use std::mem::offset_of;
    type Raw = types::process_event;

    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let id = |at: usize| Some(ProcessId { start: long(at)?, tgid: number(at + 8)?, exec: number(at + 12)? });

    let flags = number(offset_of!(Raw, flags))?;
    let path_bytes = usize::from(short(offset_of!(Raw, path_bytes))?);
    let argument_bytes = usize::from(short(offset_of!(Raw, arguments_bytes))?);
    let data = offset_of!(Raw, data);
    let length = data + path_bytes + argument_bytes;
    let components = bytes.get(data..data + path_bytes)?;
    let arguments = bytes.get(data + path_bytes..length)?;
    let comm = offset_of!(Raw, comm);
    let event = ProcessEvent {
        id: id(offset_of!(Raw, id))?,
        parent: id(offset_of!(Raw, parent))?,
        grandparent: id(offset_of!(Raw, grandparent))?,
        cgroup: long(offset_of!(Raw, cgroup))?,
        executable: abi::read::<types::file_identity>(bytes.get(offset_of!(Raw, executable)..)?)?.into(),
        uid: number(offset_of!(Raw, uid))?,
        mount_namespace: number(offset_of!(Raw, mntns))?,
        name: until_zero(bytes.get(comm..comm + COMM_BYTES)?).to_vec(),
        path: join_path(components, flags),
        command_line: command_line(arguments).to_vec(),
        kernel: flags & KERNEL_THREAD != 0,
        watched: flags & WATCHED != 0,
    };
    Some((event, length))
}

/// Joins the components of a path, which come last one first: the kernel half walks from the file to the root.
fn join_path(components: &[u8], flags: u32) -> Bytes {
    let mut path = Bytes::new();
    if flags & PATH_TRUNCATED != 0 {
        path.extend_from_slice(b"/...");
    }
    let parts: Vec<&[u8]> = components.split(|byte| *byte == 0).filter(|part| !part.is_empty()).collect();
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    path
}

/// The command line of the arguments of an execve, each of which ends in a zero byte: the last one separates nothing. Arguments
/// that were truncated end in none.
fn command_line(arguments: &[u8]) -> &[u8] {
    arguments.strip_suffix(&[0]).unwrap_or(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_joined_from_its_end() {
        assert_eq!(join_path(b"curl\0bin\0usr\0", 0), b"/usr/bin/curl");
        assert_eq!(join_path(b"curl\0bin\0", PATH_TRUNCATED), b"/.../bin/curl");
        assert_eq!(join_path(b"", 0), b"");
        assert_eq!(join_path(b"a\nb\xff\0", 0), b"/a\nb\xff");
    }

    #[test]
    fn arguments_keep_their_boundaries() {
        assert_eq!(command_line(b"bash\0-c\0S\0A\0\0"), b"bash\0-c\0S\0A\0");
        assert_eq!(command_line(b"bash\0-c\0S\0A B\0"), b"bash\0-c\0S\0A B");
        assert_eq!(command_line(b"curl\0"), b"curl");
        assert_eq!(command_line(b"curl\0--trunc"), b"curl\0--trunc");
        assert_eq!(command_line(b""), b"");
    }

    #[test]
    fn a_truncated_event_is_refused() {
        for length in 0..144 {
            let mut bytes = vec![0; length];
            if length >= 4 {
                bytes[..4].copy_from_slice(&EXEC.to_ne_bytes());
            }
            assert_eq!(Event::decode(&bytes), None, "{length} bytes");
        }
        assert_eq!(Event::decode(&[9; 64]), None);
    }
}
