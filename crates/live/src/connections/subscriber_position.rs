//! The part of the table that one subscriber has received, and the lines that follow.

use std::collections::HashMap;

use super::{connection::Connection, table::OpenConnections};
use crate::protocol::{ContextLine, TickLine, TrafficLine, encode_line};

/// Bytes of text after which a piece ends.
const MAX_PIECE_BYTES: usize = 16 * 1024;
/// Connections with new counters after which a piece ends.
const MAX_PIECE_CONNECTIONS: usize = 512;

/// The part of the table that one subscriber has received.
#[derive(Debug, Default)]
pub(crate) struct SubscriberPosition {
    /// The last round that the subscriber has in full.
    delivered: u64,
    /// The round that it is receiving; equal to `delivered` between two rounds.
    target: u64,
    /// The connection at which the next piece of that round begins.
    next_connection: u64,
    /// For each context that the subscriber has, the round of its last line.
    contexts: HashMap<u32, u64>,
    /// Contexts that the subscriber has and that have changed since: their lines come first in the round.
    changed_contexts: Vec<u32>,
}

impl SubscriberPosition {
    /// The last round that the subscriber has in full.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The next lines for the subscriber; `None` if it has everything. A piece ends with the line that reaches
    /// [`MAX_PIECE_BYTES`], or with a `traffic` line of [`MAX_PIECE_CONNECTIONS`] connections.
    pub(crate) fn next_lines(&mut self, table: &OpenConnections) -> Option<String> {
        let mut text = String::new();
        if self.delivered == self.target {
            self.begin_round(table)?;
        }
        while let Some(id) = self.changed_contexts.pop() {
            if let Some(sent_in) = self.contexts.get_mut(&id) {
                push_context(table, id, sent_in, &mut text);
            }
            if text.len() >= MAX_PIECE_BYTES {
                return Some(text);
            }
        }
        match self.push_connections(table, &mut text) {
            Some(id) => self.next_connection = id,
            None => {
                self.delivered = self.target;
                let tick =
                    TickLine { event: "tick".to_owned(), time: table.closed_at, omitted: table.omitted };
                text += &encode_line(&tick);
            }
        }
        Some(text)
    }

    /// Begins with the last closed round; `None` if the subscriber has it.
    fn begin_round(&mut self, table: &OpenConnections) -> Option<()> {
        let last_closed = table.round - 1;
        if !table.has_list || last_closed == self.target {
            return None;
        }
        (self.target, self.next_connection) = (last_closed, 0);
        self.contexts.retain(|id, _| table.contexts.contains_key(id));
        let has_changed = |(id, sent_in): (&u32, &u64)| {
            table.contexts.get(id).is_some_and(|state| state.changed_in > *sent_in).then_some(*id)
        };
        self.changed_contexts = self.contexts.iter().filter_map(has_changed).collect();
        Some(())
    }

    /// Adds the lines about connections; returns the connection at which the next piece begins.
    fn push_connections(&mut self, table: &OpenConnections, text: &mut String) -> Option<u64> {
        let mut traffic = TrafficLine { event: "traffic".to_owned(), ..TrafficLine::default() };
        let mut next = None;
        for (id, connection) in table.connections.range(self.next_connection..) {
            if !self.is_due(table, connection) {
                continue;
            }
            if text.len() >= MAX_PIECE_BYTES || traffic.connections.len() >= MAX_PIECE_CONNECTIONS {
                next = Some(*id);
                break;
            }
            if connection.described_in > self.delivered {
                let sent_in = self.contexts.entry(connection.context).or_default();
                push_context(table, connection.context, sent_in, text);
                *text += &encode_line(&connection.line(*id, &table.rules));
            } else {
                traffic.connections.push((*id, connection.sent, connection.received));
            }
            if connection.flow_id.ended && connection.changed_in <= self.target {
                traffic.ended.push(*id);
            }
        }
        if !traffic.connections.is_empty() || !traffic.ended.is_empty() {
            *text += &encode_line(&traffic);
        }
        next
    }

    /// Whether the subscriber must get a line about the connection in the round that it is receiving. Connections that were
    /// described in a later round have to wait until that is closed.
    fn is_due(&self, table: &OpenConnections, connection: &Connection) -> bool {
        connection.changed_in > self.delivered
            && connection.described_in <= self.target
            && !table.is_withheld(connection)
    }
}

/// Adds the line about a context if it has changed since the round `sent_in`.
fn push_context(table: &OpenConnections, id: u32, sent_in: &mut u64, text: &mut String) {
    if let Some(state) = table.contexts.get(&id)
        && state.changed_in > *sent_in
    {
        *sent_in = state.changed_in;
        *text += &encode_line(&ContextLine::new(id, &state.context));
    }
}
