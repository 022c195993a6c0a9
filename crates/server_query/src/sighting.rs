//! When things were seen on the machines of a server.

use model::{Bytes, Counters};
use store::Value;

/// A group of records, and when it was first and last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The values of the dimensions, in the order of the query's `group_by`.
    pub values: Vec<Value>,
    /// The sum of the records.
    pub counters: Counters,
    /// The end of the first window with such a record, unix seconds UTC.
    pub first: i64,
    /// The end of the last one.
    pub last: i64,
}

/// A host, and when it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSight {
    /// Its name.
    pub host: Bytes,
    /// The end of its last window, or its last heartbeat, unix seconds UTC by its own clock.
    pub last: i64,
}
