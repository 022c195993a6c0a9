//! A row of the list: a value of the tab's dimension with its sums, or an event.

use model::Counters;
use store::{ComparedRow, HostEvent, Row, Seen, Value};

/// A row of the list.
#[derive(Clone, Debug)]
pub struct ListRow {
    /// The value, by which the row is known again in a later answer.
    pub value: Value,
    /// The sum of its records in the period.
    pub counters: Counters,
    /// When the value was seen, if the query asked for it.
    pub seen: Option<Seen>,
    /// The period before beside this one, if they are compared.
    pub compared: Option<ComparedRow>,
    /// The event, on the tab of events.
    pub event: Option<Box<HostEvent>>,
}

impl ListRow {
    pub fn new(value: Value, counters: Counters) -> Self {
        Self { value, counters, seen: None, compared: None, event: None }
    }
}

impl From<Row> for ListRow {
    fn from(row: Row) -> Self {
        let value = row.values.into_iter().next().unwrap_or(Value::None);
        Self { seen: row.seen, ..Self::new(value, row.counters) }
    }
}

impl From<ComparedRow> for ListRow {
    fn from(row: ComparedRow) -> Self {
        let value = row.values.first().cloned().unwrap_or(Value::None);
        let counters = row.now.unwrap_or_default();
        Self { compared: Some(row), ..Self::new(value, counters) }
    }
}

impl From<HostEvent> for ListRow {
    fn from(found: HostEvent) -> Self {
        let HostEvent { host, event } = &found;
        let (time, kind) = (event.time, event.kind.name());
        let mut key = format!("{time} {kind} {} {} ", event.subject, event.count).into_bytes();
        key.extend([&event.path[..], b" ", event.text.as_bytes(), b" ", host].concat());
        Self { event: Some(Box::new(found)), ..Self::new(Value::Bytes(key), Counters::default()) }
    }
}
