//! Brings over what can be read of a damaged log into another one.
//!
//! Records are read by their key around damaged pages ([`scan`]), the rows they refer to one by one ([`rows`]), and written
//! like new windows, but with their own time. What the other log has already is left out, so that it can be done again.

mod files;
mod first_page;
mod layout;
mod leaf_pages;
mod record;
mod rows;
mod scan;
mod source;

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use model::{Event, EventKind, Record, text::time};
use rusqlite::{Connection, OpenFlags, Row};

pub(crate) use self::{
    layout::Layout,
    record::{can_be_same, join, read_record, record_columns},
    rows::{Rows, UNKNOWN_UID},
};
use self::{
    leaf_pages::LeafPages,
    record::{MAX_TIME, RecordRow},
    rows::{number, numbers},
    scan::{Hidden, Key, Table},
    source::Source,
};
pub use self::{scan::Gap, source::Opened};
use crate::{
    error::{StoreError, sql_error},
    event,
    migrations::MIGRATIONS,
    port_seen, program_seen,
    writer::{ContextDetail, Writer, old_windows::OldWindow},
};

/// Records of one transaction, at least, if there are as many.
const RECORDS_PER_STEP: usize = 2000;
/// Where readable times are searched if nothing was read before: 2020.
const FIRST_TIME: i64 = 1_577_836_800;
/// Where readable ids end if the last one is not readable.
const LAST_ID: i64 = 10_000_000;

/// What was brought over, and what was not readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Schema version of the damaged log.
    pub version: i64,
    /// How it could be opened.
    pub opened: Opened,
    /// Records that were written.
    pub records: u64,
    /// Windows (seconds with records) that were written.
    pub windows: u64,
    /// Records that were there already.
    pub known_records: u64,
    /// Records that were written though parts of them are not known.
    pub incomplete: u64,
    /// Events that were written.
    pub events: u64,
    /// Events that were there already.
    pub known_events: u64,
    /// Programs whose first and last sight were read.
    pub programs: u64,
    /// Spans of time with unreadable records.
    pub gaps: Vec<Gap>,
    /// Records that are missing, by the damaged log's own account; `None` if it does not say.
    pub missing: Option<u64>,
    /// Events, or times of programs, that could not be read.
    pub unreadable_events: bool,
    /// Before this time the log had sums only, which are not brought over.
    pub sums_before: Option<i64>,
}

impl Salvaged {
    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.opened == Opened::Whole
            && self.gaps.is_empty()
            && self.incomplete == 0
            && self.missing.is_none_or(|missing| missing == 0)
            && !self.unreadable_events
            && self.sums_before.is_none()
    }
}

/// Brings over what can be read of the log at `damaged`, which is left as it is. It can run again. No other process may
/// write to either log.
///
/// # Errors
/// The damaged file is no log, or the errors of writing: what was written until then is whole.
pub fn salvage(damaged: &Path, into: &mut Writer) -> Result<Salvaged, StoreError> {
    let mut copy = into.path.as_os_str().to_owned();
    copy.push(".salvage");
    let source = Source::open(damaged, &PathBuf::from(copy))?;
    let target = open_target(&into.path)?;
    let detail_since: Option<i64> = match source.layout.has_windows() {
        true => {
            source.connection.query_row("SELECT detail_since FROM log", [], |row| row.get(0)).unwrap_or(None)
        }
        false => None,
    };
    let mut result = Salvaged {
        version: source.layout.0,
        opened: source.opened,
        records: 0,
        windows: 0,
        known_records: 0,
        incomplete: 0,
        events: 0,
        known_events: 0,
        programs: 0,
        gaps: Vec::new(),
        missing: None,
        unreadable_events: false,
        sums_before: detail_since,
    };
    bring_records(&source, &target, into, &mut result)?;
    if let Some(written) = written_records(&source, detail_since)? {
        result.missing = Some(written.saturating_sub(result.records + result.known_records));
    }
    bring_events(&source, &target, into, &mut result)?;
    bring_seen(&source, into, &mut result)?;
    if result.records > 0 {
        let text = format!(
            "{} records of {} windows were brought over from the damaged log {}.",
            result.records,
            result.windows,
            damaged.display()
        );
        into.write_old(&[], &[Event::new(EventKind::Log, time::now(), text)])?;
    }
    while into.catch_up()? {}
    Ok(result)
}

/// A connection of its own to the log that is written, to see what it has.
fn open_target(path: &Path) -> Result<Connection, StoreError> {
    let fail = sql_error(path, "cannot open the log for reading");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Collects records to windows, and writes them in steps.
struct WindowWriter<'a> {
    writer: &'a mut Writer,
    target: &'a Connection,
    /// The rows of the log that is written.
    known: Rows<'a>,
    windows: Vec<OldWindow>,
    result: &'a mut Salvaged,
}

impl WindowWriter<'_> {
    fn add(&mut self, time: i64, record: Record, detail: ContextDetail) -> Result<(), StoreError> {
        match self.windows.last_mut() {
            Some(window) if window.time == time => window.records.push((record, detail)),
            _ => {
                if self.windows.iter().map(|window| window.records.len()).sum::<usize>() >= RECORDS_PER_STEP {
                    self.write()?;
                }
                self.windows.push(OldWindow { time, records: vec![(record, detail)] });
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut windows = std::mem::take(&mut self.windows);
        for window in &mut windows {
            self.remove_known(window)?;
        }
        windows.retain(|window| !window.records.is_empty());
        if windows.is_empty() {
            return Ok(());
        }
        self.writer.write_old(&windows, &[])?;
        self.result.windows += windows.len() as u64;
        self.result.records += windows.iter().map(|window| window.records.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Removes the records that the log has already.
    fn remove_known(&mut self, window: &mut OldWindow) -> Result<(), StoreError> {
        let fail = sql_error(&self.writer.path, "cannot read the log");
        let before = window.records.len() as u64;
        let sql = format!("{} WHERE time = ?1", record_columns(Layout(MIGRATIONS.len() as i64)));
        let mut statement = self.target.prepare_cached(&sql).map_err(&fail)?;
        let rows = statement.query_map([window.time], |row| Ok(read_record(row))).map_err(&fail)?;
        let mut there = Vec::new();
        for row in rows {
            let Some((_, row)) = row.map_err(&fail)? else { continue };
            there.push(join(&row, &mut self.known).0);
        }
        for is_same in [|a: &Record, b: &Record| a == b, can_be_same] {
            there.retain(|record| {
                let found = window.records.iter().position(|(other, _)| is_same(other, record));
                found.map(|index| window.records.remove(index)).is_none()
            });
        }
        self.result.known_records += before - window.records.len() as u64;
        Ok(())
    }
}

fn bring_records(
    source: &Source,
    target: &Connection,
    writer: &mut Writer,
    result: &mut Salvaged,
) -> Result<(), StoreError> {
    let columns = record_columns(source.layout);
    let latest = source.connection.query_row("SELECT max(time) FROM record", [], |row| row.get(0));
    let latest = latest.ok().flatten().filter(|time| (0..MAX_TIME).contains(time));
    let table = Table {
        connection: &source.connection,
        forward: format!("{columns} WHERE (time, sequence) > (?1, ?2) ORDER BY time, sequence"),
        backward: format!(
            "{columns} WHERE (time, sequence) > (?1, ?2) AND time < ?3 ORDER BY time DESC, sequence DESC"
        ),
        searched: (FIRST_TIME, latest.unwrap_or_else(|| time::now() + 24 * 60 * 60)),
        read: read_record,
    };
    let fail = sql_error(&writer.path, "cannot read the damaged log");
    let mut rows = Rows::new(&source.connection, source.layout);
    let known = Rows::new(target, Layout(MIGRATIONS.len() as i64));
    let mut incomplete = 0;
    let mut windows = WindowWriter { writer, target, known, windows: Vec::new(), result };
    // Looked for at the first gap.
    let leaves = OnceCell::new();
    let hidden = |after, before| -> Hidden<'_, RecordRow> {
        let pages: &Option<LeafPages> = leaves.get_or_init(|| source.leaf_pages());
        Box::new(pages.iter().flat_map(move |pages| pages.between(after, before)))
    };
    let gaps = table.scan(&hidden, &fail, &mut |(time, _), row| {
        let (record, detail, is_whole) = join(&row, &mut rows);
        incomplete += u64::from(!is_whole);
        windows.add(time, record, detail)
    })?;
    windows.write()?;
    (result.gaps, result.incomplete) = (gaps, incomplete);
    Ok(())
}

/// The number of records that were written, by the windows of the log; `None` if it does not say.
fn written_records(source: &Source, detail_since: Option<i64>) -> Result<Option<u64>, StoreError> {
    if !source.layout.has_windows() {
        return Ok(None);
    }
    let table = Table {
        connection: &source.connection,
        forward: "SELECT id, time, count FROM window WHERE id > ?1 AND ?2 = ?2 ORDER BY id".to_owned(),
        backward: "SELECT id, time, count FROM window WHERE id > ?1 AND ?2 = ?2 AND id < ?3 ORDER BY id DESC"
            .to_owned(),
        searched: (0, last_id(&source.connection, "window")),
        read: |row| {
            let [id, time, count] = numbers(row)?;
            (id > 0 && (0..1 << 24).contains(&count)).then_some(((id, 0), (time, count)))
        },
    };
    let mut sum = 0;
    let since = detail_since.unwrap_or(i64::MIN);
    let fail = sql_error(Path::new("window"), "cannot read the damaged log");
    table.scan(&nothing_hidden, &fail, &mut |_, (time, count)| {
        sum += if time >= since { count.cast_unsigned() } else { 0 };
        Ok(())
    })?;
    Ok(Some(sum))
}

/// For tables that are read by their key alone.
fn nothing_hidden<T: 'static>(_: Key, _: Key) -> Hidden<'static, T> {
    Box::new(std::iter::empty())
}

fn last_id(connection: &Connection, table: &str) -> i64 {
    let last = connection.query_row(&format!("SELECT max(rowid) FROM {table}"), [], |row| row.get(0));
    last.ok().flatten().unwrap_or(LAST_ID)
}

/// The statement of the events, without a condition; losses of older versions are events.
fn event_columns(layout: Layout) -> String {
    if layout.has_windows() {
        let columns = event::COLUMNS;
        let columns = match layout.has_writers() {
            true => columns.to_owned(),
            false => columns.replace("writer_", "NULL AS writer_"),
        };
        return format!("SELECT {columns}, id FROM event");
    }
    "SELECT time, NULL, 'loss', CASE kind WHEN 1 THEN 'process_events' WHEN 2 THEN 'flow_table_full' WHEN 3 THEN 'channel' \
     WHEN 4 THEN 'log' WHEN 5 THEN 'uncountable_socket' WHEN 6 THEN 'flow_table_bytes' WHEN 7 THEN 'release_events' \
     WHEN 8 THEN 'skipped_calls' WHEN 9 THEN 'names' ELSE CAST(kind AS TEXT) END, NULL, '', '', NULL, count, '', NULL, NULL, NULL, \
     NULL, rowid FROM loss"
        .to_owned()
}

fn read_event(row: &Row<'_>) -> Option<(Key, Event)> {
    let event = event::from_row(row).ok()??;
    let id = number(row, 14)?;
    (0..MAX_TIME).contains(&event.time).then_some(((id, 0), event))
}

fn bring_events(
    source: &Source,
    target: &Connection,
    writer: &mut Writer,
    result: &mut Salvaged,
) -> Result<(), StoreError> {
    let columns = event_columns(source.layout);
    let table = if source.layout.has_windows() { "event" } else { "loss" };
    let table = Table {
        connection: &source.connection,
        forward: format!("{columns} WHERE rowid > ?1 AND ?2 = ?2 ORDER BY rowid"),
        backward: format!("{columns} WHERE rowid > ?1 AND ?2 = ?2 AND rowid < ?3 ORDER BY rowid DESC"),
        searched: (0, last_id(&source.connection, table)),
        read: read_event,
    };
    let fail = sql_error(&writer.path, "cannot read the log");
    let sql = format!("SELECT {} FROM event WHERE time = ?1", event::COLUMNS);
    let mut statement = target.prepare(&sql).map_err(&fail)?;
    let mut at_time: (Option<i64>, Vec<Event>) = (None, Vec::new());
    let mut events = Vec::new();
    let mut known = 0;
    let gaps = table.scan(&nothing_hidden, &fail, &mut |_, event| {
        if at_time.0 != Some(event.time) {
            let rows = statement.query_map([event.time], event::from_row).map_err(&fail)?;
            let there = rows.filter_map(Result::transpose).collect::<Result<_, _>>().map_err(&fail)?;
            at_time = (Some(event.time), there);
        }
        match at_time.1.iter().position(|there| *there == event) {
            Some(index) => {
                at_time.1.swap_remove(index);
                known += 1;
            }
            None => events.push(event),
        }
        Ok(())
    })?;
    // The latest, as far as there is room.
    events.drain(..events.len().saturating_sub(writer.room_for_events()));
    if !events.is_empty() {
        writer.write_old(&[], &events)?;
    }
    result.unreadable_events |= !gaps.is_empty();
    (result.events, result.known_events) = (events.len() as u64, known);
    Ok(())
}

fn bring_seen(source: &Source, writer: &mut Writer, result: &mut Salvaged) -> Result<(), StoreError> {
    if !source.layout.has_windows() {
        return Ok(());
    }
    let connection = &source.connection;
    let is_valid = |first, last| (0..=last).contains(&first) && last < MAX_TIME;
    let (programs, mut is_complete) = readable_rows(
        |order| {
            format!(
                "SELECT path, sha256, uid, first, last FROM program_seen \
                 ORDER BY path {order}, sha256 {order}, uid {order}"
            )
        },
        connection,
        |row| program_seen::from_row(row).ok().filter(|program| is_valid(program.first, program.last)),
    );
    let mut ports = Vec::new();
    if source.layout.has_ports_seen() {
        let all;
        (ports, all) = readable_rows(
            |order| format!("SELECT port, first, last FROM port_seen ORDER BY port {order}"),
            connection,
            |row| {
                let (port, seen) = port_seen::from_row(row).ok()?;
                (record::is_port(port) && is_valid(seen.first, seen.last)).then_some((port, seen))
            },
        );
        is_complete &= all;
    }
    writer.merge_seen(&programs, &ports)?;
    result.programs = programs.len() as u64;
    result.unreadable_events |= !is_complete;
    Ok(())
}

/// The readable rows from both ends of a table, and whether these are all.
fn readable_rows<T>(
    sql: impl Fn(&str) -> String,
    connection: &Connection,
    read: impl Fn(&Row<'_>) -> Option<T>,
) -> (Vec<T>, bool) {
    let mut found = Vec::new();
    for order in ["ASC", "DESC"] {
        let before = found.len();
        let mut read_all = || -> rusqlite::Result<()> {
            let mut statement = connection.prepare(&sql(order))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                found.push(read(row).ok_or(rusqlite::Error::InvalidQuery)?);
            }
            Ok(())
        };
        if read_all().is_ok() {
            return (found, true);
        }
        if found.len() > before {
            // The row beside a damaged one may be damaged in part.
            found.pop();
        }
    }
    (found, false)
}
