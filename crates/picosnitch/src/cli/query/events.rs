//! `picosnitch query --events`: what happened besides traffic, the latest last as in a log.

use calendar::{Offsets, rfc3339};
use serde_json::{Value as Json, json};

use super::{
    Options, Output, csv,
    filters::ensure_dimensions,
    hints, json_text,
    labels::Labels,
    time_range::{self, Now},
};
use crate::cli::table::{self, Column, Kind};
use model::{
    Event, EventKind, Sha256,
    text::{lossless, sanitize, units},
};
use store::{EVENT_DIMENSIONS, Filter, Range, Reader, event_value};

/// Reads the name of a kind.
///
/// # Errors
/// A sentence with all kinds.
pub(super) fn kind(text: &str) -> Result<EventKind, String> {
    let names = EventKind::ALL.map(EventKind::name).join(", ");
    EventKind::from_name(text).ok_or_else(|| format!("there is no such kind; there are: {names}"))
}

/// Returns the events as text.
///
/// # Errors
/// A filter that does not apply; an error of the log.
pub(super) fn output(
    open: &impl Fn() -> anyhow::Result<Reader>,
    options: &Options,
    (range, filters): (calendar::Range, &[Filter]),
    now: &Now,
) -> anyhow::Result<Output> {
    ensure_dimensions(filters, &EVENT_DIMENSIONS, "events")?;
    let reader = open()?;
    let passes = |event: &Event| Filter::pass(filters, |dimension| event_value(event, dimension));
    let limit = options.limit.unwrap_or(u64::MAX);
    let mut events = reader.events_that(time_range::for_log(range), &options.kind, limit, passes)?;
    events.reverse();
    let text = match (options.json, options.csv) {
        (true, _) => json_text(&events.iter().map(|event| as_json(event, now)).collect())?,
        (_, true) => csv(CSV_HEADING, events.iter().map(|event| as_csv(event, now))),
        _ => as_text(&events, table::output_width(options.full), now),
    };
    let mut notes = Vec::new();
    if events.is_empty() {
        let what = match (options.kind.is_empty(), filters.is_empty()) {
            (_, false) => "no event passes all of these conditions",
            (true, true) => "there are no events",
            (false, true) => "there are no events of this kind",
        };
        let is_log_without = reader.events(Range::default(), &[], 1)?.is_empty();
        notes.push(hints::nothing(&reader, (range, now), is_log_without, what)?);
    }
    Ok(Output { text, notes })
}

const CSV_HEADING: &str = "time,time_iso,begin,begin_iso,kind,subject,uid,exe,name,sha256,count,text,writer_pid,\
                           writer_exe,writer_name,writer_uid";

fn as_json(event: &Event, now: &Now) -> Json {
    let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| lossless::to_text(bytes));
    let writer = event.writer.as_ref().map(|writer| {
        json!({
            "pid": writer.pid,
            "exe": text(&writer.path),
            "name": text(&writer.name),
            "uid": writer.uid,
        })
    });
    json!({
        "time": event.time,
        "time_iso": rfc3339(event.time, &now.zone),
        "begin": event.begin,
        "begin_iso": event.begin.map(|begin| rfc3339(begin, &now.zone)),
        "kind": event.kind.name(),
        "subject": (!event.subject.is_empty()).then_some(&event.subject),
        "uid": event.uid,
        "exe": text(&event.path),
        "name": text(&event.name),
        "sha256": event.sha256.map(Sha256::to_hex),
        "count": event.count,
        "text": event.text,
        "writer": writer,
    })
}

fn as_csv(event: &Event, now: &Now) -> Vec<String> {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let writer = event.writer.as_ref();
    vec![
        event.time.to_string(),
        rfc3339(event.time, &now.zone),
        number(event.begin),
        event.begin.map(|begin| rfc3339(begin, &now.zone)).unwrap_or_default(),
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
    ]
}

/// One line an event for a pipe; on a terminal the sentence stands below the rest, on as many lines as it needs.
fn as_text(events: &[Event], width: Option<usize>, now: &Now) -> String {
    let labels = Labels::new(std::iter::empty(), &[], &now.zone);
    let offsets = Offsets::new(events.iter().map(|event| event.time), &now.zone);
    let mut columns = vec![
        Column::new("time", Kind::Word),
        Column::new("kind", Kind::Word),
        Column::new("user", Kind::Word),
        Column::new("program", Kind::Path),
        Column::new("count", Kind::Number),
    ];
    if width.is_none() {
        columns.push(Column::new("text", Kind::Text));
    }
    let row = |event: &Event| {
        let mut cells = vec![
            offsets.text(event.time),
            event.kind.name().to_owned(),
            event.uid.map(|uid| labels.user(uid.into())).unwrap_or_default(),
            event.program_text(),
            // One thing is the usual case, and says nothing.
            if event.count == 1 { String::new() } else { units::grouped(event.count) },
        ];
        if width.is_none() {
            cells.push(text(event, now));
        }
        cells
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    let table = table::render(&columns, &rows, None, width);
    let Some(width) = width else { return table };
    let mut lines = table.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, event) in lines.zip(events) {
        out += &format!("{line}\n{}", table::wrap(&text(event, now), width, "    "));
    }
    out
}

/// The sentence, the tag of an alert, and since when.
fn text(event: &Event, now: &Now) -> String {
    let mut text = event.sentence();
    if let Some(begin) = event.begin {
        text += &format!(" (since {})", now.text(begin));
    }
    text
}
