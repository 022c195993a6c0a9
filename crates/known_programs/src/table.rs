//! Bounded tables of two levels: entries by a path or a name, each with a list of values. The bounds are those of the
//! text of record.json: each key and value counts as many bytes as it has there, with its escapes.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use super::{bounds::ReachedBounds, rank::Rank, table_id::TableId};

/// Upper bound for the entries of a table.
pub(super) const MAX_ENTRIES: usize = 20_000;
/// Upper bound for the values of one entry: names of a program, programs of a name, digests of a path.
pub(super) const MAX_VALUES: usize = 64;
/// Upper bounds for the bytes of all short entries together, and of all long ones. Long entries have a bound of their own, so
/// that a few programs with very long paths do not take the room of all others.
pub(super) const MAX_BYTES: [usize; 2] = [12 * 1024 * 1024, 4 * 1024 * 1024];
/// An entry with more bytes is a long one.
const LONG_ENTRY_BYTES: usize = 2048;
/// Indentation, quotes, separators and line breaks of an entry, and of a value in it: see `format.rs`.
const ENTRY_SYNTAX_BYTES: usize = 17;
const VALUE_SYNTAX_BYTES: usize = 14;

/// A value of an entry: a name, a path, or a digest with its verdict.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) text: Arc<str>,
    /// When it was last seen: a number that grows.
    pub(super) last: u64,
    /// The verdict of VirusTotal; empty in all tables but that of the digests.
    pub(super) verdict: Box<str>,
}

/// The values of one path or name, sorted by their text.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// When it was last seen. No two entries of the tables have the same number.
    pub(super) last: u64,
    pub(super) values: Vec<Value>,
    /// Bytes in record.json.
    bytes: usize,
}

impl Entry {
    pub(super) fn contains(&self, value: &str) -> bool {
        self.position(value).is_ok()
    }

    fn position(&self, value: &str) -> Result<usize, usize> {
        self.values.binary_search_by(|other| (*other.text).cmp(value))
    }

    /// 0 for a short entry, 1 for a long one: the index in [`MAX_BYTES`].
    fn size_class(&self) -> usize {
        usize::from(self.bytes > LONG_ENTRY_BYTES)
    }
}

/// One table, with the order in which its entries were seen.
#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
    /// The keys by [`Entry::last`], short and long entries apart.
    by_age: [BTreeMap<u64, Arc<str>>; 2],
    bytes: [usize; 2],
}

impl Table {
    /// Changes an entry, which may be new, and keeps the sums and the order right.
    fn change<R>(&mut self, key: &Arc<str>, now: u64, change: impl FnOnce(&mut Entry) -> R) -> R {
        let (key, mut entry) = match self.entries.remove_entry(&**key) {
            Some((key, entry)) => {
                self.by_age[entry.size_class()].remove(&entry.last);
                self.bytes[entry.size_class()] -= entry.bytes;
                (key, entry)
            }
            None => {
                let bytes = ENTRY_SYNTAX_BYTES + json_bytes(key);
                (Arc::clone(key), Entry { bytes, ..Entry::default() })
            }
        };
        entry.last = now;
        let result = change(&mut entry);
        self.by_age[entry.size_class()].insert(now, Arc::clone(&key));
        self.bytes[entry.size_class()] += entry.bytes;
        self.entries.insert(key, entry);
        result
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_age[entry.size_class()].remove(&entry.last);
            self.bytes[entry.size_class()] -= entry.bytes;
        }
    }
}

/// The seven tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tables: [Table; 7],
    /// The number of changes so far: the time of [`Entry::last`].
    now: u64,
    pub(super) bounds: ReachedBounds,
}

impl Tables {
    pub(super) fn len(&self, table: TableId) -> usize {
        self.tables[table as usize].entries.len()
    }

    pub(super) fn get(&self, table: TableId, key: &str) -> Option<&Entry> {
        self.tables[table as usize].entries.get(key)
    }

    /// The entries of a table after a key, in the order of their keys.
    pub(super) fn after(
        &self,
        table: TableId,
        key: Option<&str>,
    ) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let from = key.map_or(Unbounded, Excluded);
        self.tables[table as usize].entries.range::<str, _>((from, Unbounded))
    }

    /// A text as the tables share it: each path is in several of them.
    pub(super) fn share(&self, text: String) -> Arc<str> {
        for table in [TableId::Executables, TableId::ParentExecutables, TableId::GrandparentExecutables] {
            if let Some((shared, _)) = self.tables[table as usize].entries.get_key_value(text.as_str()) {
                return Arc::clone(shared);
            }
        }
        text.into()
    }

    /// Makes an entry, if there is none, and notes that it is seen now.
    pub(super) fn touch(&mut self, table: TableId, key: &Arc<str>) {
        self.now += 1;
        self.tables[table as usize].change(key, self.now, |_| ());
    }

    /// Adds a value to an entry, which may be new, and notes that both are seen now. A full entry loses the value that was not
    /// seen for the longest time.
    pub(super) fn add(&mut self, table: TableId, key: &Arc<str>, value: &Arc<str>) {
        self.now += 1;
        let (now, bounds) = (self.now, &mut self.bounds);
        self.tables[table as usize].change(key, now, |entry| {
            if let Ok(at) = entry.position(value) {
                entry.values[at].last = now;
                return;
            }
            if entry.values.len() >= MAX_VALUES {
                bounds.add(table.plurals()[1]);
                let oldest = entry.values.iter().enumerate().min_by_key(|(_, value)| value.last);
                if let Some((at, _)) = oldest {
                    entry.bytes -= value_bytes(&entry.values.remove(at));
                }
            }
            let new = Value { text: Arc::clone(value), last: now, verdict: Box::default() };
            entry.bytes += value_bytes(&new);
            // Most entries have one value for ever.
            entry.values.reserve_exact(1);
            let at = entry.position(value).unwrap_or_else(|at| at);
            entry.values.insert(at, new);
        });
    }

    /// Sets the verdict of a digest of a path, which does not count as seeing it. Returns whether it has changed.
    pub(super) fn set_verdict(&mut self, path: &Arc<str>, digest: &str, verdict: &str) -> bool {
        let table = &mut self.tables[TableId::Digests as usize];
        let Some(entry) = table.entries.get(path) else { return false };
        let (last, position) = (entry.last, entry.position(digest));
        let Ok(at) = position else { return false };
        if *entry.values[at].verdict == *verdict {
            return false;
        }
        table.change(path, last, |entry| {
            entry.bytes -= value_bytes(&entry.values[at]);
            entry.values[at].verdict = verdict.into();
            entry.bytes += value_bytes(&entry.values[at]);
        });
        true
    }

    /// Sets the verdict of a digest under every path that has it; returns the paths whose verdict has changed.
    pub(super) fn set_verdicts(&mut self, digest: &str, verdict: &str) -> Vec<Arc<str>> {
        let with_digest = self.after(TableId::Digests, None).filter(|(_, entry)| entry.contains(digest));
        let mut paths: Vec<_> = with_digest.map(|(path, _)| Arc::clone(path)).collect();
        paths.retain(|path| self.set_verdict(path, digest, verdict));
        paths
    }

    pub(super) fn add_full_entry_bound(&mut self, table: TableId) {
        self.bounds.add(table.plurals()[1]);
    }

    pub(super) fn remove(&mut self, table: TableId, key: &str) {
        self.tables[table as usize].remove(key);
    }

    /// Removes all keys and values for which `is_removed` holds, and names that have no path left. Returns their number.
    pub(super) fn remove_texts(&mut self, is_removed: &dyn Fn(&str) -> bool) -> usize {
        let mut removed = 0;
        for table in &mut self.tables {
            let keys: Vec<_> = table.entries.keys().filter(|key| is_removed(key)).cloned().collect();
            removed += keys.len();
            keys.iter().for_each(|key| table.remove(key));
            let has_any = |entry: &Entry| entry.values.iter().any(|value| is_removed(&value.text));
            let changed = table.entries.iter().filter(|(_, entry)| has_any(entry));
            let changed: Vec<_> = changed.map(|(key, entry)| (Arc::clone(key), entry.last)).collect();
            for (key, last) in changed {
                let is_empty = table.change(&key, last, |entry| {
                    let (gone, kept) = std::mem::take(&mut entry.values)
                        .into_iter()
                        .partition::<Vec<_>, _>(|value| is_removed(&value.text));
                    removed += gone.len();
                    entry.bytes -= gone.iter().map(value_bytes).sum::<usize>();
                    entry.values = kept;
                    entry.values.is_empty()
                });
                if is_empty {
                    table.remove(&key);
                }
            }
        }
        removed
    }

    /// Removes the entries that were not seen for the longest time until the bounds hold, and returns them.
    pub(super) fn trim(&mut self) -> Vec<(TableId, Arc<str>)> {
        let mut removed = Vec::new();
        while let Some((table, class)) = self.table_above_bound()
            && let Some(key) = self.oldest(table, class)
        {
            removed.extend(self.forget(table, key));
        }
        removed
    }

    /// Removes an entry for which there is no room. A path whose digests go is no known program any more: it could have
    /// another content when it is seen again. Returns what was removed.
    fn forget(&mut self, table: TableId, key: Arc<str>) -> Vec<(TableId, Arc<str>)> {
        let mut tables = vec![table];
        if table == TableId::Digests {
            let of_path = Rank::ALL.into_iter().map(Rank::executables);
            tables.extend(of_path.filter(|table| self.get(*table, &key).is_some()));
        }
        tables.iter().for_each(|table| self.remove(*table, &key));
        tables.into_iter().map(|table| (table, Arc::clone(&key))).collect()
    }

    /// The table of which an entry must go, and the size class of that entry, if it matters.
    fn table_above_bound(&mut self) -> Option<(TableId, Option<usize>)> {
        if let Some(table) = TableId::ALL.into_iter().find(|table| self.len(*table) > MAX_ENTRIES) {
            self.bounds.add(table.plurals()[0]);
            return Some((table, None));
        }
        for class in [0, 1] {
            let bytes: usize = self.tables.iter().map(|table| table.bytes[class]).sum();
            if bytes > MAX_BYTES[class] {
                self.bounds.add(["paths and names (12 MiB)", "very long paths and lists (4 MiB)"][class]);
                let age = |table: &TableId| {
                    let oldest = self.tables[*table as usize].by_age[class].keys().next();
                    oldest.copied().unwrap_or(u64::MAX)
                };
                return TableId::ALL.into_iter().min_by_key(age).map(|table| (table, Some(class)));
            }
        }
        None
    }

    /// Removes entries until the bounds hold while a file is read, whose tables come one after the other: the largest table
    /// loses entries, since otherwise the first table would be the oldest.
    pub(super) fn trim_while_reading(&mut self) {
        while let Some((table, class)) = self.table_above_bound() {
            let bytes = |table: &TableId| class.map(|class| self.tables[*table as usize].bytes[class]);
            let table = match class {
                Some(_) => TableId::ALL.into_iter().max_by_key(bytes).unwrap_or(table),
                None => table,
            };
            let Some(key) = self.oldest(table, class) else { break };
            self.forget(table, key);
        }
    }

    /// The key of the oldest entry of a table, of one size class or of any.
    fn oldest(&self, table: TableId, class: Option<usize>) -> Option<Arc<str>> {
        let ages = &self.tables[table as usize].by_age;
        let of_class = |class: usize| ages[class].iter().next();
        let (_, key) = match class {
            Some(class) => of_class(class),
            None => [0, 1].into_iter().filter_map(of_class).min_by_key(|(last, _)| **last),
        }?;
        Some(Arc::clone(key))
    }

    /// Fills in what one table says and another one should, after a file was read in part: the paths by name follow from the
    /// names by path, and the other way round.
    pub(super) fn complete(&mut self) {
        for (from, to) in Rank::ALL
            .into_iter()
            .map(|rank| (rank.executables(), rank.names()))
            .flat_map(|(one, other)| [(one, other), (other, one)])
        {
            let pairs: Vec<_> = self
                .after(from, None)
                .flat_map(|(key, entry)| {
                    entry.values.iter().map(move |value| (Arc::clone(&value.text), Arc::clone(key)))
                })
                .collect();
            for (key, value) in pairs {
                if self.get(to, &key).is_none_or(|entry| entry.values.len() < MAX_VALUES) {
                    self.add(to, &key, &value);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().flat_map(|table| table.bytes).sum()
    }
}

/// Bytes of a value in record.json.
fn value_bytes(value: &Value) -> usize {
    VALUE_SYNTAX_BYTES + json_bytes(&value.text) + json_bytes(&value.verdict)
}

/// Bytes of the JSON string of a text, without its quotes.
fn json_bytes(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}
