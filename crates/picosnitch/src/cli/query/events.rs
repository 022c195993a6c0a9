//! `picosnitch query --events`: what happened besides traffic, the latest last as in a log.

use calendar::Offsets;
use question::{Now, check_dimensions, csv, for_log, json};
use serde_json::Value as Json;

use super::{Options, Output, hints, json_text, labels::Labels, wrong_option};
use crate::cli::table::{self, Column, Kind};
use model::{
    Event, EventKind,
    text::{sanitize, units},
};
use server_query::SourceReader;
use store::{Dimension, EVENT_DIMENSIONS, Filter, HostEvent, Range, Source};

/// Reads the name of a kind.
///
/// # Errors
/// A sentence with all kinds.
pub(in crate::cli) fn kind(text: &str) -> Result<EventKind, String> {
    let names = EventKind::ALL.map(EventKind::name).join(", ");
    EventKind::from_name(text).ok_or_else(|| format!("there is no such kind; there are: {names}"))
}

/// Returns the events as text.
///
/// # Errors
/// A filter that does not apply; an error of the log.
pub(super) fn output(
    open: impl FnOnce() -> anyhow::Result<SourceReader>,
    options: &Options,
    (range, filters): (calendar::Range, &[Filter]),
    now: &Now,
) -> anyhow::Result<Output> {
    // Hosts are told of servers only, which the filters know.
    let others = filters.iter().filter(|filter| filter.dimension() != Dimension::Host);
    check_dimensions(&others.cloned().collect::<Vec<_>>(), &EVENT_DIMENSIONS, "events")
        .map_err(wrong_option)?;
    let reader = open()?;
    let passes = |event: &HostEvent| Filter::pass(filters, |dimension| event.value(dimension));
    let limit = options.limit.unwrap_or(u64::MAX);
    let mut events = reader.events(for_log(range), &options.kind, limit, &passes)?;
    events.reverse();
    let has_hosts = reader.has_hosts();
    let text = match (options.json, options.csv) {
        (true, _) => {
            let event = |event| Json::Object(json::host_event(event, &now.zone));
            json_text(&events.iter().map(event).collect())?
        }
        (_, true) => {
            let host = |event: &HostEvent| has_hosts.then(|| sanitize::csv_field(&event.host));
            let row = |event: &HostEvent| {
                host(event).into_iter().chain(csv::event(&event.event, &now.zone)).collect()
            };
            let heading = format!("{}{}", if has_hosts { "host," } else { "" }, csv::EVENT_HEADING);
            csv::document(&heading, events.iter().map(row))
        }
        _ => as_text(&events, has_hosts, table::output_width(options.full), now),
    };
    let mut notes = Vec::new();
    if events.is_empty() {
        let what = match (options.kind.is_empty(), filters.is_empty()) {
            (_, false) => "no event passes all of these conditions",
            (true, true) => "there are no events",
            (false, true) => "there are no events of this kind",
        };
        let is_log_without = reader.events(Range::default(), &[], 1, &|_| true)?.is_empty();
        notes.push(hints::nothing(&reader, (range, now), is_log_without, what)?);
    }
    Ok(Output { text, notes })
}

/// One line an event for a pipe; on a terminal the sentence stands below the rest, on as many lines as it needs.
fn as_text(events: &[HostEvent], has_hosts: bool, width: Option<usize>, now: &Now) -> String {
    let labels = Labels::new(std::iter::empty(), &[], &now.zone).of_hosts(has_hosts);
    let offsets = Offsets::new(events.iter().map(|found| found.event.time), &now.zone);
    let mut columns = vec![
        Column::new("time", Kind::Word),
        Column::new("kind", Kind::Word),
        Column::new("user", Kind::Word),
        Column::new("program", Kind::Path),
        Column::new("count", Kind::Number),
    ];
    if has_hosts {
        columns.insert(0, Column::new("host", Kind::Text));
    }
    if width.is_none() {
        columns.push(Column::new("text", Kind::Text));
    }
    let row = |HostEvent { host, event }: &HostEvent| {
        let mut cells = vec![
            offsets.text(event.time),
            event.kind.name().to_owned(),
            event.uid.map(|uid| labels.user(uid.into())).unwrap_or_default(),
            event.program_text(),
            // One thing is the usual case, and says nothing.
            if event.count == 1 { String::new() } else { units::grouped(event.count) },
        ];
        if has_hosts {
            cells.insert(0, sanitize::terminal(host));
        }
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
        out += &format!("{line}\n{}", table::wrap(&text(&event.event, now), width, "    "));
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
