//! Bounded tables of two levels. An entry that does not fit replaces the one that was not seen for the longest time.

use std::collections::BTreeMap;

use super::bounds::ReachedBounds;
use model::Bytes;

/// Upper bound for the entries of a table.
pub(super) const MAX_ENTRIES: usize = 20_000;
/// Upper bound for the values of one entry: names of a program, programs of a name, digests of a path.
pub(super) const MAX_VALUES: usize = 64;

/// A value, and when it was last seen: a number that grows while the daemon runs, 0 for a value that only the file has.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen<T> {
    pub(super) last: u64,
    pub(super) value: T,
}

/// The values of one entry, each with a text: the verdict of a digest, otherwise empty.
pub(super) type Values<T> = BTreeMap<T, Seen<String>>;

/// Entries by a path or a name.
pub(super) type Table<T> = BTreeMap<Bytes, Seen<Values<T>>>;

/// Returns the values of an entry, which may be new. `entries` is the plural for the sentence about a full table.
pub(super) fn entry<'a, T>(
    table: &'a mut Table<T>,
    key: &[u8],
    now: u64,
    bounds: &mut ReachedBounds,
    entries: &'static str,
) -> &'a mut Values<T> {
    if table.len() >= MAX_ENTRIES && !table.contains_key(key) {
        remove_oldest(table);
        bounds.add(entries);
    }
    let entry = table.entry(key.to_owned()).or_insert_with(|| Seen { last: now, value: BTreeMap::new() });
    entry.last = now;
    &mut entry.value
}

/// Adds a value to an entry. `plural` is the plural for the sentence about a full entry.
pub(super) fn add_value<T: Ord + Clone>(
    values: &mut Values<T>,
    value: T,
    now: u64,
    bounds: &mut ReachedBounds,
    plural: &'static str,
) {
    if values.len() >= MAX_VALUES && !values.contains_key(&value) {
        remove_oldest(values);
        bounds.add(plural);
    }
    values.entry(value).or_default().last = now;
}

fn remove_oldest<K: Ord + Clone, T>(entries: &mut BTreeMap<K, Seen<T>>) {
    let oldest = entries.iter().min_by_key(|(_, seen)| seen.last).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest {
        entries.remove(&oldest);
    }
}
