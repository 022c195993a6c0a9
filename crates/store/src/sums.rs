//! Sums by the parts of a record that matter.

use std::collections::HashMap;

use model::{Counters, Port};

/// What a record is told apart by; what nobody asks for stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub context: i64,
    pub endpoint: i64,
    /// The end of the window, or the number of the piece of time.
    pub time: i64,
    pub port: Port,
    pub local_port: Port,
}

/// Which parts of the key a question looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub context: bool,
    pub endpoint: bool,
    pub time: bool,
    pub port: bool,
    pub local_port: bool,
}

impl Parts {
    /// What these and others look at.
    pub fn and(self, other: Self) -> Self {
        Self {
            context: self.context || other.context,
            endpoint: self.endpoint || other.endpoint,
            time: self.time || other.time,
            port: self.port || other.port,
            local_port: self.local_port || other.local_port,
        }
    }

    /// The number of a key, where it is one of these.
    #[inline]
    fn only(self, key: &Key) -> Option<i64> {
        match (self.context, self.endpoint, self.time, self.port, self.local_port) {
            (true, false, false, false, false) => Some(key.context),
            (false, true, false, false, false) => Some(key.endpoint),
            (false, false, true, false, false) => Some(key.time),
            (false, false, false, true, false) => Some(key.port.into()),
            (false, false, false, false, true) => Some(key.local_port),
            _ => None,
        }
    }

    fn of(self, key: Key) -> Key {
        Key {
            context: if self.context { key.context } else { 0 },
            endpoint: if self.endpoint { key.endpoint } else { 0 },
            time: if self.time { key.time } else { 0 },
            port: if self.port { key.port } else { 0 },
            local_port: if self.local_port { key.local_port } else { 0 },
        }
    }
}

/// Sums by key.
#[derive(Default)]
pub(super) struct Sums {
    /// Parts by which they are told apart.
    pub parts: Parts,
    keys: Vec<Key>,
    /// Of each key; apart from the keys, so that more of them are at hand.
    counters: Vec<Counters>,
    /// Where there is only one part: by its number the place in `keys`, and 1. Most questions are of this kind, and a
    /// hash for each cell would take longer than all else.
    places: Vec<u32>,
    /// Of all other keys the place in `keys`.
    others: HashMap<Key, u32, foldhash::fast::FixedState>,
    /// The key that came last and its sum: neighbours are often alike.
    last: Option<(Key, Counters)>,
}

impl Sums {
    /// Numbers up to this have a place in a table.
    const MAX_PLACES: usize = 1 << 20;

    pub fn by(parts: Parts) -> Self {
        Self { parts, ..Self::default() }
    }

    #[inline]
    pub fn add(&mut self, key: Key, counters: Counters) {
        let key = self.parts.of(key);
        match &mut self.last {
            Some((last, sum)) if *last == key => *sum += counters,
            last => {
                if let Some((key, counters)) = last.replace((key, counters)) {
                    self.add_row(key, counters);
                }
            }
        }
    }

    fn add_row(&mut self, key: Key, counters: Counters) {
        let next = self.keys.len() as u32;
        let place = match self.parts.only(&key).and_then(|number| usize::try_from(number).ok()) {
            Some(number) if number < Self::MAX_PLACES => {
                if self.places.len() <= number {
                    self.places.resize((number + 1).next_power_of_two(), 0);
                }
                let place = &mut self.places[number];
                if *place == 0 {
                    *place = next + 1;
                }
                *place - 1
            }
            _ => *self.others.entry(key).or_insert(next),
        };
        match self.counters.get_mut(place as usize) {
            Some(sum) => *sum += counters,
            None => {
                self.keys.push(key);
                self.counters.push(counters);
            }
        }
    }

    /// How many there are, perhaps one less.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The sums, in no order; there are none afterwards.
    pub fn take(&mut self) -> Vec<(Key, Counters)> {
        if let Some((key, counters)) = self.last.take() {
            self.add_row(key, counters);
        }
        let Self { keys, counters, .. } = std::mem::replace(self, Self::by(self.parts));
        keys.into_iter().zip(counters).collect()
    }
}
