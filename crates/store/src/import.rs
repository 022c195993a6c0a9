//! How far logs of the original picosnitch were imported. The position is stored with the records, so that nothing comes twice
//! and nothing is left out, also after a crash, and that records which were deleted since do not come again.

use model::Record;
use rusqlite::{Connection, OptionalExtension, params};

/// Markers of one source. Beyond it every second one is deleted.
const MAX_MARKERS: i64 = 64;

/// The records of one second of a log that is imported.
#[derive(Clone, Debug, Default)]
pub struct ImportWindow {
    /// The time of its records, unix seconds UTC.
    pub time: i64,
    /// Its records.
    pub records: Vec<Record>,
}

/// The content of one row of a source, by which the source is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportMarker {
    /// Number of the row.
    pub row: i64,
    /// A digest of its content.
    pub digest: [u8; 16],
}

/// How far a source was read. All rows up to `last_row` with times from `since` on are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportProgress {
    /// Number of the last row that was read.
    pub last_row: i64,
    /// The time of that row, unix seconds UTC.
    pub last_time: i64,
    /// Rows before this time were left out, unix seconds UTC.
    pub since: i64,
    /// A second reading, of the rows that were left out: the last row, and the time from which on they are imported.
    pub again: Option<(i64, i64)>,
}

/// A source that was imported, in part at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSource {
    /// Its number in the log; `None` before the first rows are written.
    pub(crate) id: Option<i64>,
    /// How far it was read.
    pub progress: ImportProgress,
    /// Some of its rows, in their order.
    pub markers: Vec<ImportMarker>,
}

impl ImportSource {
    /// A source of which nothing was imported yet. Rows before `since` will be left out.
    pub fn new(since: i64) -> Self {
        let progress = ImportProgress { last_row: 0, last_time: i64::MIN, since, again: None };
        Self { id: None, progress, markers: Vec::new() }
    }
}

/// Reads all sources.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Vec<ImportSource>> {
    let sql = "SELECT id, last_row, last_time, since, again_row, again_since FROM import_source ORDER BY id";
    let mut select = connection.prepare(sql)?;
    let sources = select.query_map([], |row| {
        let again: (Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?);
        let progress = ImportProgress {
            last_row: row.get(1)?,
            last_time: row.get(2)?,
            since: row.get(3)?,
            again: again.0.zip(again.1),
        };
        Ok(ImportSource { id: Some(row.get(0)?), progress, markers: Vec::new() })
    })?;
    let mut sources = sources.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut select =
        connection.prepare("SELECT \"row\", digest FROM import_marker WHERE source = ?1 ORDER BY \"row\"")?;
    for source in &mut sources {
        let markers = select
            .query_map([source.id], |row| Ok(ImportMarker { row: row.get(0)?, digest: row.get(1)? }))?;
        source.markers = markers.collect::<rusqlite::Result<_>>()?;
    }
    Ok(sources)
}

/// Stores how far a source was read, and a marker. Returns the number of the source.
pub(crate) fn store(
    connection: &Connection,
    source: &ImportSource,
    marker: Option<ImportMarker>,
) -> rusqlite::Result<i64> {
    let ImportProgress { last_row, last_time, since, again } = source.progress;
    let (again_row, again_since) = again.unzip();
    let sql = "INSERT INTO import_source (id, last_row, last_time, since, again_row, again_since) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET last_row = ?2, last_time = ?3, since = ?4, \
               again_row = ?5, again_since = ?6 RETURNING id";
    let id: i64 = connection
        .prepare_cached(sql)?
        .query_row(params![source.id, last_row, last_time, since, again_row, again_since], |row| {
            row.get(0)
        })?;
    if let Some(ImportMarker { row, digest }) = marker {
        thin_out(connection, id)?;
        let sql = "INSERT OR REPLACE INTO import_marker (source, \"row\", digest) VALUES (?1, ?2, ?3)";
        connection.prepare_cached(sql)?.execute(params![id, row, digest])?;
    }
    Ok(id)
}

/// Deletes every second marker, if there are very many. The first one stays.
fn thin_out(connection: &Connection, source: i64) -> rusqlite::Result<()> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM import_marker WHERE source = ?1")?;
    let count: i64 = count.query_row([source], |row| row.get(0)).optional()?.unwrap_or(0);
    if count >= MAX_MARKERS {
        connection.execute(
            "DELETE FROM import_marker WHERE source = ?1 AND \"row\" IN (SELECT \"row\" FROM (SELECT \"row\", \
             row_number() OVER (ORDER BY \"row\") AS number FROM import_marker WHERE source = ?1) WHERE number % 2 = 0)",
            [source],
        )?;
    }
    Ok(())
}
