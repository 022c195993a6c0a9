//! The types that both halves share, generated from the BTF of the object: bpf/abi.h is their only definition.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use model::{FileIdentity, ProcessId};

/// The skeleton that build.rs generates.
#[allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/picosnitch.skel.rs"));
}

pub(crate) use skeleton::types;

const _: () = {
    assert!(size_of::<types::process_id>() == 16);
    assert!(size_of::<types::flow_key>() == 48);
    assert!(size_of::<types::flow>() == 128);
    assert!(size_of::<types::process_event>() == 144 + 8192);
    assert!(size_of::<types::file_identity>() == 48);
    assert!(size_of::<types::fd_info>() == 64);
    assert!(size_of::<types::unwatched_event>() == 64);
    assert!(size_of::<types::process_id_event>() == 40);
    assert!(size_of::<types::release_event>() == 64);
    assert!(size_of::<types::silent_release_event>() == 64 + 128);
    assert!(size_of::<types::socket_event>() == 112);
    assert!(size_of::<types::cgroup_event>() == 16 + 1024);
    assert!(size_of::<types::pending_peer>() == 64);
    assert!(size_of::<types::observation_event>() == 72);
    assert!(size_of::<types::resolver_event>() == 80 + 256 + 16 * 16);
};

impl From<types::process_id> for ProcessId {
    fn from(id: types::process_id) -> Self {
        Self { start: id.start, tgid: id.tgid, exec: id.exec }
    }
}

impl From<types::file_identity> for FileIdentity {
    fn from(file: types::file_identity) -> Self {
        Self {
            inode: file.inode,
            size: file.size,
            modified: (file.modified, file.modified_ns),
            changed: (file.changed, file.changed_ns),
            generation: file.generation,
            device: file.device,
        }
    }
}

/// Identifies a flow, which is one process's use of one socket with one peer (`struct flow_key`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FlowKey {
    /// Inode number of the socket; 0 for a socket of the kernel's own.
    pub socket: u64,
    /// The process that moves the bytes.
    pub process: ProcessId,
    /// Address of the peer as IPv6 or v4-mapped; all zero for none.
    pub peer: [u8; 16],
    /// Port of the peer; 0 without one.
    pub peer_port: u16,
    /// 1 for a flow that goes on in a second slot, while generation 0 waits for its removal; else 0.
    pub generation: u16,
    /// IP protocol, or the EtherType of an `AF_PACKET` socket.
    pub protocol: u32,
}

impl From<types::flow_key> for FlowKey {
    fn from(key: types::flow_key) -> Self {
        Self {
            socket: key.socket,
            process: key.process.into(),
            peer: key.peer,
            peer_port: key.peer_port,
            generation: key.generation,
            protocol: key.protocol,
        }
    }
}

/// Longest command line in bytes that the kernel half reports; it truncates longer ones.
pub const MAX_ARGUMENTS_BYTES: usize = types::abi_bound::MAX_ARGUMENTS_BYTES.0 as usize;

/// Converts an address of the kernel half: v4-mapped becomes IPv4, "none" becomes `None`.
pub(crate) fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    (bytes != [0; 16]).then(|| IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
}

/// Reads a shared struct from bytes; `None` when there are too few.
pub(crate) fn read<T: Shared>(bytes: &[u8]) -> Option<T> {
    (bytes.len() >= size_of::<T>())
        // SAFETY: the length was checked, `Shared` types are valid for any bytes, and the read may be unaligned.
        .then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Marks shared types that consist of integers only, so any bytes make a valid value.
///
/// # Safety
/// The type must be `repr(C)` and hold nothing but integers and arrays of them.
pub(crate) unsafe trait Shared: Copy {}
// SAFETY: integers only, see bpf/abi.h.
unsafe impl Shared for types::flow_key {}
// SAFETY: integers only.
unsafe impl Shared for types::file_identity {}
// SAFETY: integers only.
unsafe impl Shared for types::fd_info {}
// SAFETY: integers only.
unsafe impl Shared for types::unwatched_event {}
// SAFETY: integers only.
unsafe impl Shared for types::process_id_event {}
// SAFETY: integers only.
unsafe impl Shared for types::release_event {}
// SAFETY: integers only.
unsafe impl Shared for types::silent_release_event {}
// SAFETY: integers only, see bpf/abi.h.
unsafe impl Shared for types::socket_event {}
// SAFETY: integers only.
unsafe impl Shared for types::pending_peer {}
// SAFETY: integers only.
unsafe impl Shared for types::observation_event {}
// SAFETY: integers only.
unsafe impl Shared for types::resolver_event {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mut mapped = [0; 16];
        mapped[10] = 0xff;
        mapped[11] = 0xff;
        mapped[12..].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(address(mapped), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(address([0; 16]), None);
        assert_eq!(
            address("fd00::1".parse::<Ipv6Addr>().unwrap().octets()),
            Some("fd00::1".parse().unwrap())
        );
        // Zero bytes do not end an address, and ::1 is not 0.0.0.1.
        assert_eq!(address(Ipv6Addr::LOCALHOST.octets()), Some("::1".parse().unwrap()));
    }

    #[test]
    fn truncated_structs_are_refused() {
        assert!(read::<types::flow_key>(&[0; 47]).is_none());
        assert!(read::<types::flow_key>(&[0; 48]).is_some());
    }
}
