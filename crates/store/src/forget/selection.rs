//! The records and rollup rows that are forgotten, by the ids to which they refer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::Port;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Forget, Target};
use crate::{
    address_bytes::address_to_bytes,
    intern::program_hash,
    query::Value,
    rollup::{GroupKey, QUARTER_HOUR, RowFate, quarter_start},
    text_or_blob::TextOrBlob,
};

/// The ids of what is forgotten.
#[derive(Default)]
pub(super) struct Selection {
    contexts: HashSet<i64>,
    endpoints: HashSet<i64>,
    /// Endpoints that are equal to another one without their local address: the other one.
    merged_endpoints: HashMap<i64, i64>,
    /// First and last second.
    span: Option<(i64, i64)>,
    /// Programs and endpoints that lost a reference, or may have.
    pub replaced: u64,
}

/// The records that were deleted.
#[derive(Default)]
pub(super) struct RemovedRecords {
    pub count: u64,
    pub times: Option<(i64, i64)>,
    pub remote_ports: BTreeSet<Port>,
}

impl Selection {
    /// Finds the ids. Contexts and endpoints that only mention what is forgotten, as a parent or as the local address, lose
    /// that reference.
    pub fn new(connection: &Connection, what: &Forget) -> rusqlite::Result<Self> {
        let mut selection = Self::default();
        match &what.0 {
            Target::Program(path) => {
                let sql = "SELECT id FROM context WHERE program IN (SELECT id FROM program WHERE path = ?1)";
                selection.contexts = ids(connection, sql, params![TextOrBlob(path)])?;
                // A parent that is forgotten is an unknown program.
                let unknown = program_hash(&model::Program::default(), false);
                let sql = "UPDATE program SET content_hash = ?2, path = '', name = '', command_line = '', sha256 = NULL \
                           WHERE path = ?1";
                selection.replaced = connection.execute(sql, params![TextOrBlob(path), unknown])? as u64;
            }
            Target::Domain(name) => {
                let sql = "SELECT id FROM endpoint WHERE domain IN (SELECT id FROM domain WHERE name = ?1)";
                selection.endpoints = ids(connection, sql, params![TextOrBlob(name)])?;
            }
            Target::Address(Value::Address(address)) => {
                let bytes = address_to_bytes(*address);
                selection.select_addresses(connection, (&bytes, &bytes))?;
            }
            Target::Address(_) => {}
            Target::Network(first, last) => {
                let (first, last) = (address_to_bytes((*first).into()), address_to_bytes((*last).into()));
                selection.select_addresses(connection, (&first, &last))?;
            }
            Target::Time(since, until) => selection.span = Some((*since, *until)),
        }
        Ok(selection)
    }

    fn select_addresses(
        &mut self,
        connection: &Connection,
        (first, last): (&[u8], &[u8]),
    ) -> rusqlite::Result<()> {
        let sql = "SELECT id FROM address WHERE length(bytes) = length(?1) AND bytes BETWEEN ?1 AND ?2";
        let addresses = ids(connection, sql, params![first, last])?;
        let mut statement =
            connection.prepare("SELECT id, remote_address, local_address FROM endpoint ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<(i64, i64, i64)>>>()?;
        for (id, remote, local) in rows {
            if addresses.contains(&remote) {
                self.endpoints.insert(id);
            } else if addresses.contains(&local) {
                self.forget_local_address(connection, id)?;
            }
        }
        Ok(())
    }

    /// Makes the local address of an endpoint an unknown one.
    fn forget_local_address(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<()> {
        self.replaced += 1;
        let same = "SELECT other.id FROM endpoint AS e JOIN endpoint AS other USING (remote_address, domain, domain_source, \
                    family, protocol, country, network) WHERE e.id = ?1 AND other.local_address = 0";
        let other: Option<i64> =
            connection.prepare_cached(same)?.query_row([id], |row| row.get(0)).optional()?;
        match other {
            Some(other) => {
                let sql = "UPDATE endpoint SET first = min(endpoint.first, e.first), last = max(endpoint.last, e.last) \
                           FROM (SELECT first, last FROM endpoint WHERE id = ?1) AS e WHERE endpoint.id = ?2";
                connection.prepare_cached(sql)?.execute([id, other])?;
                self.merged_endpoints.insert(id, other);
            }
            None => {
                let sql = "UPDATE endpoint SET local_address = 0 WHERE id = ?1";
                connection.prepare_cached(sql)?.execute([id])?;
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.contexts.is_empty()
            && self.endpoints.is_empty()
            && self.merged_endpoints.is_empty()
            && self.span.is_none()
    }

    /// What becomes of a row of a rollup. `cut` is the span that is forgotten where there are only sums.
    pub fn fate(&self, key: &GroupKey, cut: Option<(i64, i64)>) -> RowFate {
        let is_in_span = cut.is_some_and(|(first, last)| (first..=last).contains(&key.time));
        if is_in_span || self.contexts.contains(&key.context) || self.endpoints.contains(&key.endpoint) {
            return RowFate::Goes;
        }
        self.merged_endpoints.get(&key.endpoint).map_or(RowFate::Stays, |id| RowFate::Endpoint(*id))
    }

    /// The part of a span of time of which the log has sums only, in whole quarters of an hour; `None` if there is none.
    pub fn widened(&self, detail_since: Option<i64>) -> Option<(i64, i64)> {
        let ((from, to), since) = self.span.zip(detail_since)?;
        if from >= since {
            return None;
        }
        let to = to.min(since - 1);
        Some((quarter_start(from.max(i64::MIN / 2)), quarter_start(to) + QUARTER_HOUR - 1))
    }

    /// Deletes the records, and corrects the numbers of records of their windows. Their names stay: no record gets the number
    /// of another one.
    pub fn delete_records(&self, connection: &Connection) -> rusqlite::Result<RemovedRecords> {
        let mut removed = RemovedRecords::default();
        if self.is_empty() {
            return Ok(removed);
        }
        let (from, to) = self.span.unwrap_or((i64::MIN, i64::MAX));
        let mut gone: Vec<(i64, i64)> = Vec::new();
        let mut moved: Vec<(i64, i64, i64)> = Vec::new();
        let mut select = connection.prepare(
            "SELECT time, sequence, context, endpoint, remote_port FROM record WHERE time BETWEEN ?1 AND ?2 \
             ORDER BY time, sequence",
        )?;
        let mut rows = select.query([from, to])?;
        while let Some(row) = rows.next()? {
            let key = (row.get(0)?, row.get(1)?);
            let (context, endpoint): (i64, i64) = (row.get(2)?, row.get(3)?);
            if self.span.is_some() || self.contexts.contains(&context) || self.endpoints.contains(&endpoint) {
                gone.push(key);
                removed.remote_ports.insert(row.get(4)?);
            } else if let Some(other) = self.merged_endpoints.get(&endpoint) {
                moved.push((key.0, key.1, *other));
            }
        }
        let mut delete = connection.prepare("DELETE FROM record WHERE time = ?1 AND sequence = ?2")?;
        for (time, sequence) in &gone {
            delete.execute([time, sequence])?;
        }
        let mut update =
            connection.prepare("UPDATE record SET endpoint = ?3 WHERE time = ?1 AND sequence = ?2")?;
        for (time, sequence, endpoint) in moved {
            update.execute([time, sequence, endpoint])?;
        }
        match self.span {
            Some((from, to)) => {
                connection.execute("DELETE FROM window WHERE time BETWEEN ?1 AND ?2", [from, to])?;
            }
            None => correct_windows(connection, &gone)?,
        }
        removed.count = gone.len() as u64;
        removed.times = gone.first().zip(gone.last()).map(|(first, last)| (first.0, last.0));
        Ok(removed)
    }

    /// Deletes the rows of contexts and endpoints to which no record refers any more.
    pub fn delete_rows(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut context = connection.prepare("DELETE FROM context WHERE id = ?1")?;
        for id in &self.contexts {
            context.execute([id])?;
        }
        let mut endpoint = connection.prepare("DELETE FROM endpoint WHERE id = ?1")?;
        for id in self.endpoints.iter().chain(self.merged_endpoints.keys()) {
            endpoint.execute([id])?;
        }
        Ok(())
    }
}

fn ids(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<HashSet<i64>> {
    let mut statement = connection.prepare(sql)?;
    statement.query_map(values, |row| row.get(0))?.collect()
}

/// Subtracts records that were deleted, in the order of their keys, from the numbers of records of their windows. Windows of
/// one second have their records one behind the other.
fn correct_windows(connection: &Connection, gone: &[(i64, i64)]) -> rusqlite::Result<()> {
    let mut select = connection.prepare(
        "SELECT id, first_sequence FROM window WHERE time = ?1 AND count > 0 ORDER BY first_sequence",
    )?;
    let mut update = connection.prepare("UPDATE window SET count = max(count - ?2, 0) WHERE id = ?1")?;
    for of_second in gone.chunk_by(|one, other| one.0 == other.0) {
        let windows = select
            .query_map([of_second[0].0], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for (_, sequence) in of_second {
            let before = windows.partition_point(|(_, first)| first <= sequence);
            if let Some((id, _)) = before.checked_sub(1).and_then(|index| windows.get(index)) {
                *counts.entry(*id).or_default() += 1;
            }
        }
        for (id, count) in counts {
            update.execute([id, count])?;
        }
    }
    Ok(())
}
