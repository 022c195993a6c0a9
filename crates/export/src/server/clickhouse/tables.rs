//! The tables on a ClickHouse. They have the columns of the others, but that a record has its ends in itself: a join costs more there
//! than the values, which compress. Two tables more make it known which windows may be there twice, since nothing is unique and no
//! statement is rolled back (see `announcement.rs`).

use std::collections::BTreeMap;

use crate::{
    content_digest::ContentDigest,
    server::{
        rows::{Cell, Row},
        tables::{
            CONTEXT, ENDPOINT, EVENT, HEARTBEAT, LOG, PROGRAM, RECORD, SCHEMA, SUM, SUM_CLAIM, Table, WINDOW,
            bytes, integer, optional, text,
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

/// The sum of the records of some windows, with the ends of records in place of an endpoint. It counts if there is a claim with its
/// attempt, see `sum_claims.rs`.
pub(crate) const FLAT_SUM: Table = Table {
    name: SUM.name,
    columns: &[
        integer("log"),
        integer("kind"),
        integer("start"),
        integer("last_window"),
        integer("attempt"),
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
        integer("remote_port"),
        integer("connections"),
        integer("sent"),
        integer("received"),
        integer("first_time"),
        integer("last_time"),
    ],
    key: 5,
    index: None,
};

/// The windows of a log whose records are in the sums of a kind that have this attempt.
pub(crate) const FLAT_SUM_CLAIM: Table = Table {
    name: SUM_CLAIM.name,
    columns: &[
        integer("log"),
        integer("kind"),
        integer("first_window"),
        integer("last_window"),
        integer("attempt"),
    ],
    key: 5,
    index: None,
};

/// How a table is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub table: &'static Table,
    /// The columns by which rows are sorted. Rows that are equal in all of them are one, sooner or later.
    pub order: &'static [&'static str],
    /// Divided by the month of this time, so that old months can be dropped as a whole.
    pub month_of: Option<&'static str>,
}

impl Kept {
    /// How a table is kept; `None` if it is not one of a ClickHouse.
    pub fn of(table: &Table) -> Option<Self> {
        TABLES.into_iter().chain(OPTIONAL_TABLES).find(|kept| kept.table.name == table.name)
    }
}

const fn kept(table: &'static Table, order: &'static [&'static str], month_of: Option<&'static str>) -> Kept {
    Kept { table, order, month_of }
}

/// All tables, the version last: where it is, all are. Records are sorted by time, since nearly all questions have a range.
pub(crate) const TABLES: [Kept; 10] = [
    kept(&LOG, &["id"], None),
    kept(&WINDOW, &["log", "window_number"], None),
    kept(&PROGRAM, &["digest"], None),
    kept(&CONTEXT, &["digest"], None),
    kept(&FLAT_RECORD, &["time", "log", "window_number", "sequence"], Some("time")),
    kept(&EVENT, &["time", "log", "window_number", "event_number"], Some("time")),
    kept(&ANNOUNCEMENT, &["log", "window_number", "session"], None),
    kept(&REPEATED, &["time", "log", "window_number"], None),
    kept(&HEARTBEAT, &["log", "time"], None),
    kept(&SCHEMA, &["version"], None),
];

/// The tables that came later, without which records are sent all the same.
pub(crate) const OPTIONAL_TABLES: [Kept; 2] = [
    kept(
        &FLAT_SUM,
        &[
            "kind",
            "start",
            "log",
            "attempt",
            "context",
            "remote_port",
            "domain",
            "domain_source",
            "remote_address",
            "local_address",
            "family",
            "protocol",
            "country",
            "network_number",
            "network",
        ],
        Some("start"),
    ),
    kept(&FLAT_SUM_CLAIM, &["kind", "log", "first_window", "last_window", "attempt"], None),
];

/// The columns of the two ends of a record, without their ports.
pub(crate) fn endpoint_columns() -> impl Iterator<Item = &'static str> {
    ENDPOINT.columns[1..].iter().map(|column| column.name)
}

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

    fn with_ends(table: &Table) -> Vec<&'static str> {
        let mut names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let at = names.iter().position(|name| *name == "endpoint").unwrap();
        names.splice(at..=at, endpoint_columns());
        names
    }

    #[test]
    fn records_and_sums_have_the_columns_of_their_ends() {
        let mut names = with_ends(&RECORD);
        names.push("session");
        let flat: Vec<&str> = FLAT_RECORD.columns.iter().map(|column| column.name).collect();
        assert_eq!(flat, names);
        let mut names = with_ends(&SUM);
        names.push("attempt");
        names.sort_unstable();
        let mut flat: Vec<&str> = FLAT_SUM.columns.iter().map(|column| column.name).collect();
        flat.sort_unstable();
        assert_eq!(flat, names);
    }

    #[test]
    fn equal_sums_are_one_only_if_they_are_of_the_same_claim_and_thing() {
        let counted = ["last_window", "connections", "sent", "received", "first_time", "last_time"];
        let [sum, _] = &OPTIONAL_TABLES;
        let mut names: Vec<&str> = sum.table.columns.iter().map(|column| column.name).collect();
        names.retain(|name| !counted.contains(name));
        names.sort_unstable();
        let mut order = sum.order.to_vec();
        order.sort_unstable();
        assert_eq!(order, names);
    }
}
