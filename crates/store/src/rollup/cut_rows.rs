//! The rows of rollups for the time whose single windows are deleted.

use rusqlite::Connection;

use super::{
    aggregate::detail_since,
    group_sums::GroupKey,
    level::{DAYS, LEVELS, QUARTER_HOUR},
    packed::{PackedFields, PackedKey, unpack},
};
use crate::seen_times::SeenTimes;

/// Calls `found` with the key and the time of each row of the quarters of an hour and days that begin before
/// `detail_since`. Their rollups have all that was cut. A rollup that cannot be decoded is left out.
pub(crate) fn for_each_cut_row(
    connection: &Connection,
    mut found: impl FnMut(GroupKey, SeenTimes),
) -> rusqlite::Result<()> {
    let Some(since) = detail_since(connection)? else { return Ok(()) };
    for level in &LEVELS[..=DAYS] {
        let sql = format!("SELECT start, packed_rows FROM {} WHERE start < ?1", level.table);
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([since])?;
        while let Some(row) = rows.next()? {
            let start: i64 = row.get(0)?;
            let bytes = row.get_ref(1)?.as_blob()?;
            let Some(fields) = PackedFields::of(bytes) else { continue };
            let seconds = if fields.quarter { QUARTER_HOUR } else { level.span };
            let add = |key: PackedKey, _| {
                let time = start + i64::from(key.quarter) * seconds;
                let PackedKey { context, endpoint, remote_port, local_port, .. } = key;
                let last = (time + seconds - 1).min(since - 1);
                let times = SeenTimes { first: time.min(last), last };
                found(GroupKey { context, endpoint, time, remote_port, local_port }, times);
            };
            let _ = unpack(bytes, |_| true, |_| true, add);
        }
    }
    Ok(())
}
