//! Answers as comma-separated values (RFC 4180), safe for spreadsheets. A point of time has its text (RFC 3339) behind it.

use calendar::{TimeZone, rfc3339};
use model::{Counters, Event, Sha256, text::sanitize};
use store::{ComparedRow, Dimension, ProgramSeen, Query, Row, Value, values};

use crate::json::has_digests;

/// The heading of [`event`].
pub const EVENT_HEADING: &str = "time,time_iso,begin,begin_iso,kind,subject,uid,exe,name,sha256,count,text,writer_pid,\
                                 writer_exe,writer_name,writer_uid";
/// The heading of [`program_seen`].
pub const PROGRAM_HEADING: &str = "exe,sha256,uid,first,first_iso,last,last_iso";

/// Lines with their heading.
pub fn document(heading: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    rows.into_iter().fold(heading.to_owned() + "\r\n", |out, row| out + &line(&row))
}

/// A line with its end.
pub fn line(cells: &[String]) -> String {
    cells.join(",") + "\r\n"
}

/// The headings of the dimensions.
pub fn names(dimensions: &[Dimension]) -> Vec<String> {
    let mut names = Vec::new();
    for dimension in dimensions {
        names.push(dimension.name().to_owned());
        if dimension.is_time() {
            names.push(format!("{dimension}_iso"));
        }
    }
    names
}

/// Adds the values of a row.
pub fn add_values(cells: &mut Vec<String>, group_by: &[Dimension], found: &[Value], zone: &TimeZone) {
    for (dimension, value) in group_by.iter().zip(found) {
        cells.push(match value {
            Value::Integer(number) if !values::is_text(*dimension, *number) => number.to_string(),
            _ => sanitize::csv_field(&values::bytes(*dimension, value)),
        });
        if dimension.is_time() {
            cells.push(match value {
                Value::Integer(seconds) => rfc3339(*seconds, zone),
                _ => String::new(),
            });
        }
    }
}

/// The heading of the rows of a query.
pub fn heading(query: &Query) -> String {
    let mut headings = names(&query.group_by);
    if query.seen.is_some() {
        headings.extend(["first_seen", "first_seen_iso", "last_seen", "last_seen_iso"].map(str::to_owned));
    }
    if query.seen.is_some() && has_digests(query) {
        headings.extend(["digests", "changed", "changed_iso"].map(str::to_owned));
    }
    headings.extend(["conns", "received", "sent"].map(str::to_owned));
    headings.join(",")
}

/// A row of the answer to a query.
pub fn row(query: &Query, row: &Row, zone: &TimeZone) -> Vec<String> {
    let mut cells = Vec::new();
    add_values(&mut cells, &query.group_by, &row.values, zone);
    if query.seen.is_some() {
        cells.extend(point(row.seen.map(|seen| seen.first), zone));
        cells.extend(point(row.seen.map(|seen| seen.last), zone));
        if has_digests(query) {
            cells.push(row.seen.map(|seen| seen.digests.to_string()).unwrap_or_default());
            cells.extend(point(row.seen.and_then(|seen| seen.changed), zone));
        }
    }
    cells.extend(counters(row.counters));
    cells
}

/// Connections and bytes: the cells for `conns,received,sent`.
pub fn counters(counters: Counters) -> [String; 3] {
    [counters.connections, counters.received, counters.sent].map(|amount| amount.to_string())
}

/// A point of time, and its text behind it.
pub fn point(time: Option<i64>, zone: &TimeZone) -> [String; 2] {
    time.map(|time| [time.to_string(), rfc3339(time, zone)]).unwrap_or_default()
}

/// The heading of the rows of a comparison.
pub fn compared_heading(query: &Query) -> String {
    let mut headings = names(&query.group_by);
    let counters = ["change", "conns", "received", "sent", "conns_before", "received_before", "sent_before"];
    headings.extend(counters.map(str::to_owned));
    headings.join(",")
}

/// A row of a comparison.
pub fn compared_row(query: &Query, row: &ComparedRow, zone: &TimeZone) -> Vec<String> {
    let mut cells = Vec::new();
    add_values(&mut cells, &query.group_by, &row.values, zone);
    cells.push(row.change().name().to_owned());
    cells.extend([row.now, row.before].map(Option::unwrap_or_default).map(counters).concat());
    cells
}

/// An event.
pub fn event(event: &Event, zone: &TimeZone) -> Vec<String> {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let writer = event.writer.as_ref();
    let mut cells = [point(Some(event.time), zone), point(event.begin, zone)].concat();
    cells.extend([
        event.kind.name().to_owned(),
        sanitize::csv_message(&event.subject),
        number(event.uid.map(i64::from)),
        sanitize::csv_field(&event.path),
        sanitize::csv_field(&event.name),
        event.sha256.map(Sha256::to_hex).unwrap_or_default(),
        event.count.to_string(),
        sanitize::csv_message(&event.text),
        number(writer.map(|writer| writer.pid.into())),
        writer.map(|writer| sanitize::csv_field(&writer.path)).unwrap_or_default(),
        writer.map(|writer| sanitize::csv_field(&writer.name)).unwrap_or_default(),
        number(writer.and_then(|writer| writer.uid).map(i64::from)),
    ]);
    cells
}

/// When a program was first and last seen.
pub fn program_seen(program: &ProgramSeen, zone: &TimeZone) -> Vec<String> {
    let mut cells = vec![
        sanitize::csv_field(&program.path),
        program.sha256.map(Sha256::to_hex).unwrap_or_default(),
        program.uid.to_string(),
    ];
    cells.extend(point(Some(program.first), zone));
    cells.extend(point(Some(program.last), zone));
    cells
}
