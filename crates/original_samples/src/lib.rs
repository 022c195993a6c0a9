//! Makes logs as the releases of the original picosnitch wrote them, for tests and measurements. The same options make the same
//! rows, and what a log has is known without reading it.

mod conn_log;
mod database;
mod records;
mod rows;

pub use conn_log::write_conn_log;
pub use database::write_database;
pub use records::write_known_programs;
pub use rows::{Row, rows};

use calendar::TimeZone;

/// A format of the original's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `user_version` 0, without bytes.
    Version0,
    /// `user_version` 1: bytes appended.
    Version1,
    /// `user_version` 2: parents.
    Version2,
    /// `user_version` 3: both ends of the connection.
    Version3,
    /// `user_version` 4: interned.
    Version4,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] =
        [Self::Version0, Self::Version1, Self::Version2, Self::Version3, Self::Version4];

    /// The `user_version` of the database.
    pub fn user_version(self) -> i64 {
        self as i64
    }

    /// Whether the log has bytes.
    pub fn has_bytes(self) -> bool {
        self > Self::Version0
    }

    /// Whether the log has parents.
    pub fn has_parents(self) -> bool {
        self > Self::Version1
    }

    /// Whether the log says how many connections a row stands for.
    pub fn has_connections(self) -> bool {
        self < Self::Version3
    }
}

/// What a sample has.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format.
    pub format: Format,
    /// The number of rows.
    pub rows: u64,
    /// Days over which they are spread.
    pub days: i64,
    /// The time of the last row, unix seconds UTC.
    pub until: i64,
    /// Another seed makes other rows.
    pub seed: u64,
    /// The zone of local times.
    pub zone: TimeZone,
}

impl Options {
    /// Rows of the last `days` days before `until` in Central European time, which has nights of 23 and 25 hours.
    ///
    /// # Panics
    /// Never: the zone is valid.
    pub fn new(format: Format, rows: u64, days: i64, until: i64) -> Self {
        let zone = calendar::posix_zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap_or(TimeZone::UTC);
        Self { format, rows, days, until, seed: 1, zone }
    }
}

/// Sums over a sample, as an import must find them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Rows.
    pub rows: u64,
    /// Connections: what the log counts, else one for each row that is not about an executed program.
    pub connections: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Rows about an executed program.
    pub executions: u64,
    /// Rows with an error text instead of a digest.
    pub error_texts: u64,
}

impl Sums {
    /// Adds a row.
    pub fn add(&mut self, row: &Row, format: Format) {
        self.rows += 1;
        if row.is_execution() {
            self.executions += 1;
        } else {
            self.connections += if format.has_connections() { row.events.unsigned_abs() } else { 1 };
        }
        if format.has_bytes() {
            (self.sent, self.received) =
                (self.sent + row.sent.unsigned_abs(), self.received + row.received.unsigned_abs());
        }
        self.error_texts += u64::from(!row.program.has_digest());
    }

    /// The sums of a sample.
    pub fn of(options: &Options) -> Self {
        let mut sums = Self::default();
        rows(options).for_each(|row| sums.add(&row, options.format));
        sums
    }
}

/// A local time as the original wrote it.
fn local_text(time: i64, zone: &TimeZone) -> String {
    calendar::rfc3339(time, zone).get(..19).unwrap_or_default().replace('T', " ")
}

/// A domain as the original wrote it.
fn reversed(domain: &str) -> String {
    domain.split('.').rev().collect::<Vec<_>>().join(".")
}
