//! One entry of the table of open connections.

use crate::protocol::ConnectionLine;
use config::log_rules::LogRules;
use model::{Counters, Flow, FlowId, FlowTuple, ProcessId};

/// The part of a [`FlowId`] that two flows of the same connection have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionKey {
    pub(super) process: ProcessId,
    pub(super) socket: u64,
    /// First use of the socket, nanoseconds of boot time; 0 if it has moved nothing.
    pub(super) began: u64,
}

impl ConnectionKey {
    pub(super) fn of(id: &FlowId) -> Self {
        Self { process: id.process, socket: id.socket, began: id.began }
    }
}

/// A connection, or a socket that has moved nothing.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) context: u32,
    pub(super) flow_id: FlowId,
    /// The tuple in full; the rules of the log blank it in the line for the subscribers.
    pub(super) tuple: FlowTuple,
    /// The domain may become known and a rule may ignore it: no subscriber gets the connection until then.
    pub(super) awaits_domain: bool,
    /// First use of the socket, unix seconds.
    pub(super) began: Option<f64>,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// The round of the last change of anything but the counters: subscribers need a whole line.
    pub(super) described_in: u64,
    /// The round of the last change of anything.
    pub(super) changed_in: u64,
    /// Number of the last list of the monitor that had the connection; `None` before the first one.
    pub(super) list: Option<u32>,
}

impl Connection {
    /// Takes over the tuple of a flow and the new value of `awaits_domain`; `update` changes the counters.
    pub(super) fn update(
        &mut self,
        flow: &Flow,
        counters: Counters,
        awaits_domain: bool,
        round: u64,
        update: impl FnOnce(&mut Self, Counters),
    ) {
        let before = (self.sent, self.received);
        update(self, counters);
        if before != (self.sent, self.received) {
            self.changed_in = round;
        }
        // A known domain stays, and one may become known later.
        let has_new_tuple =
            self.tuple != flow.tuple && (self.tuple.domain.is_empty() || !flow.tuple.domain.is_empty());
        if has_new_tuple {
            self.tuple = flow.tuple.clone();
        }
        if has_new_tuple || self.awaits_domain != awaits_domain || self.flow_id.opened != flow.id.opened {
            self.awaits_domain = awaits_domain;
            self.flow_id.opened = flow.id.opened;
            self.describe_again(round);
        }
    }

    /// Makes every subscriber get the whole line again.
    pub(super) fn describe_again(&mut self, round: u64) {
        (self.described_in, self.changed_in) = (round, round);
    }

    /// The line about the connection, without what the rules keep out of the log.
    pub(super) fn line(&self, id: u64, rules: &LogRules) -> ConnectionLine {
        let mut tuple = self.tuple.clone();
        rules.blank_tuple(&mut tuple);
        let is_listening = self.flow_id.began == 0 && self.tuple.remote_port == 0;
        ConnectionLine {
            event: if is_listening { "listening" } else { "connection" }.to_owned(),
            id,
            context: self.context,
            began: self.began,
            sent: self.sent,
            received: self.received,
            ..ConnectionLine::new(&self.flow_id, &tuple)
        }
    }
}
