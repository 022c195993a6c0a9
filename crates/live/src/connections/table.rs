//! The table of open connections.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map::Entry};

use serde::{Deserialize, Serialize};

use super::{
    clock::{booted_at, now, rounded},
    connection::{Connection, ConnectionKey},
    contexts::{ContextState, Contexts, Visibility},
    socket_peer::SocketPeer,
};
use config::log_rules::LogRules;
use model::{Bytes, Counters, DomainSource, Flow, FlowId, FlowTuple};

/// Upper bound for the table: as many connections as the kernel's flow table has slots, and as many that have ended and
/// that a subscriber still has to get.
pub(super) const MAX_CONNECTIONS: usize = 2 * 65_536;
/// Upper bound for the ended connections among them that slow subscribers may hold back.
const MAX_ENDED: usize = 65_536;

/// IP protocols of stream sockets: TCP, MPTCP.
const STREAM_PROTOCOLS: [u16; 2] = [6, 262];

/// The content of a list of the monitor. A list replaces the one of the same kind before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListKind {
    /// Flows that have moved bytes, with all bytes that they have moved.
    ActiveFlows,
    /// Sockets that have moved nothing: listening ones (without a remote port), and idle connections.
    IdleSockets,
}

/// The connections and listening sockets that are open, and those that have ended and that a subscriber still has to get.
#[derive(Debug)]
pub struct OpenConnections {
    pub(super) connections: BTreeMap<u64, Connection>,
    pub(super) ids: HashMap<ConnectionKey, u64>,
    /// The ids of the connections of each socket, by its inode number.
    pub(super) sockets: HashMap<u64, Vec<u64>>,
    pub(super) contexts: HashMap<u32, ContextState>,
    /// Connections that have ended, with the round of the last change, oldest first.
    pub(super) ended: VecDeque<(u64, u64)>,
    last_id: u64,
    /// The round that is open; it begins at 1.
    pub(super) round: u64,
    /// When the round before it was closed, unix seconds.
    pub(super) closed_at: f64,
    /// Time of the boot, unix seconds.
    booted_at: f64,
    /// Number of the list that is arriving.
    list: u32,
    /// A first list is complete: flows are taken from now on.
    pub(super) has_list: bool,
    /// Connections that did not fit into the table.
    pub(super) omitted: u64,
    pub(super) rules: LogRules,
}

impl OpenConnections {
    /// An empty table whose first id follows `last_id`, that of the table before it. Nothing that `rules` keep out of the
    /// log gets to a subscriber.
    pub fn new(rules: LogRules, last_id: u64) -> Self {
        Self {
            connections: BTreeMap::new(),
            ids: HashMap::new(),
            sockets: HashMap::new(),
            contexts: HashMap::new(),
            ended: VecDeque::new(),
            last_id,
            round: 1,
            closed_at: 0.0,
            booted_at: booted_at(),
            list: 0,
            has_list: false,
            omitted: 0,
            rules,
        }
    }

    /// The last id that was given to a connection.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Adds what a flow has moved since the last drain. `awaits_domain` says that the domain of the remote end may become
    /// known later ([`OpenConnections::set_domains`]). Before the first list is complete flows are ignored, since the list
    /// contains them.
    pub fn add(&mut self, flow: &Flow, awaits_domain: bool, contexts: &mut impl Contexts) {
        if !self.has_list {
            return;
        }
        if let Some(id) = self.find_or_insert(flow, contexts) {
            self.update(id, flow, awaits_domain, |connection, counters| {
                connection.sent = connection.sent.saturating_add(counters.sent);
                connection.received = connection.received.saturating_add(counters.received);
            });
            if flow.id.ended {
                self.end(id);
                self.end_socket(flow);
            }
        }
    }

    /// Takes one flow of a list; the counters of the list replace those of the table.
    pub fn add_listed(&mut self, flow: &Flow, awaits_domain: bool, contexts: &mut impl Contexts) {
        if let Some(id) = self.find_or_insert(flow, contexts) {
            self.update(id, flow, awaits_domain, |connection, counters| {
                (connection.sent, connection.received) = (counters.sent, counters.received);
            });
            // Only a list says what it has: flows that came since the last one may be those of a connection that has ended
            // meanwhile, and whose end was lost.
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.list = Some(self.list);
            }
        }
    }

    /// Ends a list: the connections of this kind that were not in it have ended, unless their stream socket was in it. Bytes of
    /// an open socket may be charged to a process that has no flow of its own on it.
    pub fn finish_list(&mut self, kind: ListKind) {
        self.has_list = true;
        let is_listed = |connection: &Connection| connection.list == Some(self.list);
        let socket_is_listed = |connection: &Connection| {
            let socket = stream_socket(connection.flow_id.socket, &connection.tuple);
            let mut ids = socket.and_then(|socket| self.sockets.get(&socket)).into_iter().flatten();
            ids.any(|id| self.connections.get(id).is_some_and(is_listed))
        };
        let is_missing = |connection: &Connection| {
            (connection.flow_id.began == 0) == (kind == ListKind::IdleSockets)
                && !is_listed(connection)
                && !connection.flow_id.ended
                && (kind == ListKind::IdleSockets || !socket_is_listed(connection))
        };
        let missing: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| is_missing(connection))
            .map(|(id, _)| *id)
            .collect();
        missing.into_iter().for_each(|id| self.end(id));
        self.list += 1;
    }

    /// Sets the domains that are known at the end of a window. Connections of `pending` peers go on waiting for theirs; of
    /// all others that wait no domain is known.
    pub fn set_domains(
        &mut self,
        domains: &HashMap<SocketPeer, (Bytes, DomainSource)>,
        pending: &HashSet<SocketPeer>,
    ) {
        let mut ignored = Vec::new();
        for (id, connection) in &mut self.connections {
            let peer = SocketPeer::new(connection.flow_id.socket, &connection.tuple);
            if let Some((domain, source)) = peer.as_ref().and_then(|peer| domains.get(peer))
                && connection.tuple.domain != *domain
            {
                (connection.tuple.domain, connection.tuple.domain_source) = (domain.clone(), *source);
                connection.describe_again(self.round);
            }
            if self.rules.ignores_tuple(&connection.tuple) {
                ignored.push(*id);
            } else if connection.awaits_domain && !peer.is_some_and(|peer| pending.contains(&peer)) {
                connection.awaits_domain = false;
                connection.describe_again(self.round);
            }
        }
        ignored.into_iter().for_each(|id| self.hide(id));
    }

    /// Forgets the contexts with smaller ids that have no connection: the monitor does not use these ids again.
    pub fn forget_contexts_before(&mut self, id: u32) {
        self.contexts.retain(|context, state| *context >= id || state.connections > 0);
    }

    /// Closes the round: subscribers may get its changes.
    pub fn close_round(&mut self, contexts: &mut impl Contexts) {
        let incomplete: Vec<u32> =
            self.contexts.iter().filter(|(_, state)| !state.is_complete).map(|(id, _)| *id).collect();
        for id in incomplete {
            self.update_context(id, contexts);
        }
        self.booted_at = booted_at();
        self.closed_at = now();
        self.round += 1;
    }

    /// Removes the ended connections that every subscriber has; all have the round `delivered` in full.
    pub(crate) fn remove_delivered(&mut self, delivered: u64) {
        let mut withheld = Vec::new();
        while let Some((round, id)) = self.ended.front().copied().filter(|(round, _)| *round <= delivered) {
            self.ended.pop_front();
            match self.connections.get(&id) {
                // No subscriber has got it yet.
                Some(connection) if self.is_withheld(connection) => withheld.push((self.round, id)),
                // Bytes came after its end.
                Some(connection) if connection.changed_in > round => {
                    self.ended.push_back((connection.changed_in, id));
                }
                Some(_) => self.remove(id),
                None => {}
            }
        }
        self.ended.extend(withheld);
    }

    /// Whether slow subscribers hold back more ended connections than the table may keep.
    pub(crate) fn has_too_many_ended(&self) -> bool {
        self.ended.len() > MAX_ENDED
    }

    /// Whether no subscriber may get the connection yet.
    pub(super) fn is_withheld(&self, connection: &Connection) -> bool {
        let context = self.contexts.get(&connection.context);
        connection.awaits_domain || context.is_none_or(|context| context.visibility == Visibility::Withheld)
    }

    /// The id of the connection of a flow, which may be new; `None` if no subscriber may get it.
    fn find_or_insert(&mut self, flow: &Flow, contexts: &mut impl Contexts) -> Option<u64> {
        // A record about an executed program is not a connection.
        if flow.tuple.remote_port < 0 {
            return None;
        }
        let id = self.ids.get(&ConnectionKey::of(&flow.id)).copied();
        if self.rules.ignores_tuple(&flow.tuple) {
            // The domain of a connection in the table has become known.
            if let Some(id) = id {
                self.hide(id);
            }
            return None;
        }
        if id.is_some() {
            return id;
        }
        if flow.id.ended && flow.counters == Counters::default() {
            return None;
        }
        self.insert(flow, contexts)
    }

    fn insert(&mut self, flow: &Flow, contexts: &mut impl Contexts) -> Option<u64> {
        if !self.contexts.contains_key(&flow.context) {
            let state = ContextState::new(contexts.context(flow.context)?, &self.rules, self.round);
            self.contexts.insert(flow.context, state);
        }
        let state = self.contexts.get_mut(&flow.context)?;
        if state.visibility == Visibility::Ignored {
            return None;
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.omitted = self.omitted.saturating_add(1);
            return None;
        }
        state.connections += 1;
        let key = ConnectionKey::of(&flow.id);
        if key.began != 0
            && let Some(idle) = self.ids.get(&ConnectionKey { began: 0, ..key }).copied()
        {
            // The idle socket has begun to move bytes.
            self.end(idle);
        }
        self.last_id += 1;
        let id = self.last_id;
        self.ids.insert(key, id);
        let connection = Connection {
            context: flow.context,
            flow_id: FlowId { ended: false, ..flow.id },
            tuple: flow.tuple.clone(),
            awaits_domain: false,
            began: (key.began != 0).then(|| rounded(self.booted_at + key.began as f64 / 1e9)),
            sent: 0,
            received: 0,
            described_in: self.round,
            changed_in: self.round,
            list: None,
        };
        self.connections.insert(id, connection);
        if let Some(socket) = stream_socket(flow.id.socket, &flow.tuple) {
            self.sockets.entry(socket).or_default().push(id);
        }
        Some(id)
    }

    fn update(
        &mut self,
        id: u64,
        flow: &Flow,
        awaits_domain: bool,
        update: impl FnOnce(&mut Connection, Counters),
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut counters = flow.counters;
        self.rules.blank_counters(&mut counters);
        let awaits_domain = awaits_domain && self.rules.has_domain_rules();
        connection.update(flow, counters, awaits_domain, self.round, update);
    }

    /// Takes a connection that a rule ignores away from the subscribers: one that they have ends.
    fn hide(&mut self, id: u64) {
        match self.connections.get(&id) {
            Some(connection) if connection.awaits_domain => self.remove(id),
            _ => self.end(id),
        }
    }

    fn end(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.flow_id.ended
        {
            connection.flow_id.ended = true;
            connection.changed_in = self.round;
            self.ended.push_back((self.round, id));
        }
    }

    /// Ends all connections of a stream socket one of whose flows has ended: it is closed then. Bytes that passed no hook
    /// may be charged to a process that has no flow of its own on the socket, so that no end of its own comes.
    fn end_socket(&mut self, flow: &Flow) {
        let Some(socket) = stream_socket(flow.id.socket, &flow.tuple) else { return };
        let ids = self.sockets.get(&socket).cloned().unwrap_or_default();
        for id in ids {
            // A socket may be connected again: a late end is that of an earlier use.
            let is_older = |connection: &Connection| connection.flow_id.began <= flow.id.began;
            if self.connections.get(&id).is_some_and(is_older) {
                self.end(id);
            }
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let key = ConnectionKey::of(&connection.flow_id);
        if self.ids.get(&key) == Some(&id) {
            self.ids.remove(&key);
        }
        if let Some(socket) = stream_socket(key.socket, &connection.tuple)
            && let Entry::Occupied(mut ids) = self.sockets.entry(socket)
        {
            ids.get_mut().retain(|other| *other != id);
            if ids.get().is_empty() {
                ids.remove();
            }
        }
        if let Some(state) = self.contexts.get_mut(&connection.context) {
            state.connections = state.connections.saturating_sub(1);
        }
    }

    /// Takes over the digests of a context that are known by now, and shows or hides its connections.
    fn update_context(&mut self, id: u32, contexts: &mut impl Contexts) {
        let Some(state) = self.contexts.get_mut(&id) else { return };
        let before = state.visibility;
        if !state.update(contexts.context(id), &self.rules, self.round) {
            return;
        }
        let is_ignored = state.visibility == Visibility::Ignored;
        let connections: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.context == id)
            .map(|(id, _)| *id)
            .collect();
        for connection_id in connections {
            if is_ignored && before == Visibility::Withheld {
                self.remove(connection_id);
            } else if is_ignored {
                self.end(connection_id);
            } else if let Some(connection) = self.connections.get_mut(&connection_id) {
                connection.describe_again(self.round);
            }
        }
    }
}

/// The inode number of a stream socket; `None` for all others, and for sockets of the kernel's own, which have no number.
fn stream_socket(socket: u64, tuple: &FlowTuple) -> Option<u64> {
    (socket != 0 && STREAM_PROTOCOLS.contains(&tuple.protocol)).then_some(socket)
}
