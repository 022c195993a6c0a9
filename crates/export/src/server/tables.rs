//! The tables on a server, as data: they are made, checked and filled from these lists. docs/export.md explains every column.

/// The version of these tables.
pub const VERSION: i64 = 1;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 64 bits, signed.
    Integer,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub is_optional: bool,
}

/// A table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub name: &'static str,
    pub columns: &'static [Column],
    /// How many of the first columns are the primary key.
    pub key: usize,
    /// A column with an index of its own.
    pub index: Option<&'static str>,
}

pub(crate) const fn integer(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer, is_optional: false }
}

pub(crate) const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, is_optional: false }
}

pub(crate) const fn bytes(name: &'static str) -> Column {
    Column { name, kind: Kind::Bytes, is_optional: false }
}

pub(crate) const fn optional(column: Column) -> Column {
    Column { is_optional: true, ..column }
}

/// The version of the tables: one row.
pub(crate) const SCHEMA: Table =
    Table { name: "picosnitch_schema", columns: &[integer("version")], key: 1, index: None };

/// A log, or from a window on a branch of one: a copy of it that went its own way.
pub(crate) const LOG: Table = Table {
    name: "picosnitch_log",
    columns: &[
        integer("id"),
        bytes("uuid"),
        integer("epoch"),
        text("host"),
        optional(integer("parent")),
        integer("parent_window"),
        integer("began"),
    ],
    key: 1,
    index: Some("uuid"),
};

/// A window that was sent.
pub(crate) const WINDOW: Table = Table {
    name: "picosnitch_window",
    columns: &[
        integer("log"),
        integer("window_number"),
        integer("time"),
        text("boot_id"),
        integer("uptime"),
        integer("first_sequence"),
        optional(integer("nonce")),
        integer("records"),
        integer("deleted"),
    ],
    key: 2,
    index: Some("time"),
};

/// A program as a process ran it.
pub(crate) const PROGRAM: Table = Table {
    name: "picosnitch_program",
    columns: &[bytes("digest"), text("path"), text("name"), text("command_line"), optional(bytes("sha256"))],
    key: 1,
    index: None,
};

/// The process behind traffic, and its ancestors.
pub(crate) const CONTEXT: Table = Table {
    name: "picosnitch_context",
    columns: &[
        bytes("digest"),
        bytes("program"),
        bytes("parent"),
        bytes("grandparent"),
        integer("uid"),
        integer("network_namespace"),
        text("cgroup_path"),
        text("unit"),
        text("container"),
        text("app"),
    ],
    key: 1,
    index: None,
};

/// The two ends of traffic without their ports.
pub(crate) const ENDPOINT: Table = Table {
    name: "picosnitch_endpoint",
    columns: &[
        bytes("digest"),
        text("remote_address"),
        text("local_address"),
        text("domain"),
        text("domain_source"),
        integer("family"),
        integer("protocol"),
        text("country"),
        integer("network_number"),
        text("network"),
    ],
    key: 1,
    index: None,
};

/// A record.
pub(crate) const RECORD: Table = Table {
    name: "picosnitch_record",
    columns: &[
        integer("log"),
        integer("window_number"),
        integer("sequence"),
        integer("time"),
        bytes("context"),
        bytes("endpoint"),
        integer("local_port"),
        integer("remote_port"),
        integer("connections"),
        integer("sent"),
        integer("received"),
        integer("folded"),
    ],
    key: 3,
    index: Some("time"),
};

/// Something that happened.
pub(crate) const EVENT: Table = Table {
    name: "picosnitch_event",
    columns: &[
        integer("log"),
        integer("window_number"),
        integer("event_number"),
        integer("time"),
        optional(integer("began")),
        text("kind"),
        text("subject"),
        optional(integer("uid")),
        text("path"),
        text("name"),
        optional(bytes("sha256")),
        integer("amount"),
        text("message"),
        optional(integer("writer_pid")),
        text("writer_path"),
        text("writer_name"),
        optional(integer("writer_uid")),
    ],
    key: 3,
    index: Some("time"),
};

/// The sum of the records of some windows in a span of time by one of their columns ([`crate::SumKind`]); the other two have no
/// value (empty, 0).
pub(crate) const SUM: Table = Table {
    name: "picosnitch_sum",
    columns: &[
        integer("kind"),
        integer("start"),
        integer("log"),
        integer("last_window"),
        bytes("context"),
        bytes("endpoint"),
        integer("remote_port"),
        integer("connections"),
        integer("sent"),
        integer("received"),
        integer("first_time"),
        integer("last_time"),
    ],
    key: 7,
    index: None,
};

/// The windows of a log, from the first to the last, whose records are in the sums of a kind.
pub(crate) const SUM_CLAIM: Table = Table {
    name: "picosnitch_sum_claim",
    columns: &[integer("kind"), integer("log"), integer("first_window"), integer("last_window")],
    key: 3,
    index: None,
};

/// A time at which an exporter had sent all, and there was nothing new.
pub(crate) const HEARTBEAT: Table =
    Table { name: "picosnitch_heartbeat", columns: &[integer("log"), integer("time")], key: 2, index: None };

/// The tables that came later, see [`super::dialect::Dialect::optional_tables`].
pub(crate) const OPTIONAL_TABLES: [&Table; 3] = [&SUM, &SUM_CLAIM, &HEARTBEAT];

/// All other tables, the version last: where it is, all are.
pub(crate) const TABLES: [&Table; 8] =
    [&LOG, &WINDOW, &PROGRAM, &CONTEXT, &ENDPOINT, &RECORD, &EVENT, &SCHEMA];
