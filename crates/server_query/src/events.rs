//! The events of all hosts.

use export::{Cell, Dialect, Kind};
use model::{Event, EventKind, Sha256, Writer, text::lossless};
use store::{Filter, HostEvent, Range};

use crate::{error::ServerQueryError, session::Connection};

/// Rows of the first statement, and of a later one at most.
const MIN_ROWS: usize = 200;
const MAX_ROWS: usize = 10_000;
/// The columns of a row, as [`event`] takes them.
const COLUMNS: &str = "l.host, e.time, e.began, e.kind, e.subject, e.uid, e.path, e.name, e.sha256, e.amount, e.message, \
                       e.writer_pid, e.writer_path, e.writer_name, e.writer_uid";
const KINDS: [Kind; 15] = [
    Kind::Text,
    Kind::Integer,
    Kind::Integer,
    Kind::Text,
    Kind::Text,
    Kind::Integer,
    Kind::Text,
    Kind::Text,
    Kind::Bytes,
    Kind::Integer,
    Kind::Text,
    Kind::Integer,
    Kind::Text,
    Kind::Text,
    Kind::Integer,
];
const READING: &str = "cannot read the events";

/// Reads the events of a range with one of these kinds (none given: all kinds) that pass a condition, at most `limit`, the latest
/// first.
pub(crate) async fn events(
    server: &mut Connection,
    range: Range,
    kinds: &[EventKind],
    limit: u64,
    passes: &dyn Fn(&HostEvent) -> bool,
) -> Result<Vec<HostEvent>, ServerQueryError> {
    let dialect = server.dialect();
    let (since, until) = range.bounds();
    let parameters = [Cell::Integer(since), Cell::Integer(until)];
    let names: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.name())).collect();
    let of_kind = match names.is_empty() {
        true => String::new(),
        false => format!("AND kind IN ({})", names.join(", ")),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut events, mut offset, mut rows_wanted) = (Vec::new(), 0, limit.clamp(MIN_ROWS, MAX_ROWS));
    while events.len() < limit {
        // All pages are of one transaction, so that they are parts of the same list.
        let [since, until] = [1, 2].map(|number| dialect.placeholder(number));
        let range = format!("time BETWEEN {since} AND {until} {of_kind}");
        let tables = match dialect {
            Dialect::PostgreSql | Dialect::MySql => {
                format!("picosnitch_event e JOIN picosnitch_log l ON l.id = e.log WHERE {range}")
            }
            // Each event once, though it or the row of its log may have been sent twice.
            Dialect::ClickHouse => format!(
                "(SELECT * FROM picosnitch_event FINAL WHERE {}) AS e \
                 ANY LEFT JOIN (SELECT id AS log, host FROM picosnitch_log) AS l USING (log)",
                range
            ),
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM {tables} \
             ORDER BY e.time DESC, e.window_number DESC, e.event_number DESC, e.log LIMIT {rows_wanted} OFFSET {offset}"
        );
        let rows = server.select(&sql, &parameters, &KINDS, READING).await?;
        let is_last = rows.len() < rows_wanted;
        let found = rows.into_iter().filter_map(|row| event(&row)).filter(|event| passes(event));
        events.extend(found.take(limit - events.len()));
        if is_last {
            break;
        }
        // Most are left out, so more are read.
        offset += rows_wanted;
        rows_wanted = (4 * rows_wanted).min(MAX_ROWS);
    }
    Ok(events)
}

/// The event of a row; `None` for a kind that this version does not know.
fn event(row: &[Cell]) -> Option<HostEvent> {
    let text = |at: usize| match row.get(at) {
        Some(Cell::Text(text)) => text.as_str(),
        _ => "",
    };
    let bytes = |at: usize| lossless::from_text(text(at));
    let plain = |at: usize| String::from_utf8_lossy(&bytes(at)).into_owned();
    let integer = |at: usize| row.get(at).and_then(Cell::integer);
    let small = |at: usize| integer(at).and_then(|number| u32::try_from(number).ok());
    let kind = EventKind::from_name(text(3))?;
    let sha256 = match row.get(8) {
        Some(Cell::Bytes(digest)) => digest[..].try_into().ok().map(Sha256),
        _ => None,
    };
    let event = Event {
        time: integer(1)?,
        begin: integer(2),
        kind,
        subject: plain(4),
        uid: small(5),
        path: bytes(6),
        name: bytes(7),
        sha256,
        writer: small(11).map(|pid| Writer { pid, path: bytes(12), name: bytes(13), uid: small(14) }),
        count: integer(9).and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
        text: plain(10),
    };
    Some(HostEvent { host: bytes(0), event: event.with_sentence() })
}

/// Whether an event is of a host that filters select.
pub(crate) fn is_of_hosts(event: &HostEvent, filters: &[Filter]) -> bool {
    let of_hosts: Vec<Filter> =
        filters.iter().filter(|filter| filter.dimension() == store::Dimension::Host).cloned().collect();
    Filter::pass(&of_hosts, |dimension| event.value(dimension))
}
