//! The connections that are open now, for whoever listens to the live socket: kept only while somebody does.
//!
//! What a listener has to hear is found by rounds: each change carries the round in which it was made, and each listener
//! the last round that it was told in full ([`Sweep`]). So a listener needs no queue of its own: a slow one hears
//! less often, and of each connection always its newest figures.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use config::log_rules::{LogRules, RULES_PATIENCE_SECONDS};
use model::{
    Address, Bytes, Counters, DomainSource, Flow, FlowId, FlowTuple, Port, ProcessContext, ProcessId,
};

mod sweep;
#[cfg(test)]
mod tests;

pub use sweep::Sweep;

/// Connections and listening sockets that are kept: as many as the kernel's flow table has, and again as many that have
/// ended and are not told yet.
const MAX_ENTRIES: usize = 2 * 65_536;
/// Ended ones among them that slow listeners may keep waiting.
const MAX_ENDED: usize = 65_536;
/// What a list that replaces the one before it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listed {
    /// Connections that have moved something, with all that they have moved.
    Busy,
    /// Sockets that have moved nothing: listening ones (no remote port), and connections that wait.
    Quiet,
}

/// What makes two flows' connections the same; it began at 0 if it has moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    process: ProcessId,
    socket: u64,
    began: u64,
}

impl Key {
    fn of(id: &FlowId) -> Self {
        Self { process: id.process, socket: id.socket, began: id.began }
    }
}

#[derive(Debug)]
struct Entry {
    context: u32,
    flow_id: FlowId,
    /// In full: what is not to be told is blanked when it is told.
    tuple: FlowTuple,
    /// Its domain may become known, and a rule may ignore it: withheld until then.
    unnamed: bool,
    /// Unix seconds.
    began: Option<f64>,
    sent: u64,
    received: u64,
    /// The round in which who talks with whom was last changed.
    introduced: u64,
    /// The round of the last change of anything.
    changed: u64,
    /// The list that had it last.
    list: u32,
}

/// A context of open connections.
#[derive(Debug)]
struct Known {
    context: Arc<ProcessContext>,
    /// All digests that will ever come are there.
    complete: bool,
    fate: Fate,
    met: Instant,
    changed: u64,
    connections: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Told,
    /// Until its digest is known: a rule may ignore it.
    Withheld,
    Ignored,
}

/// The contexts behind the ids that flows carry, as far as the recorder knows them.
pub trait Contexts {
    /// The context of an id as it is known now, and whether all digests that will ever come are in it. `None`: it was not
    /// introduced, or is forgotten.
    fn context(&mut self, id: u32) -> Option<(Arc<ProcessContext>, bool)>;
}

/// The table.
#[derive(Debug)]
pub struct OpenConnections {
    entries: BTreeMap<u64, Entry>,
    ids: HashMap<Key, u64>,
    contexts: HashMap<u32, Known>,
    /// Entries that have ended, and in which round.
    ended: VecDeque<(u64, u64)>,
    next_id: u64,
    /// The round that is under way.
    round: u64,
    /// When the last one was closed, unix seconds.
    closed_at: f64,
    /// Unix seconds of the boot.
    booted: f64,
    list: u32,
    /// Flows are added once the first list has come.
    begun: bool,
    untold: u64,
    rules: LogRules,
}

/// Which socket talks with whom: what has a domain.
pub type End = (u64, Address, Port);

/// The end of a socket with a peer; `None` for a peer without an address.
pub fn end_of(socket: u64, tuple: &FlowTuple) -> Option<End> {
    Some((socket, tuple.remote_address?, tuple.remote_port))
}

impl OpenConnections {
    /// Nothing is known to be open yet.
    pub fn new(rules: LogRules) -> Self {
        Self {
            entries: BTreeMap::new(),
            ids: HashMap::new(),
            contexts: HashMap::new(),
            ended: VecDeque::new(),
            next_id: 1,
            round: 1,
            closed_at: 0.0,
            booted: booted(),
            list: 0,
            begun: false,
            untold: 0,
            rules,
        }
    }

    /// Adds traffic. With `waits` the domain of the peer may become known ([`OpenConnections::name`]).
    pub fn add(&mut self, flow: &Flow, waits: bool, contexts: &mut impl Contexts) {
        if !self.begun {
            return; // it is in the list that is on its way
        }
        if let Some(id) = self.find(flow, contexts) {
            self.change(id, flow, waits, |entry, counters| {
                entry.sent = entry.sent.saturating_add(counters.sent);
                entry.received = entry.received.saturating_add(counters.received);
            });
            if flow.id.ended {
                self.end(id);
            }
        }
    }

    /// Takes one of a list; [`OpenConnections::list_ends`] comes after the last one.
    pub fn list(&mut self, flow: &Flow, waits: bool, contexts: &mut impl Contexts) {
        if let Some(id) = self.find(flow, contexts) {
            self.change(id, flow, waits, |entry, counters| {
                (entry.sent, entry.received) = (counters.sent, counters.received);
            });
        }
    }

    /// A window ends: these domains are known now, and of these ends the domain will be known soon. Of others that waited
    /// none is known.
    pub fn name(&mut self, known: &HashMap<End, (Bytes, DomainSource)>, soon: &HashSet<End>) {
        let mut ignored = Vec::new();
        for (id, entry) in &mut self.entries {
            let end = end_of(entry.flow_id.socket, &entry.tuple);
            if let Some((domain, source)) = end.as_ref().and_then(|end| known.get(end))
                && entry.tuple.domain != *domain
            {
                (entry.tuple.domain, entry.tuple.domain_source) = (domain.clone(), *source);
                (entry.introduced, entry.changed) = (self.round, self.round);
            }
            if self.rules.ignores_tuple(&entry.tuple) {
                ignored.push(*id);
            } else if entry.unnamed && !end.is_some_and(|end| soon.contains(&end)) {
                entry.unnamed = false;
                (entry.introduced, entry.changed) = (self.round, self.round);
            }
        }
        ignored.into_iter().for_each(|id| self.ignore(id));
    }

    /// What was not in the list is no more.
    pub fn list_ends(&mut self, listed: Listed) {
        self.begun = true;
        let gone: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                (entry.flow_id.began == 0) == (listed == Listed::Quiet)
                    && entry.list != self.list
                    && !entry.flow_id.ended
            })
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| self.end(id));
        self.list += 1;
    }

    /// ContextIds before this one will not talk again.
    pub fn forget_before(&mut self, context: u32) {
        self.contexts.retain(|id, known| *id >= context || known.connections > 0);
    }

    /// Closes the round: listeners may hear of it.
    pub fn close_round(&mut self, contexts: &mut impl Contexts) {
        let waiting: Vec<u32> =
            self.contexts.iter().filter(|(_, known)| !known.complete).map(|(id, _)| *id).collect();
        for id in waiting {
            self.settle(id, contexts);
        }
        self.booted = booted();
        self.closed_at = now();
        self.round += 1;
    }

    /// Forgets what has ended and was told to all: everybody was told this round in full.
    pub fn forget_told(&mut self, told: u64) {
        while let Some((round, id)) = self.ended.front().copied().filter(|(round, _)| *round <= told) {
            self.ended.pop_front();
            match self.entries.get(&id) {
                // Nobody has heard of it.
                Some(entry) if self.is_withheld(entry) => self.ended.push_back((self.round, id)),
                // Something came after its end.
                Some(entry) if entry.changed > round => self.ended.push_back((entry.changed, id)),
                Some(_) => self.remove(id),
                None => {}
            }
        }
    }

    /// Whether so much waits for slow listeners that it has to be forgotten.
    pub fn is_crowded(&self) -> bool {
        self.ended.len() > MAX_ENDED
    }

    /// The entry of a flow, perhaps a new one. `None`: it is not to be told.
    fn find(&mut self, flow: &Flow, contexts: &mut impl Contexts) -> Option<u64> {
        let Flow { context, id: flow_id, tuple, counters } = flow;
        // The record of an executed program is no connection.
        if tuple.remote_port < 0 {
            return None;
        }
        let key = Key::of(flow_id);
        let found = self.ids.get(&key).copied();
        if self.rules.ignores_tuple(tuple) {
            // Its domain has become known.
            if let Some(id) = found {
                self.ignore(id);
            }
            return None;
        }
        if found.is_some() {
            return found;
        }
        if flow_id.ended && *counters == Counters::default() {
            return None;
        }
        if !self.contexts.contains_key(context) {
            let (talker_is, complete) = contexts.context(*context)?;
            let withheld = !complete && self.rules.need_digests();
            let known = Known {
                context: talker_is,
                complete,
                fate: if withheld { Fate::Withheld } else { Fate::Told },
                met: Instant::now(),
                changed: self.round,
                connections: 0,
            };
            self.contexts.insert(*context, known);
            self.settle(*context, contexts);
        }
        let known = self.contexts.get_mut(context).filter(|known| known.fate != Fate::Ignored)?;
        if self.entries.len() >= MAX_ENTRIES {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        known.connections += 1;
        if flow_id.began != 0
            && let Some(quiet) = self.ids.get(&Key { began: 0, ..key }).copied()
        {
            // It has begun to move bytes.
            self.end(quiet);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.ids.insert(key, id);
        let entry = Entry {
            context: *context,
            flow_id: FlowId { ended: false, ..*flow_id },
            tuple: tuple.clone(),
            unnamed: false,
            began: (flow_id.began != 0).then(|| rounded(self.booted + flow_id.began as f64 / 1e9)),
            sent: 0,
            received: 0,
            introduced: self.round,
            changed: self.round,
            list: self.list,
        };
        self.entries.insert(id, entry);
        Some(id)
    }

    fn change(&mut self, id: u64, flow: &Flow, waits: bool, amount: impl FnOnce(&mut Entry, Counters)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.list = self.list;
        let mut counters = flow.counters;
        self.rules.blank_counters(&mut counters);
        let before = (entry.sent, entry.received);
        amount(entry, counters);
        if before != (entry.sent, entry.received) {
            entry.changed = self.round;
        }
        let unnamed = waits && self.rules.need_domains();
        // A domain that is known stays, and one may become known later.
        let is_news =
            entry.tuple != flow.tuple && (entry.tuple.domain.is_empty() || !flow.tuple.domain.is_empty());
        if is_news || entry.unnamed != unnamed || entry.flow_id.opened != flow.id.opened {
            if is_news {
                entry.tuple = flow.tuple.clone();
            }
            entry.unnamed = unnamed;
            entry.flow_id.opened = flow.id.opened;
            (entry.introduced, entry.changed) = (self.round, self.round);
        }
    }

    /// A rule ignores it: it was withheld until now, or it ends.
    fn ignore(&mut self, id: u64) {
        match self.entries.get(&id) {
            Some(entry) if entry.unnamed => self.remove(id),
            _ => self.end(id),
        }
    }

    /// Whether nobody may hear of it yet.
    fn is_withheld(&self, entry: &Entry) -> bool {
        entry.unnamed || self.contexts.get(&entry.context).is_none_or(|known| known.fate == Fate::Withheld)
    }

    fn end(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id)
            && !entry.flow_id.ended
        {
            entry.flow_id.ended = true;
            entry.changed = self.round;
            self.ended.push_back((self.round, id));
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.entries.remove(&id) else { return };
        let key = Key::of(&entry.flow_id);
        if self.ids.get(&key) == Some(&id) {
            self.ids.remove(&key);
        }
        if let Some(known) = self.contexts.get_mut(&entry.context) {
            known.connections = known.connections.saturating_sub(1);
        }
    }

    /// Looks whether the digests of a context are known by now, and what the rules say about it.
    fn settle(&mut self, id: u32, contexts: &mut impl Contexts) {
        let Some(known) = self.contexts.get_mut(&id) else { return };
        match contexts.context(id) {
            Some((context, complete)) => {
                if context != known.context {
                    (known.context, known.changed) = (context, self.round);
                }
                known.complete = complete;
            }
            // It is forgotten: nothing more will come.
            None => known.complete = true,
        }
        let ignored = self.rules.ignores_digest(known.context.program.sha256);
        let late = known.met.elapsed() > Duration::from_secs(RULES_PATIENCE_SECONDS.into());
        let before = known.fate;
        known.fate = match before {
            _ if ignored => Fate::Ignored,
            Fate::Withheld if !known.complete && !late => Fate::Withheld,
            _ => Fate::Told,
        };
        if known.fate == before {
            return;
        }
        let of_it: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| entry.context == id).map(|(id, _)| *id).collect();
        for entry_id in of_it {
            if ignored && before == Fate::Withheld {
                self.remove(entry_id);
            } else if ignored {
                self.end(entry_id);
            } else if let Some(entry) = self.entries.get_mut(&entry_id) {
                (entry.introduced, entry.changed) = (self.round, self.round);
            }
        }
    }
}

fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| rounded(now.as_secs_f64()))
}

/// Unix seconds of the boot; differs by what the clock was set meanwhile.
fn booted() -> f64 {
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now() - boot.map_or(0.0, |boot| Duration::from(boot).as_secs_f64())
}

/// Milliseconds are enough.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
