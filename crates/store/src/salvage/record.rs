//! Rows of table `record`.

use model::{Bytes, CgroupInfo, Counters, DomainSource, Program, Record};
use rusqlite::Row;

use super::{
    layout::Layout,
    rows::{Rows, UNKNOWN_UID, numbers},
    scan::Key,
};
use crate::writer::ContextDetail;

/// No window ends later (in 2514), or has a larger counter than the writer stores.
pub(super) const MAX_TIME: i64 = 1 << 34;
const MAX_COUNTER: i64 = 1 << 52;

/// A row of table `record`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordRow {
    context: i64,
    endpoint: i64,
    local_port: i64,
    remote_port: i64,
    counters: Counters,
    folded: u64,
}

/// The statement that [`read_record`] reads, without a condition.
pub(crate) fn record_columns(layout: Layout) -> String {
    format!(
        "SELECT time, sequence, {}, endpoint, local_port, remote_port, connections, sent, received, {} FROM record",
        layout.context_column(),
        layout.folded_column()
    )
}

/// Whether a writer can have written this port.
pub(super) fn is_port(port: i64) -> bool {
    (-2..i64::from(u32::MAX)).contains(&port)
}

/// Reads a record; `None` if no writer can have written it.
pub(crate) fn read_record(row: &Row<'_>) -> Option<(Key, RecordRow)> {
    record_of(numbers(row)?)
}

/// The record with these columns; `None` if no writer can have written it.
pub(super) fn record_of(columns: [i64; 10]) -> Option<(Key, RecordRow)> {
    let [time, sequence, context, endpoint, local_port, remote_port, connections, sent, received, folded] =
        columns;
    let is_counter = |counter: i64| (0..=MAX_COUNTER).contains(&counter);
    let is_valid = (0..MAX_TIME).contains(&time)
        && sequence >= 0
        && context > 0
        && endpoint > 0
        && [local_port, remote_port].into_iter().all(is_port)
        && [connections, sent, received, folded].into_iter().all(is_counter);
    is_valid.then(|| {
        let counters = Counters {
            connections: connections.cast_unsigned(),
            sent: sent.cast_unsigned(),
            received: received.cast_unsigned(),
        };
        let folded = folded.cast_unsigned();
        ((time, sequence), RecordRow { context, endpoint, local_port, remote_port, counters, folded })
    })
}

/// Joins a record with the rows that it refers to. Returns whether all of them are known, too.
pub(crate) fn join(row: &RecordRow, rows: &mut Rows<'_>) -> (Record, ContextDetail, bool) {
    let (context, detail) = rows.context(row.context);
    let (mut tuple, geo, has_endpoint) = rows.endpoint(row.endpoint);
    (tuple.local_port, tuple.remote_port) = (row.local_port, row.remote_port);
    let record = Record { context, geo, tuple, counters: row.counters, opened: false, folded: row.folded };
    (record, detail, has_endpoint && detail != ContextDetail::Incomplete)
}

/// Whether two records can be one that was brought over twice, with more of it readable one time: what is known of both is
/// equal. Their countries may be of two versions of the file of countries.
pub(crate) fn can_be_same(a: &Record, b: &Record) -> bool {
    fn agree<T: PartialEq>(a: &T, b: &T, unknown: &T) -> bool {
        a == b || a == unknown || b == unknown
    }
    let (x, y) = (&a.tuple, &b.tuple);
    if (x.local_port, x.remote_port, a.counters, a.folded)
        != (y.local_port, y.remote_port, b.counters, b.folded)
    {
        return false;
    }
    let (c, d, none) = (&a.context, &b.context, Program::default());
    let same_context = c.uid == UNKNOWN_UID
        || d.uid == UNKNOWN_UID
        || (c.uid, c.network_namespace) == (d.uid, d.network_namespace)
            && agree(&c.program, &d.program, &none)
            && agree(&c.parent, &d.parent, &none)
            && agree(&c.grandparent, &d.grandparent, &none)
            && agree(&c.cgroup, &d.cgroup, &CgroupInfo::default());
    let same_endpoint = agree(&(x.family, x.protocol), &(y.family, y.protocol), &(0, 0))
        && agree(&x.remote_address, &y.remote_address, &None)
        && agree(&x.local_address, &y.local_address, &None)
        && agree(
            &(&x.domain, x.domain_source),
            &(&y.domain, y.domain_source),
            &(&Bytes::new(), DomainSource::None),
        );
    same_context && same_endpoint
}
