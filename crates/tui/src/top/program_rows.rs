//! The rows of the programs list, built from the live state whenever it has changed.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{
    alert::Highlight,
    lineage::{Chain, Lineage},
    live_state::LiveState,
    rates::ByteCounts,
    sort_column::SortColumn,
};
use crate::term::text;

/// Programs on a path of the tree.
const MAX_DEPTH: usize = 8;

/// The key of a row: the path of its program, in the tree after those of its ancestors.
pub type RowKey = Vec<Vec<u8>>;

/// A program, or in the tree also a program that has started others.
#[derive(Clone, Debug, Default)]
pub struct ProgramRow {
    /// Identifies the row from one frame to the next.
    pub key: RowKey,
    /// The path as safe text.
    pub label: String,
    /// Connections that are open now.
    pub open: u64,
    /// Listening sockets that are open now.
    pub listening: u64,
    pub second: ByteCounts,
    pub ten_seconds: ByteCounts,
    pub total: ByteCounts,
    /// Indices of the lineages that are summed up in this row.
    pub lineages: BTreeSet<usize>,
    pub highlight: Option<Highlight>,
}

impl ProgramRow {
    /// Number of ancestors above the row in the tree.
    pub fn depth(&self) -> usize {
        self.key.len().saturating_sub(1)
    }

    /// The path of the program.
    pub fn path(&self) -> &[u8] {
        self.key.last().map(Vec::as_slice).unwrap_or_default()
    }

    fn add(&mut self, index: usize, lineage: &Lineage, live: &LiveState) {
        if self.lineages.insert(index) {
            self.open += lineage.open;
            self.listening += lineage.listening;
            self.second.add(lineage.rates.second(&live.clock));
            self.ten_seconds.add(lineage.rates.ten_seconds(&live.clock));
            self.total.add(lineage.total);
        }
    }

    fn compare(&self, other: &Self, sort: SortColumn) -> Ordering {
        let key = |row: &Self| {
            let (second, ten, total) = (row.second.sum(), row.ten_seconds.sum(), row.total.sum());
            Reverse(match sort {
                SortColumn::Second => (second, ten, total),
                SortColumn::TenSeconds => (ten, total, second),
                SortColumn::Total => (total, ten, second),
                SortColumn::Connections => (row.open, row.listening, ten),
                SortColumn::Name => (0, 0, 0),
            })
        };
        key(self).cmp(&key(other)).then_with(|| self.label.cmp(&other.label))
    }
}

/// A path as safe text.
fn label(path: &[u8], ascii: bool) -> String {
    if path.is_empty() { "(unknown program)".to_owned() } else { text::safe(path, ascii) }
}

/// The rows whose lineage has `find`, which is in lower case, in its words.
pub fn programs(live: &LiveState, sort: SortColumn, tree: bool, find: &str) -> Vec<ProgramRow> {
    let mut rows: BTreeMap<RowKey, ProgramRow> = BTreeMap::new();
    let parents = if tree { parents(live) } else { HashMap::new() };
    for (index, lineage) in live.lineages.iter().enumerate() {
        if lineage.is_empty() || !lineage.words.contains(find) {
            continue;
        }
        let key = if tree { ancestry(&lineage.chain, &parents) } else { vec![lineage.chain[2].clone()] };
        for depth in 1..=key.len() {
            let key = &key[..depth];
            let row = rows.entry(key.to_vec()).or_insert_with(|| ProgramRow {
                label: label(&key[depth - 1], live.ascii),
                highlight: live.highlights.get(&key[depth - 1]).copied(),
                key: key.to_vec(),
                ..ProgramRow::default()
            });
            row.add(index, lineage, live);
        }
    }
    if !tree {
        let mut rows: Vec<ProgramRow> = rows.into_values().collect();
        rows.sort_by(|one, other| one.compare(other, sort));
        return rows;
    }
    let mut below: BTreeMap<RowKey, Vec<ProgramRow>> = BTreeMap::new();
    for (key, row) in rows {
        below.entry(key[..key.len() - 1].to_vec()).or_default().push(row);
    }
    let mut ordered = Vec::new();
    descend(&[], &mut below, sort, &mut ordered);
    ordered
}

/// The parent of each program; `None` if lineages disagree about it.
fn parents(live: &LiveState) -> HashMap<&[u8], Option<&[u8]>> {
    let mut parents = HashMap::new();
    for Lineage { chain: [grandparent, parent, program], .. } in &live.lineages {
        for (child, parent) in [(program, parent), (parent, grandparent)] {
            if !child.is_empty() && !parent.is_empty() {
                let entry = parents.entry(child.as_slice()).or_insert(Some(parent.as_slice()));
                if *entry != Some(parent.as_slice()) {
                    *entry = None;
                }
            }
        }
    }
    parents
}

/// The paths of the program and of its ancestors, the oldest known one first.
fn ancestry(chain: &Chain, parents: &HashMap<&[u8], Option<&[u8]>>) -> RowKey {
    let [ancestors @ .., program] = chain;
    let ancestors = ancestors.iter().filter(|path| !path.is_empty());
    let mut key: Vec<&[u8]> = ancestors.chain([program]).map(Vec::as_slice).collect();
    while key.len() < MAX_DEPTH
        && let Some(Some(parent)) = key.first().and_then(|first| parents.get(first))
        && !key.contains(parent)
    {
        key.insert(0, parent);
    }
    key.into_iter().map(<[u8]>::to_vec).collect()
}

/// Moves the rows below `key` to `ordered`, each followed by those below it.
fn descend(
    key: &[Vec<u8>],
    below: &mut BTreeMap<RowKey, Vec<ProgramRow>>,
    sort: SortColumn,
    ordered: &mut Vec<ProgramRow>,
) {
    let mut rows = below.remove(key).unwrap_or_default();
    rows.sort_by(|one, other| one.compare(other, sort));
    for row in rows {
        let key = row.key.clone();
        ordered.push(row);
        descend(&key, below, sort, ordered);
    }
}
