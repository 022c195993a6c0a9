//! Reading a table in the order of its keys around the parts that are damaged.
//!
//! A page that is damaged hides a range of keys. The rows before it are read forward; behind it a key is searched at which
//! reading works again, and the rows between are read backward from there.

use rusqlite::{Connection, ErrorCode, Row, params};

use crate::error::StoreError;

/// A key: time and sequence of a record, or the id of another row and 0.
pub(super) type Key = (i64, i64);

/// The largest step, in the first part of the key, by which a readable key is searched.
const MAX_STEP: i64 = 900;

/// Keys behind which nothing could be read, and the first one that could be read again (if any).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last key before; `None` if there is none.
    pub after: Option<i64>,
    /// The first key behind; `None` if there is none.
    pub before: Option<i64>,
}

/// A table that is read by its key.
pub(super) struct Table<'a, T> {
    pub connection: &'a Connection,
    /// Rows whose key is greater than (?1, ?2), in ascending order.
    pub forward: String,
    /// Rows whose key is greater than (?1, ?2), and less than ?3 in its first part, in descending order.
    pub backward: String,
    /// Where readable keys are searched if nothing was read before, and to where, in the first part of the key.
    pub searched: (i64, i64),
    /// Reads a row; `None` if it cannot be one that was written.
    pub read: fn(&Row<'_>) -> Option<(Key, T)>,
}

/// Rows that are found in another way.
pub(super) type Hidden<'b, T> = Box<dyn Iterator<Item = (Key, T)> + 'b>;

/// How a scan ended.
enum End {
    Complete,
    Damaged,
}

impl<T> Table<'_, T> {
    /// Calls `found` with each readable row in ascending order. Returns the gaps. The rows beside a damaged place are left
    /// out: they may be damaged in part. `hidden` returns rows between two keys that are found in another way, ascending.
    ///
    /// # Errors
    /// Those of `found`, and those of SQLite that are not about this file's content.
    pub fn scan<'b>(
        &self,
        hidden: &dyn Fn(Key, Key) -> Hidden<'b, T>,
        fail: &dyn Fn(rusqlite::Error) -> StoreError,
        found: &mut dyn FnMut(Key, T) -> Result<(), StoreError>,
    ) -> Result<Vec<Gap>, StoreError> {
        let mut gaps = Vec::new();
        let mut last: Key = (i64::MIN, i64::MIN);
        let mut any = None;
        loop {
            let (end, from) = self.forward(last, fail, &mut |key, row| {
                any = Some(key.0);
                found(key, row)
            })?;
            if matches!(end, End::Complete) {
                return Ok(gaps);
            }
            let restart = self.search(from.0, fail)?;
            let rows = self.backward(from, restart, fail)?;
            let before = rows.last().map(|(key, _)| key.0).or(restart);
            gaps.push(Gap { after: any, before });
            let behind = rows.last().map_or((restart.unwrap_or(i64::MAX), i64::MIN), |(key, _)| *key);
            for (key, row) in hidden(from, behind).chain(rows.into_iter().rev()) {
                any = Some(key.0);
                found(key, row)?;
            }
            let Some(restart) = restart else { return Ok(gaps) };
            last = (restart - 1, i64::MAX);
        }
    }

    /// Reads rows behind `last` until one cannot be read. Returns the last key that was read.
    fn forward(
        &self,
        mut last: Key,
        fail: &dyn Fn(rusqlite::Error) -> StoreError,
        found: &mut dyn FnMut(Key, T) -> Result<(), StoreError>,
    ) -> Result<(End, Key), StoreError> {
        let Some(mut statement) = damage(self.connection.prepare_cached(&self.forward), fail)? else {
            return Ok((End::Damaged, last));
        };
        let mut rows = statement.query(params![last.0, last.1]).map_err(fail)?;
        // Each row waits for the next one.
        let mut held: Option<(Key, T)> = None;
        loop {
            let next = match damage(rows.next(), fail)? {
                Some(Some(row)) => (self.read)(row).filter(|(key, _)| *key > last),
                Some(None) => {
                    if let Some((key, row)) = held {
                        found(key, row)?;
                    }
                    return Ok((End::Complete, last));
                }
                None => None,
            };
            let Some((key, row)) = next else { return Ok((End::Damaged, last)) };
            last = key;
            if let Some((key, row)) = held.replace((key, row)) {
                found(key, row)?;
            }
        }
    }

    /// Reads rows before `restart` (`None`: the end) backward until one cannot be read, as far as `from`.
    fn backward(
        &self,
        from: Key,
        restart: Option<i64>,
        fail: &dyn Fn(rusqlite::Error) -> StoreError,
    ) -> Result<Vec<(Key, T)>, StoreError> {
        let mut found: Vec<(Key, T)> = Vec::new();
        let Some(mut statement) = damage(self.connection.prepare_cached(&self.backward), fail)? else {
            return Ok(found);
        };
        let end = restart.unwrap_or(i64::MAX);
        let mut rows = statement.query(params![from.0, from.1, end]).map_err(fail)?;
        loop {
            let is_next =
                |key: Key| key > from && key.0 < end && found.last().is_none_or(|(latest, _)| key < *latest);
            let next = match damage(rows.next(), fail)? {
                Some(Some(row)) => (self.read)(row).filter(|(key, _)| is_next(*key)),
                Some(None) => return Ok(found),
                None => None,
            };
            match next {
                Some(row) => found.push(row),
                None => {
                    found.pop();
                    return Ok(found);
                }
            }
        }
    }

    /// Searches a key behind `from` from which on rows can be read; `None` if there is none.
    fn search(
        &self,
        from: i64,
        fail: &dyn Fn(rusqlite::Error) -> StoreError,
    ) -> Result<Option<i64>, StoreError> {
        let (first, last) = self.searched;
        let Some(mut statement) = damage(self.connection.prepare_cached(&self.forward), fail)? else {
            return Ok(None);
        };
        let (mut at, mut step) = (from.max(first), 1);
        while at < last {
            at += step;
            step = (step * 2).min(MAX_STEP);
            let mut rows = statement.query(params![at - 1, i64::MAX]).map_err(fail)?;
            match damage(rows.next(), fail)? {
                Some(Some(row)) if (self.read)(row).is_some_and(|(key, _)| key.0 >= at) => {
                    return Ok(Some(at));
                }
                // There is nothing behind.
                Some(None) => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// `None` for an error that says that this part of the file is damaged.
fn damage<T>(
    result: rusqlite::Result<T>,
    fail: &dyn Fn(rusqlite::Error) -> StoreError,
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted,
            ) => Err(fail(error)),
            _ => Ok(None),
        },
    }
}
