//! The rows of both lists, made anew from the model for each frame that shows something new.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{
    model::{Chain, Family, Mark, Model},
    rates::Bytes,
};
use crate::term::text;

/// Programs above each other in the tree.
const MAX_DEPTH: usize = 8;

/// By what rows are sorted, in both lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The rate of the last second.
    Second,
    /// The rate of the last ten seconds.
    TenSeconds,
    Total,
    /// Programs with the most connections; the newest connections.
    Connections,
    Name,
}

impl Sort {
    /// In the order in which a key goes through them.
    pub const ALL: [Self; 5] = [Self::Second, Self::TenSeconds, Self::Total, Self::Connections, Self::Name];
}

/// A program, or in the tree one that has started others.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its path, in the tree after those of its parents: what makes it the same row later.
    pub key: Vec<Vec<u8>>,
    /// Safe text.
    pub label: String,
    pub open: u64,
    pub listening: u64,
    pub second: Bytes,
    pub ten_seconds: Bytes,
    pub total: Bytes,
    /// The families in it, by their numbers.
    pub families: BTreeSet<usize>,
    pub mark: Option<Mark>,
}

impl Row {
    /// How deep it stands in the tree.
    pub fn depth(&self) -> usize {
        self.key.len().saturating_sub(1)
    }

    /// The path of its program.
    pub fn path(&self) -> &[u8] {
        self.key.last().map(Vec::as_slice).unwrap_or_default()
    }

    fn add(&mut self, number: usize, family: &Family, model: &Model) {
        if self.families.insert(number) {
            self.open += family.open;
            self.listening += family.listening;
            self.second.add(family.rates.second(&model.clock));
            self.ten_seconds.add(family.rates.ten_seconds(&model.clock));
            self.total.add(family.total);
        }
    }

    fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        let key = |row: &Self| {
            let (second, ten, total) = (row.second.sum(), row.ten_seconds.sum(), row.total.sum());
            Reverse(match sort {
                Sort::Second => (second, ten, total),
                Sort::TenSeconds => (ten, total, second),
                Sort::Total => (total, ten, second),
                Sort::Connections => (row.open, row.listening, ten),
                Sort::Name => (0, 0, 0),
            })
        };
        key(self).cmp(&key(other)).then_with(|| self.label.cmp(&other.label))
    }
}

/// What a path is called.
fn label(path: &[u8], ascii: bool) -> String {
    if path.is_empty() { "(unknown program)".to_owned() } else { text::safe(path, ascii) }
}

/// The programs that have `find` (in small letters) in their words.
pub fn programs(model: &Model, sort: Sort, tree: bool, find: &str) -> Vec<Row> {
    let mut rows: BTreeMap<Vec<Vec<u8>>, Row> = BTreeMap::new();
    let parents = if tree { parents(model) } else { HashMap::new() };
    for (number, family) in model.families.iter().enumerate() {
        let silent = family.open + family.listening + family.ended == 0 && family.total == Bytes::default();
        if silent || !family.words.contains(find) {
            continue;
        }
        let key = if tree { ancestry(&family.chain, &parents) } else { vec![family.chain[2].clone()] };
        for depth in 1..=key.len() {
            let key = &key[..depth];
            let row = rows.entry(key.to_vec()).or_insert_with(|| Row {
                label: label(&key[depth - 1], model.ascii),
                mark: model.marks.get(&key[depth - 1]).copied(),
                key: key.to_vec(),
                ..Row::default()
            });
            row.add(number, family, model);
        }
    }
    if !tree {
        let mut rows: Vec<Row> = rows.into_values().collect();
        rows.sort_by(|one, other| one.compare(other, sort));
        return rows;
    }
    let mut below: BTreeMap<Vec<Vec<u8>>, Vec<Row>> = BTreeMap::new();
    for (key, row) in rows {
        below.entry(key[..key.len() - 1].to_vec()).or_default().push(row);
    }
    let mut ordered = Vec::new();
    descend(&[], &mut below, sort, &mut ordered);
    ordered
}

/// Who started each program, as far as all agree.
fn parents(model: &Model) -> HashMap<&[u8], Option<&[u8]>> {
    let mut parents = HashMap::new();
    for Family { chain: [grandparent, parent, program], .. } in &model.families {
        for (child, parent) in [(program, parent), (parent, grandparent)] {
            if !child.is_empty() && !parent.is_empty() {
                let known = parents.entry(child.as_slice()).or_insert(Some(parent.as_slice()));
                if *known != Some(parent.as_slice()) {
                    *known = None;
                }
            }
        }
    }
    parents
}

/// The paths from the first one that is known to have started others down to the program.
fn ancestry(chain: &Chain, parents: &HashMap<&[u8], Option<&[u8]>>) -> Vec<Vec<u8>> {
    let [ancestors @ .., program] = chain;
    let known = ancestors.iter().filter(|path| !path.is_empty());
    let mut key: Vec<&[u8]> = known.chain([program]).map(Vec::as_slice).collect();
    while key.len() < MAX_DEPTH
        && let Some(Some(parent)) = key.first().and_then(|first| parents.get(first))
        && !key.contains(parent)
    {
        key.insert(0, parent);
    }
    key.into_iter().map(<[u8]>::to_vec).collect()
}

/// Each row, and after it those below it.
fn descend(
    key: &[Vec<u8>],
    below: &mut BTreeMap<Vec<Vec<u8>>, Vec<Row>>,
    sort: Sort,
    ordered: &mut Vec<Row>,
) {
    let mut rows = below.remove(key).unwrap_or_default();
    rows.sort_by(|one, other| one.compare(other, sort));
    for row in rows {
        let key = row.key.clone();
        ordered.push(row);
        descend(&key, below, sort, ordered);
    }
}

/// The connections of a row, and where it listens.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// Their ids.
    pub ids: Vec<u64>,
    /// Safe text: `tcp *:80`, each once.
    pub listening: BTreeSet<String>,
}

/// Those that have `find` (in small letters) in their peer.
pub fn connections(model: &Model, row: &Row, sort: Sort, find: &str) -> Connections {
    let mut of_it = vec![false; model.families.len()];
    row.families.iter().for_each(|family| of_it[*family] = true);
    let mut found = Connections::default();
    let mut keyed = Vec::new();
    for (id, connection) in model.connections.iter().filter(|(_, connection)| of_it[connection.family]) {
        if connection.listens {
            if connection.ended.is_none() {
                found.listening.insert(format!("{} {}", connection.protocol, connection.peer));
            }
            continue;
        }
        if !find.is_empty() && !connection.peer.to_lowercase().contains(find) {
            continue;
        }
        let (rate, total) = (connection.rate.second(&model.clock).sum(), connection.total.sum());
        let key = match sort {
            Sort::Second | Sort::TenSeconds => (rate, total),
            Sort::Total => (total, rate),
            Sort::Connections => (connection.began.map_or(0, |began| (began * 1e3) as u64), 0),
            Sort::Name => (0, 0),
        };
        let name = if sort == Sort::Name { connection.peer.as_str() } else { "" };
        keyed.push((connection.ended.is_some(), Reverse(key), name, Reverse(*id)));
    }
    keyed.sort_unstable();
    found.ids = keyed.into_iter().map(|(_, _, _, Reverse(id))| id).collect();
    found
}
