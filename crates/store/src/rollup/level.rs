//! The levels of rollups: quarters of an hour, days, four weeks.
//!
//! Buckets are spans of UTC. Every time zone is a multiple of a quarter of an hour away from UTC, so a local day, also one
//! of 23 or 25 hours, is a number of whole quarters.

/// Seconds of a quarter of an hour.
pub(crate) const QUARTER_HOUR: i64 = 900;

/// The indexes of the levels in [`LEVELS`].
pub(super) const QUARTER_HOURS: usize = 0;
pub(super) const DAYS: usize = 1;
pub(super) const FOUR_WEEKS: usize = 2;

/// A bucket with more rows than this gets no rollup, so that making one needs at most some 50 MB; the smaller buckets
/// in it have theirs.
pub(crate) const MAX_ROLLUP_ROWS: usize = 400_000;

/// A level of rollups: all buckets of one length.
pub(crate) struct Level {
    /// Seconds of one bucket; buckets begin at multiples of it.
    pub span: i64,
    /// The table of sums by all fields of the key.
    pub table: &'static str,
    /// Whether the rows of `table` have quarters of an hour and local ports.
    pub detailed: bool,
    /// The tables of sums by a single key.
    pub single_key_tables: &'static [(RollupKey, &'static str)],
}

/// The key of sums by a single key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RollupKey {
    QuarterHour,
    Context,
    Endpoint,
    RemotePort,
    LocalPort,
}

/// The levels from fine to coarse. A coarser bucket consists of whole finer ones.
pub(crate) const LEVELS: [Level; 3] = [
    Level { span: QUARTER_HOUR, table: "rollup_quarter_hour", detailed: true, single_key_tables: &[] },
    Level {
        span: 86_400,
        table: "rollup_day",
        detailed: true,
        single_key_tables: &[
            (RollupKey::QuarterHour, "rollup_day_by_quarter_hour"),
            (RollupKey::Context, "rollup_day_by_context"),
            (RollupKey::Endpoint, "rollup_day_by_endpoint"),
            (RollupKey::RemotePort, "rollup_day_by_remote_port"),
        ],
    },
    Level {
        span: 28 * 86_400,
        table: "rollup_four_weeks",
        detailed: false,
        single_key_tables: &[
            (RollupKey::Context, "rollup_four_weeks_by_context"),
            (RollupKey::Endpoint, "rollup_four_weeks_by_endpoint"),
            (RollupKey::RemotePort, "rollup_four_weeks_by_remote_port"),
            (RollupKey::LocalPort, "rollup_four_weeks_by_local_port"),
        ],
    },
];

impl Level {
    /// The start of the bucket that contains `time`.
    pub fn bucket_start(&self, time: i64) -> i64 {
        time.div_euclid(self.span) * self.span
    }

    /// Number of units of time that the rows of a bucket distinguish.
    pub fn units(&self) -> usize {
        (self.span / self.unit()) as usize
    }

    /// Seconds of one unit.
    pub fn unit(&self) -> i64 {
        if self.detailed { QUARTER_HOUR } else { self.span }
    }

    /// All tables of the level; `table` is the first.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.table).chain(self.single_key_tables.iter().map(|(_, table)| *table))
    }
}

/// The first second of the quarter of an hour that contains `time`.
pub(crate) fn quarter_start(time: i64) -> i64 {
    LEVELS[QUARTER_HOURS].bucket_start(time)
}

/// The first second of the day of UTC that contains `time`.
pub(crate) fn day_start(time: i64) -> i64 {
    LEVELS[DAYS].bucket_start(time)
}
