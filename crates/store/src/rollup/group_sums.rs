//! Sums of counters by the fields of a record's key.

use std::collections::HashMap;

use model::{Counters, Port};

/// The key of a group of records. Fields that the records are not grouped by are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey {
    /// The id in table `context`.
    pub context: i64,
    /// The id in table `endpoint`.
    pub endpoint: i64,
    /// End of the window, unix seconds; or the index of the interval that contains it.
    pub time: i64,
    pub remote_port: Port,
    pub local_port: Port,
}

/// A set of fields of a [`GroupKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyFields {
    pub context: bool,
    pub endpoint: bool,
    pub time: bool,
    pub remote_port: bool,
    pub local_port: bool,
}

impl KeyFields {
    /// The fields that are in one of both sets.
    pub fn union(self, other: Self) -> Self {
        Self {
            context: self.context || other.context,
            endpoint: self.endpoint || other.endpoint,
            time: self.time || other.time,
            remote_port: self.remote_port || other.remote_port,
            local_port: self.local_port || other.local_port,
        }
    }

    /// The value of the field if the set has exactly one.
    #[inline]
    fn single_value(self, key: &GroupKey) -> Option<i64> {
        match (self.context, self.endpoint, self.time, self.remote_port, self.local_port) {
            (true, false, false, false, false) => Some(key.context),
            (false, true, false, false, false) => Some(key.endpoint),
            (false, false, true, false, false) => Some(key.time),
            (false, false, false, true, false) => Some(key.remote_port),
            (false, false, false, false, true) => Some(key.local_port),
            _ => None,
        }
    }

    /// The key with only the fields of this set.
    fn project(self, key: GroupKey) -> GroupKey {
        GroupKey {
            context: if self.context { key.context } else { 0 },
            endpoint: if self.endpoint { key.endpoint } else { 0 },
            time: if self.time { key.time } else { 0 },
            remote_port: if self.remote_port { key.remote_port } else { 0 },
            local_port: if self.local_port { key.local_port } else { 0 },
        }
    }
}

/// Sums of counters by [`GroupKey`].
#[derive(Default)]
pub(super) struct GroupSums {
    /// The fields by which records are grouped.
    pub fields: KeyFields,
    keys: Vec<GroupKey>,
    /// The sum of each key. A vector of its own, so that more sums fit into the processor's caches.
    counters: Vec<Counters>,
    /// For groups by a single field: by its value the index in `keys` plus 1, or 0. Most queries group by a single field,
    /// and hashing a key for each row would take longer than everything else.
    direct_slots: Vec<u32>,
    /// For all other keys the index in `keys`.
    hashed_slots: HashMap<GroupKey, u32, foldhash::fast::FixedState>,
    /// The latest key and its pending sum: neighbouring rows often have the same key.
    latest: Option<(GroupKey, Counters)>,
}

impl GroupSums {
    /// Values of a single field below this have a direct slot.
    const MAX_DIRECT_SLOTS: usize = 1 << 20;

    pub fn new(fields: KeyFields) -> Self {
        Self { fields, ..Self::default() }
    }

    #[inline]
    pub fn add(&mut self, key: GroupKey, counters: Counters) {
        let key = self.fields.project(key);
        match &mut self.latest {
            Some((latest, sum)) if *latest == key => *sum += counters,
            latest => {
                if let Some((key, counters)) = latest.replace((key, counters)) {
                    self.add_to_slot(key, counters);
                }
            }
        }
    }

    fn add_to_slot(&mut self, key: GroupKey, counters: Counters) {
        let next = self.keys.len() as u32;
        let slot = match self.fields.single_value(&key).and_then(|value| usize::try_from(value).ok()) {
            Some(value) if value < Self::MAX_DIRECT_SLOTS => {
                if self.direct_slots.len() <= value {
                    self.direct_slots.resize((value + 1).next_power_of_two(), 0);
                }
                let slot = &mut self.direct_slots[value];
                if *slot == 0 {
                    *slot = next + 1;
                }
                *slot - 1
            }
            _ => *self.hashed_slots.entry(key).or_insert(next),
        };
        match self.counters.get_mut(slot as usize) {
            Some(sum) => *sum += counters,
            None => {
                self.keys.push(key);
                self.counters.push(counters);
            }
        }
    }

    /// The number of groups, without the pending one.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Takes all sums out, in no particular order.
    pub fn take(&mut self) -> Vec<(GroupKey, Counters)> {
        if let Some((key, counters)) = self.latest.take() {
            self.add_to_slot(key, counters);
        }
        let Self { keys, counters, .. } = std::mem::replace(self, Self::new(self.fields));
        keys.into_iter().zip(counters).collect()
    }
}
