//! A flow as the flow table has it ([`FlowEntry`]), and its traffic between two drains ([`FlowDelta`]).

use serde::{Deserialize, Serialize};

use crate::abi::{FlowKey, types};
use model::{Counters, FlowId, FlowTuple};

/// Bit of `flow.expires` (bpf/abi.h): the first datagram of the flow came from the remote end.
const INCOMING: u8 = types::expiry_flag::FLOW_INCOMING.0 as u8;
/// Bytes of a key in the flow table.
pub(crate) const KEY_BYTES: usize = size_of::<types::flow_key>();

/// An address as IPv6 or v4-mapped, all zero for none, and a port.
pub(crate) type SocketAddress = ([u8; 16], u16);

/// Where a flow is: its key as the hash table has it, and the slot of the array that belongs to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableSlot {
    pub raw_key: [u8; KEY_BYTES],
    pub index: u32,
}

/// The counters of a flow, which only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowCounters {
    pub sent: u64,
    pub received: u64,
    /// Number of calls of connect(2).
    pub connects: u64,
}

/// One flow as it was read in one drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowEntry {
    pub key: FlowKey,
    /// `None` for a flow that came with the release of its socket and is in no table.
    pub slot: Option<TableSlot>,
    pub counters: FlowCounters,
    /// First use, nanoseconds of boot time.
    pub began: u64,
    /// The tick of the last use.
    pub last_tick: u32,
    /// Id of the version 2 cgroup of the process when the flow began.
    pub cgroup: u64,
    /// Real user id of the process.
    pub uid: u32,
    pub network_namespace: u32,
    /// Address family of the socket.
    pub family: u16,
    /// Port 0 as long as no hook has seen the local end.
    pub local: SocketAddress,
    /// The socket has connections: TCP, MPTCP, SCTP.
    pub is_stream: bool,
    /// The flow has no end of its own: it is removed after it was idle.
    pub expires: bool,
    /// The first datagram came from the remote end.
    pub is_remote_first: bool,
}

impl FlowEntry {
    pub(crate) fn new(key: types::flow_key, flow: &types::flow, slot: Option<TableSlot>) -> Self {
        Self {
            key: key.into(),
            slot,
            counters: FlowCounters { sent: flow.sent, received: flow.received, connects: flow.connects },
            began: flow.first,
            last_tick: flow.last_tick,
            cgroup: flow.cgroup,
            uid: flow.uid,
            network_namespace: flow.netns,
            family: flow.family,
            local: (flow.local, flow.local_port),
            is_stream: flow.stream != 0,
            expires: flow.expires != 0,
            is_remote_first: flow.expires & INCOMING != 0,
        }
    }

    /// An IP datagram flow whose hook could not see the remote end.
    pub(crate) fn lacks_remote(&self) -> bool {
        !self.is_stream && i32::from(self.family) != libc::AF_PACKET && self.key.peer == [0; 16]
    }

    pub(crate) fn lacks_local(&self) -> bool {
        self.is_stream && self.local.1 == 0
    }

    pub(crate) fn id(&self, ended: bool) -> FlowId {
        FlowId {
            process: self.key.process,
            socket: self.key.socket,
            network_namespace: self.network_namespace,
            uid: self.uid,
            began: self.began,
            opened: self.counters.connects > 0 || !self.is_stream && !self.is_remote_first,
            ended,
        }
    }
}

/// The traffic of one flow since the last drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowDelta {
    /// Process, socket and beginning of the flow.
    pub id: FlowId,
    /// Id of the version 2 cgroup of the process when the flow began.
    pub cgroup: u64,
    /// Both ends, without a domain.
    pub tuple: FlowTuple,
    /// The difference of the counters.
    pub counters: Counters,
}
