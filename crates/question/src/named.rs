//! Records and events with their names, as JSON: what other tools get of the log (docs/tail.md).

use calendar::TimeZone;
use model::{Event, Record};
use serde_json::Value as Json;
use store::{Dimension, LogName, record_value};

use crate::json::{Object, add_point, counters, event, value};

/// The dimensions of a record as it is in the log. Parts of the calendar and the scope follow from the others.
pub const RECORD_DIMENSIONS: [Dimension; 29] = [
    Dimension::Executable,
    Dimension::Name,
    Dimension::CommandLine,
    Dimension::Sha256,
    Dimension::Uid,
    Dimension::ParentExecutable,
    Dimension::ParentName,
    Dimension::ParentCommandLine,
    Dimension::ParentSha256,
    Dimension::GrandparentExecutable,
    Dimension::GrandparentName,
    Dimension::GrandparentCommandLine,
    Dimension::GrandparentSha256,
    Dimension::Domain,
    Dimension::DomainSource,
    Dimension::Address,
    Dimension::Port,
    Dimension::LocalAddress,
    Dimension::LocalPort,
    Dimension::Protocol,
    Dimension::Family,
    Dimension::NetworkNamespace,
    Dimension::Cgroup,
    Dimension::Unit,
    Dimension::Container,
    Dimension::App,
    Dimension::Country,
    Dimension::Asn,
    Dimension::Network,
];

/// The place of a record or an event in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemName {
    /// The log.
    pub log: LogName,
    /// The number of the window.
    pub window: i64,
    /// The sequence of the record, or the number of the event, within the window.
    pub item: Item,
}

/// A record or an event of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The record with this sequence.
    Record(i64),
    /// The event with this number; the first one has 0.
    Event(u64),
}

impl ItemName {
    /// The name in one word: `UUID/EPOCH/WINDOW/SEQUENCE` for a record, `UUID/EPOCH/WINDOW/event/NUMBER` for an event.
    pub fn id(&self) -> String {
        let Self { log: LogName { uuid, epoch }, window, item } = self;
        let uuid = hex::encode(uuid);
        match item {
            Item::Record(sequence) => format!("{uuid}/{epoch}/{window}/{sequence}"),
            Item::Event(number) => format!("{uuid}/{epoch}/{window}/event/{number}"),
        }
    }

    /// The name with this id; `None` if there is none.
    pub fn from_id(id: &str) -> Option<Self> {
        let mut parts = id.split('/');
        let mut uuid = [0; 16];
        hex::decode_to_slice(parts.next()?, &mut uuid).ok()?;
        let (epoch, window) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let item = match (parts.next()?, parts.next()) {
            ("event", Some(number)) => Item::Event(number.parse().ok()?),
            (sequence, None) => Item::Record(sequence.parse().ok()?),
            _ => return None,
        };
        let name = Self { log: LogName { uuid, epoch }, window, item };
        // No other text than that of the name.
        (name.id() == id).then_some(name)
    }

    /// What both kinds begin with.
    fn object(&self) -> Object {
        let (kind, key, number) = match self.item {
            Item::Record(sequence) => ("record", "sequence", Json::from(sequence)),
            Item::Event(number) => ("event", "event_number", Json::from(number)),
        };
        let fields = [
            ("type", kind.into()),
            ("id", self.id().into()),
            ("log", hex::encode(self.log.uuid).into()),
            ("epoch", self.log.epoch.into()),
            ("window", self.window.into()),
            (key, number),
        ];
        fields.into_iter().map(|(name, field): (&str, Json)| (name.to_owned(), field)).collect()
    }
}

/// A record with its name, of a window that ended at `time` (unix seconds UTC): a line of `picosnitch tail --json` (docs/tail.md).
pub fn named_record(name: &ItemName, record: &Record, time: i64, zone: &TimeZone) -> Object {
    let mut object = name.object();
    add_point(&mut object, "time", Some(time), zone);
    for dimension in RECORD_DIMENSIONS {
        let found = record_value(record, time, dimension, zone);
        object.insert(dimension.name().to_owned(), value(dimension, &found));
    }
    object.extend(counters(record.counters));
    object.insert("folded".to_owned(), record.folded.into());
    object
}

/// An event with its name: a line of `picosnitch tail --json` (docs/tail.md).
pub fn named_event(name: &ItemName, found: &Event, zone: &TimeZone) -> Object {
    let mut object = name.object();
    object.extend(event(found, zone));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_one_name() {
        for item in [Item::Record(0), Item::Record(17), Item::Event(3)] {
            let name = ItemName { log: LogName { uuid: [0xab; 16], epoch: 2 }, window: 5, item };
            assert_eq!(ItemName::from_id(&name.id()), Some(name));
            for wrong in [format!("{}/1", name.id()), format!("{}x", name.id()), name.id().to_uppercase()] {
                assert_eq!(ItemName::from_id(&wrong), None, "{wrong}");
            }
        }
        for wrong in ["", "ab/1/2/3", "////", &format!("{}/01/2/3", "ab".repeat(16))] {
            assert_eq!(ItemName::from_id(wrong), None, "{wrong}");
        }
    }
}
