//! `picosnitch query --events`: what happened besides traffic, the latest last as in a log.

use serde_json::{Value as Json, json};

use super::{Options, csv, ensure_dimensions, json, user, widest_cell};
use crate::cli::table::{self, Column};
use model::{
    Event, EventKind, Sha256,
    text::{lossless, sanitize, time},
};
use store::{Dimension, Filter, Range, Reader, Value};
use tui::view::users::Users;

/// The dimensions that events can be filtered by.
pub(super) const DIMENSIONS: &[Dimension] =
    &[Dimension::Executable, Dimension::Name, Dimension::Uid, Dimension::Sha256];

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
    range: Range,
    filters: &[Filter],
) -> anyhow::Result<String> {
    ensure_dimensions(filters, DIMENSIONS, "events")?;
    let limit = options.limit.unwrap_or(u64::MAX);
    // A limit holds for the events that pass the filters.
    let read = if filters.is_empty() { limit } else { u64::MAX };
    let mut events = open()?.events(range, &options.kind, read)?;
    events.retain(|event| Filter::pass(filters, |dimension| value(event, dimension)));
    events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    events.reverse();
    match (options.json, options.csv) {
        (true, _) => json(&events.iter().map(as_json).collect::<Vec<_>>()),
        (_, true) => {
            Ok(csv("time,begin,kind,subject,uid,exe,name,sha256,count,text", events.iter().map(as_csv)))
        }
        _ => Ok(as_table(&events)),
    }
}

fn value(event: &Event, dimension: Dimension) -> Value {
    match dimension {
        Dimension::Executable => Value::Bytes(event.path.clone()),
        Dimension::Name => Value::Bytes(event.name.clone()),
        Dimension::Uid => event.uid.map_or(Value::None, |uid| Value::Integer(uid.into())),
        Dimension::Sha256 => event.sha256.map_or(Value::None, Value::Sha256),
        _ => Value::None,
    }
}

fn as_json(event: &Event) -> Json {
    let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| lossless::to_text(bytes));
    json!({
        "time": event.time,
        "begin": event.begin,
        "kind": event.kind.name(),
        "subject": (!event.subject.is_empty()).then_some(&event.subject),
        "uid": event.uid,
        "exe": text(&event.path),
        "name": text(&event.name),
        "sha256": event.sha256.map(Sha256::to_hex),
        "count": event.count,
        "text": event.text,
    })
}

fn as_csv(event: &Event) -> Vec<String> {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    vec![
        event.time.to_string(),
        number(event.begin),
        event.kind.name().to_owned(),
        sanitize::csv_message(&event.subject),
        number(event.uid.map(i64::from)),
        sanitize::csv_field(&event.path),
        sanitize::csv_field(&event.name),
        event.sha256.map(Sha256::to_hex).unwrap_or_default(),
        event.count.to_string(),
        sanitize::csv_message(&event.text),
    ]
}

fn as_table(events: &[Event]) -> String {
    let users = Users::load();
    let columns = [
        ("time", false),
        ("kind", false),
        ("user", false),
        ("program", false),
        ("count", true),
        ("text", false),
    ];
    let columns = columns.map(|(name, right)| Column { name: name.to_owned(), right });
    let row = |event: &Event| {
        vec![
            time::local(event.time),
            event.kind.name().to_owned(),
            event.uid.map(|uid| user(&users, uid)).unwrap_or_default(),
            program(event),
            // One thing is the usual case, and says nothing.
            if event.count == 1 { String::new() } else { event.count.to_string() },
            text(event),
        ]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    table::render(&columns, &rows, widest_cell())
}

/// The path, and the name where the path does not end in it.
fn program(event: &Event) -> String {
    let path = sanitize::terminal(&event.path);
    let is_in_path = event.path.rsplit(|byte| *byte == b'/').next() == Some(&event.name[..]);
    let name = sanitize::terminal(&event.name);
    match (path.is_empty(), name.is_empty() || is_in_path) {
        (true, _) => name,
        (false, true) => path,
        (false, false) => format!("{path} ({name})"),
    }
}

/// The sentence, the tag of an alert, and since when.
fn text(event: &Event) -> String {
    let mut text = sanitize::message(&event.text);
    if text.is_empty() {
        text = sanitize::message(&event.subject);
    }
    if let Some(begin) = event.begin {
        text += &format!(" (since {})", time::local(begin));
    }
    text.trim_start().to_owned()
}
