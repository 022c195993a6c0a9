//! The tables on a ClickHouse. They have the columns of the others, but that a record has its ends in itself: a join costs more there
//! than the values, which compress. Two tables more make it known which windows may be there twice, since nothing is unique and no
//! statement is rolled back (see `announcement.rs`).

use std::collections::BTreeMap;

use crate::{
    content_digest::ContentDigest,
    server::{
        rows::{Cell, Row},
        tables::{
            CONTEXT, EVENT, HEARTBEAT, LOG, PROGRAM, RECORD, SCHEMA, Table, WINDOW, bytes, integer, optional,
            text,
        },
    },
};

/// A record, with its ends.
pub(crate) const FLAT_RECORD: Table = Table {
    name: RECORD.name,
    columns: &[
        integer("log"),
        integer("window_number"),
        integer("sequence"),
        integer("time"),
        bytes("context"),
        text("remote_address"),
        text("local_address"),
        text("domain"),
        text("domain_source"),
        integer("family"),
        integer("protocol"),
        text("country"),
        integer("network_number"),
        text("network"),
        integer("local_port"),
        integer("remote_port"),
        integer("connections"),
        integer("sent"),
        integer("received"),
        integer("folded"),
        integer("session"),
    ],
    key: 3,
    index: None,
};

/// A window that a session is going to send. It has the columns of a window's mark, so that two windows of one number are told apart.
pub(crate) const ANNOUNCEMENT: Table = Table {
    name: "picosnitch_announcement",
    columns: &[
        integer("log"),
        integer("window_number"),
        integer("time"),
        integer("uptime"),
        integer("first_sequence"),
        optional(integer("nonce")),
        integer("session"),
    ],
    key: 2,
    index: None,
};

/// A window that more than one session has announced: its rows may be there more than once, until the server has merged them.
pub(crate) const REPEATED: Table = Table {
    name: "picosnitch_repeated",
    columns: &[integer("log"), integer("window_number"), integer("time")],
    key: 2,
    index: None,
};

/// How a table is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub table: &'static Table,
    /// The columns by which rows are sorted. Rows that are equal in all of them are one, sooner or later.
    pub order: &'static [&'static str],
    /// Divided by the month of `time`, so that old months can be dropped as a whole.
    pub is_by_month: bool,
}

const fn kept(table: &'static Table, order: &'static [&'static str], is_by_month: bool) -> Kept {
    Kept { table, order, is_by_month }
}

/// All tables, the version last: where it is, all are. Records are sorted by time, since nearly all questions have a range.
pub(crate) const TABLES: [Kept; 10] = [
    kept(&LOG, &["id"], false),
    kept(&WINDOW, &["log", "window_number"], false),
    kept(&PROGRAM, &["digest"], false),
    kept(&CONTEXT, &["digest"], false),
    kept(&FLAT_RECORD, &["time", "log", "window_number", "sequence"], true),
    kept(&EVENT, &["time", "log", "window_number", "event_number"], true),
    kept(&ANNOUNCEMENT, &["log", "window_number", "session"], false),
    kept(&REPEATED, &["time", "log", "window_number"], false),
    kept(&HEARTBEAT, &["log", "time"], false),
    kept(&SCHEMA, &["version"], false),
];

/// Puts the ends of records in the place of their digests, and adds the session that sends them.
pub(crate) fn flat_records(
    records: Vec<Row>,
    endpoints: &BTreeMap<ContentDigest, Row>,
    session: i64,
) -> Vec<Row> {
    let at = RECORD.columns.iter().position(|column| column.name == "endpoint").unwrap_or(0);
    let flat = |mut row: Row| {
        let end = match row.get(at) {
            Some(Cell::Bytes(digest)) => endpoints.get(&digest[..]),
            _ => None,
        };
        // Behind its own digest.
        let values = end.map(|end| end[1..].to_vec()).unwrap_or_default();
        row.splice(at..=at, values);
        row.push(session.into());
        row
    };
    records.into_iter().map(flat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tables::ENDPOINT;

    #[test]
    fn records_have_the_columns_of_their_ends() {
        let mut names: Vec<&str> = RECORD.columns.iter().map(|column| column.name).collect();
        let at = names.iter().position(|name| *name == "endpoint").unwrap();
        names.splice(at..=at, ENDPOINT.columns[1..].iter().map(|column| column.name));
        names.push("session");
        let flat: Vec<&str> = FLAT_RECORD.columns.iter().map(|column| column.name).collect();
        assert_eq!(flat, names);
    }
}
