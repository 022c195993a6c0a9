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
