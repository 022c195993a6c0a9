//! Events and records as they are sent.

use calendar::TimeZone;
use config::ForwardSection;
use model::{EventKind, PORT_EXECUTION, Record, text::sanitize};
use question::{
    json::Object,
    named::{Item as ItemNumber, ItemName, named_event, named_record},
};
use serde_json::Value as Json;
use store::{Dimension, LogName, WholeWindow, record_value, values};

/// Characters of a text of another program in what is sent. The log has all of it. With twenty such texts a message stays below the
/// 8 KiB that a syslog receiver should take (RFC 5424, section 6.1).
const MAX_TEXT: usize = 300;

/// An event or a record.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The keys of `picosnitch tail --json` (docs/tail.md), with long texts shortened, and `summary`.
    pub object: Object,
    /// `None` for a record.
    pub kind: Option<EventKind>,
    /// Unix seconds UTC.
    pub time: i64,
}

impl Item {
    /// What of a window a section wants, in the order of the log.
    pub fn of_window(section: &ForwardSection, log: LogName, window: &WholeWindow) -> Vec<Self> {
        let name = |item| ItemName { log, window: window.mark.number, item };
        let mut items = Vec::new();
        for (number, event) in (0..).zip(&window.events) {
            if section.kinds.is_empty() || section.kinds.contains(&event.kind) {
                let object = named_event(&name(ItemNumber::Event(number)), event, &TimeZone::UTC);
                let program = event.program_text();
                let about = if program.is_empty() { program } else { format!("{program}: ") };
                let summary = format!("{}: {about}{}", event.kind.name(), event.sentence());
                items.push(Self::new(object, summary, Some(event.kind), event.time));
            }
        }
        for numbered in window.records.iter().filter(|_| section.records) {
            let (record, time) = (&numbered.record, window.mark.time);
            let object =
                named_record(&name(ItemNumber::Record(numbered.sequence)), record, time, &TimeZone::UTC);
            items.push(Self::new(object, record_summary(record, time), None, time));
        }
        items
    }

    fn new(mut object: Object, summary: String, kind: Option<EventKind>, time: i64) -> Self {
        object.insert("summary".to_owned(), summary.into());
        object.values_mut().for_each(shorten);
        Self { object, kind, time }
    }

    /// The name of the event or record.
    pub fn id(&self) -> &str {
        self.object.get("id").and_then(Json::as_str).unwrap_or_default()
    }

    /// One line of JSON without control characters.
    pub fn json(&self) -> String {
        sanitize::json_document(&Json::Object(self.object.clone()).to_string())
    }

    /// A key as text without control characters; empty for null, `None` if there is no such key.
    pub fn text(&self, key: &str) -> Option<String> {
        Some(match self.object.get(key)? {
            Json::Null => String::new(),
            Json::String(text) => sanitize::message(text),
            other => sanitize::json_document(&other.to_string()),
        })
    }
}

fn shorten(value: &mut Json) {
    match value {
        Json::String(text) => *text = sanitize::shorten(text, MAX_TEXT),
        Json::Object(object) => object.values_mut().for_each(shorten),
        _ => {}
    }
}

fn record_summary(record: &Record, time: i64) -> String {
    let text = |dimension| {
        let value = record_value(record, time, dimension, &TimeZone::UTC);
        sanitize::terminal(&values::bytes(dimension, &value))
    };
    let program = text(Dimension::Executable);
    if record.tuple.remote_port == PORT_EXECUTION {
        return format!("{program} was executed");
    }
    let peer = Some(text(Dimension::Domain)).filter(|domain| !domain.is_empty());
    format!(
        "{program}: {} with {} port {}, {} bytes received, {} sent",
        text(Dimension::Protocol),
        peer.unwrap_or_else(|| text(Dimension::Address)),
        text(Dimension::Port),
        record.counters.received,
        record.counters.sent,
    )
}
