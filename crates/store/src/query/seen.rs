//! When values were first and last seen, and how many digests a program has.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use foldhash::fast::FixedState;
use rusqlite::Connection;

use super::{
    definition::SeenFilter,
    dimension::Dimension,
    dimension_column::{DimensionColumn, KeyField},
    result_column::ResultColumn,
    value::Value,
};
use crate::{
    id_map::IdMap,
    program_seen,
    rollup::GroupKey,
    seen_times::{SeenTimes, UNSETTLED},
};

/// When a value was seen in the whole log, whatever the range and the filters of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// End of the first window with it, unix seconds UTC.
    pub first: i64,
    /// End of the last window with it, unix seconds UTC.
    pub last: i64,
    /// Of an executable the number of its digests; 0 for anything else.
    pub digests: u64,
    /// When an executable was last seen with a digest that it had not had before, unix seconds UTC; `None` if it has had one.
    pub changed: Option<i64>,
}

impl Seen {
    fn at(first: i64, last: i64) -> Self {
        Self { first, last, digests: 0, changed: None }
    }

    fn add(&mut self, first: i64, last: i64) {
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }

    /// Whether the filter selects a value that was seen so.
    pub(super) fn passes(&self, filter: SeenFilter) -> bool {
        filter.new_since.is_none_or(|since| self.first >= since)
            && filter.changed_since.is_none_or(|since| self.changed.is_some_and(|changed| changed >= since))
    }
}

/// When the values of one dimension were seen.
pub(super) struct SeenValues {
    /// The values, whose codes are those of `by_code`.
    pub column: Rc<ResultColumn>,
    by_code: HashMap<i64, Seen, FixedState>,
}

impl SeenValues {
    /// Reads when all values of a dimension were seen.
    pub fn read(connection: &Connection, dimension: Dimension) -> rusqlite::Result<Self> {
        let field = DimensionColumn::of(dimension).field;
        let mut times = IdMap::default();
        let (stored, recent) = match field {
            KeyField::RemotePort => ("SELECT port, first, last FROM port_seen", "remote_port"),
            KeyField::Context => ("SELECT id, first, last FROM context", "context"),
            _ => ("SELECT id, first, last FROM endpoint", "endpoint"),
        };
        add_rows(&mut times, connection, stored)?;
        let recent = format!("SELECT {recent}, time, time FROM record WHERE {UNSETTLED}");
        add_rows(&mut times, connection, &recent)?;
        let keys: Vec<GroupKey> = times.iter().map(|(id, _)| field.key(id)).collect();
        let column = Rc::new(ResultColumn::read(connection, dimension, keys.iter())?);
        let mut by_code: HashMap<i64, Seen, FixedState> = HashMap::default();
        for (id, SeenTimes { first, last }) in times.iter() {
            let seen = by_code.entry(column.code(&field.key(id))).or_insert(Seen::at(first, last));
            seen.add(first, last);
        }
        let mut values = Self { column, by_code };
        if matches!(dimension, Dimension::Executable | Dimension::Sha256) {
            values.add_programs(connection, dimension)?;
        }
        Ok(values)
    }

    /// When the value with a code was seen.
    pub fn of(&self, code: i64) -> Option<Seen> {
        self.by_code.get(&code).copied()
    }

    /// Adds what outlives the records: when programs were seen, by path and digest.
    fn add_programs(&mut self, connection: &Connection, dimension: Dimension) -> rusqlite::Result<()> {
        let mut digests: HashMap<i64, BTreeMap<model::Sha256, i64>, FixedState> = HashMap::default();
        for program in program_seen::read(connection)? {
            let value = match dimension {
                Dimension::Sha256 => program.sha256.map_or(Value::None, Value::Sha256),
                _ => Value::Bytes(program.path),
            };
            let Some(code) = self.column.code_of(&value) else { continue };
            if let Some(seen) = self.by_code.get_mut(&code) {
                seen.add(program.first, program.last);
            }
            if let Some(digest) = program.sha256 {
                let first = digests.entry(code).or_default().entry(digest).or_insert(program.first);
                *first = (*first).min(program.first);
            }
        }
        for (code, digests) in digests.iter().filter(|_| dimension == Dimension::Executable) {
            if let Some(seen) = self.by_code.get_mut(code) {
                seen.digests = digests.len() as u64;
                seen.changed = digests.values().copied().max().filter(|_| digests.len() > 1);
            }
        }
        Ok(())
    }
}

/// Adds rows of an id, a first and a last time.
fn add_rows(times: &mut IdMap<SeenTimes>, connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, found) = (row.get(0)?, SeenTimes { first: row.get(1)?, last: row.get(2)? });
        times.insert(id, times.get(id).map_or(found, |seen| seen.union(found)));
    }
    Ok(())
}
