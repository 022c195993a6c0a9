//! Answers as JSON. A point of time has its text (RFC 3339) beside it.

use calendar::{TimeZone, rfc3339};
use model::{Counters, Event, Loss, Sha256, text::lossless};
use serde_json::{Map, Value as Json, json};
use store::{
    ComparedRow, Comparison, Dimension, Filter, HostEvent, ProgramSeen, Query, Row, Source, Value, values,
};

use crate::range::{for_log, quarters_before};

/// An object of JSON.
pub type Object = Map<String, Json>;

/// Adds a point of time, and its text beside it.
pub fn add_point(object: &mut Object, name: &str, seconds: Option<i64>, zone: &TimeZone) {
    object.insert(name.to_owned(), seconds.into());
    object.insert(format!("{name}_iso"), seconds.map(|seconds| rfc3339(seconds, zone)).into());
}

/// A value of a dimension: text, or a number; null for an unknown one. The bytes of strangers are escaped
/// ([`model::text::lossless`]). Typed as it is, it finds its records again; null is typed as nothing.
pub fn value(dimension: Dimension, value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Integer(number) if !values::is_text(dimension, *number) => Json::from(*number),
        _ => Json::from(lossless::to_text(&values::bytes(dimension, value))),
    }
}

/// Adds the values of a row by the names of their dimensions.
pub fn add_values(object: &mut Object, group_by: &[Dimension], values: &[Value], zone: &TimeZone) {
    for (dimension, found) in group_by.iter().zip(values) {
        object.insert(dimension.name().to_owned(), value(*dimension, found));
        if dimension.is_time() {
            let text = match found {
                Value::Integer(seconds) => Json::from(rfc3339(*seconds, zone)),
                _ => Json::Null,
            };
            object.insert(format!("{dimension}_iso"), text);
        }
    }
}

/// Connections and bytes.
pub fn counters(counters: Counters) -> Object {
    let fields = [("conns", counters.connections), ("received", counters.received), ("sent", counters.sent)];
    fields.into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect()
}

/// A row of the answer to a query.
pub fn row(query: &Query, row: &Row, zone: &TimeZone) -> Object {
    let mut object = Map::new();
    add_values(&mut object, &query.group_by, &row.values, zone);
    if let Some(seen) = row.seen {
        add_point(&mut object, "first_seen", Some(seen.first), zone);
        add_point(&mut object, "last_seen", Some(seen.last), zone);
        if has_digests(query) {
            object.insert("digests".to_owned(), seen.digests.into());
            add_point(&mut object, "changed", seen.changed, zone);
        }
    }
    object.extend(counters(row.counters));
    object
}

/// Whether the values of the rows are programs, which have digests.
pub(crate) fn has_digests(query: &Query) -> bool {
    query.group_by == [Dimension::Executable]
}

/// A row of a comparison.
pub fn compared_row(query: &Query, row: &ComparedRow, zone: &TimeZone) -> Object {
    let mut object = Map::new();
    add_values(&mut object, &query.group_by, &row.values, zone);
    object.insert("change".to_owned(), row.change().name().into());
    object.extend(both(row.now, row.before));
    object
}

/// The sums of both ranges of a comparison.
pub fn compared_total(comparison: &Comparison) -> Object {
    both(Some(comparison.now), Some(comparison.before))
}

fn both(now: Option<Counters>, before: Option<Counters>) -> Object {
    let sums = |sums: Option<Counters>| sums.map(counters).map_or(Json::Null, Json::Object);
    [("now", now), ("before", before)]
        .map(|(name, found)| (name.to_owned(), sums(found)))
        .into_iter()
        .collect()
}

/// The ends of a range, both included.
pub fn bounds(range: calendar::Range, zone: &TimeZone) -> Object {
    let range = for_log(range);
    let mut object = Map::new();
    for (name, end) in [("since", range.since), ("until", range.until)] {
        add_point(&mut object, name, end, zone);
    }
    object
}

/// What the log has of a range: what was lost in it (of a server on the hosts that filters select), and up to when it has sums only.
///
/// # Errors
/// The errors of the log.
pub fn completeness<S: Source>(
    source: &S,
    (range, filters): (calendar::Range, &[Filter]),
    zone: &TimeZone,
) -> Result<Object, S::Error> {
    let mut object = grain(source, range, zone)?;
    let losses = source.losses(for_log(range), filters)?;
    object.insert("losses".to_owned(), losses.iter().map(loss).collect());
    Ok(object)
}

/// Up to when the log has sums only of a range.
///
/// # Errors
/// The errors of the log.
pub fn grain<S: Source>(source: &S, range: calendar::Range, zone: &TimeZone) -> Result<Object, S::Error> {
    let mut object = Map::new();
    add_point(&mut object, "sums_of_quarter_hours_before", quarters_before(source, range)?, zone);
    Ok(object)
}

/// What was lost.
pub fn loss(loss: &Loss) -> Json {
    json!({
        "kind": loss.kind.name(),
        "count": loss.count,
        "consequence": loss.kind.consequence(),
        "text": loss.sentence(),
    })
}

/// An event.
pub fn event(event: &Event, zone: &TimeZone) -> Object {
    let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| lossless::to_text(bytes));
    let writer = event.writer.as_ref().map(|writer| {
        json!({
            "pid": writer.pid,
            "exe": text(&writer.path),
            "name": text(&writer.name),
            "uid": writer.uid,
        })
    });
    let mut object = Map::new();
    add_point(&mut object, "time", Some(event.time), zone);
    add_point(&mut object, "begin", event.begin, zone);
    let subject = (!event.subject.is_empty()).then_some(event.subject.as_str());
    let fields = [
        ("kind", event.kind.name().into()),
        ("subject", subject.into()),
        ("uid", event.uid.into()),
        ("exe", text(&event.path).into()),
        ("name", text(&event.name).into()),
        ("sha256", event.sha256.map(Sha256::to_hex).into()),
        ("count", event.count.into()),
        ("text", event.text.as_str().into()),
        ("writer", writer.into()),
    ];
    object.extend(fields.map(|(name, field): (&str, Json)| (name.to_owned(), field)));
    object
}

/// An event of a server, with its host.
pub fn host_event(found: &HostEvent, zone: &TimeZone) -> Object {
    let mut object = event(&found.event, zone);
    if !found.host.is_empty() {
        object.insert("host".to_owned(), lossless::to_text(&found.host).into());
    }
    object
}

/// When a program was first and last seen.
pub fn program_seen(program: &ProgramSeen, zone: &TimeZone) -> Object {
    let mut object = Map::new();
    object.insert("exe".to_owned(), lossless::to_text(&program.path).into());
    object.insert("sha256".to_owned(), program.sha256.map(Sha256::to_hex).into());
    object.insert("uid".to_owned(), program.uid.into());
    add_point(&mut object, "first", Some(program.first), zone);
    add_point(&mut object, "last", Some(program.last), zone);
    object
}
