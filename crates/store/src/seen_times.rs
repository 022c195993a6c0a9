//! When something was first and last seen: a context, an endpoint, a port.

/// How old the stored time of the last sight may be while something goes on, seconds: writing it with each window would
/// write as much as the records. A reader takes the rest from the records of the last `2 * MAX_AGE`.
pub(crate) const MAX_AGE: i64 = 900;

/// The times of the first and the last record, unix seconds UTC, as a table has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenTimes {
    pub first: i64,
    pub last: i64,
}

impl SeenTimes {
    /// Seen once.
    pub fn at(time: i64) -> Self {
        Self { first: time, last: time }
    }

    /// The times to store after a record at `time`; `None` if the stored ones are good enough.
    pub fn extended(self, time: i64) -> Option<Self> {
        let is_early = time < self.first;
        let is_late = time.saturating_sub(self.last) >= MAX_AGE;
        (is_early || is_late).then(|| Self { first: self.first.min(time), last: self.last.max(time) })
    }

    /// Adds times of the same thing.
    pub fn union(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}
