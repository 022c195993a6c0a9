//! The ring buffer of name observations: payload of name services, handshakes of connections, and results of resolver
//! functions. The payload is not parsed here: the monitor does not parse untrusted bytes.

use std::{cell::RefCell, os::fd::BorrowedFd, rc::Rc};

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use model::{NameObservation, ObservedPayload};

use crate::{
    abi::{self, types},
    error::CaptureError,
    event::until_zero,
};

const SENT: u16 = types::observation_kind::OBSERVATION_SENT.0 as u16;
const RECEIVED: u16 = types::observation_kind::OBSERVATION_RECEIVED.0 as u16;
const RESOLVED: u16 = types::observation_kind::OBSERVATION_RESOLVED.0 as u16;

/// Observations that one call takes. The ring stays readable when there are more.
const MAX_AT_ONCE: usize = 2048;

/// Decodes an observation; `None` for bytes that no kernel half of this version sends.
fn decode(bytes: &[u8]) -> Option<NameObservation> {
    let head: types::observation_event = abi::read(bytes)?;
    let data = || {
        let data = bytes.get(size_of::<types::observation_event>()..)?;
        Some(data.get(..usize::from(head.bytes))?.to_vec())
    };
    let payload = match head.kind {
        SENT => ObservedPayload::Sent(data()?, head.omitted_bytes),
        RECEIVED => ObservedPayload::Received(data()?, head.omitted_bytes),
        RESOLVED => {
            let event: types::resolver_event = abi::read(bytes)?;
            let name = event.name.map(|byte| byte as u8);
            let addresses = event.addresses.into_iter().take(event.count as usize);
            ObservedPayload::Resolved(
                until_zero(&name).to_vec(),
                addresses.filter_map(abi::address).collect(),
            )
        }
        _ => return None,
    };
    Some(NameObservation {
        time: head.time,
        process: head.process.into(),
        network_namespace: head.netns,
        uid: head.uid,
        socket: head.socket,
        remote: abi::address(head.peer),
        remote_port: head.peer_port,
        protocol: head.protocol,
        payload,
    })
}

pub(crate) struct ObservationRing {
    ring: RingBuffer<'static>,
    taken: Rc<RefCell<Vec<NameObservation>>>,
}

impl ObservationRing {
    pub(crate) fn new(map: MapHandle) -> Result<Self, CaptureError> {
        let what = "the ring buffer for names cannot be read";
        let taken = Rc::new(RefCell::new(Vec::new()));
        let into = Rc::clone(&taken);
        // The ring borrows it for the life of the process, which starts one capture.
        let map: &'static MapHandle = Box::leak(Box::new(map));
        let mut builder = RingBufferBuilder::new();
        builder
            .add(map, move |bytes| {
                into.borrow_mut().extend(decode(bytes));
                0
            })
            .map_err(CaptureError::bpf(what))?;
        Ok(Self { ring: builder.build().map_err(CaptureError::bpf(what))?, taken })
    }

    /// Becomes readable when observations should be taken before the next drain.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the ring, which lives as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }

    /// Takes the observations since the last call.
    pub(crate) fn take(&self) -> Result<Vec<NameObservation>, CaptureError> {
        // The number is bounded: programs may fill the ring faster than this loop empties it.
        let taken = self.ring.consume_raw_n(MAX_AT_ONCE);
        if taken < 0 {
            let error = libbpf_rs::Error::from_raw_os_error(-taken);
            return Err(CaptureError::bpf("the ring buffer for names cannot be read")(error));
        }
        Ok(std::mem::take(&mut *self.taken.borrow_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_observation_is_refused() {
        for kind in [SENT, RECEIVED, RESOLVED, 9] {
            for length in 0..78 {
                let mut bytes = vec![0; length];
                if length >= 56 {
                    bytes[52..54].copy_from_slice(&kind.to_ne_bytes());
                    bytes[54..56].copy_from_slice(&7_u16.to_ne_bytes());
                }
                assert_eq!(decode(&bytes), None, "{kind} {length}");
            }
        }
    }
}
