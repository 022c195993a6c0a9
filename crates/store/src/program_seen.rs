//! When each program was seen first and last. It outlives the records.

use std::collections::HashSet;

use model::{Bytes, ProcessContext, Sha256};
use rusqlite::{Connection, Row, params, types::ValueRef};
use sha2::Digest;

use crate::{
    seen_times::{TimesById, UNSETTLED, in_order},
    text_or_blob::TextOrBlob,
};

/// Rows of the table. Beyond it the user with most programs loses those that were not seen for the longest time.
const MAX_PROGRAMS: i64 = 100_000;
/// Rows that are deleted at once.
const DELETED_AT_ONCE: i64 = 1000;
/// Programs that are known to have a row. A full cache is emptied.
const MAX_CACHED: usize = 8192;

type ProgramDigest = [u8; 32];

/// Keeps the table `program_seen`.
#[derive(Default)]
pub(crate) struct SeenPrograms {
    /// Digests of the keys of rows that are there.
    stored: HashSet<ProgramDigest>,
    /// Rows of the table, once they were counted.
    count: Option<i64>,
    /// Those that the open transaction stores.
    pending: HashSet<ProgramDigest>,
    pending_count: i64,
}

impl SeenPrograms {
    /// Stores the new programs of the contexts of a window that ended at `time`, unix seconds UTC.
    pub fn add(
        &mut self,
        connection: &Connection,
        time: i64,
        contexts: &[&ProcessContext],
    ) -> rusqlite::Result<()> {
        let mut count = match self.count {
            Some(count) => count,
            None => connection.query_row("SELECT count(*) FROM program_seen", [], |row| row.get(0))?,
        };
        for context in contexts {
            let digest = digest(context);
            if !self.stored.contains(&digest) && self.pending.insert(digest) {
                count += i64::from(insert(connection, context, time)?);
            }
        }
        if count > MAX_PROGRAMS {
            count -= delete_oldest_of_most(connection)?;
            // Those that are deleted get a row again when they are seen again.
            self.stored.clear();
            self.pending.clear();
        }
        self.pending_count = count;
        Ok(())
    }

    /// Takes note that the transaction is committed.
    pub fn commit(&mut self) {
        if self.stored.len() + self.pending.len() > MAX_CACHED {
            self.stored.clear();
        }
        self.stored.extend(self.pending.drain());
        self.count = Some(self.pending_count);
    }

    /// Takes note that the transaction is rolled back.
    pub fn roll_back(&mut self) {
        self.pending.clear();
    }
}

fn digest(context: &ProcessContext) -> ProgramDigest {
    let program = &context.program;
    let mut hasher = sha2::Sha256::new();
    hasher.update(context.uid.to_le_bytes());
    hasher.update(program.sha256.map_or([0; 32], |digest| digest.0));
    hasher.update(&program.path);
    hasher.finalize().into()
}

/// Stores that a program was seen, if it is new. Returns whether it is.
fn insert(connection: &Connection, context: &ProcessContext, time: i64) -> rusqlite::Result<bool> {
    let digest: &[u8] = context.program.sha256.as_ref().map_or(&[], |digest| &digest.0);
    let row = params![TextOrBlob(&context.program.path), digest, context.uid, time];
    let sql = "INSERT INTO program_seen (path, sha256, uid, first, last) VALUES (?1, ?2, ?3, ?4, ?4) \
               ON CONFLICT DO NOTHING";
    Ok(connection.prepare_cached(sql)?.execute(row)? > 0)
}

/// The programs of the records that the table may not know yet, with their first and last times.
fn unsettled_programs() -> String {
    format!(
        "SELECT program.path AS path, coalesce(program.sha256, x'') AS sha256, context.uid AS uid, min(r.first) AS first, \
         max(r.last) AS last FROM (SELECT context, min(time) AS first, max(time) AS last FROM record WHERE {UNSETTLED} \
         GROUP BY context) AS r JOIN context ON context.id = r.context JOIN program ON program.id = context.program \
         GROUP BY 1, 2, 3"
    )
}

/// Brings the rows that are there up to date with the times at which contexts were seen. One statement over all records would sort
/// them, which takes megabytes in small pieces.
pub(crate) fn settle(connection: &Connection, contexts: &TimesById) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(
        "UPDATE program_seen SET first = min(first, ?2), last = max(last, ?3) WHERE (path, sha256, uid) = \
         (SELECT program.path, coalesce(program.sha256, x''), context.uid FROM context \
         JOIN program ON program.id = context.program WHERE context.id = ?1) AND (first > ?2 OR last < ?3)",
    )?;
    for (id, seen) in in_order(contexts) {
        update.execute([id, seen.first, seen.last])?;
    }
    Ok(())
}

/// Stores when programs were seen in another log.
pub(crate) fn merge(connection: &Connection, programs: &[ProgramSeen]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO program_seen (path, sha256, uid, first, last) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
    )?;
    for program in programs {
        let digest: &[u8] = program.sha256.as_ref().map_or(&[], |digest| &digest.0);
        insert.execute(params![
            TextOrBlob(&program.path),
            digest,
            program.uid,
            program.first,
            program.last
        ])?;
    }
    delete_above_bound(connection)
}

/// Stores the programs of contexts with the times at which these were seen.
pub(crate) fn add_contexts(connection: &Connection, contexts: &TimesById) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO program_seen (path, sha256, uid, first, last) \
         SELECT path, coalesce(sha256, x''), uid, ?2, ?3 FROM context JOIN program ON program.id = context.program \
         WHERE context.id = ?1 \
         ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)",
    )?;
    for (id, seen) in contexts {
        insert.execute([*id, seen.first, seen.last])?;
    }
    delete_above_bound(connection)
}

/// Deletes programs until the table is within its bound.
fn delete_above_bound(connection: &Connection) -> rusqlite::Result<()> {
    let mut count: i64 = connection.query_row("SELECT count(*) FROM program_seen", [], |row| row.get(0))?;
    while count > MAX_PROGRAMS {
        count -= delete_oldest_of_most(connection)?.max(1);
    }
    Ok(())
}

/// Deletes the programs of the user with most of them that were not seen for the longest time. Returns their number.
fn delete_oldest_of_most(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "DELETE FROM program_seen WHERE (path, sha256, uid) IN (SELECT path, sha256, uid FROM program_seen \
               WHERE uid = (SELECT uid FROM program_seen GROUP BY uid ORDER BY count(*) DESC LIMIT 1) \
               ORDER BY last LIMIT ?1)";
    connection.execute(sql, [DELETED_AT_ONCE]).map(|deleted| deleted as i64)
}

/// When a program was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSeen {
    /// Path of the executable.
    pub path: Bytes,
    /// Its digest; `None` when unknown.
    pub sha256: Option<Sha256>,
    /// The real user id.
    pub uid: u32,
    /// End of the first window with its traffic, unix seconds UTC.
    pub first: i64,
    /// End of the last window with its traffic, unix seconds UTC.
    pub last: i64,
}

/// Reads the table, the latest first. What it does not know yet comes from the records.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Vec<ProgramSeen>> {
    let sql = format!(
        "SELECT s.path, s.sha256, s.uid, min(s.first, coalesce(r.first, s.first)), max(s.last, coalesce(r.last, s.last)) AS \
         latest FROM program_seen AS s LEFT JOIN ({}) AS r ON r.path = s.path AND r.sha256 = s.sha256 AND r.uid = s.uid \
         ORDER BY latest DESC, s.path, s.sha256, s.uid",
        unsettled_programs()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], from_row)?;
    rows.collect()
}

/// Reads a row with the columns path, sha256, uid, first, last.
pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<ProgramSeen> {
    let path = match row.get_ref(0)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        _ => Bytes::new(),
    };
    let digest: Vec<u8> = row.get(1)?;
    let sha256 = digest.try_into().ok().map(Sha256);
    Ok(ProgramSeen { path, sha256, uid: row.get(2)?, first: row.get(3)?, last: row.get(4)? })
}
