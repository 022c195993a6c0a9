//! Values of the log as text for tables.

use calendar::{Offsets, TimeZone, day_text, month_text};
use model::text::sanitize;
use question::Now;
use store::{Dimension, Row, Value, values};
use system_names::Users;

use crate::cli::table::Kind;

/// What the text of values depends on.
pub(in crate::cli) struct Labels {
    users: Users,
    zone: TimeZone,
    offsets: Offsets,
}

impl Labels {
    /// For a table with these rows of values.
    pub fn new<'a>(
        rows: impl Iterator<Item = &'a [Value]>,
        dimensions: &[Dimension],
        zone: &TimeZone,
    ) -> Self {
        let mut times = Vec::new();
        for values in rows {
            for (dimension, value) in dimensions.iter().zip(values) {
                if let (Dimension::Time | Dimension::Hour, Value::Integer(seconds)) = (dimension, value) {
                    times.push(*seconds);
                }
            }
        }
        Self { users: Users::load(), zone: zone.clone(), offsets: Offsets::new(times, zone) }
    }

    /// For the rows of a query.
    pub fn of_rows(rows: &[Row], dimensions: &[Dimension], zone: &TimeZone) -> Self {
        Self::new(rows.iter().map(|row| &row.values[..]), dimensions, zone)
    }

    /// The same for records of several hosts (`has_hosts`), whose users have other names than those of this machine.
    pub fn of_hosts(self, has_hosts: bool) -> Self {
        if has_hosts { Self { users: Users::default(), ..self } } else { self }
    }

    /// A value for a table.
    pub fn cell(&self, dimension: Dimension, value: &Value) -> String {
        match (dimension, value) {
            (Dimension::Time, Value::Integer(seconds)) => self.offsets.text(*seconds),
            (Dimension::Hour, Value::Integer(seconds)) => self.offsets.minute_text(*seconds),
            (Dimension::Day | Dimension::Week, Value::Integer(seconds)) => day_text(*seconds, &self.zone),
            (Dimension::Month, Value::Integer(seconds)) => month_text(*seconds, &self.zone),
            (Dimension::Year, Value::Integer(seconds)) => {
                month_text(*seconds, &self.zone).split('-').next().unwrap_or_default().to_owned()
            }
            (Dimension::HourOfDay, Value::Integer(hour)) => format!("{hour:02}"),
            (Dimension::Uid, Value::Integer(uid)) => self.user(*uid),
            _ => sanitize::terminal(&values::bytes(dimension, value)),
        }
    }

    /// A user by name, if `/etc/passwd` has one.
    pub fn user(&self, uid: i64) -> String {
        match self.users.name(uid) {
            Some(name) => sanitize::terminal(name.as_bytes()),
            None => uid.to_string(),
        }
    }
}

/// Columns of a terminal from which on a table has the time at which something was seen, and not only the day: the names of
/// programs need the room.
const MIN_WIDTH_OF_TIMES: usize = 90;

/// Writes the times at which something was seen, for a table of this width.
pub(in crate::cli) fn seen_text(
    times: impl Iterator<Item = i64>,
    width: Option<usize>,
    now: &Now,
) -> impl Fn(i64) -> String {
    let offsets = Offsets::new(times, &now.zone);
    move |seconds| match width.is_some_and(|width| width < MIN_WIDTH_OF_TIMES) {
        true => day_text(seconds, &now.zone),
        false => offsets.minute_text(seconds),
    }
}

/// What the column of a dimension holds.
pub(in crate::cli) fn kind(dimension: Dimension) -> Kind {
    match dimension {
        Dimension::Executable
        | Dimension::ParentExecutable
        | Dimension::GrandparentExecutable
        | Dimension::Cgroup => Kind::Path,
        Dimension::Port
        | Dimension::LocalPort
        | Dimension::NetworkNamespace
        | Dimension::Asn
        | Dimension::HourOfDay => Kind::Number,
        _ if dimension.is_time() => Kind::Word,
        Dimension::Uid | Dimension::Weekday | Dimension::Scope | Dimension::Protocol | Dimension::Family => {
            Kind::Word
        }
        Dimension::Sha256 | Dimension::ParentSha256 | Dimension::GrandparentSha256 => Kind::Digest,
        _ => Kind::Text,
    }
}
