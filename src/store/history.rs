//! What screens ask beside sums: amounts over time, what was lost when.

use rusqlite::InterruptHandle;

use super::{
    dimension::Filter,
    error::StoreError,
    query::{Query, Range},
    reader::Reader,
    schema::failed,
};
use crate::model::Amounts;

/// Stops what a reader is doing, from another thread: it then fails with [`StoreError::is_interrupted`].
pub struct Interrupter(InterruptHandle);

impl Interrupter {
    /// Stops what is running now, if anything is; what is asked later runs as usual.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Reader {
    /// A way to stop this reader's queries.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.connection.get_interrupt_handle())
    }

    /// The ends of the first and the last window in the log, unix seconds; `None`: it is empty.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn extent(&self) -> Result<Option<(i64, i64)>, StoreError> {
        // Two statements' worth in one: each is the end of an index.
        let sql = "SELECT (SELECT min(time) FROM record), (SELECT max(time) FROM record)";
        let read = self
            .connection
            .query_row(sql, [], |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?)));
        read.map_err(failed(&self.path, "cannot read the log"))
    }

    /// Sums over time, for a chart: one for each two neighbours of `edges` (unix seconds, growing), from the first second
    /// up to, and without, the second.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn series(&self, filters: &[Filter], edges: &[i64]) -> Result<Vec<Amounts>, StoreError> {
        let mut sums = Vec::with_capacity(edges.len().saturating_sub(1));
        for edge in edges.windows(2) {
            let piece = Query {
                range: Range { since: Some(edge[0]), until: Some(edge[1] - 1) },
                filters: filters.to_vec(),
                ..Query::default()
            };
            sums.push(self.query(&piece)?.first().map(|row| row.amounts).unwrap_or_default());
        }
        Ok(sums)
    }

    /// In which pieces between `edges` something was lost.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn lossy(&self, edges: &[i64]) -> Result<Vec<bool>, StoreError> {
        let read = || {
            let mut found = Vec::with_capacity(edges.len().saturating_sub(1));
            let sql = "SELECT EXISTS (SELECT 1 FROM loss WHERE time >= ?1 AND time < ?2)";
            let mut statement = self.connection.prepare(sql)?;
            for edge in edges.windows(2) {
                found.push(statement.query_row([edge[0], edge[1]], |row| row.get(0))?);
            }
            Ok(found)
        };
        read().map_err(failed(&self.path, "cannot read the losses"))
    }
}
