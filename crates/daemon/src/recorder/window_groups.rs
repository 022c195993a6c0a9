//! The groups of one context in the open window. A context with very many peers is folded: the largest groups keep every
//! detail, the rest are summed, so that neither memory nor the log grows with the number of peers.

use std::collections::HashMap;

use model::{Counters, FlowTuple};

/// Groups that wait for the domain of their peer.
const MAX_UNNAMED: usize = 1024;
/// Sums by family, protocol and direction; the protocol of further ones is 0.
const MAX_KINDS: usize = 16;
/// An open window has this many times the groups that a closed one keeps.
const OPEN_FACTOR: usize = 4;

/// The fields that all flows of a group share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub tuple: FlowTuple,
    /// The socket whose domain is not known yet; 0 if it is known, or never will be.
    pub socket: u64,
}

/// The flows of a group, added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub counters: Counters,
    /// The process opened a connection itself.
    pub opened: bool,
    /// Windows for which it has waited for digests.
    pub waited: u32,
}

impl Group {
    fn add(&mut self, other: Self) {
        self.counters += other.counters;
        self.opened |= other.opened;
        self.waited = self.waited.max(other.waited);
    }

    fn bytes(&self) -> u64 {
        self.counters.sent.saturating_add(self.counters.received)
    }
}

/// A group that is ready for the log, or several that are summed.
#[derive(Debug)]
pub(super) struct ReadyGroup {
    pub tuple: FlowTuple,
    pub counters: Counters,
    pub opened: bool,
    /// The number of groups that are summed; 0 for a group of its own.
    pub folded: u64,
}

/// Groups that are summed: all of one family, protocol and direction.
#[derive(Debug)]
struct Folded {
    tuple: FlowTuple,
    group: Group,
    groups: u64,
}

/// The groups of one context.
#[derive(Debug, Default)]
pub(super) struct ContextGroups {
    groups: HashMap<GroupKey, Group>,
    /// How many of `groups` wait for the domain of their peer.
    unnamed: usize,
    folded: Vec<Folded>,
}

impl ContextGroups {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.folded.is_empty()
    }

    /// Whether a group may wait for the domain of its peer.
    pub(super) fn has_room_for_unnamed(&self, tuple: &FlowTuple, socket: u64) -> bool {
        // The key is cloned only by contexts with very many groups.
        self.unnamed < MAX_UNNAMED || self.groups.contains_key(&GroupKey { tuple: tuple.clone(), socket })
    }

    /// Adds a group. Above `fold_above`, taken several times, the smallest are folded.
    pub(super) fn add(&mut self, key: GroupKey, group: Group, fold_above: usize) {
        let is_unnamed = key.socket != 0;
        match self.groups.get_mut(&key) {
            Some(known) => known.add(group),
            None => {
                self.unnamed += usize::from(is_unnamed);
                self.groups.insert(key, group);
            }
        }
        if self.groups.len() - self.unnamed > fold_above.saturating_mul(OPEN_FACTOR) {
            let named = self.groups.extract_if(|key, _| key.socket == 0).collect();
            for (key, group) in self.fold(named, fold_above) {
                self.groups.insert(key, group);
            }
        }
    }

    /// Takes out the groups that wait for the domain of their peer.
    pub(super) fn take_unnamed(&mut self) -> Vec<(GroupKey, Group)> {
        if std::mem::take(&mut self.unnamed) == 0 {
            return Vec::new();
        }
        self.groups.extract_if(|key, _| key.socket != 0).collect()
    }

    /// Blanks the tuples of all groups but those that wait for the domain of their peer. Groups may become equal.
    pub(super) fn blank(&mut self, blank: impl Fn(&mut FlowTuple), fold_above: usize) {
        let named: Vec<_> = self.groups.extract_if(|key, _| key.socket == 0).collect();
        for (mut key, group) in named {
            blank(&mut key.tuple);
            self.add(key, group, fold_above);
        }
        self.folded.iter_mut().for_each(|folded| blank(&mut folded.tuple));
    }

    /// Takes out the groups that have waited for their digests for `patience` windows, folded if there are more than
    /// `fold_above`. All others have waited for one more.
    pub(super) fn take_ready(&mut self, patience: u32, fold_above: usize) -> Vec<ReadyGroup> {
        let is_ready = |key: &GroupKey, group: &mut Group| {
            let ready = key.socket == 0 && group.waited >= patience;
            group.waited += 1;
            ready
        };
        let mut ready: Vec<_> = self.groups.extract_if(is_ready).collect();
        if ready.len() > fold_above || !ready.is_empty() && !self.folded.is_empty() {
            ready = self.fold(ready, fold_above);
        }
        let mut records: Vec<ReadyGroup> = ready
            .into_iter()
            .map(|(key, group)| ReadyGroup {
                tuple: key.tuple,
                counters: group.counters,
                opened: group.opened,
                folded: 0,
            })
            .collect();
        self.folded.retain_mut(|folded| {
            let ready = folded.group.waited >= patience;
            folded.group.waited += 1;
            if ready {
                records.push(ReadyGroup {
                    tuple: folded.tuple.clone(),
                    counters: folded.group.counters,
                    opened: folded.group.opened,
                    folded: folded.groups,
                });
            }
            !ready
        });
        // The memory of a burst is given back.
        self.groups.shrink_to_fit();
        records
    }

    /// Folds all groups but the largest. Returns those.
    fn fold(&mut self, mut groups: Vec<(GroupKey, Group)>, fold_above: usize) -> Vec<(GroupKey, Group)> {
        let kept = fold_above / 4 * 3;
        if groups.len() > kept {
            groups.sort_unstable_by_key(|(_, group)| {
                std::cmp::Reverse((group.bytes(), group.counters.connections))
            });
            for (key, group) in groups.drain(kept..) {
                self.add_folded(key.tuple, group);
            }
        }
        groups
    }

    fn add_folded(&mut self, mut tuple: FlowTuple, group: Group) {
        let position = |folded: &[Folded], tuple: &FlowTuple| {
            folded.iter().position(|folded| {
                (folded.tuple.family, folded.tuple.protocol, folded.group.opened)
                    == (tuple.family, tuple.protocol, group.opened)
            })
        };
        let mut found = position(&self.folded, &tuple);
        if found.is_none() && self.folded.len() >= MAX_KINDS {
            // A program chooses its protocols: of very many, the rest are summed together.
            tuple.protocol = 0;
            found = position(&self.folded, &tuple);
        }
        let known = found.and_then(|at| self.folded.get_mut(at));
        match known {
            Some(folded) => {
                folded.tuple.fold(&tuple);
                folded.group.add(group);
                folded.groups += 1;
            }
            None => self.folded.push(Folded { tuple, group, groups: 1 }),
        }
    }
}
