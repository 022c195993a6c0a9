//! Reading whole windows in the order in which they were written, for a copy of the log elsewhere.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    sync::Arc,
};

use model::{
    Address, Bytes, CgroupInfo, Counters, DomainSource, Event, FlowTuple, GeoInfo, ProcessContext, Program,
    Record, Sha256,
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{address_bytes::address_from_bytes, error::StoreError, event, identity::Identity, query::Reader};

/// The name of a log: (uuid, epoch). With a window and a sequence it names a record for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogName {
    /// A random number of the log, which copies of it share.
    pub uuid: [u8; 16],
    /// Grows when the log is found to be an older copy.
    pub epoch: i64,
}

/// The log as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Its name.
    pub name: LogName,
    /// The number of the oldest window that is there; `None` if there is none.
    pub first_window: Option<i64>,
    /// The number of the last window that was written; 0 if none was.
    pub last_window: i64,
}

/// What tells a window from any other one of the same number, in copies of the log that went their own ways. Deletions of history do
/// not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowMark {
    /// The number of the window.
    pub number: i64,
    /// Its end, unix seconds UTC.
    pub time: i64,
    /// Seconds since the machine started; 0 if unknown.
    pub uptime: i64,
    /// The sequence of its first record.
    pub first_sequence: i64,
    /// A random number; `None` for windows of schema versions before 10, and for imported ones.
    pub nonce: Option<i64>,
}

/// A record with its name within its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedRecord {
    /// The sequence of the record, which no other record of the window has.
    pub sequence: i64,
    /// The record. A text that stands for several is [`model::MANY`].
    pub record: Record,
}

/// A window as it was written, without what was deleted since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeWindow {
    /// Which window it is.
    pub mark: WindowMark,
    /// The boot of the machine (random(4)); empty if unknown.
    pub boot_id: String,
    /// Records that the window has, but that are deleted: only their sums are left (`log.retention_megabytes`).
    pub deleted: u64,
    /// Its records, in the order of their sequences.
    pub records: Vec<NumberedRecord>,
    /// What happened between the window before and this one.
    pub events: Vec<Event>,
}

/// A read-only connection to the log for its windows.
pub struct WindowReader {
    reader: Reader,
}

impl WindowReader {
    /// Opens the log at `path`. No temporary files are made.
    ///
    /// # Errors
    /// See [`Reader::open`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reader = Reader::open(path)?;
        reader.make_no_files()?;
        Ok(Self { reader })
    }

    /// Whether the file at the path is still the one that is open ([`Reader::is_current`]).
    pub fn is_current(&self) -> bool {
        self.reader.is_current()
    }

    /// The log as it is now.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn state(&self) -> Result<LogState, StoreError> {
        self.reader.read(|connection| {
            let Identity { uuid, epoch, last_window } = Identity::read(connection)?;
            let first = connection.query_row("SELECT min(id) FROM window", [], |row| row.get(0))?;
            Ok(LogState { name: LogName { uuid, epoch }, first_window: first, last_window })
        })
    }

    /// The mark of the window with a number; `None` if it is not there.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn mark(&self, number: i64) -> Result<Option<WindowMark>, StoreError> {
        Ok(self.mark_from(number)?.filter(|mark| mark.number == number))
    }

    /// The mark of the first window with this number or a higher one; `None` if there is none.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn mark_from(&self, number: i64) -> Result<Option<WindowMark>, StoreError> {
        let sql = format!("SELECT {MARK} FROM window WHERE id >= ?1 ORDER BY id LIMIT 1");
        self.reader.read(|connection| connection.prepare_cached(&sql)?.query_row([number], mark).optional())
    }

    /// The mark of the first window, in the order of writing, that ended at a time (unix seconds UTC) or later; `None` if there is none.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn mark_since(&self, time: i64) -> Result<Option<WindowMark>, StoreError> {
        let sql = format!("SELECT {MARK} FROM window WHERE time >= ?1 ORDER BY id LIMIT 1");
        self.reader.read(|connection| connection.prepare_cached(&sql)?.query_row([time], mark).optional())
    }

    /// How many windows of the log are behind the one with this number, and when the first of them ended (unix seconds UTC).
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn behind(&self, number: i64) -> Result<(u64, Option<i64>), StoreError> {
        let LogState { last_window, .. } = self.state()?;
        let next = self.mark_from(number + 1)?;
        // What was deleted is not waited for.
        let from = next.map_or(last_window, |next| next.number - 1);
        Ok((u64::try_from(last_window - from).unwrap_or(0), next.map(|next| next.time)))
    }

    /// The windows after the one with the number `after`, in the order of writing: as many as have `max_records` records and
    /// events together, but at least one if there is one.
    ///
    /// # Errors
    /// The errors of SQLite.
    pub fn after(&self, after: i64, max_records: u64) -> Result<Vec<WholeWindow>, StoreError> {
        self.reader.read(|connection| {
            // Rows that nothing refers to are deleted, and their ids used again: they hold within this transaction only.
            let mut rows = ReferredRows { connection, contexts: HashMap::new(), endpoints: HashMap::new() };
            let mut windows = Vec::new();
            let mut read = 0;
            let mut next = after;
            while read < max_records
                && let Some(window) = read_window(connection, next, &mut rows)?
            {
                read += 1 + (window.records.len() + window.events.len()) as u64;
                next = window.mark.number;
                windows.push(window);
            }
            Ok(windows)
        })
    }
}

const MARK: &str = "id, time, uptime, first_sequence, nonce";

fn mark(row: &Row<'_>) -> rusqlite::Result<WindowMark> {
    Ok(WindowMark {
        number: row.get(0)?,
        time: row.get(1)?,
        uptime: row.get(2)?,
        first_sequence: row.get(3)?,
        nonce: row.get(4)?,
    })
}

/// Reads the first window after a number.
fn read_window(
    connection: &Connection,
    after: i64,
    rows: &mut ReferredRows<'_>,
) -> rusqlite::Result<Option<WholeWindow>> {
    let sql = format!(
        "SELECT {MARK}, count, (SELECT boot_id FROM boot WHERE boot.id = window.boot) FROM window WHERE id > ?1 ORDER BY id \
         LIMIT 1"
    );
    let found = connection
        .prepare_cached(&sql)?
        .query_row([after], |row| Ok((mark(row)?, row.get::<_, i64>(5)?, row.get::<_, Option<String>>(6)?)));
    let Some((mark, count, boot_id)) = found.optional()? else { return Ok(None) };
    // Several windows of one second share its sequences (docs/schema.md).
    let sql = "SELECT sequence, context, endpoint, local_port, remote_port, connections, sent, received, folded FROM record \
               WHERE time = ?1 AND sequence >= ?2 AND sequence < coalesce((SELECT min(first_sequence) FROM window \
               WHERE time = ?1 AND id > ?3), 9223372036854775807) ORDER BY sequence";
    let mut select = connection.prepare_cached(sql)?;
    let mut found = select.query([mark.time, mark.first_sequence, mark.number])?;
    let mut records = Vec::new();
    while let Some(row) = found.next()? {
        records.push(read_record(row, rows)?);
    }
    let sql = format!("SELECT {} FROM event WHERE window = ?1 ORDER BY id", event::COLUMNS);
    let mut select = connection.prepare_cached(&sql)?;
    let events = select.query_map([mark.number], event::from_row)?;
    let events = events.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?;
    let deleted = u64::try_from(count).unwrap_or(0).saturating_sub(records.len() as u64);
    Ok(Some(WholeWindow { mark, boot_id: boot_id.unwrap_or_default(), deleted, records, events }))
}

fn read_record(row: &Row<'_>, rows: &mut ReferredRows<'_>) -> rusqlite::Result<NumberedRecord> {
    let context = rows.context(row.get(1)?)?;
    let (tuple, geo) = rows.endpoint(row.get(2)?)?;
    let counter = |index| row.get::<_, i64>(index).map(|counter| u64::try_from(counter).unwrap_or(0));
    Ok(NumberedRecord {
        sequence: row.get(0)?,
        record: Record {
            context,
            geo,
            tuple: FlowTuple { local_port: row.get(3)?, remote_port: row.get(4)?, ..tuple },
            counters: Counters { connections: counter(5)?, sent: counter(6)?, received: counter(7)? },
            // The log does not have it.
            opened: false,
            folded: counter(8)?,
        },
    })
}

/// The rows that records refer to.
struct ReferredRows<'a> {
    connection: &'a Connection,
    contexts: HashMap<i64, Arc<ProcessContext>>,
    /// The tuples have no ports.
    endpoints: HashMap<i64, (FlowTuple, GeoInfo)>,
}

impl ReferredRows<'_> {
    fn context(&mut self, id: i64) -> rusqlite::Result<Arc<ProcessContext>> {
        Ok(match self.contexts.entry(id) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => Arc::clone(new.insert(Arc::new(read_context(self.connection, id)?))),
        })
    }

    fn endpoint(&mut self, id: i64) -> rusqlite::Result<(FlowTuple, GeoInfo)> {
        Ok(match self.endpoints.entry(id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(read_endpoint(self.connection, id)?).clone(),
        })
    }
}

fn read_context(connection: &Connection, id: i64) -> rusqlite::Result<ProcessContext> {
    let sql = "SELECT c.program, c.parent, c.grandparent, c.uid, c.network_namespace, g.path, g.unit, g.container, g.app \
               FROM context AS c JOIN cgroup AS g ON g.id = c.cgroup WHERE c.id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| {
        let program = |index| read_program(connection, row.get(index)?);
        Ok(ProcessContext {
            program: program(0)?,
            parent: program(1)?,
            grandparent: program(2)?,
            uid: row.get(3)?,
            network_namespace: row.get(4)?,
            cgroup: CgroupInfo {
                path: bytes(row, 5)?,
                unit: bytes(row, 6)?,
                container: bytes(row, 7)?,
                app: bytes(row, 8)?,
            },
        })
    })
}

fn read_program(connection: &Connection, id: i64) -> rusqlite::Result<Program> {
    let sql = "SELECT path, name, command_line, sha256 FROM program WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| {
        let digest: Option<Vec<u8>> = row.get(3)?;
        Ok(Program {
            path: bytes(row, 0)?,
            name: bytes(row, 1)?,
            command_line: bytes(row, 2)?,
            sha256: digest.and_then(|digest| digest.try_into().ok()).map(Sha256),
        })
    })
}

fn read_endpoint(connection: &Connection, id: i64) -> rusqlite::Result<(FlowTuple, GeoInfo)> {
    let sql = "SELECT e.family, e.protocol, r.bytes, l.bytes, d.name, e.domain_source, c.name, n.number, n.name \
               FROM endpoint AS e JOIN domain AS d ON d.id = e.domain JOIN country AS c ON c.id = e.country \
               JOIN network AS n ON n.id = e.network LEFT JOIN address AS r ON r.id = e.remote_address \
               LEFT JOIN address AS l ON l.id = e.local_address WHERE e.id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| {
        let address = |index| -> rusqlite::Result<Option<Address>> {
            Ok(row.get::<_, Option<Vec<u8>>>(index)?.and_then(|bytes| address_from_bytes(&bytes)))
        };
        let number: i64 = row.get(5)?;
        let source = DomainSource::NAMES.into_iter().find(|(_, source)| *source as i64 == number);
        let domain_source = source.map_or(DomainSource::None, |(_, source)| source);
        let domain = if domain_source == DomainSource::Many { Bytes::new() } else { bytes(row, 4)? };
        let text = |index| row.get::<_, String>(index).map(Arc::<str>::from);
        let tuple = FlowTuple {
            family: row.get(0)?,
            protocol: row.get(1)?,
            remote_address: address(2)?,
            local_address: address(3)?,
            domain,
            domain_source,
            ..FlowTuple::default()
        };
        Ok((tuple, GeoInfo { country: text(6)?, network_number: row.get(7)?, network: text(8)? }))
    })
}

/// A text column. Several texts in one place are a BLOB with the bytes of [`model::MANY`], and that word here.
fn bytes(row: &Row<'_>, index: usize) -> rusqlite::Result<Bytes> {
    Ok(row.get_ref(index)?.as_bytes_or_null()?.unwrap_or_default().to_vec())
}
