//! Events in the log: what happened besides traffic. Their number is bounded.

use model::{Event, EventKind, Loss, Sha256, Writer};
use rusqlite::{Connection, Row, params, types::ValueRef};

use crate::{
    query::{Dimension, Value},
    text_or_blob::TextOrBlob,
};

/// Rows of the table. Beyond it the oldest events of the user with the most are deleted.
const MAX_EVENTS: i64 = 100_000;
/// Rows that are deleted at once.
const DELETED_AT_ONCE: i64 = 1000;

/// Counts the events of the log.
#[derive(Clone, Copy, Default)]
pub(crate) struct EventCount(i64);

impl EventCount {
    /// Counts those that are there.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).map(Self)
    }

    /// How many more rows the table may have.
    pub fn room(self) -> usize {
        usize::try_from(MAX_EVENTS - self.0).unwrap_or(0)
    }

    /// Inserts events, and deletes others if there are too many.
    pub fn insert<'a>(
        &mut self,
        connection: &Connection,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> rusqlite::Result<()> {
        // An event belongs to the first window that is committed with it or after it.
        let sql = format!(
            "INSERT INTO event ({COLUMNS}, window) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
             (SELECT last_window + 1 FROM log))"
        );
        let mut insert = connection.prepare_cached(&sql)?;
        for event in events {
            let writer = event.writer.as_ref();
            insert.execute(params![
                event.time,
                event.begin,
                event.kind.name(),
                event.subject,
                event.uid,
                TextOrBlob(&event.path),
                TextOrBlob(&event.name),
                event.sha256.as_ref().map(|digest| &digest.0[..]),
                i64::try_from(event.count).unwrap_or(i64::MAX),
                event.text,
                writer.map(|writer| writer.pid),
                writer.map(|writer| TextOrBlob(&writer.path)),
                writer.map(|writer| TextOrBlob(&writer.name)),
                writer.and_then(|writer| writer.uid),
            ])?;
            self.0 += 1;
        }
        while self.0 > MAX_EVENTS {
            let deleted = delete_oldest_of_most(connection)?;
            if deleted == 0 {
                break;
            }
            self.0 -= deleted;
        }
        Ok(())
    }
}

/// Deletes the oldest events of the user who has most of them, and if those are few, the oldest of all. Losses are a group of
/// their own. Returns the number.
fn delete_oldest_of_most(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT uid, kind = 'loss' FROM event GROUP BY 1, 2 ORDER BY count(*) DESC LIMIT 1";
    let (uid, is_loss): (Option<i64>, bool) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE uid IS ?1 AND (kind = 'loss') = ?2 \
               ORDER BY id LIMIT ?3)";
    let mut deleted = connection.execute(sql, params![uid, is_loss, DELETED_AT_ONCE])? as i64;
    if deleted < DELETED_AT_ONCE / 2 {
        let sql = "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?1)";
        deleted += connection.execute(sql, [DELETED_AT_ONCE - deleted])? as i64;
    }
    Ok(deleted)
}

/// The event of a loss in a window that ended at `time`. The sentence is that of its kind, so it is not stored.
pub(crate) fn of_loss(loss: &Loss, time: i64) -> Event {
    let subject = loss.kind.name();
    let mut event = Event::new(EventKind::Loss, time, String::new());
    (event.subject, event.count) = (subject, loss.count);
    event
}

/// The columns that [`EventCount::insert`] writes and [`from_row`] reads.
pub(crate) const COLUMNS: &str = "time, \"begin\", kind, subject, uid, path, name, sha256, count, text, writer_pid, \
                                  writer_path, writer_name, writer_uid";

/// Reads a row with the columns [`COLUMNS`]; `None` for a kind that this version does not know.
pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Option<Event>> {
    let kind: String = row.get(2)?;
    let Some(kind) = EventKind::from_name(&kind) else { return Ok(None) };
    let bytes = |index| match row.get_ref(index) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => bytes.to_vec(),
        _ => Vec::new(),
    };
    let digest: Option<Vec<u8>> = row.get(7)?;
    let event = Event {
        time: row.get(0)?,
        begin: row.get(1)?,
        kind,
        subject: row.get(3)?,
        uid: row.get(4)?,
        path: bytes(5),
        name: bytes(6),
        sha256: digest.and_then(|digest| digest.try_into().ok()).map(Sha256),
        writer: match row.get(10)? {
            Some(pid) => Some(Writer { pid, path: bytes(11), name: bytes(12), uid: row.get(13)? }),
            None => None,
        },
        count: row.get::<_, i64>(8)?.max(0) as u64,
        text: row.get(9)?,
    };
    Ok(Some(event.with_sentence()))
}

/// The dimensions that events have.
pub const EVENT_DIMENSIONS: [Dimension; 4] =
    [Dimension::Executable, Dimension::Name, Dimension::Uid, Dimension::Sha256];

/// The value that an event has of one of [`EVENT_DIMENSIONS`]; none of any other.
pub fn event_value(event: &Event, dimension: Dimension) -> Value {
    match dimension {
        Dimension::Executable => Value::Bytes(event.path.clone()),
        Dimension::Name => Value::Bytes(event.name.clone()),
        Dimension::Uid => event.uid.map_or(Value::None, |uid| Value::Integer(uid.into())),
        Dimension::Sha256 => event.sha256.map_or(Value::None, Value::Sha256),
        _ => Value::None,
    }
}
