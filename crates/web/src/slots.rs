//! The colour of each program: one of eight, the same on every page and day.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use model::Bytes;
use ring::digest::{SHA256, digest};
use server_query::{SourceError, SourceReader};
use store::Source;

/// Colours of the page: `--p1` to `--p8`.
const COLOURS: usize = 8;
/// How long no further program is looked for in the log; it has the colour of its hash meanwhile.
const REFRESH: Duration = Duration::from_secs(5);

/// The colours of the log, the same for all readers.
#[derive(Default)]
pub(crate) struct SharedSlots(Mutex<(String, Arc<Slots>)>);

impl SharedSlots {
    /// The colours of the log with this identity.
    pub fn of_log(&self, id: &str) -> Arc<Slots> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.0 != id {
            *shared = (id.to_owned(), Arc::default());
        }
        Arc::clone(&shared.1)
    }
}

/// The colours of the programs of a log. Each program gets the colour that the fewest programs before it have, in the order in
/// which they were first seen, beginning with the one of its hash: so those that are seen together are told apart. A program that
/// has used no network itself, as a parent, has the one of its hash, as all programs of a server have. A colour changes only in the first seconds of a program on
/// the network, and when the first sight of an earlier one is deleted.
#[derive(Default)]
pub(crate) struct Slots(Mutex<State>);

#[derive(Default)]
struct State {
    slots: HashMap<Bytes, u8>,
    /// When a reader began to read the programs.
    read: Option<Instant>,
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The colour of a program, from 1 to 8.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn of(&self, reader: &SourceReader, path: &[u8]) -> Result<u8, SourceError> {
        if reader.has_hosts() {
            // Of a server all records would be read for it.
            return Ok(first_choice(path) as u8 + 1);
        }
        let mut state = self.lock();
        if !state.slots.contains_key(path) && state.read.is_none_or(|read| read.elapsed() > REFRESH) {
            state.read = Some(Instant::now());
            // The other readers need not wait.
            drop(state);
            let programs = reader.programs_seen(&[])?;
            let slots = assign(programs.into_iter().map(|program| (program.path, program.first)));
            state = self.lock();
            state.slots = slots;
        }
        Ok(state.slots.get(path).copied().unwrap_or_else(|| first_choice(path) as u8 + 1))
    }
}

/// Gives colours to programs with the time of their first sight.
fn assign(programs: impl Iterator<Item = (Bytes, i64)>) -> HashMap<Bytes, u8> {
    let mut first_seen: BTreeMap<Bytes, i64> = BTreeMap::new();
    for (path, first) in programs {
        let known = first_seen.entry(path).or_insert(first);
        *known = first.min(*known);
    }
    let mut in_order: Vec<(i64, Bytes)> = first_seen.into_iter().map(|(path, first)| (first, path)).collect();
    in_order.sort_unstable();
    let mut counts = [0_u32; COLOURS];
    let slot = |(_, path): (i64, Bytes)| {
        let choice = first_choice(&path);
        let turn = |slot: &usize| (slot + COLOURS - choice) % COLOURS;
        let slot = (0..COLOURS).min_by_key(|slot| (counts[*slot], turn(slot))).unwrap_or(choice);
        counts[slot] += 1;
        (path, slot as u8 + 1)
    };
    in_order.into_iter().map(slot).collect()
}

/// The colour of a program that is alone, from 0.
fn first_choice(path: &[u8]) -> usize {
    usize::from(digest(&SHA256, path).as_ref()[0]) % COLOURS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_the_colours_of_a_log() {
        let shared = SharedSlots::default();
        let slots = shared.of_log("one");
        assert!(Arc::ptr_eq(&slots, &shared.of_log("one")));
        assert!(!Arc::ptr_eq(&slots, &shared.of_log("another")));
    }

    #[test]
    fn later_programs_change_no_colour() {
        let program = |number: i64| (format!("/usr/bin/program-{number}").into_bytes(), 1000 + number);
        let (some, more) = (assign((0..20).map(program)), assign((0..200).rev().map(program)));
        assert!(some.iter().all(|(path, slot)| more[path] == *slot));
        // Eight programs that come one after the other have eight colours.
        let mut first: Vec<u8> = (0..8).map(|number| some[&program(number).0]).collect();
        first.sort_unstable();
        assert_eq!(first, [1, 2, 3, 4, 5, 6, 7, 8]);
        // Another user's later sight of the same program is none of another program.
        let twice = assign((0..20).map(program).chain([(program(3).0, 5000)]));
        assert_eq!(twice, some);
    }
}
