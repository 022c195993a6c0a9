//! What one listener was told of the table, and what comes next.

use std::{collections::HashMap, fmt::Write};

use serde::Serialize;

use super::{Entry, OpenConnections};
use crate::protocol::{ConnectionLine, ContextLine, TickLine, TrafficLine};
use config::log_rules::LogRules;
use model::text::format;

/// Bytes of text, and connections with new figures, after which a piece is long enough.
const PIECE_BYTES: usize = 16 * 1024;
const PIECE_CONNECTIONS: usize = 512;

/// How far one listener was told.
#[derive(Debug, Default)]
pub struct Sweep {
    since: u64,
    target: u64,
    next: u64,
    contexts: HashMap<u32, u64>,
}

impl Sweep {
    /// The last round that was told in full.
    pub fn told(&self) -> u64 {
        self.since
    }
}

impl OpenConnections {
    /// The next lines for a listener; `None` when it was told everything.
    pub fn tell(&self, sweep: &mut Sweep) -> Option<String> {
        let mut text = String::new();
        if sweep.since == sweep.target {
            if !self.begun || self.round - 1 == sweep.target {
                return None;
            }
            (sweep.target, sweep.next) = (self.round - 1, 0);
            sweep.contexts.retain(|id, _| self.contexts.contains_key(id));
            for (id, told) in &mut sweep.contexts {
                self.tell_context(*id, told, &mut text);
            }
        }
        let mut traffic = TrafficLine { event: "traffic".to_owned(), ..TrafficLine::default() };
        let mut rest = self.entries.range(sweep.next..);
        let more = loop {
            let Some((id, entry)) = rest.next() else { break None };
            // What changes in the round that is under way is told when that is closed.
            if entry.changed <= sweep.since || entry.introduced > sweep.target || self.is_withheld(entry) {
                continue;
            }
            if text.len() >= PIECE_BYTES || traffic.connections.len() >= PIECE_CONNECTIONS {
                break Some(*id);
            }
            if entry.introduced > sweep.since {
                let told = sweep.contexts.entry(entry.context).or_default();
                self.tell_context(entry.context, told, &mut text);
                push_line(&mut text, &entry.line(*id, &self.rules));
            } else {
                traffic.connections.push((*id, entry.sent, entry.received));
            }
            if entry.flow_id.ended && entry.changed <= sweep.target {
                traffic.ended.push(*id);
            }
        };
        if !traffic.connections.is_empty() || !traffic.ended.is_empty() {
            push_line(&mut text, &traffic);
        }
        match more {
            Some(id) => sweep.next = id,
            None => {
                sweep.since = sweep.target;
                let tick = TickLine { event: "tick".to_owned(), time: self.closed_at, untold: self.untold };
                push_line(&mut text, &tick);
            }
        }
        Some(text)
    }

    fn tell_context(&self, id: u32, told: &mut u64, text: &mut String) {
        if let Some(known) = self.contexts.get(&id)
            && known.changed > *told
        {
            *told = known.changed;
            push_line(text, &ContextLine::new(id, &known.context));
        }
    }
}

impl Entry {
    fn line(&self, id: u64, rules: &LogRules) -> ConnectionLine {
        let mut tuple = self.tuple.clone();
        rules.blank_tuple(&mut tuple);
        let listens = self.flow_id.began == 0 && self.tuple.remote_port == 0;
        let event = if listens { "listening" } else { "connection" };
        ConnectionLine {
            began: self.began,
            sent: self.sent,
            received: self.received,
            ..ConnectionLine::new(event, (id, self.context), &self.flow_id, &tuple)
        }
    }
}

/// A line that may be printed as it is.
fn push_line(text: &mut String, line: &impl Serialize) {
    // Plain data: its serialisation cannot fail.
    if let Ok(document) = serde_json::to_string(line) {
        let _ = writeln!(text, "{}", format::json_document(&document));
    }
}
