//! The records that a log had before an import, so that a history that comes from two files, or that was salvaged from a damaged
//! log, is in the log once.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use model::{MANY, ProcessContext, Program, Record};
use rusqlite::Connection;

use crate::{
    error::{StoreError, sql_error},
    identity::Identity,
    migrations::MIGRATIONS,
    query::Reader,
    salvage::{Layout, Rows, UNKNOWN_UID, can_be_same, join, read_record, record_columns},
};

/// Seconds of which the records are kept in memory. A full memory is emptied.
const MAX_SECONDS: usize = 16_384;

/// A log as it is before an import. What is written into it later does not count.
pub struct LogBeforeImport {
    path: PathBuf,
    connection: Connection,
    last_window: i64,
    /// The time of the first and the last record; `None` if there is none.
    span: Option<RangeInclusive<i64>>,
}

impl LogBeforeImport {
    /// Opens a log.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Reader::open(path)?.into_connection();
        let fail = sql_error(path, "cannot read the log");
        let last_window = Identity::read(&connection).map_err(&fail)?.last_window;
        let sql = "SELECT min(time), max(time) FROM record";
        let span: (Option<i64>, Option<i64>) =
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(&fail)?;
        let span = span.0.zip(span.1).map(|(first, last)| first..=last);
        Ok(Self { path: path.to_owned(), connection, last_window, span })
    }

    /// Its records.
    pub fn records(&self) -> RecordsBeforeImport<'_> {
        let rows = Rows::new(&self.connection, Layout(MIGRATIONS.len() as i64));
        RecordsBeforeImport { log: self, rows, seconds: HashMap::new(), empty: None }
    }
}

/// The records of a log before an import, each of which stands for one row of the source at most.
pub struct RecordsBeforeImport<'a> {
    log: &'a LogBeforeImport,
    rows: Rows<'a>,
    /// Those that stand for no row yet, by their times.
    seconds: HashMap<i64, Vec<Record>>,
    /// The last time that had none.
    empty: Option<i64>,
}

impl RecordsBeforeImport<'_> {
    /// Whether the log has a record already that comes again with this time. The next such record must be another one of the log.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn take(&mut self, time: i64, record: &Record) -> Result<bool, StoreError> {
        if self.empty == Some(time) || !self.log.span.as_ref().is_some_and(|span| span.contains(&time)) {
            return Ok(false);
        }
        if !self.seconds.contains_key(&time) {
            let found = self.read(time)?;
            if found.is_empty() {
                self.empty = Some(time);
                return Ok(false);
            }
            if self.seconds.len() >= MAX_SECONDS {
                self.seconds.clear();
            }
            self.seconds.insert(time, found);
        }
        let Some(there) = self.seconds.get_mut(&time) else { return Ok(false) };
        let found =
            [can_be_same, is_same_row].into_iter().find_map(|is_same: fn(&Record, &Record) -> bool| {
                there.iter().position(|other| is_same(other, record))
            });
        if let Some(index) = found {
            there.swap_remove(index);
        }
        Ok(found.is_some())
    }

    fn read(&mut self, time: i64) -> Result<Vec<Record>, StoreError> {
        let fail = sql_error(&self.log.path, "cannot read the log");
        let columns = record_columns(Layout(MIGRATIONS.len() as i64));
        // Records of this import have the highest sequences of their second.
        let sql = format!(
            "{columns} WHERE time = ?1 AND sequence < coalesce((SELECT min(first_sequence) FROM window WHERE time = ?1 AND \
             id > ?2), 9223372036854775807)"
        );
        let mut select = self.log.connection.prepare_cached(&sql).map_err(&fail)?;
        let found =
            select.query_map([time, self.log.last_window], |row| Ok(read_record(row))).map_err(&fail)?;
        let mut records = Vec::new();
        for row in found {
            let Some((_, row)) = row.map_err(&fail)? else { continue };
            records.push(join(&row, &mut self.rows).0);
        }
        Ok(records)
    }
}

/// Whether a record of the log and one of the same second can be the same row of the original, in two of its formats: what both
/// have is equal. The formats differ in how they count connections, and a text log lacks commas and control characters.
fn is_same_row(a: &Record, b: &Record) -> bool {
    let (x, y) = (&a.tuple, &b.tuple);
    x.remote_port == y.remote_port
        && (a.counters.sent, a.counters.received) == (b.counters.sent, b.counters.received)
        && a.folded == b.folded
        && agree(x.remote_address, y.remote_address, None)
        && is_same_text(&x.domain, &y.domain)
        && agree(x.local_port, y.local_port, 0)
        && agree(x.local_address, y.local_address, None)
        && agree(x.family, y.family, 0)
        && agree(x.protocol, y.protocol, 0)
        && is_same_context(&a.context, &b.context)
}

fn is_same_context(a: &ProcessContext, b: &ProcessContext) -> bool {
    let is_unknown = |context: &ProcessContext| context.uid == UNKNOWN_UID;
    (a.uid == b.uid || is_unknown(a) || is_unknown(b))
        && agree(a.network_namespace, b.network_namespace, 0)
        && is_same_program(&a.program, &b.program)
        && is_same_program(&a.parent, &b.parent)
        && is_same_program(&a.grandparent, &b.grandparent)
}

fn is_same_program(a: &Program, b: &Program) -> bool {
    is_same_text(&a.path, &b.path)
        && is_same_text(&a.name, &b.name)
        && is_same_text(&a.command_line, &b.command_line)
        && agree(a.sha256, b.sha256, None)
}

/// Whether two values are equal, or one of them is unknown.
fn agree<T: PartialEq + Copy>(a: T, b: T, unknown: T) -> bool {
    a == b || a == unknown || b == unknown
}

fn is_same_text(a: &[u8], b: &[u8]) -> bool {
    fn kept(text: &[u8]) -> impl Iterator<Item = &u8> {
        text.trim_ascii_end().iter().filter(|byte| **byte != b',' && !byte.is_ascii_control())
    }
    let is_unknown = |text: &[u8]| text.is_empty() || text == MANY.as_bytes();
    a == b || is_unknown(a) || is_unknown(b) || kept(a).eq(kept(b))
}
