//! Events of the kernel half, decoded.

use super::abi::{self, types};
use model::{Bytes, ProcessEvent, ProcessId};

const EXEC: u32 = types::event_kind::EVENT_EXEC.0;
const FORK: u32 = types::event_kind::EVENT_FORK.0;
const EXIT: u32 = types::event_kind::EVENT_EXIT.0;
const RENAME: u32 = types::event_kind::EVENT_RENAME.0;
const RELEASE: u32 = types::event_kind::EVENT_RELEASE.0;
const CGROUP: u32 = types::event_kind::EVENT_CGROUP.0;
const RING: u32 = types::event_kind::EVENT_PACKET_RING.0;
const EXISTING: u32 = types::event_kind::EVENT_EXISTING_PROCESS.0;
const PACKETS: u32 = types::event_kind::EVENT_NEED_PACKET_HOOKS.0;
const SOCKET: u32 = types::event_kind::EVENT_OPEN_SOCKET.0;
const ENDED: u32 = types::event_kind::EVENT_SILENT_RELEASE.0;

/// Bits of `process_event.flags`, bpf/abi.h.
pub(super) mod flag {
    pub const KERNEL: u32 = 1;
    pub const PATH_CUT: u32 = 4;
    pub const MEMORY: u32 = 16;
    pub const WATCHED: u32 = 32;
}

/// The end of a socket's life, or of a socket that was found open what its end would tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketEvent {
    /// Inode number.
    pub socket: u64,
    /// Bytes that left its receive queue towards programs; `None` where the socket does not count them.
    pub consumed: Option<u64>,
    /// Who closed it, or holds it.
    pub process: ProcessId,
    /// `AF_PACKET` frames arrive in a ring, uncounted.
    pub receive_ring: bool,
    /// A raw or ping socket: only its packets tell its peers.
    pub needs_packets: bool,
    /// Local address and port, of a socket that was found open.
    pub local: ([u8; 16], u16),
}

/// A socket that a process has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenSocket {
    /// Which socket, and who holds it.
    pub socket: SocketEvent,
    /// Id of the process's version 2 cgroup.
    pub cgroup: u64,
    /// Real user id of the process.
    pub uid: u32,
    /// Network namespace of the socket.
    pub network_namespace: u32,
    /// Address family of the socket.
    pub family: u16,
    /// IP protocol.
    pub protocol: u16,
    /// The other end; all zero, and 0, without one.
    pub peer: ([u8; 16], u16),
    /// `TCP_ESTABLISHED` and its like (include/net/tcp_states.h); of datagram sockets too.
    pub state: u8,
    /// The program has chosen the local port.
    pub bound: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A process runs another program now.
    Executed(Box<ProcessEvent>),
    /// A process was made by another one.
    Forked(Box<ProcessEvent>),
    /// A process was there already.
    Existing(Box<ProcessEvent>),
    /// The last thread of a process ended.
    Exited(ProcessId),
    /// A thread-group leader has a new name.
    Renamed(ProcessId, Bytes),
    /// A version 2 cgroup has this path.
    Cgroup(u64, Bytes),
    /// A process set up an `AF_PACKET` receive ring.
    ReceiveRing(ProcessId),
    /// Somebody needs the hooks that look at each packet.
    PacketsWanted,
    /// A socket was closed by its last user.
    Released(SocketEvent),
    /// A socket is open.
    Socket(Box<OpenSocket>),
}

impl Event {
    /// Decodes the event at the start of `bytes` and returns it with its length. `None` for bytes that no kernel
    /// half of this version sends.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let kind = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        match kind {
            EXEC | FORK | EXISTING => {
                let (event, length) = process(bytes)?;
                let event = Box::new(event);
                let event = match kind {
                    EXEC => Self::Executed(event),
                    FORK => Self::Forked(event),
                    _ => Self::Existing(event),
                };
                Some((event, length))
            }
            EXIT | RENAME | RING | PACKETS => {
                let event: types::process_id_event = abi::read(bytes)?;
                let id = event.id.into();
                let decoded = match kind {
                    EXIT => Self::Exited(id),
                    RENAME => Self::Renamed(id, until_zero(&event.comm.map(|byte| byte as u8)).to_vec()),
                    RING => Self::ReceiveRing(id),
                    _ => Self::PacketsWanted,
                };
                Some((decoded, size_of_val(&event)))
            }
            RELEASE | ENDED => {
                let event: types::release_event = abi::read(bytes)?;
                Some((Self::Released(event.into()), size_of_val(&event)))
            }
            SOCKET => {
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

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A process event is cut after its data, so it cannot be read as the whole struct.
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
        name: until_zero(bytes.get(comm..comm + 16)?).to_vec(),
        path: join_path(components, flags),
        command_line: join_arguments(arguments),
        kernel: flags & flag::KERNEL != 0,
        watched: flags & flag::WATCHED != 0,
    };
    Some((event, length))
}

/// The kernel half walks from the file to the root: the components come last one first.
fn join_path(components: &[u8], flags: u32) -> Bytes {
    let mut path = Bytes::new();
    if flags & flag::PATH_CUT != 0 {
        path.extend_from_slice(b"/...");
    }
    let parts: Vec<&[u8]> = components.split(|byte| *byte == 0).filter(|part| !part.is_empty()).collect();
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    path
}

/// Arguments end in zero bytes; a program may have written anything else over them.
pub fn join_arguments(arguments: &[u8]) -> Bytes {
    let end = arguments.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    arguments[..end].iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_together_from_its_end() {
        assert_eq!(join_path(b"curl\0bin\0usr\0", 0), b"/usr/bin/curl");
        assert_eq!(join_path(b"curl\0bin\0", flag::PATH_CUT), b"/.../bin/curl");
        assert_eq!(join_path(b"", 0), b"");
        assert_eq!(join_path(b"a\nb\xff\0", 0), b"/a\nb\xff");
    }

    #[test]
    fn arguments_become_one_line() {
        assert_eq!(join_arguments(b"curl\0-s\0\0x\0\0\0"), b"curl -s  x");
        assert_eq!(join_arguments(b"\0\0"), b"");
    }

    #[test]
    fn an_event_that_is_cut_short_is_refused() {
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
