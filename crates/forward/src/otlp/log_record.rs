//! An event or a record as a log record. Attributes have the names of OpenTelemetry's semantic conventions where there is one for
//! exactly this, else `picosnitch.KEY` with the key of `picosnitch tail --json`.

use model::EventKind;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
};
use serde_json::Value as Json;

use super::{NANOSECONDS, attribute, text};
use crate::{
    item::Item,
    syslog::{self, severity},
};

/// Keys that say nothing that the rest does not: of the name, `log.record.uid` has the parts.
const LEFT_OUT: [&str; 10] = [
    "type",
    "log",
    "epoch",
    "window",
    "sequence",
    "event_number",
    "time",
    "time_iso",
    "begin_iso",
    "summary",
];

/// The record of an item that was read at `observed`, nanoseconds since 1970 UTC.
pub(super) fn log_record(item: &Item, observed: u64) -> LogRecord {
    let (number, name) = match severity(item) {
        syslog::ERROR => (SeverityNumber::Error, "ERROR"),
        syslog::WARNING => (SeverityNumber::Warn, "WARN"),
        // Notice, which is between information and a warning (the data model of logs, appendix B).
        syslog::NOTICE => (SeverityNumber::Info2, "INFO2"),
        _ => (SeverityNumber::Info, "INFO"),
    };
    let mut attributes = Vec::new();
    for key in item.object.keys().filter(|key| !LEFT_OUT.contains(&key.as_str())) {
        add(&mut attributes, item, key);
    }
    LogRecord {
        time_unix_nano: u64::try_from(item.time).unwrap_or(0).saturating_mul(NANOSECONDS),
        observed_time_unix_nano: observed,
        severity_number: number.into(),
        severity_text: name.into(),
        body: Some(AnyValue { value: Some(text(&item.text("summary").unwrap_or_default())) }),
        event_name: format!("picosnitch.{}", item.kind.map_or("record", EventKind::name)),
        attributes,
        ..LogRecord::default()
    }
}

/// The semantic convention of a key.
fn convention(key: &str) -> Option<&'static str> {
    Some(match key {
        "id" => "log.record.uid",
        "exe" => "process.executable.path",
        "name" => "process.executable.name",
        "cmdline" => "process.command_line",
        "uid" => "process.real_user.id",
        "address" => "network.peer.address",
        "port" => "network.peer.port",
        "laddress" => "network.local.address",
        "lport" => "network.local.port",
        "protocol" => "network.transport",
        "family" => "network.type",
        _ => return None,
    })
}

/// Adds a key of an item, unless it has no value: null, an empty text, a port that is none, or several addresses or ports in one
/// (`many`), which receivers would refuse in a field for one.
fn add(attributes: &mut Vec<KeyValue>, item: &Item, key: &str) {
    let name = convention(key).map_or_else(|| format!("picosnitch.{}", key.replace('-', "_")), str::to_owned);
    let value = match &item.object[key] {
        Json::Number(number) if key.ends_with("port") => {
            number.as_i64().filter(|port| (1..=65535).contains(port)).map(Value::IntValue)
        }
        Json::Number(number) => number.as_i64().map(Value::IntValue),
        Json::Bool(value) => Some(Value::BoolValue(*value)),
        Json::Object(entries) => {
            for (entry, value) in entries {
                let value = match value {
                    Json::Number(number) => number.as_i64().map(Value::IntValue),
                    Json::String(found) => Some(text(&model::text::sanitize::message(found))),
                    _ => None,
                };
                attributes.extend(value.map(|value| attribute(&format!("{name}.{entry}"), value)));
            }
            None
        }
        Json::String(found) if found == "many" && (key.ends_with("address") || key.ends_with("port")) => None,
        _ => item.text(key).filter(|found| !found.is_empty()).map(|found| text(&found)),
    };
    attributes.extend(value.map(|value| attribute(&name, value)));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_have_the_names_of_the_conventions() {
        let object = json!({"id": "a/1/2/3", "type": "record", "window": 2, "exe": "/a\nb", "sha256": null, "address": "many",
                            "port": "many", "lport": 0, "laddress": "10.0.0.1", "domain-source": "dns", "sent": 5, "netns": 4_026_531_840_u64,
                            "writer": {"pid": 7, "exe": "/w", "name": null}, "summary": "s"});
        let Json::Object(object) = object else { panic!() };
        let record = log_record(&Item { object, kind: None, time: 3 }, 9);
        let found: Vec<String> = record
            .attributes
            .iter()
            .map(|found| format!("{} {:?}", found.key, found.value.as_ref().unwrap().value.as_ref().unwrap()))
            .collect();
        let expected = [
            "picosnitch.domain_source StringValue(\"dns\")",
            "process.executable.path StringValue(\"/a\\\\x0ab\")",
            "log.record.uid StringValue(\"a/1/2/3\")",
            "network.local.address StringValue(\"10.0.0.1\")",
            "picosnitch.netns IntValue(4026531840)",
            "picosnitch.sent IntValue(5)",
            "picosnitch.writer.exe StringValue(\"/w\")",
            "picosnitch.writer.pid IntValue(7)",
        ];
        assert_eq!(found, expected);
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (3_000_000_000, 9));
        assert_eq!(
            (record.event_name.as_str(), record.severity_number()),
            ("picosnitch.record", SeverityNumber::Info)
        );
    }
}
